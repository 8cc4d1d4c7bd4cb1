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
from pipeline.hub.client import Patience, explain, in_words
from pipeline.hub.permissions import check_visibility, make_repository
from pipeline.hub.publish_request import Wish
from pipeline.hub.pull_request import FILES_PER_COMMIT, merge_proposal, open_proposal
from pipeline.hub.release_notes import ReleaseNotes
from pipeline.hub.repo_state import (
    DATASET,
    Changes,
    HubFolder,
    Refs,
    find_changes,
    holds,
    read_refs,
    read_tree,
)
from pipeline.hub.upload import commit_operations, missing_shards, prepare_documents, upload_shards
from schemas.manifest import MANIFEST_NAME, Manifest, Shard

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile


class Watcher(Protocol):
    """Hears how far an upload is."""

    def begin(self, total_bytes: int, shards: int) -> None: ...

    def advance(self, sent_bytes: int, shards: int) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What a publication came to."""

    status: Literal["published", "there", "proposed", "merged"]
    """'there': it had been published before; 'merged': main holds it, and nothing was proposed."""
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
    wish: Wish
    notes: ReleaseNotes
    watcher: Watcher
    patience: Patience
    bytes_sent: int = field(default=0, init=False)
    _has_changed: bool = field(default=False, init=False)
    _arrived: set[str] = field(default_factory=set, init=False)

    def run(self) -> Outcome:
        """Publish, however often it takes; raises HubError, RefusedError and DatasetError."""
        return self.patience.until_done(self.wish.name, self.one_try)

    def one_try(self) -> Outcome:
        """Look at the repository and do all that is missing; raises HubError to be called again."""
        wish, api = self.wish, self.api
        refs = self.need_repository()
        done = find_tag(api, wish, refs)
        if done is not None:
            return self._finished(done)
        tree = read_tree(api, wish.repo, refs.head)
        documents = self.notes.documents(refs)
        changes = find_changes(tree, wish.folder, documents)
        if wish.create_pr:
            return self._propose(refs.head, tree, changes, documents)
        commit = refs.head
        if changes.files or commit is None:
            check_losses(api, wish, refs.head, tree, changes)
            commit = self._commit(refs.head, changes, documents)
        self._check(commit, documents)
        self._tag(commit)
        again = read_refs(api, wish.repo)
        done = find_tag(api, wish, again) if again is not None else None
        if done is None:
            raise HubError(f"{wish.name}: the tag is not visible yet", transient=True)
        return self._finished(done)

    def _finished(self, commit: str) -> Outcome:
        # What this run has set about is published by it, also where the answer was lost.
        return Outcome("published" if self._has_changed else "there", commit, self.bytes_sent)

    def need_repository(self) -> Refs:
        """Read the refs; make the repository first if there is none."""
        wish, api = self.wish, self.api
        refs = read_refs(api, wish.repo)
        if refs is None:
            self.need_target_of_request()
            make_repository(api, wish.repo, private=wish.private)
            self.watcher.say(f"made the {'private' if wish.private else 'public'} {wish.repo}")
            refs = read_refs(api, wish.repo)
        if refs is None:
            raise HubError(f"{wish.repo}: is not visible yet", transient=True)
        check_visibility(api, wish.repo, private=wish.private)
        return refs

    def need_target_of_request(self) -> None:
        """Raise HubError for a pull request on a repository that is not there."""
        if self.wish.create_pr:
            raise HubError(f"{self.wish.repo}: there is no such dataset to open a pull request on")

    def _upload(self, changes: Changes) -> frozenset[str]:
        """Send what the Hub does not have of the shards."""
        missing = missing_shards(self.api, self.wish.repo, changes.shards)
        if not missing:
            return frozenset()
        self.watcher.begin(sum(shard.bytes for shard in missing), len(missing))

        def sent(shards: Sequence[Shard]) -> None:
            size = sum(shard.bytes for shard in shards)
            self.bytes_sent += size
            # Sent for the second time, nothing is gained, and patience must end somewhere.
            if new := {shard.sha256 for shard in shards} - self._arrived:
                self._arrived |= new
                self.patience.has_progressed()
            self.watcher.advance(size, len(shards))

        wish = self.wish
        return upload_shards(
            self.api, wish.repo, wish.folder, missing, sent, create_pr=wish.create_pr
        )

    def _commit(self, head: str | None, changes: Changes, documents: dict[str, bytes]) -> str:
        """Upload, and move main once from ``head`` to the new files; returns the new commit."""
        wish, api = self.wish, self.api
        inline = self._upload(changes)
        self._has_changed = True
        if changes.files > FILES_PER_COMMIT and head is not None:
            return merge_proposal(api, wish, open_proposal(api, wish, head, documents, inline))
        operations = list(commit_operations(changes, wish.folder, inline))
        prepare_documents(api, wish.repo, operations)
        done = in_words(
            wish.name,
            lambda: api.create_commit(
                wish.repo,
                operations,
                commit_message=wish.title,
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
    ) -> Outcome:
        """Open a pull request, or find the one that an earlier try has opened."""
        wish, api = self.wish, self.api
        if head is None:
            raise HubError(f"{wish.repo}: has no commit yet to open a pull request on")
        if not changes.files:
            return Outcome("merged", head)
        check_losses(api, wish, head, tree, changes)
        inline = self._upload(changes)
        found = open_proposal(api, wish, head, documents, inline)
        url = f"{api.endpoint}/datasets/{wish.repo}/discussions/{found.number}"
        return Outcome("proposed", found.commit, self.bytes_sent, url)

    def _check(self, commit: str, documents: dict[str, bytes]) -> None:
        """Compare what is at a commit with what was meant, before a tag makes it a version."""
        wish = self.wish
        tree = read_tree(self.api, wish.repo, commit)
        left = find_changes(tree, wish.folder, documents)
        if left.files:
            names = [shard.path for shard in left.shards] + [*left.documents, *left.stale]
            raise HubError(
                f"{wish.name}: commit {commit[:12]} is not what was sent: {', '.join(names[:5])}",
                transient=True,
            )

    def _tag(self, commit: str) -> None:
        """Set the tag; 409 says that somebody else was faster, and the next try looks at theirs."""
        wish, api = self.wish, self.api
        self._has_changed = True
        in_words(
            wish.name,
            lambda: api.create_tag(
                wish.repo, tag=wish.version.tag, revision=commit, repo_type=DATASET
            ),
        )

    def forecast(self) -> Forecast:
        """Say what :meth:`run` would change, and change nothing."""
        wish, api = self.wish, self.api
        refs = read_refs(api, wish.repo)
        new = refs is None
        if refs is None:
            self.need_target_of_request()
            refs = Refs({}, {})
        else:
            check_visibility(api, wish.repo, private=wish.private)
        done = None if new else find_tag(api, wish, refs)
        tree = read_tree(api, wish.repo, refs.head)
        changes = find_changes(tree, wish.folder, self.notes.documents(refs))
        if done is None:
            check_losses(api, wish, refs.head, tree, changes)
        missing = changes.shards if new else missing_shards(api, wish.repo, changes.shards)
        return Forecast(
            published=done,
            changes=changes,
            missing_bytes=sum(shard.bytes for shard in missing),
            missing_shards=len(missing),
            new_repo=new,
            in_parts=changes.files > FILES_PER_COMMIT,
        )


def find_tag(api: "HfApi", wish: Wish, refs: Refs) -> str | None:
    """Commit of the version's tag if it is there and holds this data; None if it is not there.

    Raises RefusedError if it holds other data: a version never changes.
    """
    for other in refs.versions():
        if other == wish.version and other.tag != wish.version.tag:
            raise RefusedError(
                f"{wish.name}: the version is there already, spelled {other.tag}; use that name, "
                "or another number"
            )
    commit = refs.tags.get(wish.version.tag)
    if commit is None:
        return None
    if not holds(read_tree(api, wish.repo, commit), wish.folder):
        highest = max(refs.versions())
        raise RefusedError(
            f"{wish.name}: the version is there with other data, and versions do not change; the "
            f"highest is {highest}, choose a higher one (forumprefs diff {wish.name} "
            f"{wish.folder.location} says what differs)"
        )
    return commit


def check_losses(
    api: "HfApi", wish: Wish, head: str | None, tree: "Mapping[str, RepoFile]", changes: Changes
) -> None:
    """Refuse to take others' files off main, or to publish far fewer pairs than it holds."""
    if head is None or wish.allow_shrink:
        return
    remedy = "; if that is right, give --allow-shrink"
    there = _manifest_at(api, wish, head, remedy) if MANIFEST_NAME in tree else None
    ours = {shard.path for shard in there.shards} if there is not None else set()
    replaced = [shard.path for shard in changes.shards if shard.path in tree]
    lost = [path for path in (*changes.stale, *replaced) if path not in ours]
    if lost:
        raise RefusedError(
            f"{wish.name}: would remove or replace {len(lost):,} files of main that its "
            f"{MANIFEST_NAME} does not account for ({', '.join(lost[:3])}){remedy}"
        )
    if there is None:
        return
    before, after = there.accounting.pairs, wish.folder.manifest.accounting.pairs
    old, new = sum(before.values()), sum(after.values())
    if new < old * (1 - wish.shrink_limit / 100):
        raise RefusedError(
            f"{wish.name}: has {new:,} pairs, and main has {old:,}: {100 * (old - new) / old:.1f} "
            f"% fewer, of which {wish.shrink_limit:g} % are allowed{remedy}"
        )
    gone = [split for split, pairs in before.items() if pairs and not after.get(split)]
    if gone:
        raise RefusedError(f"{wish.name}: has no split {', '.join(gone)}, which main has{remedy}")


def _manifest_at(api: "HfApi", wish: Wish, head: str, remedy: str) -> Manifest:
    try:
        return HubFolder(api, wish.repo, "main", head).manifest
    except DatasetError as error:
        if explain(error, wish.repo) is not None:
            raise  # the network failed, not the file
        raise RefusedError(
            f"{wish.name}: would replace what cannot be compared: {error.problems[0]}{remedy}"
        ) from None
