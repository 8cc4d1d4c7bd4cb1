"""Fill the texts back into shards that hold ids and labels only.

Needed posts are picked out before anything is shuffled, so what is sent to the shards is little
more than what will be written.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import apache_beam as beam
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import PAIR_SCHEMA, REJECTED_SCHEMA
from schemas.audit import Reason, Stage
from schemas.fields import doc
from schemas.ids import hash63
from schemas.pair import TEXT_COLUMNS, text_hash
from schemas.post import Post, conversation_text
from transforms.core import BlockBuffer, PostBlock, count, pack, register, show_progress, unpack
from transforms.hydrate.ids_shards import IdsShard, NeededPosts, row_posts
from transforms.pairing import answer_turns, prompt_turns
from transforms.text.convert import post_to_markdown
from transforms.threads.assemble import latest_copy
from transforms.writers import ShardReport, pair_stats, to_array, write_parquet

HYDRATE: Final = Stage.HYDRATE.value
TEXT_MISSING: Final = Reason.TEXT_MISSING.value
NOT_FILLED: Final = Reason.NOT_FILLED.value

EXAMPLES: Final = 5

PostPlace = tuple[str, str]
"""(thread id, post id): a post may have copies in two threads."""

Posts = Mapping[PostPlace, Post]
"""Markdown posts."""


class FilledShard(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one shard."""

    reports: Annotated[tuple[ShardReport, ...], doc("files that were written")] = ()
    missing: Annotated[int, doc("rows with a post whose text is not in the input")] = 0
    changed: Annotated[int, doc("rows whose texts are not those that were labelled")] = 0
    lost: Annotated[dict[str, int], doc("posts that are in no written row, by reason")] = {}
    missing_ids: Annotated[tuple[str, ...], doc("first posts without a text")] = ()
    changed_ids: Annotated[tuple[str, ...], doc("first pairs with changed texts")] = ()


register(FilledShard)


def markdown_by_id(posts: Iterable[Post]) -> dict[PostPlace, Post]:
    """Choose among copies as assembling does, drop what is gone, convert to Markdown."""
    latest: dict[PostPlace, Post] = {}
    for post in posts:
        key = (post.thread_id, post.id)
        other = latest.get(key)
        latest[key] = post if other is None else latest_copy(post, other)
    return {key: post_to_markdown(post) for key, post in latest.items() if post.removed_as is None}


@dataclass
class FilledRows:
    """Rows of one row group, with their texts as far as they were found."""

    table: pa.Table
    """Whole rows, in :data:`PAIR_SCHEMA`."""
    kept: set[PostPlace]
    """Posts of these rows."""
    lost: dict[PostPlace, str]
    """Posts of the other rows → why; some may be in a whole row, too."""
    missing: list[str]
    """For each row with a post that is not there: the first such post."""
    changed: list[str]
    """Pairs whose texts differ from those that were labelled."""


def fill_rows(table: pa.Table, posts: Posts, *, conversational: bool) -> FilledRows:
    """Add the text columns to rows of :data:`PAIR_IDS_SCHEMA`; rows that cannot be whole go."""
    texts: dict[str, list[Any]] = {name: [] for name in TEXT_COLUMNS}
    whole: list[bool] = []
    kept: set[PostPlace] = set()
    lost: dict[PostPlace, str] = {}
    missing: list[str] = []
    changed: list[str] = []
    labels = zip(table["pair_id"].to_pylist(), table["text_hash"].to_pylist(), strict=True)
    for (thread_id, ids), (pair_id, expected) in zip(row_posts(table), labels, strict=True):
        found = [posts.get((thread_id, post_id)) for post_id in ids]
        present = [post for post in found if post is not None]
        row = _texts(present, conversational=conversational) if len(present) == len(ids) else None
        if row is not None and text_hash(row["prompt"], row["chosen"], row["rejected"]) == expected:
            whole.append(True)
            kept.update((thread_id, post_id) for post_id in ids)
            for name, value in row.items():
                texts[name].append(value)
            continue
        whole.append(False)
        absent = [post_id for post_id, post in zip(ids, found, strict=True) if post is None]
        if absent:
            missing.append(absent[0])
        else:
            changed.append(pair_id)
        for post_id in ids:
            lost[thread_id, post_id] = TEXT_MISSING if post_id in absent else NOT_FILLED
    rows = table if all(whole) else table.filter(pa.array(whole))
    rows = rows.combine_chunks()
    columns = [
        to_array(texts[field.name], field.type) if field.name in texts else rows[field.name]
        for field in PAIR_SCHEMA
    ]
    filled = pa.Table.from_arrays(columns, schema=PAIR_SCHEMA)
    return FilledRows(filled, kept, lost, missing, changed)


def _texts(posts: Sequence[Post], *, conversational: bool) -> dict[str, Any]:
    prompt, *context, chosen, rejected = posts
    return {
        "prompt": conversation_text(prompt, context),
        "chosen": chosen.text,
        "rejected": rejected.text,
        "prompt_turns": prompt_turns(prompt, context) if conversational else None,
        "chosen_turns": answer_turns(chosen) if conversational else None,
        "rejected_turns": answer_turns(rejected) if conversational else None,
    }


def fill_shard(source: IdsShard, posts: Posts, folder: str, *, conversational: bool) -> FilledShard:
    """Write a shard with its texts under ``folder``, with the row groups it has without them.

    Rows that cannot be whole are excluded, and posts that are in no other row are written to a
    shard of the rejected table. A shard without a row is not written.
    """
    stats: Counter[str] = Counter()
    kept: set[PostPlace] = set()
    lost: dict[PostPlace, str] = {}
    missing: list[str] = []
    changed: list[str] = []
    threads: set[str] = set()

    def tables() -> Iterator[pa.Table]:
        with pq.ParquetFile(source.file) as shard:
            for group in range(shard.num_row_groups):
                filled = fill_rows(
                    shard.read_row_group(group), posts, conversational=conversational
                )
                kept.update(filled.kept)
                lost.update(filled.lost)
                missing.extend(filled.missing)
                changed.extend(filled.changed)
                if filled.table.num_rows:
                    threads.update(filled.table["thread_id"].to_pylist())
                    stats.update(pair_stats(filled.table))
                    yield filled.table

    reports = []
    written = tables()
    first = next(written, None)
    if first is not None:
        shard = write_parquet(
            folder, source.shard.path, PAIR_SCHEMA, itertools.chain((first,), written)
        )
        stats["threads"] = len(threads)
        stats["posts"] = len(kept)
        reports.append(ShardReport.of(folder, shard, stats))
    reasons = {post: reason for post, reason in lost.items() if post not in kept}
    if reasons:
        reports.append(_write_lost(source, reasons, folder))
    return FilledShard(
        reports=tuple(reports),
        missing=len(missing),
        changed=len(changed),
        lost=dict(sorted(Counter(reasons.values()).items())),
        missing_ids=tuple(dict.fromkeys(missing))[:EXAMPLES],
        changed_ids=tuple(changed[:EXAMPLES]),
    )


def _write_lost(source: IdsShard, reasons: Mapping[PostPlace, str], folder: str) -> ShardReport:
    ordered = sorted(reasons, key=_lost_order)
    columns = {
        "id": [post_id for _, post_id in ordered],
        "stage": [HYDRATE] * len(ordered),
        "reason": [reasons[place] for place in ordered],
        "detail": [""] * len(ordered),
        "record": ["post"] * len(ordered),
    }
    table = pa.table([columns[name] for name in REJECTED_SCHEMA.names], schema=REJECTED_SCHEMA)
    path = f"rejected/{HYDRATE}-{source.shard.path.partition('/')[2]}"
    shard = write_parquet(folder, path, REJECTED_SCHEMA, [table])
    counts = Counter(reasons.values())
    stats = {f"rejected:post:{HYDRATE}:{reason}": n for reason, n in sorted(counts.items())}
    return ShardReport.of(folder, shard, stats)


def _lost_order(place: PostPlace) -> tuple[int, str, str]:
    thread_id, post_id = place
    return hash63(post_id), post_id, thread_id


@dataclass
class FillTexts(beam.PTransform):
    """(partition, PostBlock) → (index of a shard, FilledShard), for every one of ``shards``.

    Fields: ``folder`` to write under; ``conversational``, to fill the columns in turns. Runs
    where all workers see the same disk.
    """

    shards: Sequence[IdsShard]
    folder: str
    conversational: bool

    def expand(
        self, blocks: beam.PCollection[tuple[int, PostBlock]]
    ) -> beam.PCollection[tuple[int, FilledShard]]:
        show_progress(FillTexts, "out-rows", "rows written", "write")
        shards = tuple(self.shards)
        picked = blocks | "Pick needed posts" >> beam.ParDo(_Pick(shards)).with_output_types(
            tuple[int, PostBlock]
        )
        # So that a shard of whose posts none is in the input is heard of.
        every = [(index, pack(PostBlock, [])) for index in range(len(shards))]
        named = blocks.pipeline | "Name shards" >> beam.Create(every).with_output_types(
            tuple[int, PostBlock]
        )
        fill = _Fill(shards, self.folder, self.conversational)
        return (
            (picked, named)
            | "Posts and shards" >> beam.Flatten()
            | "Group by shard" >> beam.GroupByKey()
            | "Fill shards" >> beam.ParDo(fill).with_output_types(tuple[int, FilledShard])
        )


class _Pick(beam.DoFn):
    def __init__(self, shards: tuple[IdsShard, ...]) -> None:
        self._shards = shards

    def setup(self) -> None:
        self._needed = NeededPosts(self._shards)

    def start_bundle(self) -> None:
        self._blocks = BlockBuffer(PostBlock)

    def process(self, element: tuple[int, PostBlock]) -> Iterator[tuple[int, PostBlock]]:
        for shard, post in self._needed.find(unpack(element[1])):
            yield from self._blocks.add(shard, post, len(post.text))

    def finish_bundle(self) -> Iterator[Any]:
        for block in self._blocks.flush():
            yield beam.transforms.window.GlobalWindows.windowed_value_at_end_of_window(block)


class _Fill(beam.DoFn):
    def __init__(self, shards: tuple[IdsShard, ...], folder: str, conversational: bool) -> None:
        self._shards = shards
        self._folder = folder
        self._conversational = conversational

    def process(
        self, element: tuple[int, Iterable[PostBlock]]
    ) -> Iterator[tuple[int, FilledShard]]:
        index, blocks = element
        posts = markdown_by_id(post for block in blocks for post in unpack(block))
        source = self._shards[index]
        filled = fill_shard(source, posts, self._folder, conversational=self._conversational)
        count(FillTexts, "out-rows", source.shard.rows - filled.missing - filled.changed)
        yield index, filled


def save_filled(folder: Path, index: int, filled: FilledShard) -> None:
    """Leave what became of a shard where :func:`load_filled` finds it."""
    (folder / f"filled-{index}.json").write_bytes(msgspec.json.encode(filled))


def load_filled(folder: Path, shards: int) -> list[FilledShard]:
    """Return what became of every shard; raises FileNotFoundError if one is not done."""
    decoder = msgspec.json.Decoder(FilledShard)
    return [decoder.decode((folder / f"filled-{i}.json").read_bytes()) for i in range(shards)]
