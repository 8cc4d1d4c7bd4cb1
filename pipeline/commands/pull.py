"""``forumprefs pull``: a version at the Hub becomes a dataset folder, checked and whole."""

import argparse
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.publish import add_endpoint_argument
from pipeline.console import TransferProgress, print_text, readable_size
from pipeline.dataset.atomic import locked, recover, replace_folder
from pipeline.dataset.folder import CARD_NAME, REPORT_NAME, DatasetFolder
from pipeline.errors import DatasetError, HubError, UsageError
from pipeline.hub.client import call_hub, connect, quiet_client
from pipeline.hub.names import need_endpoint, split_spec
from pipeline.hub.parallel import in_parallel
from pipeline.hub.repo_state import DATASET, HubFolder, is_content, open_hub_folder
from pipeline.hub.retries import hub_retry_policy, retry_at_hub
from schemas.checksums import shard_fault
from schemas.exit_codes import ExitCode
from schemas.manifest import MANIFEST_NAME, Shard
from schemas.retry import RetryPolicy

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PARALLEL_DOWNLOADS = 4

EPILOG = """\
examples:
  forumprefs pull acme/beer-prefs@v1.2.0 data/beer
  forumprefs pull acme/beer-prefs@v1.2.0 data/beer --overwrite

DIR appears complete, under its name, when every file has the checksum that the version's manifest
gives; until then everything is in .DIR.partial beside it, and running the command again resumes
there.

exit codes: 0 DIR holds the version; 1 failed, run it again; 2 usage error; 130 interrupted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs pull``."""
    parser.epilog = EPILOG
    parser.add_argument("spec", metavar="OWNER/NAME@V", help="version at the Hub")
    parser.add_argument("output", metavar="DIR", type=Path, help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset in DIR")
    add_endpoint_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument("-v", "--verbose", action="store_true", help="show logs")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs pull``; returns its exit code, raises UsageError and HubError."""
    found = split_spec(arguments.spec)
    if found is None:
        raise UsageError(f"{arguments.spec}: write OWNER/NAME@VERSION, e.g. acme/prefs@v1.2.0")
    repo, revision = found
    api = connect(need_endpoint(arguments.endpoint))
    with (
        quiet_client(verbose=arguments.verbose),
        TransferProgress("download", quiet=arguments.quiet) as progress,
    ):
        fetched = pull_version(
            api, repo, revision, arguments.output, progress, overwrite=arguments.overwrite
        )
    where = arguments.output
    if fetched is None:
        done = f"{where} holds {arguments.spec} already"
    else:
        done = (
            f"{where} holds {arguments.spec}, every checksum right "
            f"({readable_size(fetched)} fetched). Look: forumprefs inspect {where}"
        )
    if not arguments.quiet:
        print_text(done)
    return ExitCode.FINISHED


def pull_version(
    api: "HfApi",
    repo: str,
    revision: str,
    output: Path,
    progress: TransferProgress,
    *,
    overwrite: bool = False,
) -> int | None:
    """Fetch a version into ``output``; returns the bytes fetched, None if it was there.

    Raises UsageError for a folder that is in the way, and HubError.
    """
    output = output.resolve()
    retries = hub_retry_policy(say=progress.say)
    version = retry_at_hub(
        retries, f"{repo}@{revision}", lambda: open_hub_folder(api, repo, revision)
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output):
        recover(output)
        if _is_there(output, version, overwrite):
            return None
        staging = output.with_name(f".{output.name}.partial")
        staging.mkdir(exist_ok=True)
        download = Download(version, staging, progress, retries)
        fetched = retry_at_hub(retries, version.location, download.one_try)
        shutil.rmtree(staging / ".cache", ignore_errors=True)
        DatasetFolder(staging).verify()
        replace_folder(staging, output)
    return fetched


def _is_there(output: Path, version: HubFolder, overwrite: bool) -> bool:
    """Whether a folder holds the version, whole; raises UsageError if it is in the way."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    try:
        there = DatasetFolder(output)
    except DatasetError:
        raise UsageError(f"{output}: holds other files; choose another folder") from None
    if there.manifest_bytes == version.manifest_bytes:
        try:
            there.verify()
        except DatasetError:
            if not overwrite:
                raise
        else:
            return True
    if not overwrite:
        raise UsageError(f"{output}: holds another dataset; --overwrite replaces it")
    return False


@dataclass
class Download:
    """A version on its way into ``staging``."""

    version: HubFolder
    staging: Path
    progress: TransferProgress
    retries: RetryPolicy
    fetched: int = field(default=0, init=False)
    """Bytes of the shards that came."""
    _whole: set[str] = field(default_factory=set, init=False)
    """Paths of the shards that need not be read again."""

    def one_try(self) -> int:
        """Fetch what is missing or wrong; returns the bytes that all tries have fetched."""
        version, staging = self.version, self.staging
        _remove_others(version, staging)
        for name in (CARD_NAME, REPORT_NAME):
            self._fetch_document(name)
        shards = [shard for shard in version.manifest.shards if shard.path not in self._whole]
        self._whole |= {shard.path for shard in shards if shard_fault(staging, shard) is None}
        missing = [shard for shard in shards if shard.path not in self._whole]
        self.progress.begin(sum(shard.bytes for shard in missing), len(missing))
        in_parallel(PARALLEL_DOWNLOADS, [partial(self._fetch_shard, shard) for shard in missing])
        (staging / MANIFEST_NAME).write_bytes(version.manifest_bytes)
        return self.fetched

    def _fetch_document(self, name: str) -> None:
        """Fetch a file that the manifest has no checksum of; Git's own stands for it."""
        _download(self.version, name, self.staging)
        entry = self.version.tree.get(name)
        if entry is not None and not is_content(entry, (self.staging / name).read_bytes()):
            (self.staging / name).unlink()
            raise HubError(f"{self.version.location}: {name} came altered", transient=True)

    def _fetch_shard(self, shard: Shard) -> None:
        """Fetch a shard and compare its checksum; the client compares none."""
        version, path = self.version, self.staging / shard.path
        if shard.path not in version.tree:
            raise HubError(f"{version.location}: {shard.path} is missing there; tell its publisher")
        # What an earlier try has left, and is not whole, the client would take for finished.
        path.unlink(missing_ok=True)
        _download(version, shard.path, self.staging)
        if shard_fault(self.staging, shard) is not None:
            path.unlink(missing_ok=True)
            raise HubError(
                f"{version.location}: {shard.path} came with another checksum than "
                f"{MANIFEST_NAME} says",
                transient=True,
            )
        self._whole.add(shard.path)
        self.fetched += shard.bytes
        self.retries.reset()
        self.progress.advance(shard.bytes, 1)


def _remove_others(version: HubFolder, staging: Path) -> None:
    """Remove what another version, or another command, has left; keep what can be resumed."""
    known = {shard.path for shard in version.manifest.shards}
    known |= {CARD_NAME, REPORT_NAME, MANIFEST_NAME}
    for path in list(staging.rglob("*")):
        name = path.relative_to(staging).as_posix()
        if path.is_file() and name not in known and not name.startswith(".cache/"):
            path.unlink()


def _download(version: HubFolder, name: str, staging: Path) -> None:
    """Fetch a file; one that broke off is resumed where it stopped."""
    api = version.api

    def fetch() -> None:
        api.hf_hub_download(
            version.repo,
            name,
            repo_type=DATASET,
            revision=version.commit,
            local_dir=staging,
        )

    call_hub(version.location, fetch)
