"""Signals that stop a run where it can be resumed."""

import signal
import sys
from types import FrameType


class Interrupt:
    """Notes SIGTERM and SIGINT, so that the run stops after the micro-batch and saves.

    A second SIGINT stops at once. A second SIGTERM does not: Slurm sends one to every process, and
    torchrun sends its own on to them.
    """

    def __init__(self) -> None:
        self.signal = 0

    def is_set(self) -> bool:
        """Whether this process was told to stop."""
        return self.signal != 0

    def __enter__(self) -> "Interrupt":
        self._old = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal:
            if number == signal.SIGINT:  # whoever says it twice wants it at once
                raise KeyboardInterrupt
            return
        self.signal = number
        print(
            "stopping after this micro-batch and saving; Ctrl-C again stops at once",
            file=sys.stderr,
        )

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
