"""One process at a time writes a run folder; what a killed one left may then be removed."""

import fcntl
from pathlib import Path
from typing import TextIO

from training.errors import ConfigError
from training.run.folder import LOCK_NAME


class RunLock:
    """A lock on a run folder, which ends with the process at the latest."""

    def __init__(self) -> None:
        self._file: TextIO | None = None

    @property
    def is_held(self) -> bool:
        """Whether no other process can be writing the folder."""
        return self._file is not None

    def take(self, folder: Path) -> None:
        """Take the lock of a folder that exists; raises ConfigError where another process has it.

        On a file system without locks nothing is held, and :attr:`is_held` stays False.
        """
        if self.is_held:
            return
        try:
            file = (folder / LOCK_NAME).open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--output {folder} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise ConfigError(
                f"{folder}: another process trains in it; wait until it ends, or end it"
            ) from None
        except OSError:
            file.close()
            return
        self._file = file

    def release(self) -> None:
        """Let another process take it."""
        if self._file is not None:
            self._file.close()
            self._file = None
