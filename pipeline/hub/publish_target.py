"""Where ``forumprefs curate --publish`` puts what it makes."""

import argparse
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.hub.names import need_endpoint, need_repo, need_version
from schemas.hub_names import Version


@dataclass(frozen=True)
class PublishTarget:
    """A version to make at the Hub. Holds no token: the client finds it where it runs."""

    repo: str
    version: Version
    endpoint: str | None = None
    private: bool = False
    allow_shrink: bool = False


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--publish`` and what goes with it."""
    group = parser.add_argument_group(
        "publishing (see forumprefs publish --help; changes no output byte)"
    )
    group.add_argument(
        "--publish", metavar="OWNER/NAME", help="make the result a version of this Hub dataset"
    )
    group.add_argument("--version", metavar="V", help="tag of the version, e.g. v1.2.0")
    group.add_argument("--private", action="store_true", help="make the dataset private")
    group.add_argument("--endpoint", metavar="URL", help="URL of the Hub, if not the default one")
    group.add_argument(
        "--allow-shrink", action="store_true", help="allow publishing far fewer pairs than main has"
    )


def target_of(arguments: argparse.Namespace) -> PublishTarget | None:
    """Read the flags; None when nothing is to be published. Raises UsageError."""
    if arguments.publish is None:
        for name in ("version", "private", "endpoint", "allow_shrink"):
            if getattr(arguments, name):
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag}: goes with --publish OWNER/NAME")
        return None
    if arguments.version is None:
        raise UsageError("--publish: give the version, too: --version v1.0.0")
    return PublishTarget(
        repo=need_repo(arguments.publish),
        version=need_version(arguments.version),
        endpoint=need_endpoint(arguments.endpoint),
        private=arguments.private,
        allow_shrink=arguments.allow_shrink,
    )
