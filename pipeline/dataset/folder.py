"""A finished dataset folder, on this machine or on any filesystem that Beam knows."""

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.console import TransferProgress
from pipeline.dataset.checks import card_faults, column_faults, row_fault, table_faults
from pipeline.dataset.report_layout import decode_report
from pipeline.errors import DatasetError
from schemas.arrow import current_names, current_schema, stored_names
from schemas.checksums import READ_BYTES, digest_fault, sha256_of, size_fault
from schemas.manifest import (
    MANIFEST_NAME,
    TABLES,
    ManifestError,
    NewerManifestError,
    Shard,
    decode_manifest,
)
from schemas.pair import FORMER_NAMES
from schemas.small_files import (
    SmallFileError,
    SpecialFileError,
    fault_of,
    open_regular,
    read_stream,
)

REPORT_NAME = "report.json"
CARD_NAME = "README.md"

BATCH_ROWS = 16_384
PARALLEL_FILES = 4
"""Shards that `DatasetFolder.verify` reads at a time."""

REMEDY = (
    f"make the folder again (forumprefs curate --config {MANIFEST_NAME} --output …), or fetch it "
    "again from where it came"
)
MANIFEST_REMEDY = (
    "put a whole copy of it back, make the folder again from your recipe or inputs, or fetch it "
    "again from where it came"
)
"""Where the manifest itself is damaged, from which no recipe can be read."""


class Folder:
    """Files under a path or a URL such as ``gs://bucket/folder``, on any filesystem of Beam.

    Beam is loaded for a URL only: local folders are looked at without the seconds that it takes.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = str(location).rstrip("/") or "/"

    @property
    def is_local(self) -> bool:
        """Whether its files are on this machine."""
        return "://" not in self.location

    def path_of(self, name: str) -> str:
        """Full path or URL of a file, given its path relative to the folder."""
        if self.is_local:
            return str(Path(self.location, name))
        from apache_beam.io.filesystems import FileSystems

        return str(FileSystems.join(self.location, *name.split("/")))

    def open(self, name: str) -> BinaryIO:
        """Open a file of the folder for reading; raises FileNotFoundError when it is missing.

        Raises SpecialFileError, an OSError, for what is no regular file.
        """
        path = self.path_of(name)
        if self.is_local:
            try:
                return open_regular(path)
            except NotADirectoryError:  # a file has taken the place of a folder
                raise FileNotFoundError(path) from None
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        if not FileSystems.exists(path):
            raise FileNotFoundError(path)
        found: BinaryIO = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        return found

    def read_bytes(self, name: str) -> bytes:
        """Return the content of a small file of the folder; raises DatasetError for a large one."""
        try:
            with self.open(name) as file:
                return read_stream(file)
        except (SmallFileError, SpecialFileError) as error:
            raise DatasetError(self.location, [f"{name}: {fault_of(error)}"], REMEDY) from None

    def read_shard(self, shard: Shard) -> bytes:
        """Return a shard's bytes, which are those of the manifest; raises DatasetError if not."""
        content = io.BytesIO()
        self.copy_shard(shard, content)
        return content.getvalue()

    def copy_shard(self, shard: Shard, sink: BinaryIO) -> None:
        """Copy a shard to a file of our own, and hash what is copied.

        A file may be replaced at any time after it was verified: only such a copy can be sent on as
        the shard that the manifest names. Raises DatasetError where it is missing or another one.
        """
        digest = hashlib.sha256()
        try:
            with self.open(shard.path) as source:
                while chunk := source.read(READ_BYTES):
                    digest.update(chunk)
                    sink.write(chunk)
        except FileNotFoundError:
            raise DatasetError(self.location, [f"{shard.path}: is missing"], REMEDY) from None
        except SpecialFileError as error:
            special = f"{shard.path}: {fault_of(error)}"
            raise DatasetError(self.location, [special], REMEDY) from None
        if fault := digest_fault(shard, digest.hexdigest()):
            raise DatasetError(self.location, [fault], REMEDY)


class DatasetFolder(Folder):
    """What is in a dataset folder: its manifest, its report and the rows of its tables.

    ``location`` is a path or a URL such as ``gs://bucket/folder``. Opening reads the manifest
    alone; raises DatasetError when there is none that this version can read, and OSError when
    the filesystem refuses. Call :meth:`verify` before trusting the shards.
    """

    def __init__(self, location: str | Path) -> None:
        super().__init__(location)
        self._documents: dict[str, bytes] = {}
        self.manifest_bytes = self._read_manifest()
        try:
            self.manifest = decode_manifest(self.manifest_bytes)
        except ManifestError as error:
            remedy = "" if isinstance(error, NewerManifestError) else MANIFEST_REMEDY
            raise DatasetError(self.location, error.problems, remedy) from None

    def __repr__(self) -> str:
        return f"DatasetFolder({self.location!r})"

    def document(self, name: str) -> bytes:
        """Return the card or the report as it was when it was first read.

        So what was verified is what is used, although somebody may write the file meanwhile.
        """
        if name not in self._documents:
            self._documents[name] = self.read_bytes(name)
        return self._documents[name]

    @property
    def published_shards(self) -> tuple[Shard, ...]:
        """Parquet files that a version at the Hub has of it."""
        return self.manifest.shards

    @property
    def more_documents(self) -> dict[str, bytes]:
        """Files beside card, manifest and report that a version at the Hub has of it, by path."""
        return {}

    @cached_property
    def report(self) -> dict[str, Any]:
        """The figures of ``report.json``; raises DatasetError when it cannot be read."""
        try:
            return decode_report(self.document(REPORT_NAME))
        except FileNotFoundError:
            raise self._error(f"{REPORT_NAME}: is missing") from None
        except SmallFileError as error:
            raise self._error(f"{REPORT_NAME}: {error}") from None

    def shards(self, table: str, split: str | None = None) -> tuple[Shard, ...]:
        """The shards of 'data', 'duplicates' or 'rejected', in the order of their rows."""
        return tuple(
            shard
            for shard in self.manifest.shards
            if shard.table == table and split in (None, shard.split)
        )

    def schema(self, table: str) -> pa.Schema | None:
        """Arrow schema of a table by its first shard, with today's names; None: it has no rows."""
        shards = self.shards(table)
        if not shards:
            return None
        with self._open_parquet(shards[0]) as parquet:
            return current_schema(parquet.schema_arrow)

    def renamed_columns(self) -> dict[str, str]:
        """What columns of pairs are called now, by the names that this dataset's files have."""
        shards = self.shards("data")
        if not shards:
            return {}
        with self._open_parquet(shards[0]) as parquet:
            names = parquet.schema_arrow.names
        return {old: new for old, new in FORMER_NAMES.items() if old in names}

    def read_columns(
        self,
        table: str,
        columns: Sequence[str],
        split: str | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table, at most ``batch_rows`` at a time, in the order of the shards.

        Memory: a batch and what Parquet buffers of one row group. Raises DatasetError naming the
        shard that is missing, cut off, or without one of the columns.
        """
        for shard in self.shards(table, split):
            with self._open_parquet(shard) as parquet:
                version = self.manifest.pair_schema_version
                stored = parquet.schema_arrow
                if faults := column_faults(shard, current_schema(stored), columns, version):
                    raise DatasetError(self.location, faults, REMEDY)
                names = stored_names(columns, stored)
                batches = (
                    batch.rename_columns(current_names(batch.schema.names))
                    # One at a time: of groups that it goes through by itself, Arrow keeps some.
                    for group in range(parquet.num_row_groups)
                    for batch in parquet.iter_batches(
                        batch_size=batch_rows,
                        row_groups=[group],
                        columns=names,
                        use_threads=False,
                    )
                )
                while (batch := self._next(shard, batches)) is not None:
                    yield batch.select(list(columns))

    def check_rows(self) -> None:
        """Read every row once, for whoever reads the shards without this class.

        Raises DatasetError for what :meth:`read_columns` refuses.
        """
        for table in TABLES:
            schema = self.schema(table)
            for _ in self.read_columns(table, schema.names if schema is not None else ()):
                pass

    def _next(self, shard: Shard, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        """Read one batch and look at its values; None at the end."""
        try:
            batch = next(batches, None)
            fault = None if batch is None else row_fault(shard, batch)
        except pa.ArrowMemoryError:  # of which the shard may be innocent
            raise
        except (pa.ArrowException, OSError) as error:
            said = " ".join(str(error).split())
            raise self._error(f"{shard.path}: cannot be read: {said}") from None
        if fault is not None:
            raise self._error(fault)
        return batch

    def verify(self, progress: Callable[[int], None] | None = None) -> None:
        """Check every file against the manifest, and the card; raises DatasetError with all faults.

        ``progress`` is called with the number of bytes read since its last call, from several
        threads.
        """
        found = {name: size for table in TABLES for name, size in self._list(table)}
        check = partial(self._shard_faults, found=found, progress=progress)
        with ThreadPoolExecutor(PARALLEL_FILES) as pool:
            by_shard = list(pool.map(check, self.manifest.shards))
        problems = [fault for faults in by_shard for fault in faults]
        known = {shard.path for shard in self.manifest.shards}
        problems += [
            f"{name}: is not in {MANIFEST_NAME}; move it out of the folder"
            for name in sorted(found.keys() - known)
        ]
        problems += self._report_faults() + self._card_faults()
        if problems:
            raise DatasetError(self.location, problems, REMEDY)

    def _error(self, problem: str) -> DatasetError:
        return DatasetError(self.location, [problem], REMEDY)

    def _read_manifest(self) -> bytes:
        try:
            return self.read_bytes(MANIFEST_NAME)
        except (FileNotFoundError, NotADirectoryError):
            problem = f"no {MANIFEST_NAME} there; give the folder of a finished dataset"
        except ValueError as error:  # a scheme that Beam does not know
            problem = str(error)
        raise DatasetError(self.location, [problem])

    @contextlib.contextmanager
    def _open_parquet(self, shard: Shard) -> Iterator[pq.ParquetFile]:
        try:
            file = self.open(shard.path)
        except FileNotFoundError:
            raise self._error(f"{shard.path}: is missing") from None
        except SpecialFileError as error:
            raise self._error(f"{shard.path}: {fault_of(error)}") from None
        with file:
            try:
                parquet = pq.ParquetFile(file)
            except pa.ArrowMemoryError:
                raise
            except (pa.ArrowException, OSError) as error:
                raise self._error(
                    f"{shard.path}: is not a complete Parquet file: {error}"
                ) from None
            yield parquet

    def _list(self, table: str) -> Iterator[tuple[str, int]]:
        """Yield (path relative to the folder, bytes) of what lies in a table's folder.

        Names that begin with a dot are excluded: no reader of datasets takes them for data.
        """
        if self.is_local:
            root = Path(self.location)
            files = [
                (path.relative_to(root).as_posix(), path.stat().st_size)
                for folder, _, names in os.walk(root / table)
                for path in (Path(folder, name) for name in names)
                if path.exists()
            ]
        else:
            from apache_beam.io.filesystems import FileSystems

            root_url = self.path_of(table) + "/"
            # Beam has no way to quote what means something in a pattern.
            pattern = re.sub(r"[\[*?]", "?", root_url) + "**"
            files = [
                (found.path.removeprefix(f"{self.location}/"), found.size_in_bytes)
                for result in FileSystems.match([pattern])
                for found in result.metadata_list
                if found.path.startswith(root_url)
            ]
        for name, size in files:
            base = name.rpartition("/")[2]
            if base and not base.startswith("."):
                yield name, size

    def _shard_faults(
        self, shard: Shard, found: dict[str, int], progress: Callable[[int], None] | None
    ) -> list[str]:
        if fault := size_fault(shard, found.get(shard.path)):
            return [fault]
        try:
            with self.open(shard.path) as file:
                if fault := digest_fault(shard, sha256_of(file, progress)):
                    return [fault]
                file.seek(0)
                parquet = pq.ParquetFile(file)
                return table_faults(shard, parquet, self.manifest)
        except pa.ArrowMemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            return [f"{shard.path}: cannot be read: {' '.join(str(error).split())}"]

    def _report_faults(self) -> list[str]:
        try:
            _ = self.report
        except DatasetError as error:
            return list(error.problems)
        return []

    def _card_faults(self) -> list[str]:
        try:
            return card_faults(self.document(CARD_NAME), CARD_NAME, self.manifest.shards)
        except FileNotFoundError:
            return [f"{CARD_NAME}: is missing"]
        except DatasetError as error:
            return list(error.problems)


def verify_folder(folder: DatasetFolder, *, quiet: bool = False) -> None:
    """Check a folder against its manifest, and show how far that is; raises DatasetError."""
    with TransferProgress("check", quiet=quiet) as progress:
        progress.begin(sum(shard.bytes for shard in folder.manifest.shards), 0)
        folder.verify(lambda read: progress.advance(read, 0))
