"""Tables in JSON and Parquet: every row is read or told, whatever form and damage a file has."""

import datetime
import io
import json
import random
import re
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.audit import Reason, Rejected
from tests.examples import examples
from transforms.readers.base import ForumFile
from transforms.readers.custom_threads.rows import parse_thread
from transforms.readers.formats import arrow_values, parquet_rows
from transforms.readers.formats.arrow_values import plain_values
from transforms.readers.formats.parquet_rows import Row
from transforms.readers.formats.tables import is_document, read_table
from transforms.readers.formats.values import OtherValue

MOMENT = datetime.datetime(2024, 5, 31, 18, 30)
MOMENT_MS = 1_717_180_200_000
DAY_MS = MOMENT_MS - 66_600_000
ID = bytes(range(16))
ID_TEXT = str(uuid.UUID(bytes=ID))


def file_of(path: Path) -> ForumFile:
    return ForumFile(kind="threads", site="", path=str(path), size=path.stat().st_size)


def read(folder: Path, content: bytes, name: str = "t.jsonl") -> list[tuple[int, Row] | Rejected]:
    (folder / name).write_bytes(content)
    return list(read_table(file_of(folder / name)))


def rows_of(items: list[tuple[int, Row] | Rejected]) -> list[Row]:
    return [item[1] for item in items if not isinstance(item, Rejected)]


def rejects_of(items: list[tuple[int, Row] | Rejected]) -> list[Rejected]:
    return [item for item in items if isinstance(item, Rejected)]


def parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


# Arrow types

ARRAYS: dict[str, tuple[pa.Array, list[Any]]] = {
    **{
        f"timestamp {unit} {zone}": (
            pa.array([MOMENT, None], pa.timestamp(unit, zone)),
            [MOMENT_MS, None],
        )
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC")
    },
    "timestamp elsewhere": (
        pa.array([MOMENT_MS], pa.timestamp("ms", "Asia/Kolkata")),  # an instant, so shown there
        [MOMENT_MS],
    ),
    "date32": (pa.array([MOMENT.date(), None]), [DAY_MS, None]),
    "date64": (pa.array([MOMENT.date(), None], pa.date64()), [DAY_MS, None]),
    "float16": (pa.array(np.array([1.5, np.nan], dtype=np.float16)), [1.5, None]),
    "float": (pa.array([7.0, float("nan"), float("inf"), None]), [7.0, None, float("inf"), None]),
    "decimal32": (pa.array([Decimal("5.0")], pa.decimal32(5, 1)), [Decimal(5)]),
    "decimal64": (pa.array([Decimal("5")], pa.decimal64(15, 0)), [Decimal(5)]),
    "decimal128": (pa.array([Decimal("5"), None], pa.decimal128(38, 0)), [Decimal(5), None]),
    "decimal256": (pa.array([Decimal("5.00")], pa.decimal256(60, 2)), [Decimal(5)]),
    "uint64": (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
    "large string": (pa.array(["a", None], pa.large_string()), ["a", None]),
    "string view": (pa.array(["a", None], pa.string_view()), ["a", None]),
    "binary": (pa.array([b"a", None]), [b"a", None]),
    "binary view": (pa.array([b"a", None], pa.binary_view()), [b"a", None]),
    "16 bytes": (pa.array([ID, None], pa.binary(16)), [uuid.UUID(bytes=ID), None]),
    "uuid": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([ID, None], pa.binary(16))),
        [uuid.UUID(bytes=ID), None],
    ),
    "bool8": (
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, None], pa.int8())),
        [False, True, None],
    ),
    "json": (
        pa.ExtensionArray.from_storage(pa.json_(), pa.array(['[{"a": NaN}]', "{", None])),
        [[{"a": None}], "{", None],
    ),
    "null": (pa.nulls(2), [None, None]),
    "list": (pa.array([[MOMENT], None, []]), [[MOMENT_MS], None, []]),
    "large list": (
        pa.array([[MOMENT], None], pa.large_list(pa.timestamp("us"))),
        [[MOMENT_MS], None],
    ),
    "list view": (
        pa.array([[1, 2], None, [], [3]], pa.list_view(pa.int8())),
        [[1, 2], None, [], [3]],
    ),
    "large list view": (
        pa.array([[MOMENT], None, [MOMENT]], pa.large_list_view(pa.timestamp("us"))),
        [[MOMENT_MS], None, [MOMENT_MS]],
    ),
    "list of fixed size": (
        pa.array([[MOMENT, None], [None, MOMENT]], pa.list_(pa.timestamp("us"), 2)),
        [[MOMENT_MS, None], [None, MOMENT_MS]],
    ),
    "map": (
        pa.array([[("a", MOMENT)], None, []], pa.map_(pa.string(), pa.timestamp("us"))),
        [{"a": MOMENT_MS}, None, {}],
    ),
    "struct": (
        pa.array([{"at": MOMENT, "in": [{"id": 7.0}]}, None]),
        [{"at": MOMENT_MS, "in": [{"id": 7.0}]}, None],
    ),
    "dictionary": (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    "dictionary of times": (pa.array([MOMENT] * 3).dictionary_encode(), [MOMENT_MS] * 3),
    "large dictionary": (
        pa.DictionaryArray.from_arrays(pa.array([2, None], pa.int8()), ["a", "b", "c"]),
        ["c", None],
    ),
    "run ends": (pc.run_end_encode(pa.array([1.0, 1.0, None])), [1.0, 1.0, None]),
    "duration": (pa.array([5, None], pa.duration("s")), [arrow_values.DURATION, None]),
    "time32": (pa.array([5, None], pa.time32("s")), [arrow_values.TIME_OF_DAY, None]),
    "time64": (pa.array([5, None], pa.time64("ns")), [arrow_values.TIME_OF_DAY, None]),
    "interval": (
        pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
        [arrow_values.INTERVAL, None],
    ),
    "bytes of another size": (
        pa.array([b"abc", None], pa.binary(3)),
        [OtherValue("binary data of 3 bytes"), None],
    ),
    "extension": (
        pa.ExtensionArray.from_storage(
            pa.opaque(pa.int32(), "a", "b"), pa.array([1, None], pa.int32())
        ),
        [arrow_values.EXTENSION, None],
    ),
    "union": (
        pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.nulls(2)]),
        [arrow_values.UNION] * 2,
    ),
}
NOT_IN_PARQUET = {"run ends", "interval", "union"}
NOT_IN_LISTS = {"string view", "binary view"}
"""pyarrow does not write them."""


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_values_of_every_arrow_type(tmp_path: Path, name: str) -> None:
    array, expected = ARRAYS[name]
    assert plain_values(array) == expected
    assert plain_values(array[1:]) == expected[1:]
    if name in NOT_IN_PARQUET:
        return
    items = read(tmp_path, parquet(pa.table({"alone": array})), "t.parquet")
    assert [row["alone"] for row in rows_of(items)] == expected
    if name in NOT_IN_LISTS:
        return
    nested = pa.StructArray.from_arrays([array], names=["inside"])
    lists = pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), nested)
    items = read(tmp_path, parquet(pa.table({"lists": lists})), "t.parquet")
    assert rows_of(items) == [{"lists": [{"inside": value} for value in expected]}]


def test_a_list_of_fixed_size_that_is_null_is_told(tmp_path: Path) -> None:
    array = pa.array([[1, 2], None], pa.list_(pa.int8(), 2))
    [reject] = rejects_of(read(tmp_path, parquet(pa.table({"x": array})), "t.parquet"))
    assert "a list of fixed size is null" in reject.detail


@given(
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3), min_size=1),
    st.sampled_from([pa.list_, pa.large_list, pa.list_view, pa.large_list_view]),
    st.data(),
)
def test_slices_of_lists_of_every_kind(rows: list[Any], kind: Any, data: Any) -> None:
    start = data.draw(st.integers(0, len(rows)))
    array = pa.array(rows, kind(pa.int8()))
    assert plain_values(array[start:]) == rows[start:]
    assert plain_values(array[:start]) == rows[:start]


def test_times_of_96_bits_reach_as_far_as_others(tmp_path: Path) -> None:
    far = datetime.datetime(9999, 12, 31)  # what Spark writes for a time without an end
    table = pa.table({"at": pa.array([MOMENT, far], pa.timestamp("us"))})
    items = read(tmp_path, parquet(table, use_deprecated_int96_timestamps=True), "t.parquet")
    assert [row["at"] for row in rows_of(items)] == [MOMENT_MS, 253_402_214_400_000]


def thread(**fields: Any) -> Row:
    answers = [{"id": n, "text": f"answer {n}", "score": n} for n in (1, 2)]
    row = {"site": "f.example", "id": 7, "text": "How?", "license": "MIT", "responses": answers}
    return row | fields


THREAD_COLUMNS = [
    ("id", "uuid", ID_TEXT),
    ("id", "decimal128", "5"),
    ("id", "uint64", str(2**64 - 1)),
    ("id", "float", "7"),
    ("id", "string view", "a"),
    ("id", "binary", "a"),
    ("id", "dictionary", "a"),
    ("created_at", "timestamp ns UTC", MOMENT_MS),
    ("created_at", "date32", DAY_MS),
    ("score", "decimal256", 5),
    ("score", "decimal32", 5),
    ("nsfw", "bool8", False),
]


@pytest.mark.parametrize(("field", "name", "value"), THREAD_COLUMNS)
def test_columns_of_other_types_are_read(field: str, name: str, value: Any) -> None:
    parsed = parse_thread(thread(**{field: plain_values(ARRAYS[name][0])[0]}))
    assert parsed.problems == [] and parsed.prompt is not None
    found = getattr(parsed.prompt, field)
    assert found == (f"f.example:{value}" if field == "id" else value)


@pytest.mark.parametrize(
    ("field", "name", "told"),
    [
        ("id", "duration", "id: a duration: must be text or an integer"),
        ("id", "bytes of another size", "id: binary data of 3 bytes: must be text or an integer"),
        ("id", "timestamp s UTC", "id: a time: must be text or an integer"),
        ("score", "duration", "score: a duration: must be an integer"),
        ("score", "date32", "score: a time: must be an integer"),
        ("created_at", "time32", "created_at: a time of day: must be ISO 8601"),
        ("created_at", "duration", "created_at: a duration: must be ISO 8601"),
        ("title", "interval", "title: an interval of the calendar: must be text"),
        ("title", "uuid", f"title: {ID_TEXT}: must be text"),
        ("tags", "union", "tags: a value of an Arrow union: must be a list"),
        ("nsfw", "extension", "nsfw: a value of an Arrow extension type: must be true or false"),
        ("responses", "map", "responses: an object: must be a list"),
    ],
)
def test_columns_that_make_no_sense_are_refused_by_name(field: str, name: str, told: str) -> None:
    parsed = parse_thread(thread(**{field: plain_values(ARRAYS[name][0])[0]}))
    assert [str(problem)[: len(told)] for problem in parsed.problems] == [told]


def test_ids_of_a_column_with_gaps_are_those_of_one_without() -> None:
    answers = [{"id": 10.0, "text": "a", "score": 3.0, "author_id": 19.0, "parent": None}]
    answers.append({"id": "11.0", "text": "b", "score": "2", "author_id": "20", "parent": 10})
    parsed = parse_thread(thread(responses=answers, accepted=Decimal(11)))
    assert parsed.bad_responses == []
    first, second = (post for post, _ in parsed.responses)
    assert (first.id, first.author_id, first.score) == ("f.example:7#10", "f.example:u19", 3)
    assert (second.parent_id, second.accepted) == (first.id, True)


# What other tools write


@pytest.mark.parametrize(
    "options",
    [
        {"date_format": "epoch", "date_unit": "s"},
        {"date_format": "epoch", "date_unit": "ms"},
        {"date_format": "epoch", "date_unit": "us"},
        {"date_format": "epoch", "date_unit": "ns"},
        {"date_format": "iso", "date_unit": "s"},
        {"date_format": "iso", "date_unit": "ns"},
    ],
)
@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.filterwarnings("ignore:'epoch' date format")
def test_exports_of_pandas(tmp_path: Path, options: dict[str, str], lines: bool) -> None:
    pd = pytest.importorskip("pandas")
    path = tmp_path / "t.json"
    frame = pd.DataFrame(
        {"id": [1, None], "created_at": [pd.Timestamp(MOMENT, tz="UTC"), None], "score": [3, None]}
    )
    frame.to_json(path, orient="records", lines=lines, **options)
    first, second = rows_of(list(read_table(file_of(path))))
    parsed = parse_thread(thread(**first))
    assert parsed.prompt is not None
    assert (parsed.prompt.id, parsed.prompt.created_at) == ("f.example:1", MOMENT_MS)
    assert second == {"id": None, "created_at": None, "score": None}


def test_nan_and_numbers_out_of_range_cost_no_row(tmp_path: Path) -> None:
    lines = [json.dumps(thread(title=float("nan"), x=[float("nan"), 1])).encode()]
    lines.append(json.dumps(thread(score=float("inf"))).encode())
    lines.append(b'{"score":-1e999,"id":' + b"9" * 500 + b"}")
    expected = [thread(title=None, x=[None, 1]), thread(score=float("inf"))]
    for content in (b"\n".join(lines), b"[" + b",\n".join(lines) + b"]"):
        *rows, last = rows_of(read(tmp_path, content))
        assert rows == expected
        assert last["score"] == float("-inf")
    told = str(parse_thread(expected[1]).problems[0])
    assert told.startswith("score: Infinity: must be an integer")


# Lines and documents

GOOD = b'{"id":1}'
MORE = b'{"id":2,"tags":["a",[1,{"b":[]}]]}'
PRETTY = json.dumps([{"id": 1, "tags": ["a"]}, {"id": 2}], indent=2).encode()


@pytest.mark.parametrize(
    ("content", "ids", "bad"),
    [
        (b"[damaged\n" + GOOD + b"\n" + MORE, [1, 2], ["t.jsonl:1"]),
        (b"[1,2]\n" + GOOD + b"\n" + MORE, [1, 2], ["t.jsonl:1"]),
        (b"[]\n" + GOOD + b"\n" + MORE, [1, 2], ["t.jsonl:1"]),
        (b'[{"id":9},{"te\n' + GOOD + b"\r\n" + MORE + b"\r\n", [1, 2], ["t.jsonl:1"]),
        (b'["cut\n' + GOOD, [1], ["t.jsonl:1"]),
        (b"[\n" + GOOD + b"\n" + MORE + b"\n", [1, 2], ["t.jsonl:1"]),
        (b"\xef\xbb\xbf[x\n\n" + GOOD + b"\n" + MORE, [1, 2], ["t.jsonl:1"]),
        (b"{cut\n" + GOOD, [1], ["t.jsonl:1"]),
        (b'{"id":7,"te\n' + GOOD + b"\n" + MORE, [1, 2], ["t.jsonl:1"]),
        (b"<html>\n" + GOOD, [1], ["t.jsonl:1"]),
        (b"\0\0\0\n" + GOOD, [1], ["t.jsonl:1"]),
        (GOOD + b"\n[1]\n" + MORE, [1, 2], ["t.jsonl:2"]),
        (GOOD + b"\n\n \r\n" + MORE + b"\n\n", [1, 2], []),
        (b"\xef\xbb\xbf" + GOOD + b"\r\n\xef\xbb\xbf" + MORE + b"\r\n", [1, 2], []),
        (b"[" + GOOD + b"," + MORE + b"]", [1, 2], []),
        (b"[" + GOOD + b",\n" + MORE + b"]\n", [1, 2], []),
        (b"[\n" + GOOD + b"\n,\n" + MORE + b"\n]\n", [1, 2], []),
        (b"\xef\xbb\xbf\r\n [\r\n" + GOOD + b"\r\n]", [1], []),
        (PRETTY, [1, 2], []),
        (PRETTY.replace(b"\n", b"\r\n"), [1, 2], []),
        (b"[" + GOOD + b',7,"x",null,' + MORE + b"]", [1, 2], [f"t.jsonl:{n}" for n in (2, 3, 4)]),
        (b"[]", [], []),
        (b"[\n]\n", [], []),
        (json.dumps({"id": 1, "tags": ["a"]}, indent=2).encode(), [1], []),
        (b'{\n"id":1\n}\n', [1], []),
        (b'[{"id":NaN},\n{"id":2}]', [None, 2], []),
        (b'[{"id":"\\ud83d"}]', ["\ufffd"], []),
        (b'[{"id":1,"id":2}]', [2], []),
        (b"", [], []),
        (b"\n\n", [], []),
    ],
)
def test_lines_and_documents_are_told_apart(
    tmp_path: Path, content: bytes, ids: list[Any], bad: list[str]
) -> None:
    items = read(tmp_path, content)
    assert [row["id"] for row in rows_of(items)] == ids
    assert [item.id for item in rejects_of(items)] == bad


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (PRETTY[:-5], "breaks off"),
        (b"[" + GOOD + b",\n" + MORE + b",\n]", "byte 48: there is nothing behind a comma"),
        (b"[" + GOOD + b"\n,{'id':2}]", "notation of Python"),
        (b"[\n%b,\n%b\n%b,\n%b,\n%b\n]" % ((GOOD,) * 5), "not JSON at byte 22"),
        (b"[" * 600, "nested too deeply"),
        (b"[" * 600 + b"]" * 600, "nested too deeply"),
        ("[\n{}]".encode("utf-16"), "UTF-16"),
        ("[{}]".encode("utf-16-le"), "UTF-16"),
    ],
)
def test_a_damaged_document_is_one_reject(tmp_path: Path, content: bytes, told: str) -> None:
    [reject] = rejects_of(read(tmp_path, content))
    assert (reject.id, reject.record) == ("t.jsonl", "file")
    assert reject.reason is Reason.UNREADABLE_FILE
    assert told in reject.detail


@given(st.binary(max_size=60) | st.text('[]{},:"a1 \n\\', max_size=40).map(str.encode))
def test_any_beginning_is_lines_or_a_document(head: bytes) -> None:
    assert is_document(head) in (True, False)


@pytest.mark.parametrize("name", ["t.arrow", "t.parquet", "t.jsonl"])
def test_another_kind_of_table_is_named(tmp_path: Path, name: str) -> None:
    sink = io.BytesIO()
    table = pa.table({"id": [1, 2]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    [reject] = rejects_of(read(tmp_path, sink.getvalue(), name))
    assert (reject.record, reject.reason) == ("file", Reason.UNREADABLE_FILE)
    assert reject.detail.startswith("it is an Arrow or Feather file, which is not read")


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.TSV", "pairs.csv.gz"])
def test_delimited_text_is_told_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"prompt,chosen,rejected\n" + b"a,b,c\n" * 9)
    [reject] = read_table(ForumFile(kind="pairs", site="", path=str(path), size=99))
    assert isinstance(reject, Rejected)
    assert (reject.reason, reject.record) == (Reason.UNREADABLE_FILE, "file")
    assert reject.detail.startswith("it is CSV, which is not read")


# Damage


def damaged_levels(folder: Path) -> ForumFile:
    """A Parquet file whose description says that a column has no nulls, and counts them."""
    content = parquet(pa.table({"id": [1, 2], "text": ["a", None]}), write_page_index=True)
    optional, required = b"\x25\x02\x18\x04text", b"\x25\x00\x18\x04text"
    assert content.count(optional) == 1
    path = folder / "levels.parquet"
    path.write_bytes(content.replace(optional, required))
    return file_of(path)


READ = """
import sys
from pathlib import Path
from transforms.readers.base import ForumFile
from transforms.readers.formats.tables import read_table
for path in sorted(Path(sys.argv[1]).glob("*.parquet")):
    file = ForumFile(kind="threads", site="", path=str(path), size=path.stat().st_size)
    for item in read_table(file):
        pass
    print(path.name, flush=True)
"""


def read_in_a_process(folder: Path) -> list[str]:
    """Names of the Parquet files that were read; fewer where one ended the process."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, timeout=200
    )
    return done.stdout.split()


def test_levels_that_contradict_each_other_do_not_end_the_process(tmp_path: Path) -> None:
    file = damaged_levels(tmp_path)
    assert read_in_a_process(tmp_path) == [file.name]
    items = list(read_table(file))
    assert len(rows_of(items)) + len(rejects_of(items)) > 0


def test_no_damage_to_parquet_ends_the_process(tmp_path: Path) -> None:
    chance = random.Random(17)
    rows = [thread(id=n, title="word " * n, score=n / 2, created_at=MOMENT) for n in range(40)]
    table = pa.Table.from_pylist(rows)
    for number in range(examples(240)):
        options = {"compression": chance.choice(["none", "snappy", "zstd", "gzip"])}
        content = bytearray(parquet(table, **options, write_page_index=number % 2 == 0))
        footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        for _ in range(chance.choice([1, 1, 2, 8])):
            low = footer if chance.random() < 0.7 else 4
            place = chance.randrange(low, len(content) - 8)
            content[place] ^= 1 << chance.randrange(8)
        (tmp_path / f"{number:03}.parquet").write_bytes(content)
    names = [f"{number:03}.parquet" for number in range(examples(240))]
    assert read_in_a_process(tmp_path) == names


def test_a_row_of_parquet_may_not_be_too_large(tmp_path: Path) -> None:
    texts = ["a", "b" * 3000, "c", "d" * 900]
    shared = pa.array(["x" * 3000] * 4).dictionary_encode()
    table = pa.table({"text": texts, "shared": shared})
    with mock.patch.object(parquet_rows, "MAX_LINE_BYTES", 1000):
        items = read(tmp_path, parquet(table), "t.parquet")
    assert [row["text"][0] for row in rows_of(items)] == ["a", "c", "d"]
    [reject] = rejects_of(items)
    assert (reject.id, reject.reason) == ("t.parquet:2", Reason.ROW_TOO_LARGE)
    assert re.fullmatch(r"\d+ bytes, 1000 allowed", reject.detail)
