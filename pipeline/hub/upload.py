"""Sending shards to the Hub before the commit that names them; sent twice, they are sent once."""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.dataset.folder import Folder
from pipeline.errors import BadRequestError, HubError
from pipeline.hub.client import as_hub_error, call_hub
from pipeline.hub.parallel import in_parallel
from pipeline.hub.repo_state import DATASET, Changes
from schemas.manifest import Shard

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

PARALLEL_UPLOADS = 4
ASKED_AT_ONCE = 256
GROUP_BYTES = 64 << 20
GROUP_FILES = 32
"""Small shards are sent in groups: each call costs two requests of the Hub's limited number."""

Sent = Callable[[Sequence[Shard]], None]
"""Hears which shards have arrived."""


def missing_shards(api: "HfApi", repo: str, shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """Ask which shards' bytes the Hub does not have yet, committed or not."""
    from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info

    missing: set[str] = set()
    for start in range(0, len(shards), ASKED_AT_ONCE):
        asked = [
            UploadInfo(size=shard.bytes, sample=b"", sha256=bytes.fromhex(shard.sha256))
            for shard in shards[start : start + ASKED_AT_ONCE]
        ]

        def ask(asked: list[UploadInfo] = asked) -> Any:
            return post_lfs_batch_info(
                asked, token=None, repo_type=DATASET, repo_id=repo, endpoint=api.endpoint
            )

        found, errors, _ = call_hub(repo, ask)
        if errors:
            said = str(errors[0].get("error", {}).get("message", "no reason given"))
            raise HubError(f"{repo}: the Hub will not take a shard: {said}")
        missing.update(answer["oid"] for answer in found if answer.get("actions"))
    return tuple(shard for shard in shards if shard.sha256 in missing)


def upload_shards(
    api: "HfApi",
    repo: str,
    folder: Folder,
    shards: Sequence[Shard],
    sent: Sent,
    *,
    create_pr: bool = False,
) -> frozenset[str]:
    """Send shards in parallel; returns the paths that the Hub wants in the commit itself.

    Raises HubError; what has arrived by then need not be sent again.
    """
    inline: set[str] = set()

    def send(group: Sequence[Shard]) -> None:
        kept = upload_group(api, repo, folder, group, create_pr=create_pr)
        inline.update(kept)
        sent([shard for shard in group if shard.path not in kept])

    in_parallel(PARALLEL_UPLOADS, [partial(send, group) for group in groups(shards)])
    return frozenset(inline)


def groups(shards: Iterable[Shard]) -> Iterator[tuple[Shard, ...]]:
    """Divide shards into lots that are sent with one call each."""
    group: list[Shard] = []
    for shard in shards:
        full = len(group) == GROUP_FILES or sum(s.bytes for s in group) + shard.bytes > GROUP_BYTES
        if group and full:
            yield tuple(group)
            group = []
        group.append(shard)
    if group:
        yield tuple(group)


def upload_group(
    api: "HfApi",
    repo: str,
    folder: Folder,
    group: Sequence[Shard],
    *,
    create_pr: bool = False,
) -> tuple[str, ...]:
    """Send a few shards; returns the paths that the Hub wants in the commit itself.

    With ``create_pr`` they are for a pull request, which asks for fewer rights.
    """
    from huggingface_hub import CommitOperationAdd

    with contextlib.ExitStack() as files:
        additions = []
        for shard in group:
            path = files.enter_context(local_copy(folder, shard))
            addition = CommitOperationAdd(path_in_repo=shard.path, path_or_fileobj=str(path))
            addition.upload_info.sha256 = bytes.fromhex(shard.sha256)
            additions.append(addition)

        def send() -> None:
            try:
                api.preupload_lfs_files(
                    repo,
                    additions=additions,
                    repo_type=DATASET,
                    num_threads=1,
                    create_pr=create_pr,
                )
            except RuntimeError as error:  # of the Xet client, which has no kinds of errors
                if as_hub_error(error, repo) is not None:
                    raise
                raise HubError(f"{repo}: the upload broke off: {error}", transient=True) from None

        try:
            call_hub(repo, send)
            refuse_ignored(repo, additions)
        except BadRequestError as error:  # the bytes were compared with their checksum there
            raise HubError(f"{error}; a shard was altered on its way", transient=True) from None
        return tuple(a.path_in_repo for a in additions if a._upload_mode == "regular")


@contextlib.contextmanager
def local_copy(folder: Folder, shard: Shard) -> Iterator[Path]:
    """Yield a shard as a file that is ours for the time being, and that nobody else writes.

    It is compared with the manifest while it is copied; raises DatasetError where it is not the
    shard.
    """
    with tempfile.TemporaryDirectory(prefix="forumprefs-upload-") as scratch:
        copy = Path(scratch, "shard.parquet")
        with copy.open("wb") as sink:
            folder.copy_shard(shard, sink)
        yield copy


def commit_operations(changes: Changes, folder: Folder, inline: frozenset[str]) -> Iterator[Any]:
    """Yield the operations of a commit: shards, removals, documents; made anew for every try."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    for shard in changes.shards:
        if shard.path in inline:
            yield CommitOperationAdd(shard.path, folder.read_shard(shard))
        else:
            yield shard_pointer(shard)
    for path in changes.stale:
        yield CommitOperationDelete(path)
    for path, content in changes.documents.items():
        yield CommitOperationAdd(path, content)


def prepare_documents(
    api: "HfApi",
    repo: str,
    operations: Iterable[Any],
    *,
    revision: str | None = None,
    create_pr: bool = False,
) -> None:
    """Ask how the Hub wants the files that are sent with a commit, as the client would do next.

    Raises HubError for a file that the Hub would silently exclude from the commit.
    """
    from huggingface_hub import CommitOperationAdd

    additions = [
        operation
        for operation in operations
        if isinstance(operation, CommitOperationAdd) and operation._upload_mode is None
    ]

    def ask() -> None:
        api.preupload_lfs_files(
            repo,
            additions=additions,
            repo_type=DATASET,
            revision=revision,
            create_pr=create_pr,
            free_memory=False,
        )

    call_hub(repo, ask)
    refuse_ignored(repo, additions)


def refuse_ignored(repo: str, additions: Iterable["CommitOperationAdd"]) -> None:
    """Raise HubError for files that a .gitignore in the repository keeps out of commits."""
    ignored = [addition.path_in_repo for addition in additions if addition._should_ignore]
    if ignored:
        raise HubError(
            f"{repo}: its .gitignore excludes {ignored[0]}; remove the line that does so there"
        )


MARKS = ("_upload_mode", "_should_ignore", "_is_uploaded")
"""Attributes of the client's additions that are not part of its documented interface."""


def shard_pointer(shard: Shard) -> "CommitOperationAdd":
    """An addition of bytes that the Hub already has, which is made without reading them.

    The client knows such additions as those it has uploaded itself. They are marked the same way
    here, because the bytes may have come from another machine, or from a run that died. The
    documented way would read every byte again. Raises HubError for a client that does not know
    the marks: it would take the shard for an empty file.
    """
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.lfs import UploadInfo

    if not CommitOperationAdd.__dataclass_fields__.keys() >= set(MARKS):
        raise HubError(
            "this version of the Hub's client is not known; install the one that was tried: pip "
            "install 'huggingface_hub==2.4.*'"
        )

    addition = CommitOperationAdd(path_in_repo=shard.path, path_or_fileobj=b"")
    addition.upload_info = UploadInfo(
        size=shard.bytes, sample=b"", sha256=bytes.fromhex(shard.sha256)
    )
    addition._upload_mode = "lfs"
    addition._should_ignore = False
    addition._is_uploaded = True
    return addition
