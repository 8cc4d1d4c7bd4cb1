import msgspec
import pytest

from pipeline.dataset.accounting import add_up
from pipeline.dataset.report import dataset_warnings
from pipeline.errors import AccountingError
from schemas.counts import RecordCount
from schemas.manifest import Manifest, Shard
from transforms.writers.counts import RunResult
from transforms.writers.parquet import ShardReport


def shard(table: str, rows: int, split: str | None, **stats: int) -> ShardReport:
    name = split or table
    return ShardReport(
        shard=Shard(
            path=f"{table}/{name}.parquet", table=table, split=split, rows=rows, bytes=1, sha256="x"
        ),
        stats={key.replace("__", ":"): value for key, value in stats.items()},
    )


RESULT = RunResult(
    counts=(
        RecordCount("read", "Posts.rows", 20),
        RecordCount("read", "Posts.kept", 19),
        RecordCount("read", "Posts.repaired", 3),
        RecordCount("read", "Votes.rows", 50),
        RecordCount("read", "Votes.up", 40),
        RecordCount("read", "Votes.other", 6),
        RecordCount("read", "Votes.rejected", 4),
        RecordCount("assemble", "posts", 16),
        RecordCount("filter", "posts", 14),
        RecordCount("language", "posts", 14),
        RecordCount("dedup", "posts", 11),
        RecordCount("pair", "posts", 9),
        RecordCount("rejected", "rejected:post:read:malformed_row", 1),
        RecordCount("rejected", "rejected:post:assemble:orphan_response", 3),
        RecordCount("rejected", "rejected:post:filter:empty", 2),
        RecordCount("rejected", "rejected:post:dedup:prompt_duplicate", 1),
        RecordCount("rejected", "rejected:post:pair:tied", 2),
        RecordCount("rejected", "rejected:vote:read:bad_value", 4),
        RecordCount("duplicates", "duplicates", 2),
    ),
    shards=(
        shard("data", 5, "train", pairs=5, threads=2, posts=6),
        shard("data", 2, "test", pairs=2, threads=1, posts=3),
        shard("duplicates", 2, None),
        shard(
            "rejected",
            13,
            None,
            rejected__post__read__malformed_row=1,
            rejected__post__assemble__orphan_response=3,
            rejected__post__filter__empty=2,
            rejected__post__dedup__prompt_duplicate=1,
            rejected__post__pair__tied=2,
            rejected__vote__read__bad_value=4,
        ),
    ),
)


def change_count(stage: str, key: str, amount: int) -> RunResult:
    counts = tuple(
        RecordCount(t.stage, t.key, t.count + amount) if (t.stage, t.key) == (stage, key) else t
        for t in RESULT.counts
    )
    assert counts != RESULT.counts
    return msgspec.structs.replace(RESULT, counts=counts)


def test_an_accounting_that_adds_up() -> None:
    accounting = add_up(RESULT)
    assert (accounting.posts_read, accounting.posts_kept) == (20, 9)
    assert (accounting.duplicates, accounting.rejected) == (2, 9)
    assert accounting.pairs == {"test": 2, "train": 5}
    assert accounting.threads == {"test": 1, "train": 2}
    assert [stage.entered for stage in accounting.stages] == [20, 19, 16, 14, 14, 11]
    assert accounting.other_records["Votes.rows"] == 50
    assert accounting.other_records["Posts.repaired"] == 3
    assert "Posts.rows" not in accounting.other_records
    assert accounting.other_records["rejected:vote:read:bad_value"] == 4


@pytest.mark.parametrize(("posts", "words"), [(1, "1 post was"), (1200, "1,200 posts were")])
def test_a_run_says_how_many_posts_it_repaired(posts: int, words: str) -> None:
    accounting = msgspec.structs.replace(
        add_up(RESULT), other_records={"Posts.repaired": posts, "Votes.rows": 1}
    )
    manifest = Manifest(
        pair_schema_version="1.0.0",
        recipe={},
        versions={},
        inputs=(),
        accounting=accounting,
        publishable=True,
        shards=(),
    )
    [line] = dataset_warnings(manifest)
    assert line.startswith(f"{words} repaired")


@pytest.mark.parametrize(
    ("stage", "key", "amount", "message"),
    [
        ("read", "Posts.rows", 1, "read: 21 posts came in, 20 are accounted for"),
        ("assemble", "posts", -1, "assemble: 19 posts came in, 18 are accounted for"),
        ("dedup", "posts", 1, "dedup: 14 posts came in, 15"),
        ("pair", "posts", -1, "8 posts were to be written, 9 were"),
        ("duplicates", "duplicates", 1, "3 rows were to be written, 2 were"),
        ("read", "Votes.up", -1, "Votes: 50 rows were read, 49 are accounted for"),
        ("rejected", "rejected:post:filter:empty", 1, "14 rows were to be written, 13 were"),
    ],
)
def test_a_lost_or_doubled_record_fails_the_run(stage, key, amount, message) -> None:
    with pytest.raises(AccountingError, match=message):
        add_up(change_count(stage, key, amount))


def test_a_missing_shard_fails_the_run() -> None:
    with pytest.raises(AccountingError, match="9 posts were to be written, 6 were"):
        add_up(msgspec.structs.replace(RESULT, shards=(RESULT.shards[0], *RESULT.shards[2:])))


def test_a_missing_duplicates_table_fails_the_run() -> None:
    with pytest.raises(AccountingError, match="dedup: 14 posts came in, 12"):
        add_up(msgspec.structs.replace(RESULT, shards=(*RESULT.shards[:2], RESULT.shards[3])))
