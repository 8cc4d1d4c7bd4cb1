"""How long tests wait for what another process or thread does."""

import time
from collections.abc import Callable

PATIENCE_S = 300.0
"""Long enough on a machine that is ten times slower or busier: who waits in vain has found a fault,
and a fault may take its time."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Return once ``condition`` holds; fails with ``what`` when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
