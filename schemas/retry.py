"""Trying again what failed for a passing reason: bounded attempts with growing waits."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


def no_requested_wait(error: Exception) -> float | None:
    """For services that never say how long to wait."""
    return None


def ignore_retry(error: Exception, wait_s: float) -> None:
    """For callers that tell nobody of retries."""


@dataclass(kw_only=True)
class RetryPolicy:
    """How often, and after which waits, a step is tried again.

    The wait before attempt n + 1 is ``first_wait_s * factor ** (n - 1)``, at most
    ``max_wait_s``; where the error itself says how long (``requested_wait_s``), that, at most
    ``max_requested_wait_s``. All in seconds.
    """

    is_transient: Callable[[Exception], bool]
    """Whether another attempt may succeed."""
    max_attempts: int = 7
    first_wait_s: float = 1.0
    factor: float = 2.0
    max_wait_s: float = 30.0
    max_requested_wait_s: float = 330.0
    requested_wait_s: Callable[[Exception], float | None] = no_requested_wait
    on_retry: Callable[[Exception, float], None] = ignore_retry
    """Called with the error and the seconds before each wait."""
    sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds)
    failures: int = field(default=0, init=False)
    """Failed attempts since the beginning or the last :meth:`reset`."""

    def call(self, step: Callable[[], T]) -> T:
        """Return what ``step`` returns, once it succeeds.

        Raises its error at once where it is not transient, else the last one after
        ``max_attempts``.
        """
        while True:
            try:
                return step()
            except Exception as error:
                failure = error
            self.wait_after(failure)

    def reset(self) -> None:
        """Count failures from here on, for a long step that has made progress."""
        self.failures = 0

    def wait_after(self, error: Exception) -> None:
        """Wait before the next attempt, or raise the error if there is to be none."""
        self.failures += 1
        if not self.is_transient(error) or self.failures >= self.max_attempts:
            raise error
        wait = min(self.first_wait_s * self.factor ** (self.failures - 1), self.max_wait_s)
        requested = self.requested_wait_s(error)
        if requested is not None:
            wait = min(max(requested, self.first_wait_s), self.max_requested_wait_s)
        self.on_retry(error, wait)
        self.sleep(wait)
