"""Threads that share text are found, whatever else differs, and boilerplate chains nothing."""

import dataclasses
import itertools
import random
from collections import Counter

import apache_beam as beam
import numpy as np
import pytest

from schemas.ids import hash63
from schemas.post import Thread
from tests.beam_run import output_of
from tests.make import response, thread
from transforms.core.blocks import ThreadBlock, pack, thread_partition
from transforms.dedup.components import contract, unpack_rows
from transforms.dedup.hash_texts import HashTexts
from transforms.dedup.minhash import MinHashRules, shingle_hashes, word_hashes
from transforms.dedup.overlaps import (
    MAX_THREADS,
    FindOverlaps,
    overlapping,
    sample_rows,
    shared_samples,
)

FEW_WORDS = MinHashRules(min_words=8)


@dataclasses.dataclass
class HashAndFind(beam.PTransform):  # type: ignore[misc]
    partitions: int

    def expand(self, threads: beam.PCollection) -> beam.PCollection:
        hashed = threads | HashTexts(None, self.partitions)
        return (hashed.samples, hashed.prompts) | FindOverlaps(self.partitions)


def edges_of(threads: list[Thread], partitions: int = 4, block: int = 7) -> list[list[int]]:
    blocks = [
        (thread_partition(threads[at].id, partitions), pack(ThreadBlock, threads[at : at + block]))
        for at in range(0, len(threads), block)
    ]
    found = output_of(HashAndFind(partitions), (blocks, tuple[int, ThreadBlock]))
    return [edge for chunk in found for edge in unpack_rows(chunk).tolist()]


def groups_of(threads: list[Thread], partitions: int = 4, block: int = 7) -> set[frozenset[str]]:
    """Ids of the threads that are grouped."""
    names = {hash63(one.id): one.id.split(":")[1] for one in threads}
    roots: dict[int, set[str]] = {}
    edges = np.array(edges_of(threads, partitions, block), np.int64).reshape(-1, 2)
    for node, root in contract(edges).tolist():
        roots.setdefault(root, {names[root]}).add(names[node])
    return {frozenset(group) for group in roots.values()}


def some_words(rng: random.Random, number: int) -> list[str]:
    return [f"w{rng.randrange(10**6)}" for _ in range(number)]


def answered(number: int, *texts: str, title: str = "", text: str = "") -> Thread:
    rng = random.Random(f"question {number}")
    prompt = {"title": title or f"Title {number}", "text": text or " ".join(some_words(rng, 30))}
    base = 100 * number
    return thread(
        base,
        *(response(base + place, base, text=one) for place, one in enumerate(texts, 1)),
        **prompt,
    )


PAIR = {frozenset({"100", "200"})}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Use a wooden spoon: it will not scratch.", "use a wooden spoon - it will NOT scratch"),
        ("The motto (so far): never, ever, give up.", "the motto so far never ever give up!"),
        ("“Always” is what I’d say to that, friend", "'always' is what i'd say to that - friend."),
        ("Je l’ai déjà fait deux fois ici", "JE L'AI DE\u0301JA\u0300 FAIT DEUX FOIS ICI"),
        ("आप इसे दो बार ज़रूर देख लें भाई", "आप इसे दो बार, ज़रूर देख लें भाई।"),
        ("明日は雨が降るでしょう。", "明日は、雨が降るでしょう"),
    ],
)  # fmt: skip
def test_answers_that_differ_in_case_and_punctuation(one: str, other: str) -> None:
    threads = [answered(1, one, "no"), answered(2, other, "yes")]
    assert groups_of(threads) == PAIR


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Which malt?", "which malt"),
        ("¿Qué?", "QUE\u0301"),
        ("C++", "c"),
        ("???", "???"),
        ("ภาษาไทย", "ภาษาไทย!"),
    ],
)
def test_questions_of_the_same_words_however_short(one: str, other: str) -> None:
    threads = [
        thread(100, response(101, 100), response(102, 100), title="", text=one),
        thread(200, response(201, 200), response(202, 200), title="", text=other),
        thread(300, response(301, 300), response(302, 300), title="", text="Which hops?"),
        thread(400, response(401, 400), response(402, 400), title="", text="!!!"),
    ]
    assert groups_of(threads) == PAIR


def test_short_answers_group_nothing() -> None:
    """Half of a forum says this."""
    threads = [answered(n, "Thank you very much indeed!", "It depends.") for n in range(1, 30)]
    assert groups_of(threads) == set()


def with_changes(rng: random.Random, words: list[str], number: int) -> list[str]:
    changed = list(words)
    for place in rng.sample(range(len(words)), number):
        changed[place] = f"x{rng.randrange(10**6)}"
    return changed


def recall(pairs: list[tuple[str, str]]) -> float:
    threads = []
    for number, (one, other) in enumerate(pairs, 1):
        threads += [answered(2 * number, one, "no"), answered(2 * number + 1, other, "no")]
    found = groups_of(threads, block=50)
    wanted = {frozenset({str(200 * n), str(200 * n + 100)}) for n in range(1, len(pairs) + 1)}
    assert found <= wanted
    return len(found) / len(wanted)


@pytest.mark.parametrize("length", [25, 60, 120, 500])
def test_copies_at_half_the_similarity_and_more_are_found(length: int) -> None:
    rng = random.Random(length)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < 150:
        one = some_words(rng, length)
        other = with_changes(rng, one, max(1, length // rng.randrange(13, 30)))
        left, right = shingle_hashes([" ".join(one), " ".join(other)], FEW_WORDS)
        shared = len(np.intersect1d(left, right))
        if 0.5 <= shared / (len(left) + len(right) - shared) < 0.8:
            pairs.append((" ".join(one), " ".join(other)))
    assert recall(pairs) >= 0.97


@pytest.mark.parametrize("around", [60, 1500])
@pytest.mark.parametrize("changes", [0, 2])
def test_a_quotation_in_a_longer_text_is_found(around: int, changes: int) -> None:
    rng = random.Random(around + changes)
    pairs = []
    for _ in range(150):
        quoted, text = some_words(rng, 50), some_words(rng, around)
        place = rng.randrange(around)
        inside = text[:place] + with_changes(rng, quoted, changes) + text[place:]
        pairs.append((" ".join(quoted), " ".join(inside)))
    assert recall(pairs) >= 0.9


def test_a_question_and_an_answer_that_say_the_same() -> None:
    text = " ".join(some_words(random.Random(8), 60))
    assert groups_of([answered(1, "no", "yes", text=text), answered(2, text.upper(), "no")]) == PAIR


def test_texts_of_one_thread_need_no_group() -> None:
    text = " ".join(some_words(random.Random(8), 60))
    assert edges_of([answered(1, text, text, text=text)]) == []


def test_texts_with_little_in_common_are_left_apart() -> None:
    rng = random.Random(2)
    phrase = some_words(rng, 14)
    threads = [answered(n, " ".join(some_words(rng, 60) + phrase), "no") for n in range(1, 25)]
    assert groups_of(threads) == set()


def test_what_many_threads_have_is_boilerplate() -> None:
    """Most of each answer is one signature, which would make one group of all."""
    rng = random.Random(2)
    signature = " ".join(some_words(rng, 30))
    answers = [" ".join(some_words(rng, 12)) + " " + signature for _ in range(MAX_THREADS + 1)]
    threads = [answered(n, text, "no") for n, text in enumerate(answers, 1)]
    assert groups_of(threads) == set()
    assert len(groups_of(threads[:-1])) == 1


def test_many_copies_in_one_thread_hide_no_other_thread() -> None:
    text = " ".join(some_words(random.Random(4), 40))
    quotes = [f"{text} quoted {n} times here" for n in range(3 * MAX_THREADS)]
    assert groups_of([answered(1, *quotes), answered(2, text, "no")]) == PAIR


def test_pairs_grow_with_the_rows_and_not_with_their_square() -> None:
    rng = random.Random(6)
    texts = [" ".join(some_words(rng, 30)) for _ in range(40)]
    posts = [
        response(base + 1, base, text=texts[n % 40])
        for n in range(40 * MAX_THREADS)
        for base in [100 * n + 100]
    ]
    hashes = word_hashes([post.text for post in posts], FEW_WORDS)
    rows = sample_rows(posts, hashes)
    assert 0 < len(shared_samples(rows).left) <= len(rows) * (MAX_THREADS - 1) / 2
    hot = posts + [response(10**7 + 1, 10**7, text=text) for text in texts]
    hot_rows = sample_rows(hot, word_hashes([post.text for post in hot], FEW_WORDS))
    assert len(shared_samples(hot_rows).left) == 0


TEXT_BITS = 31


def test_pairs_are_all_that_share_a_shingle_of_few_threads() -> None:
    rng = random.Random(12)
    rows = [
        (shingle << TEXT_BITS | rng.randrange(1000), rng.randrange(2 * MAX_THREADS))
        for shingle in (min(rng.randrange(40), rng.randrange(40)) for _ in range(1500))
    ]
    smallest: dict[int, dict[int, int]] = {}
    for row, owner in rows:
        of_shingle = smallest.setdefault(row >> TEXT_BITS, {})
        text = row & (1 << TEXT_BITS) - 1
        of_shingle[owner] = min(text, of_shingle.get(owner, text))
    expected = Counter(
        (left, left_owner, right, right_owner)
        for of_shingle in smallest.values()
        if len(of_shingle) <= MAX_THREADS
        for (left_owner, left), (right_owner, right) in itertools.combinations(
            sorted(of_shingle.items()), 2
        )
    )
    assert len({len(of_shingle) <= MAX_THREADS for of_shingle in smallest.values()}) == 2
    shared = shared_samples(np.array(rows, np.int64))
    found = shared.rows(np.arange(len(shared.left))).tolist()
    mask = (1 << TEXT_BITS) - 1
    assert Counter((both >> TEXT_BITS, a, both & mask, b) for both, a, b in found) == expected
    assert len(shared_samples(np.empty((0, 2), np.int64)).left) == 0


def test_pairs_overlap_as_often_as_they_share_a_shingle() -> None:
    """What is dropped early shares too little, in whatever company it is."""
    rng = random.Random(13)
    # Texts of 20 shingles, all sampled (size code 20), and of 64 << 2, one in four sampled.
    short, long = 20 << 22, (4 << 5 | 16) << 22
    rows = []
    for number in range(600):
        left, right = (rng.choice((short, long)) | rng.randrange(1 << 20) for _ in "lr")
        times = rng.choice((1, 2, 7, 8, 9, 25, 26, 27))
        rows += [(left, 2 * number, right, 2 * number + 1)] * times
    rng.shuffle(rows)
    expected = set()
    for (left, left_owner, right, right_owner), times in Counter(rows).items():
        both_short = left >> 22 == right >> 22 == 20
        estimate = times if both_short else 4 * times
        size = 256 if left >> 22 == right >> 22 == 4 << 5 | 16 else 20
        if (both_short or times >= 2) and estimate >= 0.4 * size and estimate >= 8:
            expected.add((left_owner, right_owner))
    assert 0 < len(expected) < 600
    packed = [(left << TEXT_BITS | right, a, b) for left, a, right, b in rows]
    found = overlapping(np.array(packed, np.int64))
    assert sorted(map(tuple, found.tolist())) == sorted(expected)


@pytest.mark.parametrize(("partitions", "block"), [(1, 200), (64, 3)])
def test_groups_do_not_depend_on_how_the_work_is_cut(partitions: int, block: int) -> None:
    rng = random.Random(9)
    texts = [some_words(rng, 50) for _ in range(12)]
    threads = [
        answered(n, " ".join(with_changes(rng, texts[n % 12], 2)), "no") for n in range(1, 37)
    ]
    expected = groups_of(threads)
    assert {len(group) for group in expected} == {3}
    rng.shuffle(threads)
    assert groups_of(threads, partitions, block) == expected
