"""Reads the pairs of a dataset version, row group by row group, from disk or the Hub.

Nothing is downloaded whole: a footer per shard when the dataset is opened, then the columns
below of the row groups that a step needs.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import PAIR_SCHEMA, current_names, current_schema, stored_names
from schemas.checksums import digest_fault, sha256_of
from schemas.hub_names import UNSENDABLE, is_token, parse_hub_revision
from schemas.manifest import MANIFEST_NAME, Manifest, ManifestError, Shard, decode_manifest, major
from schemas.pair import PAIR_SCHEMA_VERSION, READ_MAJOR_VERSIONS, SPLITS
from schemas.retry import RetryPolicy
from schemas.small_files import (
    MAX_BYTES,
    SmallFileError,
    SpecialFileError,
    fault_of,
    open_regular,
    read_small,
    read_stream,
)
from training.data.propensity import PROPENSITY_COLUMNS, Propensity, table_features
from training.data.selection import ALL_PAIRS, Selection
from training.errors import TrainingDatasetError

COLUMNS = (
    "split",
    "site",
    "thread_id",
    "prompt",
    "chosen",
    "rejected",
    "vote_margin",
    "confidence",
    "chosen_score",
    "rejected_score",
    "chosen_created_at",
    "rejected_created_at",
)
"""What training and validation read of a pair."""

TEXTS = ("site", "thread_id", "prompt", "chosen", "rejected")

FIRST_WAIT_S = 1.0
"""Wait before a row group is read again; see :meth:`PairDataset.read`."""


@dataclass(frozen=True)
class PairRows:
    """Rows of the shards, by column; n of each."""

    site: list[str]
    thread_id: list[str]
    prompt: list[str]
    chosen: list[str]
    rejected: list[str]
    vote_margin: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    chosen_score: npt.NDArray[np.float64]
    rejected_score: npt.NDArray[np.float64]
    chosen_created_at: npt.NDArray[np.int64]
    """Milliseconds since 1970, UTC."""
    rejected_created_at: npt.NDArray[np.int64]
    prompt_pairs: npt.NDArray[np.int64]
    """Pairs of the row's prompt in the split that are used (:class:`Selection`); at least 1."""
    propensity_weight: npt.NDArray[np.float64]
    """1 / (probability that two such responses are a pair), about 1; 1 without a Propensity."""
    tags: list[str]
    """Of the prompt, a line each, see :func:`tags_of`; "" unless they were asked for."""

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def prompts(self) -> list[tuple[str, str]]:
        """(thread, prompt) of each row: neighbours with equal entries share their prompt."""
        return list(zip(self.thread_id, self.prompt, strict=True))

    def take(self, order: Sequence[int]) -> "PairRows":
        """Rows in another order."""
        index = np.array(order, dtype=np.int64)
        columns: list[Any] = [getattr(self, name) for name in self.__dataclass_fields__]
        taken: list[Any] = [
            [column[row] for row in order] if isinstance(column, list) else column[index]
            for column in columns
        ]
        return PairRows(*taken)


def tags_of(rows: PairRows, row: int) -> list[str]:
    """The tags of a row's prompt."""
    return rows.tags[row].split("\n") if rows.tags[row] else []


def blank_rows(count: int) -> PairRows:
    """Rows without a text, to be filled in."""
    columns: list[Any] = []
    for column in fields(PairRows):
        if column.type == list[str]:
            columns.append([""] * count)
        else:
            _, dtype = get_args(column.type)  # npt.NDArray[...]
            columns.append(np.zeros(count, get_args(dtype)[0]))
    return PairRows(*columns)


def concatenate(parts: Sequence[PairRows]) -> PairRows:
    """Put rows behind each other."""
    columns: list[Any] = []
    for name in PairRows.__dataclass_fields__:
        pieces = [getattr(part, name) for part in parts]
        if isinstance(pieces[0], list):
            columns.append([value for piece in pieces for value in piece])
        else:
            columns.append(np.concatenate(pieces))
    return PairRows(*columns)


class PairDataset:
    """One split of a dataset version.

    Args:
        location: a dataset folder, its URL (``gs://…``, ``s3://…``), or a version on the Hub
            (``org/name@v1.2.0``).
        split: 'train', 'validation' or 'test'.
        tags: read the tags of the prompts, too.
        selection: pairs that it leaves out are read, too, and count for nothing in
            ``prompt_pairs``.

    Raises TrainingDatasetError when there is no such dataset, its layout is of another release, it
    holds no texts, or its shards and manifest disagree.
    """

    def __init__(
        self,
        location: str,
        split: str,
        *,
        selection: Selection = ALL_PAIRS,
        tags: bool = False,
    ) -> None:
        if split not in SPLITS:
            raise TrainingDatasetError(f"no split {split!r}; there are {', '.join(SPLITS)}")
        self.location = location
        self.split = split
        self.selection = selection
        self.propensity: Propensity | None = None
        """By which pairs are weighted; set before the first row group is read."""
        self.with_tags = tags
        """Whether the prompts' tags are read."""
        self._files, self._root = _open_location(location)
        self.manifest_bytes = self._read(MANIFEST_NAME)
        self.manifest_sha256 = hashlib.sha256(self.manifest_bytes).hexdigest()
        self.manifest = _decode(self.manifest_bytes, location)
        self.shards = tuple(
            shard
            for shard in self.manifest.shards
            if shard.table == "data" and shard.split == split
        )
        with ThreadPoolExecutor(8) as pool:
            footers = list(pool.map(self._footer, self.shards))
        self._groups = [
            (shard, group)
            for shard, footer in zip(self.shards, footers, strict=True)
            for group in range(footer.num_row_groups)
        ]
        self._shard_numbers = [
            number for number, one in enumerate(footers) for _ in range(one.num_row_groups)
        ]
        self.rows = tuple(
            footer.row_group(group).num_rows
            for footer in footers
            for group in range(footer.num_row_groups)
        )
        """Rows of each row group, in the order of the manifest."""

    def sites(self, part: int = 0, parts: int = 1) -> tuple[str, ...]:
        """Forums in the split, ordered; reads one small column of every row group.

        Of every ``parts``-th one from ``part`` on, where several processes share the work.
        """

        tables = self.light_columns(["site"], part, parts)
        return tuple(sorted(set().union(*(table["site"].unique().to_pylist() for table in tables))))

    def light_columns(
        self, columns: Sequence[str], part: int = 0, parts: int = 1
    ) -> Iterator[pa.Table]:
        """Some columns of every ``parts``-th row group from ``part`` on, without the texts."""
        numbers = range(part, len(self.rows), parts)
        with ThreadPoolExecutor(4) as pool:
            yield from pool.map(lambda number: self._table(number, columns), numbers)

    def verify(self, part: int = 0, parts: int = 1) -> None:
        """Compare each shard of the split with the manifest; raises TrainingDatasetError naming it.

        Every ``parts``-th shard from ``part`` on, where several processes share the work. On the
        Hub the digest is the one that the Hub itself keeps, so nothing is downloaded.
        """
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.verify_shard, range(part, len(self.shards), parts)))

    def verify_shard(self, number: int) -> None:
        """Compare one of ``shards`` with the manifest; raises TrainingDatasetError naming it."""
        shard = self.shards[number]
        if fault := digest_fault(shard, self._digest(shard)):
            raise TrainingDatasetError(f"{self.location}: {fault}; fetch or make the dataset again")

    def shards_of(self, row_groups: Iterable[int]) -> list[int]:
        """Numbers of the shards that row groups lie in, each once, in their order."""
        return list(dict.fromkeys(self._shard_numbers[number] for number in row_groups))

    def _digest(self, shard: Shard) -> str:
        path = self._path(shard.path)
        if self.location_is_hub:
            entry = self._files.info(path)
            lfs = entry.get("lfs")
            if lfs is not None:
                return str(lfs["sha256"] if "sha256" in lfs else lfs["oid"])
        with self._files.open(path, "rb") as file:
            return sha256_of(file)

    @property
    def location_is_hub(self) -> bool:
        """Whether the dataset lies on the Hugging Face Hub."""
        return "hf" in _protocols(self._files)

    def _is_of_network(self, error: Exception) -> bool:
        """Whether an error may pass: the run failed, and another try may do."""
        if isinstance(error, pa.ArrowException | FileNotFoundError):
            return False
        return "file" not in _protocols(self._files)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _read(self, name: str) -> bytes:
        try:
            if "file" in _protocols(self._files):
                return read_small(self._path(name))
            # At once: a store is asked by ranges otherwise, which takes several requests.
            content: bytes = self._files.cat_file(self._path(name), end=MAX_BYTES + 1)
            return read_stream(BytesIO(content))
        except (SmallFileError, SpecialFileError) as error:
            raise TrainingDatasetError(f"{self.location}: {name}: {fault_of(error)}") from None
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise TrainingDatasetError(
                f"{self.location}: no {name} in it; name a folder that forumprefs curate made, or "
                "org/name@version on the Hub"
            ) from None

    def _open(self, name: str) -> BinaryIO:
        """Open a file of the dataset; on this machine, if it is a regular one."""
        if "file" in _protocols(self._files):
            return open_regular(self._path(name))
        return cast(BinaryIO, self._files.open(self._path(name), "rb"))

    def _footer(self, shard: Shard) -> pq.FileMetaData:
        try:
            with self._open(shard.path) as file:
                footer = pq.ParquetFile(file).metadata
        except pa.ArrowMemoryError:  # of which the shard may be innocent
            raise
        except (OSError, pa.ArrowException) as error:  # a cut off footer is either
            if self._is_of_network(error):
                raise
            raise TrainingDatasetError(
                f"{self.location}: {shard.path}: {error}; fetch or make the dataset again"
            ) from None
        if footer.num_rows != shard.rows:
            raise TrainingDatasetError(
                f"{self.location}: {shard.path} has {footer.num_rows} rows, the manifest says "
                f"{shard.rows}; fetch or make the dataset again"
            )
        schema = current_schema(footer.schema.to_arrow_schema())
        missing = set(COLUMNS) - set(schema.names)
        if missing:
            raise TrainingDatasetError(
                f"{self.location}: {shard.path} lacks {', '.join(sorted(missing))}"
            )
        for name in COLUMNS:
            found, expected = schema.field(name).type, PAIR_SCHEMA.field(name).type
            if found != expected:
                raise TrainingDatasetError(
                    f"{self.location}: {shard.path}: the column {name} is {found}, not {expected}; "
                    "fetch or make the dataset again"
                )
        return footer

    def _table(self, number: int, columns: Sequence[str]) -> pa.Table:
        shard, group = self._groups[number]

        def read() -> pa.Table:
            with self._files.open(self._path(shard.path), "rb") as file:
                parquet = pq.ParquetFile(file, pre_buffer=True)
                stored = stored_names(columns, parquet.schema_arrow)
                table = parquet.read_row_group(group, columns=stored)
                return table.rename_columns(current_names(table.column_names))

        # What a network throws has many names; a passing fault must not end a run of days.
        policy = RetryPolicy(
            is_transient=lambda error: (
                not isinstance(error, pa.ArrowException) and "file" not in _protocols(self._files)
            ),
            max_attempts=5,
            first_wait_s=FIRST_WAIT_S,
            factor=4,
            max_wait_s=60,
        )
        try:
            return policy.call(read)
        except pa.ArrowMemoryError:
            raise
        except pa.ArrowException as error:
            raise TrainingDatasetError(f"{self.location}: {shard.path}: {error}") from None
        except OSError as error:
            if self._is_of_network(error):
                raise
            raise TrainingDatasetError(
                f"{self.location}: {shard.path}: {error}; fetch or make the dataset again"
            ) from None

    def read(self, number: int) -> PairRows:
        """Read one row group; pairs of a prompt are made neighbours.

        From afar a failed read is tried again, five times in all, after waits that grow to a
        minute. Raises TrainingDatasetError for rows that do not belong to the split.

        The pipeline orders the pairs of a thread by their ids, which mixes the conversations of
        a thread with replies.
        """
        shard, group = self._groups[number]
        more = (*(PROPENSITY_COLUMNS if self.propensity else ()), *(["tags"] * self.with_tags))
        table = self._table(number, (*COLUMNS, *more))
        strays = set(table["split"].unique().to_pylist()) - {self.split}
        if strays:
            raise TrainingDatasetError(
                f"{self.location}: {shard.path}: row group {group} holds rows of the split "
                f"{strays.pop()!r}"
            )
        if empty := [name for name in TEXTS if table[name].null_count]:
            raise TrainingDatasetError(
                f"{self.location}: {shard.path}: row group {group} has rows without {empty[0]}"
            )
        columns = {name: table[name].to_pylist() for name in TEXTS}
        numbers = {
            name: table[name].to_numpy().astype(np.float64)
            for name in ("vote_margin", "confidence", "chosen_score", "rejected_score")
        }
        times = {
            name: table[name].cast(pa.int64()).to_numpy()
            for name in ("chosen_created_at", "rejected_created_at")
        }
        # A thread is never divided between row groups, so its pairs can be counted here.
        prompts = list(zip(columns["thread_id"], columns["prompt"], strict=True))
        rows_of: dict[tuple[str, str], list[int]] = {}
        for row, key in enumerate(prompts):
            rows_of.setdefault(key, []).append(row)
        used = self.selection.keeps(numbers["confidence"], numbers["vote_margin"])
        counts = {key: max(1, int(used[members].sum())) for key, members in rows_of.items()}
        pairs = np.array([counts[key] for key in prompts], dtype=np.int64)
        weight = np.ones(len(prompts))
        if self.propensity is not None:
            weight = self.propensity.weights(table_features(table, times, rows_of.values()))
        tags = [""] * len(prompts)
        if self.with_tags:
            tags = [
                "\n".join(" ".join(name.split()) for name in names)
                for names in table["tags"].to_pylist()
            ]
        rows = PairRows(
            **columns,
            **numbers,
            **times,
            prompt_pairs=pairs,
            propensity_weight=weight,
            tags=tags,
        )
        return rows.take([row for members in rows_of.values() for row in members])


def _open_location(location: str) -> tuple[Any, str]:
    if Path(location).exists():
        return fsspec.filesystem("file"), str(Path(location).resolve())
    hub = parse_hub_revision(location.removeprefix("hf://datasets/"))
    if hub is not None and hub.revision is not None:
        location = f"hf://datasets/{hub.repo}@{_commit(hub.repo, hub.revision)}"
    elif "://" not in location:
        hint = ""
        if hub is not None:
            hint = f"; for a dataset on the Hub name its version: {location}@v1.0.0"
        raise TrainingDatasetError(f"{location}: no such folder{hint}")
    try:
        files, root = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise TrainingDatasetError(f"{location}: {error}") from None
    return files, str(root).rstrip("/")


def _commit(repository: str, revision: str) -> str:
    """The commit that a tag or branch points to now, so that a run reads one version only."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if not is_token(get_token() or ""):
        raise TrainingDatasetError(UNSENDABLE)
    try:
        return str(HfApi().dataset_info(repository, revision=revision).sha)
    except HfHubHTTPError as error:
        why = str(error).strip().splitlines()[-1]
    except Exception as error:  # the client's transport has had several names
        why = f"the Hub cannot be reached: {error}"
    raise TrainingDatasetError(f"{repository}@{revision}: {why}")


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _decode(content: bytes, location: str) -> Manifest:
    try:
        manifest = decode_manifest(content)
    except ManifestError as error:
        raise TrainingDatasetError(f"{location}: {error}") from None
    if major(manifest.pair_schema_version) not in READ_MAJOR_VERSIONS:
        raise TrainingDatasetError(
            f"{location}: pair schema {manifest.pair_schema_version}, but this release reads "
            f"those up to {PAIR_SCHEMA_VERSION}"
        )
    if manifest.ids_only:
        raise TrainingDatasetError(
            f"{location}: holds ids and labels, no texts; fill them in with forumprefs hydrate"
        )
    return manifest
