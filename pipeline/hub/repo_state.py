"""What is in a dataset repository at the Hub: its branches and tags, its files, its versions."""

import hashlib
import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, cast

from pipeline.dataset.folder import DatasetFolder
from pipeline.errors import HubError, MissingRepoError
from pipeline.hub.client import call_hub
from schemas.exports import EXPORT_MANIFEST_NAME
from schemas.hub_names import Version, parse_version
from schemas.manifest import EXPORTS_TABLE, MANIFEST_NAME, TABLES, Shard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

DATASET = "dataset"
MAIN = "main"

EXPORTS_MANIFEST = f"{EXPORTS_TABLE}/{EXPORT_MANIFEST_NAME}"
"""Where the manifest of the exports lies in a version that has any."""


@dataclass(frozen=True)
class Refs:
    """Where the names of a repository point: commit ids by tag and branch."""

    tags: dict[str, str]
    branches: dict[str, str]

    @property
    def head(self) -> str | None:
        """The newest commit of main; None in a repository without any."""
        return self.branches.get(MAIN)

    def versions(self) -> list[Version]:
        """The tags that are versions, lowest first."""
        return sorted(filter(None, map(parse_version, self.tags)))

    def previous(self, version: Version) -> Version | None:
        """The highest version below ``version``."""
        return next((found for found in reversed(self.versions()) if found < version), None)

    def find(self, revision: str) -> str | None:
        """Commit of a tag, a branch, or a commit's full id."""
        named = self.tags.get(revision) or self.branches.get(revision)
        is_commit = len(revision) == 40 and all(c in "0123456789abcdef" for c in revision)
        return named or (revision if is_commit else None)


def read_refs(api: "HfApi", repo: str) -> Refs | None:
    """Read where the names point now; None where there is no such repository."""
    try:
        found = call_hub(repo, lambda: api.list_repo_refs(repo, repo_type=DATASET))
    except MissingRepoError:
        return None
    return Refs(
        tags={ref.name: ref.target_commit for ref in found.tags},
        branches={ref.name: ref.target_commit for ref in found.branches},
    )


def read_tree(api: "HfApi", repo: str, commit: str | None) -> dict[str, "RepoFile"]:
    """All files at a commit or revision by path."""
    from huggingface_hub.hf_api import RepoFile

    if commit is None:
        return {}

    def listed() -> dict[str, RepoFile]:
        entries = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type=DATASET)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    return call_hub(f"{repo}@{commit[:12]}", listed)


def git_id(content: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def open_hub_folder(api: "HfApi", repo: str, revision: str) -> "HubFolder":
    """Open a version at the Hub for reading; raises HubError that names the versions there are."""
    refs = read_refs(api, repo)
    if refs is None:
        raise HubError(f"{repo}: there is no such dataset at the Hub, or the token may not see it")
    commit = refs.find(revision)
    if commit is None:
        known = ", ".join(str(version) for version in reversed(refs.versions())) or "none"
        raise HubError(f"{repo}@{revision}: there is no such version; there are: {known}")
    return call_hub(f"{repo}@{revision}", lambda: HubFolder(api, repo, revision, commit))


class HubFolder(DatasetFolder):
    """A version at the Hub, read where it is: only the columns that are asked for are fetched.

    What is fetched is not compared with checksums, unless :meth:`verify` does; ``pull`` does.
    """

    def __init__(self, api: "HfApi", repo: str, revision: str, commit: str) -> None:
        from huggingface_hub import HfFileSystem

        self.api, self.repo, self.commit = api, repo, commit
        self._files = HfFileSystem(endpoint=api.endpoint, use_listings_cache=False)
        super().__init__(f"{repo}@{revision}")

    @cached_property
    def tree(self) -> dict[str, "RepoFile"]:
        """Its files by path."""
        return read_tree(self.api, self.repo, self.commit)

    def path_of(self, name: str) -> str:
        return f"datasets/{self.repo}@{self.commit}/{name}"

    def open(self, name: str) -> BinaryIO:
        if name not in self.tree:
            raise FileNotFoundError(self.path_of(name))
        return cast(BinaryIO, self._files.open(self.path_of(name), "rb"))

    def _list(self, table: str) -> "Iterator[tuple[str, int]]":
        for path, entry in self.tree.items():
            if path.startswith(f"{table}/") and not posixpath.basename(path).startswith("."):
                yield path, entry.size


@dataclass(frozen=True)
class Changes:
    """What makes the files of a repository those of a version."""

    shards: tuple[Shard, ...]
    """Shards to put at their paths."""
    documents: dict[str, bytes]
    """Other files to write: the card, the manifest, the report."""
    stale: tuple[str, ...]
    """Files to remove that a reader would take for shards."""

    @property
    def files(self) -> int:
        """How many files change."""
        return len(self.shards) + len(self.documents) + len(self.stale)


def find_changes(
    tree: dict[str, "RepoFile"], folder: DatasetFolder, documents: dict[str, bytes]
) -> Changes:
    """Compare a tree with a folder's shards and with documents.

    Files that are none of ours stay, `.gitattributes` among them: it says what is large. Raises
    DatasetError where a shard that has to be read is not the manifest's any more.
    """
    wanted = {shard.path for shard in folder.published_shards}
    return Changes(
        shards=tuple(shard for shard in folder.published_shards if not _is_at(tree, shard, folder)),
        documents={
            path: content
            for path, content in documents.items()
            if path not in tree or not is_content(tree[path], content)
        },
        stale=tuple(
            sorted(
                path
                for path in tree
                if (is_table_file(path) and path not in wanted)
                or (path == EXPORTS_MANIFEST and path not in documents)
            )
        ),
    )


def holds(tree: dict[str, "RepoFile"], folder: DatasetFolder) -> bool:
    """Whether a tree holds the data of a folder: the manifest and, by it, every shard."""
    documents = {MANIFEST_NAME: folder.manifest_bytes, **folder.more_documents}
    return not find_changes(tree, folder, documents).files


def is_table_file(path: str) -> bool:
    """Whether a path in a repository lies where shards lie, and a reader would take it for one."""
    table, _, name = path.partition("/")
    return table in (*TABLES, EXPORTS_TABLE) and name.endswith(".parquet")


def _is_at(tree: dict[str, "RepoFile"], shard: Shard, folder: DatasetFolder) -> bool:
    entry = tree.get(shard.path)
    if entry is None:
        return False
    if entry.lfs is not None:
        return str(entry.lfs.sha256) == shard.sha256
    # Small files may be kept in Git itself, where their name is not the SHA-256.
    return entry.size == shard.bytes and entry.blob_id == git_id(folder.read_shard(shard))


def is_content(entry: "RepoFile", content: bytes) -> bool:
    """Whether a file in a repository has this content, by the checksum it is listed with."""
    if entry.lfs is not None:
        return str(entry.lfs.sha256) == hashlib.sha256(content).hexdigest()
    return entry.blob_id == git_id(content)
