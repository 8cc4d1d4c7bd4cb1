"""One job at a time in a thread of its own, while the training loop goes on."""

import threading
from collections.abc import Callable
from concurrent.futures import Future


class BackgroundJob:
    """Runs what it is given in a thread; what a job raises is raised by the next call.

    Args:
        wait: run every job to its end where it is started.

    The thread does not hold up the end of the process: what it leaves half done has no name yet.
    """

    def __init__(self, *, wait: bool = False) -> None:
        self._wait = wait
        self._running: Future[None] | None = None

    def start(self, job: Callable[[], object]) -> None:
        """Start a job once the one before has ended."""
        self.wait()
        future: Future[None] = Future()
        self._running = future

        def run() -> None:
            try:
                job()
            except BaseException as error:  # raised where someone waits for it
                future.set_exception(error)
            else:
                future.set_result(None)

        threading.Thread(target=run, name="checkpoint-writer", daemon=True).start()
        if self._wait:
            self.wait()

    def has_failed(self) -> bool:
        """Whether the job has ended and raised something, which :meth:`wait` then raises."""
        running = self._running
        return running is not None and running.done() and running.exception() is not None

    def wait(self) -> None:
        """Wait for the job that runs, if one does, and raise what it raised."""
        running, self._running = self._running, None
        if running is not None:
            running.result()
