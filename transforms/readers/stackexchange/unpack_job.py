"""The files of one archive that is unpacked: itself, and the tables that are written."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

from py7zr.io import Py7zIO

from transforms.readers.formats.filesystem import cause_of
from transforms.readers.stackexchange.unpack_pool import UnpackPool, WorkFolderError

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class UnpackJob:
    """One archive, the folder its tables are written to, and those that were begun."""

    archive: Path
    folder: Path
    pool: UnpackPool
    written: dict[str, Path] = field(default_factory=dict)
    """By table."""

    def open_archive(self) -> BinaryIO:
        """Open the archive; raises OSError, and UnpackStoppedError when it is read."""
        return io.BufferedReader(_ArchiveFile(self), READ_BYTES)

    def open_table(self, table: str, count: Callable[[int], None] | None) -> "TableWriter":
        """Open the file of a table for writing; ``count`` is told how many bytes come, before."""
        self.written[table] = self.folder / f"{table}.xml"
        return TableWriter(self, self.written[table], count)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn an OSError while files are written into WorkFolderError."""
        try:
            yield
        except OSError as error:
            raise WorkFolderError(
                f"{self.archive} cannot be unpacked to {self.folder}: {cause_of(error)}; make room "
                "there, check its permissions or choose another work folder"
            ) from error


class _ArchiveFile(io.FileIO):
    """An archive that can no longer be read when unpacking was stopped."""

    def __init__(self, job: UnpackJob) -> None:
        super().__init__(job.archive)
        self._job = job

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        size = super().readinto(buffer)
        self._job.pool.has_read(self._job.archive, size)
        return size


class TableWriter(Py7zIO):
    """The file of one table, in the form that py7zr writes to."""

    def __init__(self, job: UnpackJob, path: Path, count: Callable[[int], None] | None) -> None:
        self._job = job
        with job.writing():
            self._stream: IO[bytes] = path.open("wb")
        self._count = count
        self._size = 0

    def write(self, data: bytes | bytearray) -> int:
        if self._count is not None:
            self._count(len(data))
        self._size += len(data)
        with self._job.writing():
            written = self._stream.write(data)
        self._job.pool.has_written(self._job.archive, written)
        return written

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write ``data`` at ``offset``; several threads may do so at the same time."""
        while data:
            with self._job.writing():
                written = os.pwrite(self._stream.fileno(), data, offset)
            self._job.pool.has_written(self._job.archive, written)
            offset += written
            data = data[written:]

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        with self._job.writing():
            self._stream.flush()

    def size(self) -> int:
        return self._size

    def close(self) -> None:
        with self._job.writing():
            self._stream.close()
