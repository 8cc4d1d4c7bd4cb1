"""What differs between two versions of a dataset: threads, pairs, and how they were made."""

from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.folder import DatasetFolder
from pipeline.diff.aligned_read import matching_threads
from pipeline.diff.difference import (
    CountedIds,
    DatasetDifference,
    InputChange,
    SchemaChange,
    ValueChange,
    semantic_advice,
)
from pipeline.diff.outcomes import Posts, explain_missing_pairs, post_hashes
from pipeline.errors import DatasetError
from schemas.manifest import InputFile, Manifest
from schemas.pair import TEXT_COLUMNS

DEFAULT_LIMIT = 5

KEY_COLUMNS = ("pair_id", "thread_id", "split", "prompt_id", "chosen_id", "rejected_id")
SCORE_COLUMNS = (
    "chosen_score",
    "rejected_score",
    "vote_margin",
    "window_chosen_score",
    "window_rejected_score",
    "confidence",
    "debiased_margin",
    "debiased_standard_error",
)

TEXTS = ("prompt", "chosen", "rejected")
"""What is compared where a dataset has no text_hash."""


def compare_datasets(
    old: DatasetFolder, new: DatasetFolder, limit: int = DEFAULT_LIMIT
) -> DatasetDifference:
    """Compare two datasets by ids; ``limit`` is the maximum of examples of each kind.

    A pair is known by its thread and its two responses, whichever was chosen. Memory: a few
    batches of rows, about 250 MiB, and about 130 bytes for every pair that only one has. The
    shards are taken as they are: `DatasetFolder.verify` says whether they are whole.
    """
    rows = _Rows(limit)
    schema, columns = _compare_schemas(old, new)
    same_shards = old.manifest.shards == new.manifest.shards
    if same_shards:
        pairs = sum(shard.rows for shard in old.shards("data"))
        threads = sum(old.manifest.accounting.threads.values())
        rows.count_equal(pairs, threads)
    else:
        for left, right in matching_threads(old, new, columns):
            rows.compare(left, right)
    recipe = compare_values(old.manifest.recipe, new.manifest.recipe)
    inputs = compare_inputs(old.manifest.inputs, new.manifest.inputs)
    return DatasetDifference(
        equal=old.manifest == new.manifest,
        pairs_old=rows.pairs[0],
        pairs_new=rows.pairs[1],
        threads_old=rows.threads[0],
        threads_new=rows.threads[1],
        **rows.found(),
        moves=dict(sorted(rows.moves.items())),
        same=rows.same,
        columns=dict(sorted(rows.columns.items(), key=lambda item: (-item[1], item[0]))),
        why_gone=explain_missing_pairs(rows.posts("gone"), new),
        why_added=explain_missing_pairs(rows.posts("added"), old),
        recipe=recipe,
        inputs=inputs,
        versions=compare_values(old.manifest.versions, new.manifest.versions),
        schema=schema,
        warnings=tuple(_warnings(rows.moves, old.manifest, new.manifest)),
        advice=semantic_advice(
            schema,
            recipe,
            inputs,
            rows_differ=rows.differ,
            files_differ=not same_shards,
        ),
    )


def compare_values(old: dict[str, Any], new: dict[str, Any]) -> tuple[ValueChange, ...]:
    """List the names whose values differ, in the order of the new dataset, then of the old."""
    return tuple(
        ValueChange(name=name, old=old.get(name, msgspec.UNSET), new=new.get(name, msgspec.UNSET))
        for name in [*new, *(name for name in old if name not in new)]
        if name not in old or name not in new or old[name] != new[name]
    )


def compare_inputs(old: Iterable[InputFile], new: Iterable[InputFile]) -> tuple[InputChange, ...]:
    """List the input files that are not in both, or whose content or use differs."""
    changes = []
    before, after = (_by_name(files) for files in (old, new))
    for site, name in sorted(before.keys() | after.keys()):
        gone = before.get((site, name), Counter())
        added = after.get((site, name), Counter())
        gone, added = gone - added, added - gone
        pairs = zip_longest(sorted(gone.elements()), sorted(added.elements()))
        for one, other in pairs:
            changes.append(
                InputChange(
                    site=site,
                    name=name,
                    change="new" if one is None else "gone" if other is None else "changed",
                    old_bytes=None if one is None else one[0],
                    new_bytes=None if other is None else other[0],
                )
            )
    return tuple(changes)


_Content = tuple[int, str, bool]


def _by_name(files: Iterable[InputFile]) -> dict[tuple[str, str], Counter[_Content]]:
    """Collect what files hold by (site, name), which several of other folders may share."""
    found: dict[tuple[str, str], Counter[_Content]] = {}
    for file in files:
        contents = found.setdefault((file.site, file.name), Counter())
        contents[file.bytes, file.sha256, file.used] += 1
    return found


def _compare_schemas(
    old: DatasetFolder, new: DatasetFolder
) -> tuple[SchemaChange | None, list[str]]:
    """Return how the columns differ, and which can be compared."""
    versions = (old.manifest.pair_schema_version, new.manifest.pair_schema_version)
    schemas = [folder.schema("data") for folder in (old, new)]
    present = [schema for schema in schemas if schema is not None]
    for folder, schema in zip((old, new), schemas, strict=True):
        absent = [] if schema is None else [n for n in KEY_COLUMNS if n not in schema.names]
        if absent:
            raise DatasetError(
                folder.location, [f"its pairs have no {', '.join(absent)}: nothing to compare by"]
            )
    if not present:
        return None, list(KEY_COLUMNS)
    # A dataset without a pair has no columns to differ in.
    one, other = present[0], present[-1]
    common = [name for name in one.names if name in other.names]
    retyped = [name for name in common if one.field(name).type != other.field(name).type]
    change = SchemaChange(
        old_version=versions[0],
        new_version=versions[1],
        added=tuple(name for name in other.names if name not in one.names),
        gone=tuple(name for name in one.names if name not in other.names),
        retyped=tuple(retyped),
        renamed=_renamed(old, new),
    )
    differ = (
        versions[0] != versions[1]
        or change.added
        or change.gone
        or change.retyped
        or change.renamed
    )
    columns = [name for name in common if name not in (*retyped, *TEXT_COLUMNS)]
    if "text_hash" not in columns:  # as in version 1.0 of the schema
        columns += [name for name in TEXTS if name in common]
    return change if differ else None, columns


def _renamed(old: DatasetFolder, new: DatasetFolder) -> dict[str, str]:
    """Columns that have another name in the files of ``new`` than in those of ``old``."""
    before, after = old.renamed_columns(), new.renamed_columns()
    renamed = {name: now for name, now in before.items() if name not in after}
    return renamed | {now: name for name, now in after.items() if name not in before}


def _warnings(moves: Counter[str], old: Manifest, new: Manifest) -> Iterable[str]:
    total = sum(moves.values())
    same_rule = all(old.recipe.get(name) == new.recipe.get(name) for name in ("split", "seed"))
    if total and same_rule:
        yield (
            f"{total:,} threads are in another split, though seed and split are equal: a question "
            "joined or left their cluster of duplicates"
        )
    leaks = sum(
        count for move, count in moves.items() if move in ("train>validation", "train>test")
    )
    if leaks:
        yield (
            f"{leaks:,} threads of the old training split are in the new validation or test "
            "split: do not judge a model trained on the old version by the new one"
        )


class _Rows:
    """Counts over the rows of both datasets."""

    KINDS = (
        "added_threads",
        "gone_threads",
        "moved_threads",
        "added",
        "gone",
        "flipped",
        "rescored",
        "rewritten",
        "relabelled",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {kind: [] for kind in self.KINDS}
        self._posts: dict[str, list[Posts]] = {"gone": [], "added": []}
        self.pairs = [0, 0]
        self.threads = [0, 0]
        self.moves: Counter[str] = Counter()
        self.columns: Counter[str] = Counter()
        self.same = 0

    @property
    def differ(self) -> bool:
        return self._counts.total() > 0

    def found(self) -> dict[str, Any]:
        """The counts as fields of `DatasetDifference`."""
        return {
            kind: CountedIds(count=self._counts[kind], examples=tuple(self._examples[kind]))
            for kind in self.KINDS
        }

    def posts(self, kind: str) -> Posts:
        """Hashes of the posts in all pairs of a kind."""
        return np.concatenate([np.empty((0, 3), np.int64), *self._posts[kind]])

    def count_equal(self, pairs: int, threads: int) -> None:
        """Take two datasets as equal without reading them."""
        self.same = pairs
        self.pairs, self.threads = [pairs, pairs], [threads, threads]

    def compare(self, left: pa.Table, right: pa.Table) -> None:
        """Count the rows of one range of threads."""
        for side, table in enumerate((left, right)):
            self.pairs[side] += table.num_rows
        self._compare_threads(left, right)
        left_keys, right_keys = _pair_keys(left), _pair_keys(right)
        place = pc.index_in(left_keys, value_set=right_keys)
        gone = left.filter(pc.is_null(place))
        added = right.filter(pc.invert(pc.is_in(right_keys, value_set=left_keys)))
        for kind, table in (("gone", gone), ("added", added)):
            self._add(kind, table["pair_id"])
            if table.num_rows:
                self._posts[kind].append(post_hashes(table))
        self._compare_pairs(left.filter(pc.is_valid(place)), right.take(place.drop_null()))

    def _compare_threads(self, left: pa.Table, right: pa.Table) -> None:
        ids = [pc.unique(table["thread_id"]) for table in (left, right)]
        for side in (0, 1):
            self.threads[side] += len(ids[side])
        self._add("gone_threads", ids[0].filter(pc.invert(pc.is_in(ids[0], value_set=ids[1]))))
        self._add("added_threads", ids[1].filter(pc.invert(pc.is_in(ids[1], value_set=ids[0]))))
        both = ids[0].filter(pc.is_in(ids[0], value_set=ids[1]))
        splits = [
            table["split"].take(pc.index_in(both, value_set=_array(table["thread_id"])))
            for table in (left, right)
        ]
        moved = pc.not_equal(*splits)
        self._add("moved_threads", both.filter(_array(moved)))
        moves = [split.filter(moved).to_pylist() for split in splits]
        self.moves.update(f"{a}>{b}" for a, b in zip(*moves, strict=True))

    def _compare_pairs(self, left: pa.Table, right: pa.Table) -> None:
        """Compare the columns of pairs that both have, row by row."""
        if not left.num_rows:
            return
        flipped = pc.not_equal(left["chosen_id"], right["chosen_id"])
        self._add("flipped", right.filter(flipped)["pair_id"])
        left, right = (table.filter(pc.invert(flipped)) for table in (left, right))
        changed = {
            kind: np.zeros(left.num_rows, bool) for kind in ("rescored", "rewritten", "relabelled")
        }
        for name in left.column_names:
            if name in KEY_COLUMNS or left[name].equals(right[name]):
                continue
            kind = (
                "rescored"
                if name in SCORE_COLUMNS
                else "rewritten"
                if name in ("text_hash", *TEXTS)
                else "relabelled"
            )
            differs = _differs(left[name], right[name])
            self.columns[name] += int(differs.sum())
            changed[kind] |= differs
        for kind, rows in changed.items():
            self._add(kind, right["pair_id"].filter(pa.array(rows)))
        self.same += int((~np.logical_or.reduce(list(changed.values()))).sum())

    def _add(self, kind: str, ids: pa.Array) -> None:
        self._counts[kind] += len(ids)
        room = self._limit - len(self._examples[kind])
        self._examples[kind] += ids.slice(0, room).to_pylist()


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()


def _pair_keys(pairs: pa.Table) -> pa.Array:
    """What a pair is known by: its thread and its two responses in the order of their ids."""
    chosen, rejected = pairs["chosen_id"], pairs["rejected_id"]
    in_order = pc.less(chosen, rejected)
    first, second = pc.if_else(in_order, chosen, rejected), pc.if_else(in_order, rejected, chosen)
    return _array(pc.binary_join_element_wise(pairs["thread_id"], first, second, "\0"))


def _differs(
    left: pa.ChunkedArray, right: pa.ChunkedArray
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Say for each row whether two values differ; null equals null."""
    if pa.types.is_nested(left.type):
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        return np.array([a != b for a, b in pairs], bool)
    unequal = pc.fill_null(pc.not_equal(left, right), False)
    one_is_null = pc.not_equal(pc.is_null(left), pc.is_null(right))
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = pc.or_(unequal, one_is_null).to_numpy()
    return found
