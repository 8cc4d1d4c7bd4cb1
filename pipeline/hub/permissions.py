"""Whether a dataset can be published where it is to be, asked before hours are spent."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import RefusedError
from pipeline.hub.client import call_hub, connect, need_token, quiet_client
from pipeline.hub.publish_target import PublishTarget
from pipeline.hub.repo_state import DATASET, Refs, read_refs
from pipeline.hub.retries import hub_retry_policy, retry_at_hub

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def check_target(
    target: PublishTarget, *, make_repo: bool, say: Callable[[str], None] = lambda _: None
) -> PublishTarget:
    """Raise UsageError or HubError where the token may not write; change nothing.

    With ``make_repo`` a missing repository is made, because workers will send to it. Returns the
    target with its endpoint spelled out: on another machine None may mean another Hub. ``say``
    hears of waits.
    """
    api = connect(target.endpoint)
    need_token()

    def check() -> Refs | None:
        refs = read_refs(api, target.repo)
        if refs is None and make_repo:
            make_repository(api, target.repo, private=target.private)
        elif refs is None:
            api.whoami()
        else:
            check_visibility(api, target.repo, private=target.private)
            api.auth_check(target.repo, repo_type=DATASET, write=True)
        return refs

    with quiet_client():
        retry_at_hub(hub_retry_policy(say=say), target.repo, check)
    return replace(target, endpoint=api.endpoint)


def make_repository(api: "HfApi", repo: str, *, private: bool) -> None:
    """Make a dataset repository, unless it is there."""
    call_hub(
        repo,
        lambda: api.create_repo(repo, repo_type=DATASET, private=private, exist_ok=True),
    )


def check_visibility(api: "HfApi", repo: str, *, private: bool) -> None:
    """Refuse to publish into a public repository what was asked to be private."""
    if private and not call_hub(repo, lambda: api.dataset_info(repo)).private:
        raise RefusedError(
            f"{repo}: is public, and --private was given; make it private in its settings, or "
            "omit --private"
        )
