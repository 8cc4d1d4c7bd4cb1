"""The little of a bucket that a run needs: files in memory, for ``memory://`` paths."""

import io
from typing import Any

from apache_beam.io.filesystem import FileMetadata, FileSystem


class MemoryFileSystem(FileSystem):  # type: ignore[misc]
    """A remote file system of a few files; Beam finds it by its scheme. Set ``files``."""

    files: dict[str, bytes] = {}  # noqa: RUF012

    @classmethod
    def scheme(cls) -> str:
        return "memory"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Any:
        for path, content in sorted(self.files.items()):
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, len(content))

    def open(self, path: str, mime_type: str = "", compression_type: str = "auto") -> Any:
        assert compression_type == "uncompressed", "Beam would unpack by the file's name"
        return io.BytesIO(self.files[path])

    def exists(self, path: str) -> bool:
        return path in self.files

    def size(self, path: str) -> int:
        return len(self.files[path])

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, self.size(path))

    def create(self, path: str, mime_type: str = "", compression_type: str = "auto") -> Any:
        files = self.files

        class Sink(io.BytesIO):
            def close(self) -> None:
                if not self.closed:
                    files[path] = self.getvalue()
                super().close()

        return Sink()

    def delete(self, paths: list[str]) -> None:
        """Remove files; everything below a folder only where the path ends with a slash, as GCS."""
        for path in paths:
            for found in [key for key in self.files if key == path or _is_below(key, path)]:
                del self.files[found]

    def mkdirs(self, path: str) -> Any:
        raise NotImplementedError

    copy = rename = last_updated = mkdirs


def _is_below(key: str, path: str) -> bool:
    return path.endswith("/") and key.startswith(path)
