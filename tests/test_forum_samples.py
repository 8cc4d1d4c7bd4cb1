"""The samples of Reddit, Discourse, Lemmy and own threads: what planted.json says of them holds."""

import bz2
import json
from collections import Counter
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
import zstandard

from samples.build_reddit import store_zstd
from samples.forums import HERE, build_forums
from schemas.audit import Reason, Rejected
from schemas.post import Post, Thread
from transforms.dedup.find_duplicates import post_text
from transforms.dedup.minhash import MinHashRules
from transforms.filters import FilterRules, filter_thread
from transforms.pairing import PairingRules, decide_pairs
from transforms.readers.base import Item, ReadRules, SamePrompt
from transforms.readers.custom_threads.reader import THREADS
from transforms.readers.discourse.reader import DISCOURSE
from transforms.readers.lemmy import LEMMY
from transforms.readers.paths import find_forum_files
from transforms.readers.reddit.reader import REDDIT
from transforms.readers.source import FileSource
from transforms.readers.stackexchange.rows import parse_post
from transforms.text.convert import post_to_markdown, thread_to_markdown
from transforms.text.markdown import html_to_markdown
from transforms.threads.assemble import assemble_threads

SOURCES: dict[str, FileSource] = {s.kind: s for s in (REDDIT, DISCOURSE, LEMMY, THREADS)}
PLANTED = json.loads((HERE / "planted.json").read_text(encoding="utf-8"))["forums"]
PLANTED_REJECTS: dict[str, str] = PLANTED["rejected"]
DEEP = 3
_LATER = (Reason.LANGUAGE, Reason.PROMPT_DUPLICATE)
"""Steps that these tests do not run."""


class Run(NamedTuple):
    """What became of a sample up to the pairs, but for languages and duplicates."""

    posts: list[Post]
    rejected: list[Rejected]
    same: list[SamePrompt]
    threads: list[Thread]
    pairs: list[tuple[str, str]]


@cache
def items(kind: str, depth: int) -> list[Item]:
    files = find_forum_files(SOURCES[kind], [str(HERE / kind)], [])
    rules = ReadRules(reply_depth=depth)
    return list(chain.from_iterable(SOURCES[kind].read_file(file, rules) for file in files))


@cache
def run(kind: str, depth: int = 1) -> Run:
    found = items(kind, depth)
    posts = [item for item in found if isinstance(item, Post)]
    rejected = [item for item in found if isinstance(item, Rejected)]
    same = [item for item in found if isinstance(item, SamePrompt)]
    threads: list[Thread] = []
    pairs: list[tuple[str, str]] = []
    for outcome in assemble_threads(posts, {}, reply_depth=depth):
        rejected += outcome.rejected
        if outcome.thread is None:
            continue
        kept = filter_thread(thread_to_markdown(outcome.thread), FilterRules())
        rejected += kept.rejected
        if kept.thread is None:
            continue
        threads.append(kept.thread)
        decisions, refused = decide_pairs(kept.thread, PairingRules(drop_staff=True))
        rejected += refused
        responses = kept.thread.responses
        pairs += [(responses[d.chosen].id, responses[d.rejected].id) for d in decisions]
    return Run(posts, rejected, same, threads, pairs)


@cache
def by_id() -> dict[str, Post]:
    return {post.id: post for kind in SOURCES for post in run(kind, DEEP).posts}


def kind_of(post_id: str) -> str:
    for kind in SOURCES:
        if any(getattr(item, "id", "") == post_id for item in items(kind, DEEP)):
            return kind
    raise AssertionError(f"{post_id} is in no sample")


def test_the_files_are_what_build_makes_of_the_sources() -> None:
    built = build_forums()
    assert built == build_forums()
    folders = ("reddit", "discourse", "lemmy")
    files = [path for name in folders for path in (HERE / name).rglob("*") if path.is_file()]
    assert {path.relative_to(HERE) for path in files} == set(built)
    for path, content in built.items():
        assert (HERE / path).read_bytes() == content, f"{path}: run python -m samples.build"


@pytest.mark.parametrize("size", [0, 1, 1 << 17, (1 << 17) + 1, 300_000])
def test_stored_zstd_is_zstd(size: int) -> None:
    data = bytes(i * i % 251 for i in range(size))
    frame = store_zstd(data, 24)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(frame) == data
    assert zstandard.get_frame_parameters(frame).window_size == 1 << 24


def test_the_dump_needs_the_window_of_real_ones() -> None:
    comments = (HERE / "reddit" / "RC_2019-05.zst").read_bytes()
    assert zstandard.get_frame_parameters(comments).window_size == 1 << 31
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor().decompressobj().decompress(comments)
    june = bz2.decompress((HERE / "reddit" / "RC_2019-06.bz2").read_bytes())
    assert not june.endswith(b"}\n")


@pytest.mark.parametrize("kind", SOURCES)
def test_rejects_are_the_planted_ones(kind: str) -> None:
    expected = Counter(
        (name, reason)
        for name, reason in PLANTED_REJECTS.items()
        if reason not in _LATER and kind_of_reject(name) == kind
    )
    expected.update((name, "repeated_id") for name in PLANTED["repeated"] if kind_of(name) == kind)
    if kind == "reddit":
        expected.update(PLANTED["broken_files"].items())
    assert Counter((r.id, r.reason.value) for r in run(kind).rejected) == expected


def kind_of_reject(name: str) -> str:
    for kind in SOURCES:
        if any(reject.id == name for reject in run(kind).rejected):
            return kind
    return kind_of(name)


def test_every_post_has_one_fate() -> None:
    for kind in SOURCES:
        found = run(kind)
        outcomes = Counter(r.id for r in found.rejected if r.record == "post")
        outcomes.update({name for pair in found.pairs for name in pair})
        outcomes.update({t.id for t in found.threads} - set(outcomes))
        read = Counter(post.id for post in found.posts)
        unread = Counter(r.id for r in found.rejected if r.stage == "read" and r.record == "post")
        assert outcomes == read + unread, kind


def test_planted_rejects_cover_the_cases() -> None:
    assert set(PLANTED_REJECTS.values()) >= {
        "malformed_row", "missing_field", "bad_value", "not_a_question_or_answer", "too_deep",
        "orphan_response", "deleted", "removed", "too_short", "nsfw", "pinned", "bot",
        "score_hidden", "score_immature", "prompt_rejected", "language", "prompt_duplicate",
        "staff", "tied", "no_pair",
    }  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_pairs(kind: str) -> None:
    gone = {name for name, reason in PLANTED_REJECTS.items() if reason in _LATER}
    pairs = [pair for pair in run(kind).pairs if not gone & set(pair)]
    assert len(pairs) == PLANTED["pairs"][kind]
    replies = set(run(kind, DEEP).pairs) - set(run(kind).pairs)
    expected = {(a, b) for a, b in PLANTED["pairs_of_replies"] if kind_of(a) == kind}
    assert expected <= replies
    assert all(by_id()[a].parent_id == by_id()[b].parent_id is not None for a, b in expected)
    too_deep = {name for name, reason in PLANTED_REJECTS.items() if reason == "too_deep"}
    assert {name for pair in expected for name in pair} <= too_deep


def test_threads_that_ask_the_same() -> None:
    found = {(s.thread_id, s.other_thread_id) for kind in SOURCES for s in run(kind).same}
    assert found == {(a, b) for a, b in PLANTED["same_prompt"]}


@pytest.mark.parametrize("feature", PLANTED["features"])
def test_features(feature: str) -> None:
    default = {"accepted_response_id": None, "edited_at": None, "removed_as": None, "up_days": None}
    having = {
        post.id
        for post in by_id().values()
        if getattr(post, feature) not in (False, default.get(feature, False))
    }
    assert having == set(PLANTED["features"][feature])


@pytest.mark.parametrize("planted", PLANTED["duplicates"], ids=lambda planted: planted["removed"])
def test_duplicates_across_sources(planted: dict[str, str]) -> None:
    removed, kept = by_id()[planted["removed"]], stackexchange_question(planted["kept"])
    rules = MinHashRules()
    sets = [shingles(post_text(post_to_markdown(post))) for post in (removed, kept)]
    similarity = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert rules.threshold < similarity < 1
    assert kept.score > removed.score  # so that it is the one that stays
    copied = [post for post in by_id().values() if post.thread_id == removed.id != post.id]
    assert {PLANTED_REJECTS[post.id] for post in copied} == {"prompt_duplicate"}


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[at : at + 5]) for at in range(len(words) - 4)}


def stackexchange_question(name: str) -> Post:
    from tests.test_samples import post as row

    post = parse_post(row(name), name.split(":")[0], has_votes=False)
    assert isinstance(post, Post)
    return post


def test_discourse_reads_as_its_author_wrote_it() -> None:
    text = {name: html_to_markdown(post.text) for name, post in by_id().items()}
    host = "https://forum.ferns.example"
    assert (
        f"![maidenhair-tips]({host}/uploads/original/1X/maidenhair-tips.jpeg)"
        in (text["forum.ferns.example:12.1"])
    )
    assert text["forum.ferns.example:12.3"].startswith("@mossy_ted Would")
    accepted = text["forum.ferns.example:12.5"]
    assert accepted.startswith("> I water when the surface is dry\n\nThat is the whole")
    assert ":wink:" in accepted
    assert "1. Cut off the brown fronds at the base.\n2. Soak" in accepted
    assert "- Sphagnum\n- Coir\n- Bark" in text["forum.ferns.example:18.1"]
    assert "voters" not in text["forum.ferns.example:18.1"]
    assert text["forum.ferns.example:18.2"].endswith("\n\n<https://garden.example/staghorn>")
    assert "$$\n180 \\cdot 3600" in text["forum.ferns.example:36.2"]
    assert "```python\ndef hours" in text["forum.ferns.example:36.2"]


def test_the_posts_in_two_files() -> None:
    comments = [i for i in items("reddit", DEEP) if getattr(i, "id", "") == PLANTED["repeated"][0]]
    assert [post.score for post in comments if isinstance(post, Post)] == [-4, -7]
    (used,) = [
        post
        for thread in run("reddit").threads
        for post in thread.responses
        if post.id == PLANTED["repeated"][0]
    ]
    assert used.score == -7  # read later
    topic = [i for i in items("discourse", DEEP) if getattr(i, "id", "") == PLANTED["repeated"][1]]
    assert len(topic) == 2
    assert topic[0] == topic[1]


def test_small_enough_to_ship() -> None:
    folders = ("reddit", "discourse", "lemmy", "threads", "forums")
    files = [path for name in folders for path in Path(HERE, name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 120_000
