"""Large archives of JSON lines, cut into parts."""

import bz2
import gzip
import json
import lzma
import re
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.commands import prepare as preparing
from pipeline.commands.prepare import (
    PrepareOptions,
    advise,
    find_files,
    parse_size,
    prepare_files,
    summary,
)
from pipeline.curate.prepared import PREPARE_NAME
from pipeline.errors import UsageError
from schemas.exit_codes import ExitCode
from schemas.post import Post
from tests.dumps import DUMPS
from transforms.readers.base import ForumFile, ReadRules
from transforms.readers.custom_threads.reader import THREADS
from transforms.readers.formats.recompress import (
    PartsJob,
    PartsResult,
    make_parts,
    part_name,
    select_lines,
    split_name,
)
from transforms.readers.reddit.reader import REDDIT

REDDIT_DUMPS = DUMPS.parent / "reddit"
needs_reddit = pytest.mark.skipif(
    not REDDIT_DUMPS.is_dir(), reason="real Reddit dumps are not beside this checkout"
)
COMPRESSORS = {
    ".zst": zstandard.ZstdCompressor().compress,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".jsonl": bytes,
}


def line(number: int, subreddit: str = "AskMen", **fields: object) -> bytes:
    record = {"id": f"c{number}", "subreddit": subreddit, "body": "word " * (number % 50), **fields}
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def unpacked(path: Path) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())


def cut(path: Path, folder: Path, part_bytes: int, *communities: str) -> PartsResult:
    folder.mkdir(exist_ok=True)
    wanted = communities or None
    return make_parts(
        PartsJob(path=str(path), folder=str(folder), part_bytes=part_bytes, communities=wanted)
    )


def contents(folder: Path, result: PartsResult) -> list[bytes]:
    assert sorted(path.name for path in folder.iterdir()) == [part.name for part in result.parts]
    return [unpacked(folder / part.name) for part in result.parts]


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RC_2019-10.zst", "RC_2019-10.part-00003.zst"),
        ("RS_2006-01.bz2", "RS_2006-01.part-00003.zst"),
        ("AskMen_submissions.ZST", "AskMen_submissions.part-00003.zst"),
        ("threads.jsonl.gz", "threads.part-00003.jsonl.zst"),
        ("threads.v2.ndjson", "threads.v2.part-00003.ndjson.zst"),
        ("RC_2019-10", "RC_2019-10.part-00003.zst"),
    ],
)
def test_names_of_parts(name: str, expected: str) -> None:
    assert part_name(name, 3) == expected
    assert split_name(expected)[0].startswith(split_name(name)[0])


def test_a_part_is_a_file_of_its_source() -> None:
    for source, name in ((REDDIT, "RC_2019-10.zst"), (THREADS, "own.jsonl.gz")):
        assert part_name(name, 0).endswith(source.suffixes)
    assert REDDIT.refuse(part_name("RC_2023-09.zst", 0)) is not None


# Cutting


@given(
    st.lists(st.sampled_from([b"{}", b'{"a":1}', b"{}\r", b'{"t":"' + b"x" * 300 + b'"}', b""])),
    st.integers(1, 400),
    st.booleans(),
    st.integers(1, 64),
)
def test_lines_stay_as_they_are(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    part_bytes: int,
    ended: bool,
    chunk: int,
) -> None:
    content = b"\n".join([b"{}", *lines]) + b"\n" * ended
    folder = tmp_path_factory.mktemp("cut")
    source = folder / "RC_2019-10.jsonl"
    source.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        # However the content comes in, the parts are the same.
        patch.setattr(
            "transforms.readers.formats.compressed.CompressedFile.chunks",
            lambda self: (content[i : i + chunk] for i in range(0, len(content), chunk)),
        )
        patch.setattr("transforms.readers.formats.recompress._check_start", lambda chunk: None)
        result = cut(source, folder / "parts", part_bytes)
    parts = contents(folder / "parts", result)
    assert b"".join(parts) == content
    for part in parts[:-1]:
        body = part[:-1]
        assert part.endswith(b"\n") and len(part) >= part_bytes
        assert len(body[: body.rfind(b"\n") + 1]) < part_bytes, "cut at the first chance"
    assert all(parts)
    assert (
        result.lines_in == result.lines_out == content.count(b"\n") + (not content.endswith(b"\n"))
    )
    assert result.content_bytes == len(content) and result.lines_unreadable is None


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_every_compression_is_read(tmp_path: Path, suffix: str) -> None:
    content = b"".join(line(number) for number in range(500))
    source = tmp_path / f"RC_2019-10{suffix}"
    source.write_bytes(COMPRESSORS[suffix](content))
    result = cut(source, tmp_path / "parts", 10_000)
    parts = contents(tmp_path / "parts", result)
    assert b"".join(parts) == content and len(parts) > 3
    assert result.parts[0].name.startswith("RC_2019-10.part-00000.")
    assert [part.bytes for part in result.parts] == [
        (tmp_path / "parts" / part.name).stat().st_size for part in result.parts
    ]
    before = [(tmp_path / "parts" / part.name).read_bytes() for part in result.parts]
    assert cut(source, tmp_path / "parts", 10_000) == result
    assert [(tmp_path / "parts" / part.name).read_bytes() for part in result.parts] == before


def test_a_file_that_breaks_off_gives_what_is_there(tmp_path: Path) -> None:
    content = b"".join(line(number) for number in range(2_000))
    whole = gzip.compress(content)
    (tmp_path / "RC_2019-10.gz").write_bytes(whole[: len(whole) // 2])
    result = cut(tmp_path / "RC_2019-10.gz", tmp_path / "parts", 10_000)
    assert "break" in result.problem
    got = b"".join(contents(tmp_path / "parts", result))
    assert got and content.startswith(got)
    assert result.lines_in == got.count(b"\n") + (not got.endswith(b"\n"))
    chosen = cut(tmp_path / "RC_2019-10.gz", tmp_path / "chosen", 10_000, "askmen")
    assert chosen.problem == result.problem
    last = got[got.rfind(b"\n") + 1 :]
    assert b"".join(contents(tmp_path / "chosen", chosen)) == got[: got.rfind(b"\n") + 1]
    assert chosen.lines_unreadable == (b'"AskMen"' in last)
    assert chosen.lines_out == chosen.lines_in - bool(last) == got.count(b"\n")


@pytest.mark.parametrize(
    "content",
    [b"[\n{}\n]\n", b'{\n "a": 1\n}\n', b"<posts>", b"PAR1\0\0", b"\x28\xb5\x2f\xfdx"],
)
def test_what_is_not_json_lines_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    result = cut(tmp_path / "a.json", tmp_path / "parts", 10)
    assert result.problem and not contents(tmp_path / "parts", result)


def test_an_empty_file_has_no_parts(tmp_path: Path) -> None:
    (tmp_path / "RC_2019-10.jsonl").write_bytes(b"")
    result = cut(tmp_path / "RC_2019-10.jsonl", tmp_path / "parts", 10)
    assert result == PartsResult()


def test_no_part_is_left_when_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "RC_2019-10.jsonl").write_bytes(b"".join(line(n) for n in range(500)))
    made = []

    def fail(self: Path, target: Path) -> Path:
        if len(made) == 2:
            raise OSError("the disk is full")
        made.append(target)
        return rename(self, target)

    rename = Path.replace
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="full"):
        cut(tmp_path / "RC_2019-10.jsonl", tmp_path / "parts", 5_000)
    assert made and list((tmp_path / "parts").iterdir()) == []


# Choosing subreddits

NAMES = ["AskMen", "askmen", "ASKMEN", "AskWomen", "askmen2", "xaskmen", "u_askmen", "é"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(
                [
                    {},
                    {"body": '"subreddit":"AskMen"'},
                    {"crosspost_parent_list": [{"subreddit": "AskMen", "id": "x"}]},
                    {"selftext": "\ud800 askmen"},
                ]
            ),
            st.sampled_from([(",", ":"), (", ", ": ")]),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_chosen_are_the_lines_of_the_subreddit(rows: list, ended: bool) -> None:
    lines = []
    expected = []
    for name, fields, separators, first in rows:
        record = {**fields, "subreddit": name} if first else {"subreddit": name, **fields}
        text = json.dumps(record, separators=separators).encode() + b"\n"
        lines.append(text)
        if name.lower() == "askmen":
            expected.append(text)
    block = b"".join(lines)
    if lines and not ended:
        block = block[:-1]
        if expected and expected[-1] is lines[-1]:
            expected[-1] = expected[-1][:-1]
    assert select_lines(block, frozenset({"askmen"})) == (expected, 0)


def test_lines_that_cannot_be_read_are_counted() -> None:
    block = (
        b'{"subreddit":"AskMen","body":\n'
        + line(1)
        + b'{"subreddit":"other","body":\n'
        + b'["subreddit", {"subreddit":"AskMen"}]\n'
        + b'{"subreddit":"AskMen"} and more\n'
        + b'\xff{"subreddit":"AskMen"}\n'
        + line(2, "AskWomen")
        + line(3, "askwomen")
    )
    chosen, unreadable = select_lines(block, frozenset({"askmen", "askwomen"}))
    assert chosen == [line(1), line(2, "AskWomen"), line(3, "askwomen")]
    assert unreadable == 3


def test_a_subreddit_is_cut_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.readers.formats.recompress.MAX_LINE_BYTES", 40_000)
    lines = [line(number, NAMES[number % 4]) for number in range(6_000)]
    lines.insert(3_000, line(0, body="x" * 700_000))
    source = tmp_path / "RC_2019-10.zst"
    source.write_bytes(zstandard.ZstdCompressor().compress(b"".join(lines)))
    result = cut(source, tmp_path / "parts", 50_000, "askmen")
    wanted = [text for text in lines if b'"AskWomen"' not in text and len(text) < 40_000]
    parts = contents(tmp_path / "parts", result)
    assert b"".join(parts) == b"".join(wanted) and len(parts) > 3
    assert result.lines_in == 6_001 and result.lines_out == len(wanted) == 4_500
    assert result.lines_unreadable == 1


# The command


def write_dumps(folder: Path) -> dict[str, bytes]:
    """Two files that name what they hold, and one that breaks off."""
    folder.mkdir()
    contents = {}
    for month, numbers in (("2019-10", 900), ("2019-11", 300)):
        content = b"".join(line(n, NAMES[n % 4]) for n in range(numbers))
        contents[f"RC_{month}"] = content
        (folder / f"RC_{month}.zst").write_bytes(zstandard.ZstdCompressor().compress(content))
    broken = gzip.compress(contents["RC_2019-11"])
    (folder / "RC_2019-12.gz").write_bytes(broken[:-400])
    (folder / "RC_2023-09.zst").write_bytes(b"")
    (folder / "notes.txt").write_text("not a dump")
    return contents


def read_parts(folder: Path, stem: str) -> bytes:
    return b"".join(unpacked(path) for path in sorted(folder.glob(f"{stem}.part-*")))


def test_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = write_dumps(tmp_path / "in")
    output = tmp_path / "out"
    given = ["prepare", f"reddit={tmp_path / 'in'}", "--output", str(output)]
    assert main([*given, "--part-bytes", "20kB", "--workers", "2"]) == 0
    printed = capsys.readouterr()
    said, warned = " ".join(printed.out.split()), " ".join(printed.err.split())
    for stem, content in contents.items():
        assert read_parts(output / "reddit", stem) == content
    assert "RC_2019-12.gz" in warned and "RC_2023-09.zst" in warned and "does not pay" in warned
    assert f"900 lines in, 900 out; {len(list(output.rglob('RC_2019-10*')))} parts" in said
    assert f"--input reddit={output / 'reddit'}" in said
    record = json.loads((output / PREPARE_NAME).read_text())
    assert record["part_bytes"] == 20_000 and record["subreddits"] is None
    files = {file["name"]: file["result"] for file in record["files"]}
    assert list(files) == ["RC_2019-10.zst", "RC_2019-11.zst", "RC_2019-12.gz"]
    assert files["RC_2019-12.gz"]["problem"] and files["RC_2019-12.gz"]["parts"]
    assert sorted(part["name"] for file in files.values() for part in file["parts"]) == sorted(
        path.name for path in (output / "reddit").iterdir()
    )
    found = find_files(PrepareOptions(input=(f"reddit={output / 'reddit'}",), output=output), [])
    assert len(found) == sum(len(file["parts"]) for file in files.values())
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def run_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cut files in this process; returns the names of those that were cut, as it grows."""
    done: list[str] = []

    def run(files, output, options):
        for file in files:
            folder = output / file.kind / file.site
            folder.mkdir(parents=True, exist_ok=True)
            job = preparing._job(file, output, options)
            done.append(file.name)
            yield file, make_parts(job)

    monkeypatch.setattr(preparing, "_run", run)
    return done


def test_a_second_run_does_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = write_dumps(tmp_path / "in")
    options = PrepareOptions(
        input=(f"reddit={tmp_path / 'in'}",), output=tmp_path / "out", part_bytes=5_000
    )
    done = run_here(monkeypatch)
    files = find_files(options, [])
    first = prepare_files(files, options)
    assert len(done) == 3
    before = (tmp_path / "out" / PREPARE_NAME).read_bytes()
    assert prepare_files(files, options) == first and len(done) == 3
    parts = tmp_path / "out" / "reddit"
    left = parts / ".RC_2019-11.part-00000.zst.partial"
    left.write_bytes(b"left by a kill")
    (parts / "RC_2019-11.part-00002.zst").unlink()
    (parts / "RC_2019-11.part-00099.zst").write_bytes(b"stale")
    (parts / "RC_2019-110.part-00000.zst").write_bytes(b"of another file")
    assert prepare_files(files, options) == first and done[3:] == ["RC_2019-11.zst"]
    assert read_parts(parts, "RC_2019-11") == contents["RC_2019-11"] and not left.exists()
    assert (parts / "RC_2019-110.part-00000.zst").exists()
    assert (tmp_path / "out" / PREPARE_NAME).read_bytes() == before
    (tmp_path / "in" / "RC_2019-10.zst").write_bytes(zstandard.ZstdCompressor().compress(line(1)))
    again = prepare_files(find_files(options, []), options)
    assert done[4:] == ["RC_2019-10.zst"] and len(again) == 3
    assert read_parts(parts, "RC_2019-10") == line(1)
    with pytest.raises(UsageError, match="other options"):
        prepare_files(files, PrepareOptions(input=options.input, output=options.output))


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    options = PrepareOptions(input=(), output=tmp_path)
    with pytest.raises(UsageError, match="choose a new folder"):
        prepare_files([], options)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("stackexchange=x",),
        ("reddit=/nope",),
        ("nope=x",),
        ("reddit={}", "--part-bytes", "0"),
        ("reddit={}", "--part-bytes", "1 parsec"),
        ("reddit={}", "--subreddits", "a b"),
        ("reddit={}", "--subreddits", ""),
        ("threads={}", "--subreddits", "AskMen"),
        ("reddit={}", "--workers", "0"),
        ("reddit={}", "reddit={}/../twin"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    for name in ("in", "twin"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "RC_2019-10.zst").write_bytes(b"")
    given = [argument.replace("{}", str(tmp_path / "in")) for argument in arguments]
    assert main(["prepare", *given, "--output", str(tmp_path / "out")]) == ExitCode.USAGE
    assert not (tmp_path / "out").exists()


def test_sizes() -> None:
    sizes = {"64MB": 64_000_000, "1.5GiB": 3 << 29, "1000": 1000, "2 kb": 2000}
    assert {text: parse_size(text) for text in sizes} == sizes


def test_advice() -> None:
    def files(*sizes: int) -> list[ForumFile]:
        return [ForumFile(kind="reddit", site="", path=f"{n}.jsonl", size=n) for n in sizes]

    options = PrepareOptions(input=(), output=Path(), part_bytes=100)
    assert advise(files(1_000, 10), options) is None
    assert "does not pay" in str(advise(files(199, 10), options))
    assert "hardly pays" in str(advise(files(*range(1_000, 1_012)), options))
    chosen = PrepareOptions(input=(), output=Path(), part_bytes=100, subreddits=("a",))
    assert advise(files(199, 10), chosen) is None


@needs_reddit
def test_real_parts_are_read_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_here(monkeypatch)
    source = REDDIT_DUMPS / "RC_2005-12.zst"
    options = PrepareOptions(
        input=(f"reddit={source}",), output=tmp_path / "out", part_bytes=100_000
    )
    whole = find_files(options, [])
    prepared = prepare_files(whole, options)
    assert len(prepared[0].result.parts) > 3
    assert "1,075 lines in, 1,075 out" in summary(prepared, options)[0]
    parts_of = PrepareOptions(input=(f"reddit={tmp_path / 'out/reddit'}",), output=tmp_path)
    parts = find_files(parts_of, [])
    rules = ReadRules(reply_depth=9)
    expected = [item for file in whole for item in REDDIT.read_file(file, rules)]
    found = [item for file in parts for item in REDDIT.read_file(file, rules)]
    assert sum(isinstance(item, Post) for item in expected) > 900
    assert found == [
        item for item in expected if isinstance(item, Post) or not re.search(r":\d+$", item.id)
    ]


def test_long_lines_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.readers.formats.recompress.MAX_LINE_BYTES", 1_000)
    content = line(1) + line(2, body="x" * 5_000) + line(3) + line(4, body="y" * 5_000)
    (tmp_path / "RC_2019-10.jsonl").write_bytes(content)
    monkeypatch.setattr(
        "transforms.readers.formats.compressed.CompressedFile.chunks",
        lambda self: (content[i : i + 300] for i in range(0, len(content), 300)),
    )
    result = cut(tmp_path / "RC_2019-10.jsonl", tmp_path / "parts", 10, "askmen")
    assert b"".join(contents(tmp_path / "parts", result)) == line(1) + line(3)
    assert result.lines_unreadable == 2 and result.lines_in == 4
