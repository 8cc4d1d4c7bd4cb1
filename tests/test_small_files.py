"""Small files of others: what is refused, in which words, and before it costs anything."""

import ast
import gzip
import os
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.manifest import ManifestError, decode_manifest
from schemas.small_files import (
    MAX_DEPTH,
    LineError,
    SmallFileError,
    SpecialFileError,
    decode_json,
    decode_lenient_json,
    decode_text,
    decode_toml,
    fault_of,
    open_rows,
    read_json_lines,
    read_small,
    read_stream,
)
from schemas.small_yaml import MAX_YAML_BYTES, MAX_YAML_VALUES, decode_yaml

ROOT = Path(__file__).parents[1]


def bomb(opened: str, between: str, closed: str, levels: int = 12) -> str:
    """A few hundred bytes that stand for nine to the power of ``levels`` values."""
    lines = [f"k0: &k0 {opened}{between.join(['x'] * 9)}{closed}"]
    for level in range(1, levels):
        inner = between.join([f"*k{level - 1}"] * 9)
        lines.append(f"k{level}: &k{level} {opened}{inner}{closed}")
    return "\n".join(lines)


def nested(depth: int, opened: str = "[", closed: str = "]") -> str:
    return opened * depth + closed * depth


MERGES = "k0: &k0 {a: 1, b: 2}\n" + "\n".join(
    f"k{n}: &k{n} {{<<: [{', '.join([f'*k{n - 1}'] * 9)}]}}" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb("[", ", ", "]"), f"more than {MAX_YAML_VALUES:,} values"),
        (
            "- " + bomb("[", ", ", "]").replace("\n", "\n- "),
            f"more than {MAX_YAML_VALUES:,} values",
        ),
        (MERGES, f"more than {MAX_YAML_VALUES:,} values"),
        ("a: &a [1, *a]", "line 1, column 11 stands inside of its own anchor"),
        ("a: &a\n  b: *a", "line 2, column 6 stands inside of its own anchor"),
        (nested(MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} deep at line 1, column 65"),
        (nested(4_000), "nested more than"),
        ("a: " + nested(300, "{a: ", "}"), "nested more than"),
        ("? " * 2_000, "nested more than"),
        ("- " * 2_000, "nested more than"),
        ("seed: !!int ''", "'' at line 1, column 7 is not an integer"),
        ("seed: !!int '0x'", "is not an integer"),
        ("a:\n  seed: !!float x", "'x' at line 2, column 9 is not a number"),
        ("drop: !!bool maybe", "'maybe' at line 1, column 7 is not a truth value"),
        ("when: !!timestamp soon", "'soon' at line 1, column 7 is not a date"),
        ("when: 2024-02-31", "'2024-02-31' at line 1, column 7 is not a date"),
        ("when: 2024-02-01T25:00:00", "is not a date"),
        ("seed: " + "7" * 5_000, "at line 1, column 7 is not an integer"),
        ("seed: 0x" + "f" * 5_000, "is not an integer"),
        ("seed: 0b" + "1" * 5_000, "is not an integer"),
        ("a: !!binary AAAA", "the tag '!!binary' at line 1, column 4; only plain values"),
        ("a: !!python/object/apply:os.getcwd []", "only plain values are read"),
        ("a: !!set {x}", "only plain values are read"),
        ("a: !mine x", "the tag '!mine'"),
        ('a: "\\uDC00"', "half of a surrogate pair at line 1, column 4"),
        ("a: 'x", "not valid YAML at line 1"),
        ("a: b: c", "not valid YAML at line 1, column 5"),
        ("? [a]\n: b", "not valid YAML at line 1"),
        ("<<: 1", "not valid YAML"),
        ("a: 1\n---\nb: 1", "not valid YAML at line 2"),
        ("a: *b", "not valid YAML at line 1, column 4"),
        ("a: x\x02", "character 5 is a control character"),
        ("#" * (MAX_YAML_BYTES + 1), f"larger than {MAX_YAML_BYTES:,} bytes"),
    ],
)
def test_yaml_that_is_refused(text: str, said: str) -> None:
    started = time.process_time()
    with pytest.raises(SmallFileError) as raised:
        decode_yaml(text.encode())
    assert said in str(raised.value)
    assert time.process_time() - started < 10


def test_yaml_that_is_read() -> None:
    text = "a: [1, 2.5, yes, null]\nb: &b {c: 2024-01-31}\nd: *b\n1: x\n"
    then = {"c": date(2024, 1, 31)}
    assert decode_yaml(text) == {"a": [1, 2.5, True, None], "b": then, "d": then, 1: "x"}
    assert decode_yaml(b"\xef\xbb\xbfa: 1") == {"a": 1}
    assert decode_yaml(b"") is None
    assert decode_yaml(nested(MAX_DEPTH)) is not None
    many = "\n".join(f"k{number}: {number}" for number in range(2_000))
    assert len(decode_yaml(many)) == 2_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON: it is empty"),
        (b" \n", "not valid JSON: it is empty"),
        (b'{"a":\n  1,}', "not valid JSON at line 2, column 5"),
        (b"{'a': 1}", "not valid JSON at line 1, column 2"),
        (b"[1] 2", "not valid JSON at line 1, column 5"),
        (b"\xff\xfe{\0}\0", "not UTF-8 at byte 1"),
        (b'{"a": "\xe9"}', "not UTF-8 at byte 8"),
        (b'{"a": NaN}', "it holds NaN"),
        (b'{"a": -Infinity}', "it holds -Infinity"),
        (b'["\\ud83d"]', "half of a surrogate pair"),
        (nested(MAX_DEPTH + 1).encode(), f"nested more than {MAX_DEPTH} deep"),
        (nested(100_000).encode(), f"nested more than {MAX_DEPTH} deep"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested more than"),
        (b'["\\"", "' + b"[" * 80 + b'"' + b",[" * 70, "nested more than"),
        (b"[" + b"[]," * 3_000_000 + b"[]]", "more than 2,000,000 values"),
        (b"[" + b"1" * 5_000 + b"]", "out of range"),
        (b"[1e999]", "out of range"),
    ],
)
def test_json_that_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(SmallFileError) as raised:
        decode_json(content)
    assert said in str(raised.value)


class Figures(msgspec.Struct):
    counts: dict[str, int]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"counts": {"a": "1"}}', "$.counts"),
        (b'{"counts": []}', "$.counts"),
        (b"{}", "counts"),
        (b"[]", "object"),
    ],
)
def test_json_of_another_type_is_told_with_its_place(content: bytes, place: str) -> None:
    with pytest.raises(SmallFileError) as raised:
        decode_json(content, Figures)
    assert place in str(raised.value)


def test_json_that_is_read() -> None:
    assert decode_json(b"\xef\xbb\xbf[1]") == [1]
    brackets = b'{"a": "' + b"[{" * 500 + b'"}'
    assert decode_json(brackets) == {"a": "[{" * 500}
    assert decode_json(b"[" + b"[]," * 200 + b"[]]") == [[]] * 201
    assert decode_json(nested(MAX_DEPTH).encode())
    assert decode_json(b'{"counts": {"a": 1}, "more": [[1]]}', Figures).counts == {"a": 1}
    assert decode_lenient_json(b"[1, Infinity]") == [1, float("inf")]
    with pytest.raises(SmallFileError, match="nested"):
        decode_lenient_json(nested(200).encode())
    with pytest.raises(SmallFileError, match="out of range"):
        decode_lenient_json(b"1" * 5_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = ", "not valid TOML"),
        ("a = 1\na = 2", "not valid TOML"),
        ("a = " + nested(200), "nested more than"),
        ("a = " + nested(90, "{b = ", "}").replace("= }", "= 1}", 1), "nested more than"),
        ("a." * 30_000 + "b = 1", "nested more than"),
        ('"a" . ' * 500 + "b = 1", "nested more than"),
        ("[" + "a." * 500 + "b]", "nested more than"),
        ("x = {" + "a." * 500 + "b = 1}", "nested more than"),
        ("a = " + "1" * 5_000, "out of range"),
    ],
)
def test_toml_that_is_refused(text: str, said: str) -> None:
    started = time.process_time()
    with pytest.raises(SmallFileError) as raised:
        decode_toml(text.encode())
    assert said in str(raised.value)
    assert time.process_time() - started < 5


def test_toml_that_is_read() -> None:
    assert decode_toml(b"[a.b]\nc = 1.5\n") == {"a": {"b": {"c": 1.5}}}
    dotted = "1.2." * 100
    assert decode_toml(f'a = "{dotted}"'.encode()) == {"a": dotted}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Paths that are no regular files."""
    found = {name: tmp_path / name for name in ("pipe", "device", "folder", "loop", "nowhere")}
    os.mkfifo(found["pipe"])
    found["device"].symlink_to("/dev/zero")
    found["folder"].mkdir()
    found["loop"].symlink_to("loop")
    found["nowhere"].symlink_to("nothing")
    return found


@pytest.mark.parametrize(
    ("name", "said"), [("pipe", "a pipe"), ("device", "a device"), ("folder", "a folder")]
)
def test_what_is_no_regular_file_is_not_opened(
    places: dict[str, Path], name: str, said: str
) -> None:
    with pytest.raises(SpecialFileError) as raised:
        read_small(places[name])
    assert f"{places[name]}: is {said}, not a regular file" == str(raised.value)
    assert fault_of(raised.value) == f"is {said}, not a regular file"


def test_links_and_names_that_lead_nowhere(places: dict[str, Path]) -> None:
    for name in ("loop", "nowhere"):
        with pytest.raises(OSError, match=name):
            read_small(places[name])
    with pytest.raises(SpecialFileError, match="zero character"):
        read_small("a\0b")


def test_a_link_to_a_file_and_a_pipe_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_small(tmp_path / "link") == b"x"
    read, write = os.pipe()
    os.write(write, b"a: 1")
    os.close(write)
    assert read_small(f"/dev/fd/{read}", pipes=True) == b"a: 1"
    os.close(read)


def test_too_large_a_file_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 36)  # of which the disk holds nothing
    with pytest.raises(SmallFileError, match="larger than 1,000 bytes"):
        read_small(path, 1_000)
    path.write_bytes(b"x" * 1_000)
    assert len(read_small(path, 1_000)) == 1_000


def test_text_may_have_a_mark_and_must_be_utf8() -> None:
    assert decode_text("\ufeffé".encode()) == "é"
    with pytest.raises(SmallFileError, match="byte 3"):
        decode_text(b"ab\x80")


def test_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n\n[NaN]\n{"a"\n'))
    lines = read_json_lines(open_rows(path))
    assert next(lines) == (1, {"a": 1})
    assert next(lines)[0] == 3
    with pytest.raises(LineError) as raised:
        next(lines)
    assert (raised.value.line, str(raised.value)[:15]) == (4, "line 4: not JSO")


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:30] + b"\0" * 9 + b[39:]])
def test_damaged_compressed_data(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "rows.jsonl.gz"
    content = b"".join(b'{"a": "%d"}\n' % number for number in range(500))
    path.write_bytes(damage(gzip.compress(content)))
    with pytest.raises(SmallFileError, match="damaged or break off"):
        list(read_json_lines(open_rows(path)))
    with pytest.raises(SmallFileError, match="damaged or break off"):
        read_stream(open_rows(path))


MANIFEST: dict[str, Any] = {
    "manifest_version": "1.1.0",
    "pair_schema_version": "1.1.0",
    "recipe": {"seed": 0, "input": ["a=b"]},
    "versions": {},
    "inputs": [],
    "accounting": {
        "posts_read": 1,
        "posts_kept": 1,
        "duplicates": 0,
        "rejected": 0,
        "pairs": {"train": 1},
        "threads": {"train": 1},
        "stages": [],
        "other_records": {"rejected:vote:read:bad_value": 1},
    },
    "publishable": True,
    "shards": [],
}
SHARD = {"path": "data/a.parquet", "table": "data", "split": "train", "rows": 1, "bytes": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pair_schema_version": "new"}, "pair_schema_version"),
        ({"recipe": {"votes": {"a": 1}}}, "'votes' is no value of an option"),
        ({"recipe": {"input": [["a"]]}}, "'input' is no value of an option"),
        ({"accounting": {"pairs": {"train": -1}}}, "accounting.pairs"),
        ({"accounting": {"posts_read": 2**70}}, "accounting.posts_read"),
        ({"accounting": {"other_records": {"rejected:x": 1}}}, "not rejected:RECORD"),
        ({"shards": [SHARD | {"sha256": "x", "split": "none"}]}, "names the split 'none'"),
        ({"shards": [SHARD | {"sha256": "x", "split": None}]}, "names the split None"),
        ({"shards": [SHARD | {"sha256": "x", "rows": -1}]}, "shards[0].rows"),
        ({"shards": [SHARD | {"sha256": "x", "path": "../a.parquet"}]}, "not a valid path"),
    ],
)
def test_manifests_that_nothing_of_ours_writes(change: dict[str, Any], said: str) -> None:
    value = MANIFEST | change
    if "accounting" in change:
        value["accounting"] = MANIFEST["accounting"] | change["accounting"]
    encoded = repr(value).replace("'", '"').replace("True", "true").replace("None", "null")
    with pytest.raises(ManifestError) as raised:
        decode_manifest(encoded.encode())
    assert said.replace('"', "'") in str(raised.value)
    assert decode_manifest(msgspec.json.encode(MANIFEST)).publishable


PARSERS = {"json.load", "json.loads", "msgspec.json.decode", "tomllib.load", "tomllib.loads"}
PARSERS |= {"yaml.load", "yaml.safe_load", "yaml.full_load", "yaml.unsafe_load"}
READERS = {"read_text", "read_bytes"}

EXCEPTIONS = {
    "schemas/small_files.py": "the reader itself",
    # Rows of forums have readers of their own, which account for each row and have limits.
    "transforms/readers/formats/json_faults.py": "rows, of a depth that it has looked at",
    "transforms/readers/formats/recompress.py": "rows, which `prepare` copies",
    # What the same run has written this instant, in a folder of its own.
    "pipeline/console/progress.py": "counters of this run's workers",
    "pipeline/curate/finalize.py": "the result and the sample of this run",
    "pipeline/curate/staging.py": "the result of this run",
    "pipeline/commands/curate.py": "the report of the dataset that was finished this instant",
    "pipeline/commands/hydrate.py": "notes of this run's workers",
    "pipeline/commands/pull.py": "what was fetched this instant; its checksum is compared",
    "schemas/machine.py": "limits that the kernel states",
    "pipeline/runners/worker_processes.py": "the log of this run's workers",
    "pipeline/runners/flink/job_server.py": "the log of this run's job server",
    "pipeline/runners/flink/runner.py": "the log of this run's job server",
    "pipeline/runners/flink/rest.py": "answers of the cluster that the user has named",
    "transforms/hydrate/fill_texts.py": "results of this run's workers",
    "training/model/save.py": "config.json, written this instant",
    "training/scaling/grid.py": "the log of a run that it has started",
    # Read in whole by DatasetFolder.read_bytes, which has the limits.
    "pipeline/dataset/folder.py": "the folder's own reader",
    "pipeline/hub/publication.py": "by that reader",
    "pipeline/hub/with_exports.py": "by that reader",
    "dags/pretrain_on_new_version.py": "a variable of Airflow, no file",
    "dags/operators.py": "what our own command has printed",
}
"""Who may parse or read without the reader of small files, and why."""


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls_in(path: Path) -> set[str]:
    """Calls by which a file is read or parsed past the reader."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            if name in PARSERS or name.rpartition(".")[2] in READERS:
                found.add(name)
    return found


def test_small_files_are_read_by_their_reader_alone() -> None:
    seen = {}
    for layer in ("schemas", "transforms", "pipeline", "dags", "training"):
        for path in sorted((ROOT / layer).rglob("*.py")):
            if calls := calls_in(path):
                seen[path.relative_to(ROOT).as_posix()] = calls
    assert {name: calls for name, calls in seen.items() if name not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() - seen.keys() <= {"schemas/small_files.py"}, "exceptions for nothing"


def test_a_compressed_file_is_closed_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"1\n"))
    with open_rows(path) as opened:
        assert isinstance(opened, gzip.GzipFile)
        inner = opened.fileobj
        assert list(read_json_lines(opened)) == [(1, 1)]
    assert inner.closed
