"""Trying again what the Hub refuses for a passing reason."""

import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import HubError, Throttled
from pipeline.hub.client import call_hub
from schemas.retry import RetryPolicy

T = TypeVar("T")

MAX_ATTEMPTS = 7


def hub_retry_policy(
    say: Callable[[str], None] = lambda _: None,
    *,
    max_attempts: int = MAX_ATTEMPTS,
    sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds),
) -> RetryPolicy:
    """How a step at the Hub is retried: waits of 1, 2, 4 … 30 s, or as long as the Hub asks.

    Its limits are per 5 minutes, so up to 330 s are waited when it says so. ``say`` is told of
    each wait.
    """
    return RetryPolicy(
        is_transient=lambda error: isinstance(error, HubError) and error.transient,
        max_attempts=max_attempts,
        first_wait_s=1.0,
        max_wait_s=30.0,
        max_requested_wait_s=330.0,
        requested_wait_s=lambda error: error.wait if isinstance(error, Throttled) else None,
        on_retry=lambda error, wait: say(f"{error}; trying again in {wait:.0f} s"),
        sleep=sleep,
    )


def retry_at_hub(policy: RetryPolicy, what: str, step: Callable[[], T]) -> T:
    """Call ``step`` until it succeeds; it must look at the Hub anew each time.

    ``what`` it is about, e.g. a repository, begins each message. Raises HubError at once for what
    a second attempt does not mend, and after ``policy.max_attempts`` failures.
    """
    try:
        return policy.call(lambda: call_hub(what, step))
    except HubError as error:
        if not error.transient:
            raise
        message = f"{error}; given up after {policy.failures} attempts, run the command again later"
    raise HubError(message)
