"""How long the files of shuffled blobs live (transforms/core/blobs.py), as the launcher sees it.

Workers write the files, and the launcher sees every element that refers to them pass by. A buffer
of elements holds a handle of each file that it finds a reference to. Between two stages, when no
worker is at work, the files that no buffer holds are deleted: what they held has been used. Like a
conservative garbage collector this may find more than there is, which only delays a file's end.

A run that ends, in whatever way it can still tidy up, takes its folder along. One that is killed
(SIGKILL, no memory, no power) leaves it. `curate` and `hydrate` have it in the run's work folder,
which the next run of the same output removes; elsewhere it stays until somebody does.
"""

import contextlib
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from apache_beam.runners.portability.fn_api_runner.worker_handlers import EmbeddedWorkerHandler

from transforms.core.blobs import SUFFIX, places_in, shuffle_dir, shuffling_in


@contextlib.contextmanager
def blob_folder(shuffle_folder: Path | None) -> Iterator[str]:
    """Make the folder for a run's shuffled blobs, and have runners of this thread use it.

    It is in ``shuffle_folder`` (None: the system's folder for temporary files), and goes at the
    end. Workers that are processes have to be told of it; runs of other threads have their own.
    """
    with (
        tempfile.TemporaryDirectory(
            prefix=".blobs-",
            dir=shuffle_folder,
            ignore_cleanup_errors=True,  # after Ctrl-C workers may still be writing
        ) as folder,
        shuffling_in(folder),
    ):
        yield folder


class Handle:
    """Keeps a file while somebody holds it."""

    __slots__ = ("__weakref__", "name")

    def __init__(self, name: str) -> None:
        self.name = name


class Held:
    """What one buffer's elements refer to."""

    def __init__(self, files: "BlobFiles", *, lasting: bool) -> None:
        self._files = files
        self._lasting = lasting
        self._handles: dict[str, Handle] = {}
        self.size = 0
        """Bytes of the blobs that are referred to."""

    def add(self, elements: bytes) -> None:
        """Hold the files that encoded elements refer to."""
        for place in places_in(elements):
            self.size += place.size
            if place.file not in self._handles:
                self._handles[place.file] = self._files.handle(place.file)
                if self._lasting:
                    self._files.keep(self._handles[place.file])


class BlobFiles:
    """The files of a run, in this thread's folder of :func:`blob_folder`; else there are none."""

    def __init__(self) -> None:
        self._folder = shuffle_dir()
        self._handles: weakref.WeakValueDictionary[str, Handle] = weakref.WeakValueDictionary()
        self._kept: set[Handle] = set()
        self._sweeps = True

    def open_to(self, workers: Iterable[Any]) -> None:
        """Have Beam's workers that are threads of this process shuffle in the folder.

        Others, such as workers that are processes, know a folder or none.
        """
        for worker in workers:
            if isinstance(worker, EmbeddedWorkerHandler) and worker.control_conn is worker:
                worker.control_conn = _InFolder(worker, self._folder)

    def held(self, *, lasting: bool = False) -> Held:
        """Return what a new buffer holds; ``lasting``: until the run ends."""
        return Held(self, lasting=lasting)

    def handle(self, name: str) -> Handle:
        """Return the one handle of a file."""
        found = self._handles.get(name)
        if found is None:
            found = self._handles[name] = Handle(name)
        return found

    def keep(self, handle: Handle) -> None:
        """Hold a file until the run ends."""
        self._kept.add(handle)

    def keep_all(self, elements: bytes) -> None:
        """Hold what elements refer to until the run ends: they go where we do not see them."""
        self.held(lasting=True).add(elements)

    def sweep(self) -> None:
        """Delete the files that nobody holds; only while no worker is at work."""
        if self._folder is None or not self._sweeps:
            return
        for path in Path(self._folder).glob(f"*{SUFFIX}"):
            if path.name not in self._handles:
                path.unlink(missing_ok=True)

    def stop_sweeping(self) -> None:
        """Keep all that is there until the run ends."""
        self._sweeps = False


class _InFolder:
    """The way to a worker in this process, which does what it is told in the thread that asks."""

    def __init__(self, worker: EmbeddedWorkerHandler, folder: str | None) -> None:
        self._worker = worker
        self._folder = folder

    def push(self, request: Any) -> Any:
        with shuffling_in(self._folder):
            return self._worker.push(request)
