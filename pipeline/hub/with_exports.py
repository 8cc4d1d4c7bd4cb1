"""A dataset folder and exports of it, which become one version at the Hub."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.dataset.folder import DatasetFolder, Folder
from pipeline.errors import DatasetError
from pipeline.export.card import configs_of, sections_of
from pipeline.hub.repo_state import EXPORTS_MANIFEST
from schemas.exports import EXPORT_MANIFEST_NAME, ExportManifest, decode_exports
from schemas.manifest import EXPORTS_TABLE, Shard
from schemas.small_files import SmallFileError

REMEDY = "make the exports again (forumprefs export … --overwrite)"


class FolderWithExports(DatasetFolder):
    """A dataset folder, and exports that lie below ``exports/`` in a version at the Hub.

    ``exports`` is a folder that ``forumprefs export`` has made from this very dataset. Raises
    DatasetError where it is not, or cannot be read.
    """

    def __init__(self, location: str | Path, exports: str | Path) -> None:
        super().__init__(location)
        self._exports = Folder(exports)
        self._exports_bytes, self._exports_manifest = _read_exports(self._exports)
        self._exports_shards = shards_of(self._exports_manifest)
        source = self._exports_manifest.source_manifest_sha256
        if source != hashlib.sha256(self.manifest_bytes).hexdigest():
            problem = f"was made from another dataset than {self.location}, or another state of it"
            raise DatasetError(self._exports.location, [problem], REMEDY)

    @property
    def published_shards(self) -> tuple[Shard, ...]:
        return (*self.manifest.shards, *self._exports_shards)

    @property
    def more_documents(self) -> dict[str, bytes]:
        return {EXPORTS_MANIFEST: self._exports_bytes}

    def card_configs(self) -> list[dict[str, Any]]:
        """Entries of the card's `configs` for the exports."""
        return configs_of(self._exports_manifest, f"{EXPORTS_TABLE}/")

    def card_sections(self, repo: str, version: str) -> list[str]:
        """Sections of the card of a version on the exports."""
        return sections_of(self._exports_manifest, f'"{repo}"', f'"{version}"')

    def open(self, name: str) -> BinaryIO:
        if name.startswith(f"{EXPORTS_TABLE}/"):
            return self._exports.open(name.removeprefix(f"{EXPORTS_TABLE}/"))
        return super().open(name)

    def verify(self, progress: Callable[[int], None] | None = None) -> None:
        """Check the dataset as without exports, and each of their files against its checksum."""
        super().verify(progress)
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            for shard in self._exports_shards:
                self.copy_shard(shard, nowhere)


def _read_exports(folder: Folder) -> tuple[bytes, ExportManifest]:
    try:
        content = folder.read_bytes(EXPORT_MANIFEST_NAME)
        return content, decode_exports(content)
    except (FileNotFoundError, NotADirectoryError):
        problem = f"no {EXPORT_MANIFEST_NAME} there; give a folder that forumprefs export has made"
        raise DatasetError(folder.location, [problem]) from None
    except SmallFileError as error:
        problem = f"{EXPORT_MANIFEST_NAME}: {error}"
        raise DatasetError(folder.location, [problem], REMEDY) from None


def shards_of(exports: ExportManifest) -> tuple[Shard, ...]:
    """The files of exports as shards of a version."""
    return tuple(
        Shard(
            path=f"{EXPORTS_TABLE}/{shard.path}",
            table=EXPORTS_TABLE,
            split=shard.split,
            rows=shard.rows,
            bytes=shard.bytes,
            sha256=shard.sha256,
        )
        for shard in exports.shards
    )
