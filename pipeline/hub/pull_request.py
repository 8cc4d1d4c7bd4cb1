"""Versions of many files: built on a pull request, from which main moves once.

The Hub takes about a hundred files a commit before it may time out. A pull request is a branch
that readers do not see; merging it is the one step that moves main. The Hub's merge has no lock on
main's head, so it is looked at just before, and what main holds is compared with the version
afterwards; the tag, which is what readers name, is set only then.
"""

import contextlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadRequestError, HubError
from pipeline.hub.client import call_hub
from pipeline.hub.publish_request import PublishRequest
from pipeline.hub.repo_state import DATASET, find_changes, read_refs, read_tree
from pipeline.hub.upload import commit_operations, prepare_documents

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FILES_PER_COMMIT = 100
"""Maximum number of files that one commit changes."""


@dataclass(frozen=True)
class Proposal:
    """An open pull request and its newest commit."""

    number: int
    commit: str

    @property
    def ref(self) -> str:
        """Name of its branch."""
        return f"refs/pr/{self.number}"


def open_proposal(
    api: "HfApi",
    request: PublishRequest,
    head: str,
    documents: dict[str, bytes],
    inline: frozenset[str],
) -> Proposal:
    """Open a pull request on ``head`` with all of the version, or finish one begun earlier.

    Every commit in it is of at most FILES_PER_COMMIT files and lands on the one before.
    """
    found = find_proposal(api, request, head)
    while True:
        tree = read_tree(api, request.repo, head if found is None else found.commit)
        changes = find_changes(tree, request.folder, documents)
        if found is not None and not changes.files:
            return found
        operations = list(
            islice(commit_operations(changes, request.folder, inline), FILES_PER_COMMIT)
        )
        found = _add_commit(api, request, head, found, operations)


def _add_commit(
    api: "HfApi",
    request: PublishRequest,
    head: str,
    found: Proposal | None,
    operations: list[Any],
) -> Proposal:
    revision = None if found is None else found.ref
    prepare_documents(api, request.repo, operations, revision=revision, create_pr=found is None)
    done = call_hub(
        request.name,
        lambda: api.create_commit(
            request.repo,
            operations,
            commit_message=f"{request.title} {request.proposal_mark}",
            repo_type=DATASET,
            revision=revision,
            create_pr=found is None,
            parent_commit=head if found is None else found.commit,
        ),
    )
    number = found.number if found is not None else done.pr_num
    if number is None:
        raise HubError(f"{request.name}: the Hub did not say which pull request it opened")
    return Proposal(number, str(done.oid))


def find_proposal(api: "HfApi", request: PublishRequest, head: str) -> Proposal | None:
    """Find the open pull request of an earlier try; one that main has left behind is closed.

    Only requests of this account count: anybody may open one under the same title, with files
    of their own in it.
    """

    def listed() -> list[int]:
        found = [
            pull
            for pull in api.get_repo_discussions(
                request.repo,
                repo_type=DATASET,
                discussion_type="pull_request",
                discussion_status="open",
            )
            if pull.title.endswith(request.proposal_mark)
        ]
        if not found:
            return []
        myself = api.whoami()["name"]
        return [pull.num for pull in found if pull.author == myself]

    for number in call_hub(request.name, listed):
        newest = _history(api, request, number)
        if head in newest:
            return Proposal(number, newest[0])
        _close(api, request, number)
    return None


def _history(api: "HfApi", request: PublishRequest, number: int) -> list[str]:
    """Commits of a pull request, newest first, back to the repository's first."""

    def listed() -> list[str]:
        commits = api.list_repo_commits(
            request.repo, repo_type=DATASET, revision=f"refs/pr/{number}"
        )
        return [str(commit.commit_id) for commit in commits]

    return call_hub(request.name, listed)


def _close(api: "HfApi", request: PublishRequest, number: int) -> None:
    # Refused where another publisher of this account has merged it meanwhile.
    with contextlib.suppress(BadRequestError):
        call_hub(
            request.name,
            lambda: api.change_discussion_status(
                request.repo, number, new_status="closed", repo_type=DATASET
            ),
        )


def merge_proposal(api: "HfApi", request: PublishRequest, proposal: Proposal) -> str:
    """Move main to the pull request's files; returns main's new head.

    Raises HubError, to be tried again, where main has moved since the request was opened: what
    would be merged then is a mixture of two versions.
    """
    before = read_refs(api, request.repo)
    head = before.head if before is not None else None
    if head is None or head not in _history(api, request, proposal.number):
        _close(api, request, proposal.number)
        raise HubError(f"{request.name}: main has moved meanwhile", transient=True)
    try:
        call_hub(
            request.name,
            lambda: api.merge_pull_request(request.repo, proposal.number, repo_type=DATASET),
        )
    except BadRequestError as error:
        # Another publisher of this account has merged or closed it: look again.
        raise HubError(str(error), transient=True) from None
    after = read_refs(api, request.repo)
    if after is None or after.head is None or after.head == head:
        raise HubError(f"{request.name}: the merge is not visible yet", transient=True)
    return after.head
