"""How far a run is, also within a step that takes minutes."""

import time
from collections import deque

from training.run.log import RunLog

RECENT_S = 30.0
"""Time over which the tokens per second are taken."""


class StepProgress:
    """Shows each micro-batch of a step, and the tokens per second of the last half minute.

    Args:
        log: where it is shown; None on ranks that show nothing.
        ranks: processes that do as much as this one.
    """

    def __init__(self, log: RunLog | None, ranks: int) -> None:
        self._log = log
        self._ranks = ranks
        self._step = 0
        self._last = ""
        self._tokens = 0
        self._seen: deque[tuple[float, int]] = deque()

    def begin(self, step: int) -> None:
        """A step begins; ``step`` counts those before it."""
        self._step = step
        # What lies between steps (validation, a checkpoint) is no time of training.
        self._seen.clear()
        self._seen.append((time.monotonic(), self._tokens))

    def micro_batch(self, done: int, parts: int, tokens: int) -> None:
        """So many of the step's micro-batches are done; the last one had so many tokens."""
        self._tokens += tokens
        now = time.monotonic()
        self._seen.append((now, self._tokens))
        while len(self._seen) > 2 and now - self._seen[0][0] > RECENT_S:
            self._seen.popleft()
        if self._log is None or done == parts:  # what a whole step came to is shown instead
            return
        began, before = self._seen[0]
        rate = (self._tokens - before) / max(now - began, 1e-9) * self._ranks
        text = f"micro-batch {done:,}/{parts:,}  {rate:,.0f} tokens/s"
        self._log.progress(self._step + done / parts, "  ".join(filter(None, (self._last, text))))

    def step_done(self, step: int, text: str) -> None:
        """So many steps are done; ``text``: what the last one came to."""
        self._last = text.partition("  ")[0]
        if self._log is not None:
            self._log.progress(step, text)

    def validation(self, step: int, done: int, parts: int) -> None:
        """So many micro-batches of a validation after ``step`` steps are done."""
        if self._log is not None:
            self._log.progress(step, f"validation: micro-batch {done:,}/{parts:,}")
