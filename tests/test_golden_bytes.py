"""The same bytes whatever releases are installed: one input with every kind of fault, and the
sha256 of all that a run makes of it.

A difference here means that a text or a decision of some library, or of another Python, reached
the output. If we changed a text ourselves, the constants below change with it.
"""

import base64
import hashlib
import io
import json
import zipfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.curate import finalize
from schemas.exit_codes import ExitCode
from schemas.manifest import Manifest

ROWS = {
    "data/test-00000-of-00001.parquet": "cbb83e4ac37672d7",
    "data/train-00000-of-00001.parquet": "ecc6983c86c7bff0",
    "rejected/rejected-00000-of-00001.parquet": "7caaa29c02eac4f2",
}
SAMPLE_ROWS = {
    "data/test-00000-of-00001.parquet": "7c2ed2a67873df67",
    "data/train-00000-of-00001.parquet": "5e520e1770a745c8",
    "data/validation-00000-of-00001.parquet": "ab2770ea03184111",
    "duplicates/duplicates-00000-of-00001.parquet": "2351659340b72c32",
    "rejected/rejected-00000-of-00001.parquet": "e466b1edc90daa47",
}
"""Of the shipped samples, in which duplicates are found and splits made."""
DEBIASED = {
    "model": "521eec801b6902d0",
    "test": "daf0f15deffc4be9",
    "train": "eff7c354c6fa30f1",
    "validation": "cb9897cd6a8077cc",
}
"""Of the samples under ``--votes debiased``, and of the vote model."""
BYTES = {
    "data/test-00000-of-00001.parquet": "2454dcf2c484315b",
    "data/train-00000-of-00001.parquet": "16f027bfe655d0d7",
    "rejected/rejected-00000-of-00001.parquet": "6cc555d9c3582e91",
}
"""Of files; `BYTES_BY` wrote them, and writes its version into each."""
BYTES_BY = "25.0.1"
NOTES = "57cdcaa013e2c587"

COMPRESSED = {
    "gz": "ABzY8000000t2<q(F(#K6vpxUJ;m_43pG~I3-lP`^gz<kI38m)_U@@sL>FT>^UmJ~hyTQ!Wv7-sIoq{taQ>>^"
    "KzkKMv71Kl^sjxej{;-)#MC2L>!`>%3>JK0o#+y<n6B3if+nykk;y2!?#S!Q69S=wdme+Y+kt<#XaYh;J~z{+R%}`;"
    "7HY-HTJcjWH?5TmwQ^;xoSPT7fzM?M0ssI",
    "bz2": "LRx4!F+o`-Q(2bFFYW*U{@;K&5KshrkN|)H0KRSCdN2UkBR^6!XfiN>3<L}sXwyt4CQJkkFmF{&69m-BlR=t8"
    "Ceu>r)xI#2Dn!k;Os$lqPY&+RaiXSqu~Kmwsw0r&m#4DE_|IBM=;+5qw$b%rWtG>;GK|t~g12`kSgB)2B_qn_<!=c#"
    "B++}ztZKnUilXIhBL$1ry0C0wqXiybShaRuz9_ZLV{+)EVyZT{EmX<DaH64L#1MQO-ai*|ML1B9mdh{h",
    "xz": "{Wp48S^xk9=GL@E0stWa761SMbT8$j-~tH%k6i#gh>0eFlT&|MZt=Lcc#@GL+8}P%kKnZ-Ql$`kpp8EJ$5{t$"
    "6#h0-HRBm8W@4%x(<6@={h%w7_%x`)4JTYXcJ_%bgshgRIeeMd982?l38&J@gDGfY>5=MQI;#s31&MvAj#D#$Ye&=re"
    "BAwgf8iU}j+7WJ`P|KMmzQv7C2;odlBV$L)^m`);s5{u5c{OnaynXw00FB3iUa@v!{P%7vBYQl0ssI200dcD",
    "zst": "D77#BWC{VD1OOsO7#e`74nV|yMFzG+Pe`H`(uw=O1^W>oHWj2o#&XU%s;b6f5G8vrX9BI$@`0H@d*WdP2%?B`"
    "{Y%TQ*q8Dq{8Nor>A|yI_T)K4VmtZ9t_<oD;8US7CGkk3NJP0T7XcIiKq(+R1(N|ofbu}d6sCxo;z40Qug04VgNUS}"
    "=!^p5jEbvNKyqTa8FU(E7}-jl&j",
}
"""Three comments of Reddit, of three posts ``z0`` to ``z2``; fixed, for a compressor's bytes differ
between its releases."""

ARCHIVE_7Z = (
    "H+sCUCma9-(v#{t=l}o!000006#xJL000005&iKrJU@7CY#?@Ja&u{KZapF~E-)e>Wo~0{WNB_^JtB2<W-T}(KRyaP"
    "aBp*Tb3O_nAUtw!cOXe*Jt8q8AW&~}bX0k8Wl3Z`A~7N$Lvm$dbZKvHL}7GgJt8tNGB7PLF)c7LR4_0)FfckWFfK4K"
    "Fd`sRV{dY0Jt8q8AVP0sc|9U{A|Nk53Op}xZ*z2WJ__IfPykL{004nA2d)p*Fb$2CY$+d3KhtIqD?4^b%YO!1oCx7="
    "W<6h+#jq|jLtp)HH@%Lakl*P$VZz$a^aDRQ%lbU5{UhXf!JeGCJ2@X7000007Y2Zm0SQ(B2MYlJ0U;p)7z|MW00"
)
"""Posts.xml of one question, not compressed."""

AT = 1_557_000_000
SEEN = AT + 40 * 86_400
HALF = "\\ud800"
NUMBERS = (b"NaN", b"Infinity", b"1e400", b"9" * 40, b"9" * 5000, b"-0", b"1.5", b"true", b"null")
NOT_JSON = (
    b"{",
    b"<html>",
    b"null",
    b"[]",
    b"17",
    b'"text"',
    b'{"id":"q1"}}',
    b'{"id":"q1",}',
    b'{"id":"q1" "body":1}',
    b'{id:"q1"}',
    b'{"id":"q\xff"}',
    b'{"id":"q\xed\xa0\x80"}',
    b'{"id":"q\x00"}',
    b'{"id":"q\\x"}',
    b'{"id":"q\\u12"}',
    b'{"id":01}',
    b'{"id":1.}',
    b'{"id":tru}',
    b'{"id":"q1","x":' + b"[" * 99_999,
    b'{"id":"q1","x":' + b"[" * 700 + b"]" * 700 + b"}",
    b'{"id":"q1","x":' + b"[" * 498 + b"]" * 498 + b',"y":1e999}',
    b'{"id":"q\xc3',
)
"""Lines, and documents, that give nothing."""


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def with_values(row: dict[str, Any], values: tuple[bytes, ...]) -> list[bytes]:
    """The row with each of its fields, one after the other, replaced by each of the values."""
    lines = []
    for name in row:
        rest = dump({other: item for other, item in row.items() if other != name})
        lines += [rest[:-1] + b", " + dump(name) + b": " + value + b"}" for value in values]
        lines.append(rest)
    return lines


WRONG = (*NUMBERS, b"[]", b'{"a":[]}', b'"' + HALF.encode() + b'"', b'"\xff"', b'""', b'"x"', b"-1")


def reddit(folder: Path) -> None:
    comment = {
        "id": "c1",
        "link_id": "t3_s1",
        "parent_id": "t3_s1",
        "body": "Sharpen it at the angle that it has.",
        "subreddit": "Golden",
        "author": "ada",
        "created_utc": AT,
        "retrieved_on": SEEN,
        "score": 5,
        "edited": False,
    }
    submission = {
        "id": "s1",
        "title": "How do I keep a knife sharp?",
        "selftext": "It gets blunt within a week.",
        "subreddit": "Golden",
        "author": "bob",
        "created_utc": AT,
        "retrieved_on": SEEN,
        "score": 9,
        "crosspost_parent": None,
        "_meta": {},
    }
    other = comment | {"id": "c2", "body": "Buy another one.", "author": "cy", "score": 1}
    reply = comment | {"id": "c3", "parent_id": "t1_c1"}
    lines = [dump(submission), dump(comment), dump(other), dump(reply), *NOT_JSON]
    lines += with_values(comment, WRONG) + with_values(submission, WRONG)
    (folder / "golden.jsonl").write_bytes(b"\n".join(lines) + b'\n{"id":"cut')
    for suffix, text in COMPRESSED.items():
        data = base64.b85decode(text)
        (folder / f"whole.jsonl.{suffix}").write_bytes(data)
        (folder / f"cut.jsonl.{suffix}").write_bytes(data[: len(data) * 3 // 4])
        (folder / f"short.jsonl.{suffix}").write_bytes(data[:5])
        (folder / f"empty.jsonl.{suffix}").write_bytes(b"")
        (folder / f"header.jsonl.{suffix}").write_bytes(data[:6] + b"\xff" * 40)
        (folder / f"html.jsonl.{suffix}").write_bytes(b"<html>not found</html>")
    (folder / "a-zip.jsonl").write_bytes(b"PK\x03\x04" + bytes(50))
    (folder / "utf-16.jsonl").write_bytes('{"id":"u"}'.encode("utf-16"))
    (folder / "RC_2023-09.zst").write_bytes(base64.b85decode(COMPRESSED["zst"]))


def discourse(folder: Path) -> None:
    post = {
        "topic_id": 7,
        "post_number": 2,
        "created_at": "2020-01-02T00:00:00Z",
        "cooked": "<p>Oil the stone first.</p>",
        "actions_summary": [{"id": 2, "count": 3}],
        "user_id": 4,
        "username": "dee",
    }
    topic = {
        "id": 7,
        "title": "Which stone?",
        "post_stream": {"posts": [post | {"post_number": 1, "cooked": "<p>Which?</p>"}, post]},
    }
    pages = [
        dump(topic | {"post_stream": {"posts": []}})[:-3] + b"[" + line + b"]}}" for line in WRONG
    ]
    posts = with_values(post, WRONG)
    pages += [b'{"id":7,"post_stream":{"posts":[' + line + b"]}}" for line in posts]
    pages += [*NOT_JSON, b'{"errors":["gone"]}', b'{"post_stream":null}', b'{"post_stream":{}}']
    (folder / "topics.jsonl").write_bytes(b"\n".join([dump(topic), *pages]) + b"\n")
    (folder / "topics.json").write_bytes(b"[" + b",".join([dump(topic), *posts[:40]]) + b"]")
    for index, line in enumerate(NOT_JSON):
        (folder / f"{index:02}.json").write_bytes(line)
    (folder / "half.json").write_bytes(dump(topic | {"title": "x"}).replace(b'"x"', b'"\\ud800"'))
    (folder / "lines.json").write_bytes(dump(topic) + b"\n" + dump(topic))


def lemmy(folder: Path) -> None:
    post = {"id": 3, "name": "A knife", "published": "2023-07-01T00:00:00Z", "body": "Which?"}
    view = {
        "post": post,
        "creator": {"id": 5, "name": "eve"},
        "community": {"name": "kitchen"},
        "counts": {"score": 3, "upvotes": 4, "downvotes": 1},
    }
    comment = {
        "id": 9,
        "post_id": 3,
        "content": "A long one.",
        "path": "0.9",
        "published": "2023-07-02T00:00:00",
    }
    views = [dump({"posts": [view]}), dump({"comments": [view | {"comment": comment}]}), *NOT_JSON]
    for name, row in (("post", post), ("comment", comment)):
        for line in with_values(row, WRONG):
            rest = dump({key: item for key, item in view.items() if key != name})
            views.append(rest[:-1] + b', "' + name.encode() + b'": ' + line + b"}")
    views += with_values(view, WRONG)
    views += [b'{"post_view":' + value + b',"cross_posts":[{}]}' for value in WRONG]
    (folder / "answers.jsonl").write_bytes(b"\n".join(views) + b"\n")
    for index, line in enumerate(NOT_JSON):
        (folder / f"{index:02}.json").write_bytes(line)
    (folder / "lines.json").write_bytes(views[0] + b"\n" + views[0])


def threads(folder: Path) -> None:
    row = {
        "site": "board.golden.example",
        "id": 1,
        "text": "How hot should the oven be?",
        "license": "CC0-1.0",
        "title": "Oven",
        "created_at": "2024-01-10T18:30:00Z",
        "score": 2,
        "responses": [
            {"id": 2, "text": "As hot as it goes, with a stone in it.", "score": 7},
            {"id": 3, "text": "Not so hot, or the crust burns.", "upvotes": 2, "downvotes": 1},
        ],
    }
    responses = with_values({"id": 4, "text": "Hot.", "score": 1, "parent": 2}, WRONG)
    lines = [*with_values(row, WRONG), *NOT_JSON]
    lines += [
        dump(row | {"id": 100 + index, "responses": []})[:-2] + line + b"]}"
        for index, line in enumerate(responses)
    ]
    (folder / "threads.jsonl").write_bytes(b"\n".join([dump(row), *lines]) + b"\n")
    (folder / "threads.json").write_bytes(
        b"[" + b",".join([dump(row | {"id": 2}), b"17", b"NaN", b'{"id":"\\ud800"}']) + b"]"
    )
    for index, line in enumerate(NOT_JSON):
        (folder / f"{index:02}.json").write_bytes(b"[" + line)
    (folder / "no.parquet").write_bytes(b"rubbish")
    (folder / "bad.parquet").write_bytes(b"PAR1" + bytes(20) + b"PAR1")
    (folder / "cut.parquet").write_bytes(b"PAR1" + b"\x15\x04" * 30)


def pairs(folder: Path) -> None:
    row = {
        "prompt": "Name a tree.",
        "chosen": "The oak, which lives for centuries.",
        "rejected": "Moss.",
        "chosen_score": 3,
        "rejected_score": 1,
        "site": "trees.golden.example",
        "license": "CC0-1.0",
    }
    shp = {
        "domain": "askculinary_train",
        "history": "How long do eggs keep?",
        "human_ref_A": "Three weeks.",
        "human_ref_B": "Look at the date.",
        "labels": 1,
        "post_id": "p1",
        "c_root_id_A": "a1",
        "c_root_id_B": "b1",
        "score_A": 5,
        "score_B": 2,
    }
    lines = [dump(row), *with_values(row, WRONG), *with_values(shp, WRONG), *NOT_JSON]
    (folder / "pairs.jsonl").write_bytes(b"\n".join(lines) + b"\n")


QUESTION = (
    '<row Id="1" PostTypeId="1" CreationDate="2020-01-01T00:00:00.000" Score="3" Body="Which?" '
)
ANSWER = (
    '<row Id="{}" PostTypeId="2" ParentId="1" CreationDate="2020-01-0{}T00:00:00.000" Score="{}" '
    'Body="&lt;p&gt;{}&lt;/p&gt;" />'
)
BAD_ROWS = (
    b'<row Id="2" Body="&lol;"/>',
    b'<row Id="2" Body="&"/>',
    b'<row Id="2" Id="3"/>',
    b'<row Id="2" Body="a < b"/>',
    b'<row Id="2" Body="\xff"/>',
    b'<row Id="2" Body="\x00"/>',
    b'<row Id="2" Body="\xef\xbf\xbf"/>',
    b'<row Id="2" Body="open />',
    b'<row Id="2" Body=/>',
    b'<row Id="2"Body="x"/>',
    b'<row 1d="2"/>',
    b'<row Id="2">text</row>',
    b'<row Id="2"><b/></row>',
    b'<row Id="2">',
    b"rubbish between rows",
    b'<row Id="7" Body="&#x1F;&#0;" PostTypeId="1" Score="1" CreationDate="2020-01-01T00:00:00" />',
)


def posts_xml() -> bytes:
    rows = [(QUESTION + 'Title="Which knife?" />').encode()]
    rows += [
        ANSWER.format(*values).encode()
        for values in ((3, 2, 9, "A long one that has a blade of steel."), (4, 3, 1, "None."))
    ]
    names = ("Id", "PostTypeId", "CreationDate", "Score", "ParentId")
    fields = dict(zip(names, ("5", "2", "2020-01-01T00:00:00", "1", "1"), strict=True))
    for name in names:
        for value in (None, "", "x", "9" * 50, "-1", "0", "1.5", "\u0661", "2020-13-01T00:00:00"):
            row = fields | {name: value}
            text = " ".join(f'{key}="{item}"' for key, item in row.items() if item is not None)
            rows.append(f'<row {text} Body="x" />'.encode())
    return b"<posts>\n" + b"\n".join([*rows, *BAD_ROWS]) + b'\n<row Id="9" Body="cut'


def stackexchange(folder: Path) -> None:
    for name, content in {
        "whole.golden.example": posts_xml(),
        "nothing.golden.example": b"<posts></posts>",
        "rubbish.golden.example": b"rubbish",
        "utf16.golden.example": "<posts/>".encode("utf-16"),
        "no host": b"<posts>" + QUESTION.encode() + b"/></posts>",
    }.items():
        (folder / name).mkdir()
        (folder / name / "Posts.xml").write_bytes(content)
    votes = ('Id="1" PostId="3" VoteTypeId="2"', 'PostId="x" VoteTypeId="2"', 'VoteTypeId="2"', "")
    (folder / "whole.golden.example" / "Votes.xml").write_bytes(
        b"<votes>" + b"\n".join(f"<row {vote} />".encode() for vote in votes)
    )
    packed = base64.b85decode(ARCHIVE_7Z)
    damaged = packed[:60] + bytes(8) + packed[68:]
    (folder / "whole7z.golden.example.7z").write_bytes(packed)
    (folder / "damaged.golden.example.7z").write_bytes(damaged)
    (folder / "cut.golden.example.7z").write_bytes(packed[:100])
    (folder / "zeros.golden.example.7z").write_bytes(packed[:6] + bytes(40))
    (folder / "empty.golden.example.7z").write_bytes(b"")
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(
            zipfile.ZipInfo("Posts.xml"), b"<posts>" + QUESTION.encode() + b"/></posts>"
        )
    stored = target.getvalue()
    (folder / "crc.golden.example.zip").write_bytes(stored.replace(b"Which?", b"Whose?"))
    (folder / "cutzip.golden.example.zip").write_bytes(stored[:60])


MAKERS = {
    "reddit": reddit,
    "discourse": discourse,
    "lemmy": lemmy,
    "threads": threads,
    "pairs": pairs,
    "stackexchange": stackexchange,
}


def curate(folder: Path, *more: str) -> int:
    inputs = [f"--input={kind}={folder / kind}.golden.example" for kind in MAKERS]
    options = ["--languages=all", "--dedup=off", "--license=reddit=CC0-1.0", "--quiet", *more]
    return main(["curate", *inputs, f"--output={folder / 'dataset'}", *options])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run makes of all faults at once."""
    folder = tmp_path_factory.mktemp("golden")
    for kind, make in MAKERS.items():
        place = folder / f"{kind}.golden.example"
        place.mkdir()
        make(place)
    assert curate(folder) == ExitCode.FINISHED
    return folder / "dataset"


def rows_digest(path: Path) -> str:
    """The sha256 of the rows of a shard, whatever wrote the file."""
    rows = pq.read_table(path).to_pylist()
    return hashlib.sha256(json.dumps(rows, default=str).encode()).hexdigest()


def manifest_of(dataset: Path) -> Manifest:
    return msgspec.json.decode((dataset / "manifest.json").read_bytes(), type=Manifest)


def test_the_rows_of_every_shard(dataset: Path) -> None:
    shards = sorted(dataset.rglob("*.parquet"))
    found = {str(path.relative_to(dataset)): rows_digest(path)[:16] for path in shards}
    assert found == ROWS


def test_the_rows_of_the_samples_with_duplicates_found_and_splits_made(tmp_path: Path) -> None:
    samples = Path(__file__).parents[1] / "samples"
    inputs = [f"--input=stackexchange={samples}", f"--input=lemmy={samples / 'lemmy'}"]
    output = tmp_path / "dataset"
    assert main(["curate", *inputs, f"--output={output}", "--quiet"]) == ExitCode.FINISHED
    shards = sorted(output.rglob("*.parquet"))
    found = {str(path.relative_to(output)): rows_digest(path)[:16] for path in shards}
    assert found == SAMPLE_ROWS


def debiased(output: Path, inputs: list[str], *more: str) -> Path:
    """The samples, labelled by a vote model that the run fits."""
    options = ["--votes=debiased", "--quiet", *more]
    assert main(["curate", *inputs, f"--output={output}", *options]) == ExitCode.FINISHED
    return output


def test_the_rows_of_the_samples_by_the_vote_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = Path(__file__).parents[1] / "samples"
    inputs = [f"--input=stackexchange={samples}", f"--input=lemmy={samples / 'lemmy'}"]
    output = debiased(tmp_path / "one", inputs)
    pairs = json.loads((output / "report.json").read_bytes())["pairs_by_source"]
    undated = f"{pairs['lemmy']} of {sum(pairs.values())} pairs have no dated votes"
    assert undated in capsys.readouterr().err
    shards = sorted((output / "data").rglob("*.parquet"))
    found = {path.name.partition("-")[0]: rows_digest(path)[:16] for path in shards}
    model = msgspec.json.encode(manifest_of(output).vote_model)
    found["model"] = hashlib.sha256(model).hexdigest()[:16]
    assert found == DEBIASED
    cut_otherwise = ("--partitions=3", "--direct_runner_bundle_repeat=1")
    again = debiased(tmp_path / "two", inputs[::-1], *cut_otherwise)
    given = debiased(tmp_path / "three", inputs, f"--vote-model={output / 'manifest.json'}")
    for path in shards:
        name = path.relative_to(output)
        assert (again / name).read_bytes() == path.read_bytes() == (given / name).read_bytes()
    assert manifest_of(again).vote_model == manifest_of(given).vote_model
    (file,) = [one for one in manifest_of(given).inputs if one.kind == "vote_model"]
    manifest = (output / "manifest.json").read_bytes()
    assert file.sha256 == hashlib.sha256(manifest).hexdigest()


@pytest.mark.skipif(pa.__version__ != BYTES_BY, reason="another pyarrow writes other bytes")
def test_the_bytes_of_every_shard(dataset: Path) -> None:
    found = {shard.path: shard.sha256[:16] for shard in manifest_of(dataset).shards}
    assert found == BYTES


def test_the_notes_of_every_input(dataset: Path) -> None:
    notes = [[file.kind, file.name, file.used, file.note] for file in manifest_of(dataset).inputs]
    assert hashlib.sha256(json.dumps(notes).encode()).hexdigest()[:16] == NOTES


def test_every_kind_of_fault_is_there(dataset: Path) -> None:
    rows = pq.read_table(next(dataset.glob("rejected/*.parquet"))).to_pylist()
    reasons = Counter(row["reason"] for row in rows if row["stage"] == "read")
    assert reasons.keys() == {
        "bad_value",
        "malformed_row",
        "missing_field",
        "not_a_question_or_answer",
        "too_deep",
        "truncated_file",
        "unreadable_file",
        "unusable_month",
    }


def test_a_dataset_of_other_versions_is_not_the_same(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = manifest_of(dataset).versions
    assert recorded.keys() == {"python", *finalize.RECORDED_PACKAGES}
    assert "not installed" not in recorded.values()
    assert curate(dataset.parent, "--resume") == ExitCode.FINISHED
    newer = {"fasttext-predict": "99.0"}
    monkeypatch.setattr(finalize, "_version", lambda name: newer.get(name) or version(name))
    assert curate(dataset.parent, "--resume") == ExitCode.USAGE
    assert "version of a package" in capsys.readouterr().err
