"""Names at the Hub as options and arguments give them, with what to write instead of a wrong one.

What is valid is defined in :mod:`schemas.hub_names`.
"""

from urllib.parse import urlsplit

from pipeline.errors import UsageError
from schemas.hub_names import Version, is_repo, parse_hub_revision, parse_version


def need_version(tag: str) -> Version:
    """Read ``--version``; raises UsageError that says how versions are written."""
    version = parse_version(tag)
    if version is None:
        raise UsageError(
            f"--version {tag}: is not a valid version; write v1.2.0, or v1.2.0-rc.1 for one before "
            "it"
        )
    return version


def need_repo(name: str) -> str:
    """Check the name of a repository; raises UsageError that says how it is written."""
    if not is_repo(name):
        raise UsageError(
            f"{name}: is not a valid repository of the Hub; write OWNER/NAME with letters, digits, "
            "'-', '_' and '.', for example acme/forum-prefs"
        )
    return name


def need_endpoint(endpoint: str | None, name: str = "--endpoint") -> str | None:
    """Check ``--endpoint``; None means the client's own (HF_ENDPOINT, else the public Hub).

    ``name`` is what messages call it.
    """
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    if parts.username is not None or parts.password is not None:
        # The address is not repeated: what stands before the @ is a secret.
        raise UsageError(f"{name}: holds credentials; give the token as HF_TOKEN instead")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{name} {endpoint}: is not an address like https://hub.example.org")
    return endpoint.rstrip("/")


def split_spec(spec: str) -> tuple[str, str] | None:
    """Split ``OWNER/NAME@REVISION``; None for what is a path or a URL.

    Raises UsageError for a name that no repository can have.
    """
    found = parse_hub_revision(spec)
    if found is None or found.revision is None:
        return None
    return need_repo(found.repo), found.revision
