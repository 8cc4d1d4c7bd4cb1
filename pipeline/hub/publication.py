"""Making a dataset folder a version at the Hub: whole or absent, and never twice.

A version is a tag. Each try looks at the repository anew and does what is missing: the tag is
there and holds this data (done), main holds it (tag it), or neither (upload, one commit that only
lands on the head that was looked at, check, tag). So a crash, a lost answer, a racing commit and
a second publisher all end in the same place, and the bytes are sent once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from pipeline.errors import DatasetError, HubError, RefusedError
from pipeline.hub.client import as_hub_error, call_hub
from pipeline.hub.permissions import check_visibility, make_repository
from pipeline.hub.publish_request import PublishRequest
from pipeline.hub.pull_request import FILES_PER_COMMIT, merge_proposal, open_proposal
from pipeline.hub.release_notes import ReleaseNotes
from pipeline.hub.repo_state import (
    DATASET,
    EXPORTS_MANIFEST,
    Changes,
    HubFolder,
    Refs,
    find_changes,
    holds,
    read_refs,
    read_tree,
)
from pipeline.hub.retries import retry_at_hub
from pipeline.hub.upload import commit_operations, missing_shards, prepare_documents, upload_shards
from pipeline.hub.with_exports import shards_of
from schemas.exports import decode_exports
from schemas.manifest import MANIFEST_NAME, Manifest, Shard
from schemas.retry import RetryPolicy
from schemas.small_files import SmallFileError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile


class UploadProgress(Protocol):
    """Is told how far an upload is."""

    def begin(self, total_bytes: int, shards: int) -> None: ...

    def advance(self, sent_bytes: int, shards: int) -> None: ...

    def say(self, text: str) -> None: ...


PublishStatus = Literal["published", "there", "proposed", "merged"]
"""'there': it had been published before; 'merged': main holds it, and nothing was proposed."""


@dataclass(frozen=True)
class PublishOutcome:
    """How a publication ended."""

    status: PublishStatus
    commit: str
    bytes_sent: int = 0
    pull_request: str | None = None


@dataclass(frozen=True)
class Forecast:
    """What a publication would change."""

    published: str | None
    """Commit of the version, if it has been published."""
    changes: Changes
    missing_bytes: int
    missing_shards: int
    new_repo: bool
    in_parts: bool


@dataclass
class Publication:
    """One publication under way; ``notes`` writes the card."""

    api: "HfApi"
    request: PublishRequest
    notes: ReleaseNotes
    progress: UploadProgress
    retries: RetryPolicy
    bytes_sent: int = field(default=0, init=False)
    _has_changed: bool = field(default=False, init=False)
    _arrived: set[str] = field(default_factory=set, init=False)

    def run(self) -> PublishOutcome:
        """Publish, however often it takes; raises HubError, RefusedError and DatasetError."""
        return retry_at_hub(self.retries, self.request.name, self.one_try)

    def one_try(self) -> PublishOutcome:
        """Look at the repository and do all that is missing; raises HubError to be called again."""
        request, api = self.request, self.api
        refs = self.need_repository()
        done = find_tag(api, request, refs)
        if done is not None:
            return self._finished(done)
        tree = read_tree(api, request.repo, refs.head)
        documents = self.notes.documents(refs)
        changes = find_changes(tree, request.folder, documents)
        if request.create_pr:
            return self._propose(refs.head, tree, changes, documents)
        commit = refs.head
        if changes.files or commit is None:
            check_losses(api, request, refs.head, tree, changes)
            commit = self._commit(refs.head, changes, documents)
        self._check(commit, documents)
        self._tag(commit)
        again = read_refs(api, request.repo)
        done = find_tag(api, request, again) if again is not None else None
        if done is None:
            raise HubError(f"{request.name}: the tag is not visible yet", transient=True)
        return self._finished(done)

    def _finished(self, commit: str) -> PublishOutcome:
        # What this run has set about is published by it, also where the answer was lost.
        return PublishOutcome(
            "published" if self._has_changed else "there", commit, self.bytes_sent
        )

    def need_repository(self) -> Refs:
        """Read the refs; make the repository first if there is none."""
        request, api = self.request, self.api
        refs = read_refs(api, request.repo)
        if refs is None:
            self.need_target_of_request()
            make_repository(api, request.repo, private=request.private)
            self.progress.say(
                f"made the {'private' if request.private else 'public'} {request.repo}"
            )
            refs = read_refs(api, request.repo)
        if refs is None:
            raise HubError(f"{request.repo}: is not visible yet", transient=True)
        check_visibility(api, request.repo, private=request.private)
        return refs

    def need_target_of_request(self) -> None:
        """Raise HubError for a pull request on a repository that is not there."""
        if self.request.create_pr:
            raise HubError(
                f"{self.request.repo}: there is no such dataset to open a pull request on"
            )

    def _upload(self, changes: Changes) -> frozenset[str]:
        """Send what the Hub does not have of the shards."""
        missing = missing_shards(self.api, self.request.repo, changes.shards)
        if not missing:
            return frozenset()
        self.progress.begin(sum(shard.bytes for shard in missing), len(missing))

        def sent(shards: Sequence[Shard]) -> None:
            size = sum(shard.bytes for shard in shards)
            self.bytes_sent += size
            # Sent for the second time, nothing is gained, and the retries must end somewhere.
            if new := {shard.sha256 for shard in shards} - self._arrived:
                self._arrived |= new
                self.retries.reset()
            self.progress.advance(size, len(shards))

        request = self.request
        return upload_shards(
            self.api, request.repo, request.folder, missing, sent, create_pr=request.create_pr
        )

    def _commit(self, head: str | None, changes: Changes, documents: dict[str, bytes]) -> str:
        """Upload, and move main once from ``head`` to the new files; returns the new commit."""
        request, api = self.request, self.api
        inline = self._upload(changes)
        self._has_changed = True
        if changes.files > FILES_PER_COMMIT and head is not None:
            return merge_proposal(
                api, request, open_proposal(api, request, head, documents, inline)
            )
        operations = list(commit_operations(changes, request.folder, inline))
        prepare_documents(api, request.repo, operations)
        done = call_hub(
            request.name,
            lambda: api.create_commit(
                request.repo,
                operations,
                commit_message=request.title,
                repo_type=DATASET,
                parent_commit=head,
            ),
        )
        return str(done.oid)

    def _propose(
        self,
        head: str | None,
        tree: "Mapping[str, RepoFile]",
        changes: Changes,
        documents: dict[str, bytes],
    ) -> PublishOutcome:
        """Open a pull request, or find the one that an earlier try has opened."""
        request, api = self.request, self.api
        if head is None:
            raise HubError(f"{request.repo}: has no commit yet to open a pull request on")
        if not changes.files:
            return PublishOutcome("merged", head)
        check_losses(api, request, head, tree, changes)
        inline = self._upload(changes)
        found = open_proposal(api, request, head, documents, inline)
        url = f"{api.endpoint}/datasets/{request.repo}/discussions/{found.number}"
        return PublishOutcome("proposed", found.commit, self.bytes_sent, url)

    def _check(self, commit: str, documents: dict[str, bytes]) -> None:
        """Compare what is at a commit with what was meant, before a tag makes it a version."""
        request = self.request
        tree = read_tree(self.api, request.repo, commit)
        left = find_changes(tree, request.folder, documents)
        if left.files:
            names = [shard.path for shard in left.shards] + [*left.documents, *left.stale]
            raise HubError(
                f"{request.name}: commit {commit[:12]} is not what was sent: "
                f"{', '.join(names[:5])}",
                transient=True,
            )

    def _tag(self, commit: str) -> None:
        """Set the tag; 409 says that somebody else was faster, and the next try looks at theirs."""
        request, api = self.request, self.api
        self._has_changed = True
        call_hub(
            request.name,
            lambda: api.create_tag(
                request.repo, tag=request.version.tag, revision=commit, repo_type=DATASET
            ),
        )

    def forecast(self) -> Forecast:
        """Say what :meth:`run` would change, and change nothing."""
        request, api = self.request, self.api
        refs = read_refs(api, request.repo)
        new = refs is None
        if refs is None:
            self.need_target_of_request()
            refs = Refs({}, {})
        else:
            check_visibility(api, request.repo, private=request.private)
        done = None if new else find_tag(api, request, refs)
        tree = read_tree(api, request.repo, refs.head)
        changes = find_changes(tree, request.folder, self.notes.documents(refs))
        if done is None:
            check_losses(api, request, refs.head, tree, changes)
        missing = changes.shards if new else missing_shards(api, request.repo, changes.shards)
        return Forecast(
            published=done,
            changes=changes,
            missing_bytes=sum(shard.bytes for shard in missing),
            missing_shards=len(missing),
            new_repo=new,
            in_parts=changes.files > FILES_PER_COMMIT,
        )


def find_tag(api: "HfApi", request: PublishRequest, refs: Refs) -> str | None:
    """Commit of the version's tag if it is there and holds this data; None if it is not there.

    Raises RefusedError if it holds other data: a version never changes.
    """
    for other in refs.versions():
        if other == request.version and other.tag != request.version.tag:
            raise RefusedError(
                f"{request.name}: the version is there already, spelled {other.tag}; use that "
                "name, or another number"
            )
    commit = refs.tags.get(request.version.tag)
    if commit is None:
        return None
    if not holds(read_tree(api, request.repo, commit), request.folder):
        highest = max(refs.versions())
        raise RefusedError(
            f"{request.name}: the version is there with other data, and versions do not change; "
            f"the highest is {highest}, choose a higher one (forumprefs diff {request.name} "
            f"{request.folder.location} says what differs)"
        )
    return commit


def check_losses(
    api: "HfApi",
    request: PublishRequest,
    head: str | None,
    tree: "Mapping[str, RepoFile]",
    changes: Changes,
) -> None:
    """Refuse to take others' files off main, or to publish far fewer pairs than it holds."""
    if head is None or request.allow_shrink:
        return
    remedy = "; if that is right, give --allow-shrink"
    there = _manifest_at(api, request, head, remedy) if MANIFEST_NAME in tree else None
    ours = {shard.path for shard in there.shards} if there is not None else set()
    if there is not None and EXPORTS_MANIFEST in tree:
        ours |= _exports_at(api, request, head, remedy)
    replaced = [shard.path for shard in changes.shards if shard.path in tree]
    lost = [path for path in (*changes.stale, *replaced) if path not in ours]
    if lost:
        raise RefusedError(
            f"{request.name}: would remove or replace {len(lost):,} files of main that its "
            f"{MANIFEST_NAME} does not account for ({', '.join(lost[:3])}){remedy}"
        )
    if there is None:
        return
    before, after = there.accounting.pairs, request.folder.manifest.accounting.pairs
    old, new = sum(before.values()), sum(after.values())
    if new < old * (1 - request.shrink_limit / 100):
        raise RefusedError(
            f"{request.name}: has {new:,} pairs, and main has {old:,}: "
            f"{100 * (old - new) / old:.1f} % fewer, of which "
            f"{request.shrink_limit:g} % are allowed{remedy}"
        )
    gone = [split for split, pairs in before.items() if pairs and not after.get(split)]
    if gone:
        raise RefusedError(
            f"{request.name}: has no split {', '.join(gone)}, which main has{remedy}"
        )


def _exports_at(api: "HfApi", request: PublishRequest, head: str, remedy: str) -> set[str]:
    """Files of main that its exports account for."""
    main = HubFolder(api, request.repo, "main", head)
    content = call_hub(request.name, lambda: main.read_bytes(EXPORTS_MANIFEST))
    try:
        exports = decode_exports(content)
    except SmallFileError as error:
        raise RefusedError(
            f"{request.name}: would replace what cannot be compared: {EXPORTS_MANIFEST} of main "
            f"{error}{remedy}"
        ) from None
    return {EXPORTS_MANIFEST, *(shard.path for shard in shards_of(exports))}


def _manifest_at(api: "HfApi", request: PublishRequest, head: str, remedy: str) -> Manifest:
    try:
        return HubFolder(api, request.repo, "main", head).manifest
    except DatasetError as error:
        if as_hub_error(error, request.repo) is not None:
            raise  # the network failed, not the file
        raise RefusedError(
            f"{request.name}: would replace what cannot be compared: {error.problems[0]}{remedy}"
        ) from None
