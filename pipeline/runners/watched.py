"""Wait for a pipeline in a way that Ctrl-C, progress and watchdogs can end."""

import threading
from collections.abc import Callable

POLL_S = 0.2


def run_watched(work: Callable[[], None], look: Callable[[], None]) -> BaseException | None:
    """Do ``work`` in a thread of its own and call ``look`` in this one until it has ended.

    Returns the error that ``work`` ended with, or None; raises what ``look`` raises, and
    KeyboardInterrupt, without waiting for ``work``. Runners block their thread in calls that
    nothing interrupts; it is a daemon, because one that hangs must not keep the process.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="pipeline", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_S)
        if thread.is_alive():
            look()
    return errors[0] if errors else None
