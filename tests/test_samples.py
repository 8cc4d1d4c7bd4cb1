"""The shipped sample: built from its sources, and what planted.json says of it is true."""

import html
import itertools
import json
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from samples.build import HERE, build
from samples.markup import render
from schemas.audit import Reason

SITES = ("sourdough.example.com", "tinycode.example.com")
PLANTED = json.loads((HERE / "planted.json").read_text(encoding="utf-8"))
Row = dict[str, str]


def text_of(site: str, table: str) -> str:
    return (HERE / site / f"{table}.xml").read_bytes().decode("utf-8-sig")


@cache
def rows(site: str, table: str) -> list[Row]:
    """All rows that can be parsed."""
    found = []
    for element in re.findall(r"<row .*?/>", text_of(site, table), re.S):
        try:
            found.append(dict(ElementTree.fromstring(element).attrib))
        except ElementTree.ParseError:
            continue
    return found


def post(name: str) -> Row:
    site, number = name.split(":")
    return next(row for row in rows(site, "Posts") if row["Id"] == number)


def shingles(name: str) -> set[tuple[str, ...]]:
    row = post(name)
    body = html.unescape(re.sub(r"<[^>]+>", " ", row["Body"]))
    words = re.findall(r"\w+", f"{row.get('Title', '')} {body}".lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_the_files_are_what_build_makes_of_the_sources() -> None:
    built = build()
    on_disk = {path.relative_to(HERE) for site in SITES for path in (HERE / site).iterdir()}
    assert set(built) == on_disk
    for path, content in built.items():
        assert (HERE / path).read_bytes() == content, f"{path}: run python -m samples.build"


def test_it_is_big_enough_to_show_something_and_small_enough_to_ship() -> None:
    types = Counter(row["PostTypeId"] for site in SITES for row in rows(site, "Posts"))
    assert types["1"] >= 60
    assert types["2"] >= 180
    files = [path for path in HERE.rglob("*.*") if path.parent.name != "__pycache__"]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 600_000


@pytest.mark.parametrize("site", SITES)
def test_score_is_ups_minus_downs_and_references_hold(site: str) -> None:
    net: Counter[str] = Counter()
    for vote in rows(site, "Votes"):
        net[vote["PostId"]] += {"2": 1, "3": -1}.get(vote["VoteTypeId"], 0)
    users = {user["Id"] for user in rows(site, "Users")}
    by_id = {row["Id"]: row for row in rows(site, "Posts")}
    assert len(by_id) == len(rows(site, "Posts"))
    for row in by_id.values():
        if row["Score"] != "many":
            assert int(row["Score"]) == net[row["Id"]], row["Id"]
        assert row.get("OwnerUserId", "-1") in users
        if accepted := row.get("AcceptedAnswerId"):
            assert by_id[accepted]["ParentId"] == row["Id"]
        if row["PostTypeId"] == "1":
            answers = [r for r in by_id.values() if r.get("ParentId") == row["Id"]]
            damaged = 1 if site == "tinycode.example.com" and row["Id"] == "95" else 0
            assert int(row["AnswerCount"]) == len(answers) + damaged
            assert all(a.get("CreationDate", "9") > row["CreationDate"] for a in answers)
    for vote in rows(site, "Votes"):
        if vote["PostId"] in by_id and "CreationDate" in by_id[vote["PostId"]]:
            assert vote["CreationDate"][:10] >= by_id[vote["PostId"]]["CreationDate"][:10]


def test_the_two_sites_are_written_like_dumps_of_different_years() -> None:
    sourdough = (HERE / SITES[0] / "Posts.xml").read_bytes()
    tinycode = (HERE / SITES[1] / "Posts.xml").read_bytes()
    assert sourdough.startswith(b"\xef\xbb\xbf<?xml")
    assert tinycode.startswith(b"<?xml")
    assert sourdough.count(b"\n") == sourdough.count(b"\r\n")
    assert b"\r" not in tinycode
    assert all(row["Tags"].startswith("<") for row in rows(SITES[0], "Posts") if "Tags" in row)
    assert all(row["Tags"].startswith("|") for row in rows(SITES[1], "Posts") if "Tags" in row)
    ids = {site: [int(row["Id"]) for row in rows(site, "Posts")] for site in SITES}
    assert ids[SITES[0]] == sorted(ids[SITES[0]])
    assert ids[SITES[1]] != sorted(ids[SITES[1]])


def test_planted_reasons_exist_and_their_posts_do() -> None:
    assert set(PLANTED["rejected"].values()) <= set(Reason)
    for name in PLANTED["rejected"]:
        assert post(name)
    for names in PLANTED["features"].values():
        for name in names:
            for one in [name] if isinstance(name, str) else name:
                assert post(one)


def test_planted_rejects_look_as_they_should() -> None:
    by_reason: dict[str, list[Row]] = defaultdict(list)
    for name, reason in PLANTED["rejected"].items():
        by_reason[reason].append(post(name))
    assert {row["PostTypeId"] for row in by_reason["not_a_question_or_answer"]} == set("345678")
    assert all(row["Body"] == "" for row in by_reason["empty"])
    assert all(0 < len(row["Body"]) < 30 for row in by_reason["too_short"])
    assert all("CreationDate" not in row for row in by_reason["missing_field"])
    assert all("ClosedDate" in row for row in by_reason["closed"])
    assert by_reason["orphan_response"][0]["ParentId"] == "9000"


def test_one_row_is_malformed() -> None:
    broken = []
    for site in SITES:
        for element in re.findall(r"<row .*?/>", text_of(site, "Posts"), re.S):
            try:
                ElementTree.fromstring(element)
            except ElementTree.ParseError:
                number = re.search(r'Id="(\d+)"', element)
                broken.append({"file": f"{site}/Posts.xml", "id": int(number[1]) if number else 0})
    assert broken == PLANTED["malformed_rows"]


def test_planted_duplicates_are_as_similar_as_they_say_and_nothing_else_is() -> None:
    planted = {(d["removed"], d["kept"]): d["rule"] for d in PLANTED["duplicates"]}
    names = [
        f"{site}:{row['Id']}"
        for site in SITES
        for row in rows(site, "Posts")
        if row["PostTypeId"] in "12"
    ]
    sets = {name: shingles(name) for name in names}
    for left, right in itertools.combinations(names, 2):
        pair = (right, left) if (right, left) in planted else (left, right)
        same = post(left)["Body"] == post(right)["Body"] != ""
        union = len(sets[left] | sets[right])
        similarity = len(sets[left] & sets[right]) / union if union else float(same)
        if pair not in planted:
            assert similarity < 0.3, pair
        elif planted[pair] == "exact":
            assert same, pair
        else:
            assert 0.83 < similarity < 1, pair


def test_planted_flips_flip() -> None:
    for flip in PLANTED["window_flips"]:
        earlier, later = post(flip["earlier"]), post(flip["later"])
        site = flip["prompt"].split(":")[0]
        accepted = post(flip["prompt"]).get("AcceptedAnswerId")

        def votes(row: Row, after: str, site: str = site) -> int:
            return sum(
                {"2": 1, "3": -1}.get(vote["VoteTypeId"], 0)
                for vote in rows(site, "Votes")
                if vote["PostId"] == row["Id"] and vote["CreationDate"][:10] > after
            )

        both = later["CreationDate"][:10]
        assert earlier["CreationDate"] < later["CreationDate"]
        bonus = [int(row["Id"] == accepted) for row in (earlier, later)]
        assert votes(earlier, "") + bonus[0] > votes(later, "") + bonus[1]
        assert votes(earlier, both) < votes(later, both)


def test_special_rows() -> None:
    text = text_of(SITES[1], "Posts")
    assert '<row Id="275"\n' in text
    assert text.index('Id="346"') < text.index('Id="345"')
    assert "&#xD;&#xA;" in text_of(SITES[0], "Posts")
    assert "OwnerDisplayName" not in post(f"{SITES[0]}:293")
    assert "OwnerUserId" not in post(f"{SITES[0]}:293")
    closings = {row["PostId"]: row["PostHistoryTypeId"] for row in rows(SITES[1], "PostHistory")}
    assert closings == {"295": "10", "315": "11"}
    assert "ClosedDate" not in post(f"{SITES[1]}:315")


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("a **b** *c* `*d* <`", "<p>a <strong>b</strong> <em>c</em> <code>*d* &lt;</code></p>"),
        ("$a_1 * b * c < d$", "<p>$a_1 * b * c &lt; d$</p>"),
        ("[x & y](http://e.org/?a=1)", '<p><a href="http://e.org/?a=1">x &amp; y</a></p>'),
        ("H<sub>2</sub>O <script>", "<p>H<sub>2</sub>O &lt;script&gt;</p>"),
        ("- a\n  - b\n- c", "<ul>\n<li>a\n<ul>\n<li>b</li>\n</ul></li>\n<li>c</li>\n</ul>"),
        ("```\na < b\n\nc\n```", "<pre><code>a &lt; b\n\nc\n</code></pre>"),
        ("```c\na\n```", '<pre class="lang-c prettyprint-override"><code>a\n</code></pre>'),
        ("> a\n>\n> b", "<blockquote>\n<p>a</p>\n<p>b</p>\n</blockquote>"),
        ("", ""),
    ],
)
def test_markup(markdown: str, expected: str) -> None:
    assert render(markdown) == (expected + "\n" if expected else "")


def test_sources_stay_apart_from_the_rest() -> None:
    assert {path.name for path in Path(HERE, "content").iterdir()} == {f"{s}.md" for s in SITES}
