import dataclasses
import re
from itertools import combinations

import apache_beam as beam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import MASK_63, hash63
from schemas.post import prompt_text
from tests.beam_run import output_of
from tests.make import response, thread
from transforms.core.blocks import ThreadBlock, pack, partition_of, thread_partition
from transforms.dedup.components import unpack_rows
from transforms.dedup.find_duplicates import (
    FindDuplicates,
    bucket_rows,
    find_candidates,
    post_node,
    route_to_threads,
)
from transforms.dedup.hash_texts import HashTexts
from transforms.dedup.minhash import MinHashRules

RULES = MinHashRules()


def find(threads, rules=RULES, partitions=8, block=2):
    """Matches on threads, packed in blocks of their partition."""
    by_partition = {}
    for one in threads:
        by_partition.setdefault(thread_partition(one.id, partitions), []).append(one)
    blocks = [
        (partition, pack(ThreadBlock, members[start : start + block]))
        for partition, members in by_partition.items()
        for start in range(0, len(members), block)
    ]
    transform = HashAndFind(rules, partitions)
    return output_of(transform, (blocks, tuple[int, ThreadBlock]))


@dataclasses.dataclass
class HashAndFind(beam.PTransform):
    rules: MinHashRules
    partitions: int

    def expand(self, threads):
        hashed = threads | HashTexts(self.rules, self.partitions)
        return (threads, hashed.buckets) | FindDuplicates(self.rules, self.partitions)


def words(start, number):
    return " ".join(f"word{place}" for place in range(start, start + number))


def pairs_of(matches):
    return {
        (int(v.removed_id.split(":")[1]), int(v.kept_id.split(":")[1]), v.rule.value)
        for v in matches
    }


def random_threads(seed, number):
    """Threads whose texts come in families: copies, light edits and strangers."""
    random = np.random.default_rng(seed)
    families = [[f"f{family}w{place}" for place in range(80)] for family in range(25)]

    def text():
        kind = random.integers(0, 10)
        if kind == 0:
            return f"short answer {random.integers(0, 4)}"
        if kind < 4:
            return " ".join(f"x{value}" for value in random.integers(0, 10**9, 60))
        body = list(families[random.integers(len(families))])
        for _ in range(random.integers(0, 3)):
            body[random.integers(len(body))] = f"edit{random.integers(0, 1000)}"
        return " ".join(body[random.integers(0, 4) :])

    threads = []
    for place in range(number):
        base = 10 * (place + 1)
        answers = [
            response(base + n, base, text=text(), score=int(random.integers(-2, 5)))
            for n in range(1, 3)
        ]
        score = int(random.integers(0, 3))
        title = f"Title {random.integers(3)}"
        threads.append(thread(base, *answers, title=title, text=text(), score=score))
    return threads


def plain_shingles(text):
    tokens = re.findall(r"\w+", text.lower())
    if len(tokens) < RULES.min_words:
        return set()
    return {tuple(tokens[place : place + 5]) for place in range(len(tokens) - 4)}


def all_pairs(threads):
    """Matches by comparing every question with every other, then every answer."""
    removed_prompts = set()
    found = set()
    for kind in (True, False):
        posts = {
            post.id: post
            for one in threads
            for post in (one.prompt, *one.responses)
            if post.is_prompt == kind
        }
        text = {key: prompt_text(post) if kind else post.text for key, post in posts.items()}
        shingles = {key: plain_shingles(value) for key, value in text.items()}
        group = {key: {key} for key in posts}
        near = set()
        for one, two in combinations(posts, 2):
            left, right = shingles[one], shingles[two]
            similar = left and right and len(left & right) / len(left | right) >= 0.8
            if similar or text[one] == text[two]:
                near |= {(one, two), (two, one)}
                merged = group[one] | group[two]
                for member in merged:
                    group[member] = merged
        for key, members in group.items():
            kept = min(
                members,
                key=lambda m, posts=posts: (
                    not posts[m].is_prompt and posts[m].thread_id in removed_prompts,
                    -posts[m].score,
                    posts[m].created_at,
                    m,
                ),
            )
            if kept != key:
                found.add((key, kept, text[key] == text[kept], (key, kept) in near))
        if kind:
            removed_prompts = {key for key, *_ in found}
    return found


@pytest.fixture(scope="module")
def hundred():
    threads = random_threads(seed=5, number=100)
    return threads, all_pairs(threads)


@pytest.mark.parametrize(("partitions", "block", "reverse"), [(1, 50, False), (64, 1, True)])
def test_duplicates_are_those_of_all_pairs(hundred, partitions, block, reverse):
    threads, expected = hundred
    matches = find(threads[::-1] if reverse else threads, partitions=partitions, block=block)
    rules = {"exact": (True, True), "near": (False, True), "near_chain": (False, False)}
    assert {(v.removed_id, v.kept_id, *rules[v.rule.value]) for v in matches} == expected
    assert len(matches) == len(expected) > 100
    thread_of = {post.id: one.id for one in threads for post in (one.prompt, *one.responses)}
    for match in matches:
        assert match.removed_thread_id == thread_of[match.removed_id]
        assert match.kept_thread_id == thread_of[match.kept_id]
        assert match.is_prompt == (match.removed_id == match.removed_thread_id)


def test_short_texts_are_compared_for_equality_only():
    threads = [
        thread(10, response(11, 10, text=words(0, 19)), response(12, 10, text="a + b")),
        thread(20, response(21, 20, text=words(0, 18)), response(22, 20, text="a - b")),
        thread(30, response(31, 30, text=words(0, 19)), response(32, 30, text="a  +\nb")),
    ]
    assert pairs_of(find(threads)) == {(11, 31, "exact"), (12, 32, "exact")}


def test_code_that_differs_in_an_operator_is_no_exact_duplicate():
    code = words(0, 40) + " `x = a {} b`"
    threads = [
        thread(10, response(11, 10, text=code.format("+")), response(12, 10)),
        thread(20, response(21, 20, text=code.format("-")), response(22, 20)),
    ]
    assert pairs_of(find(threads)) == {(11, 21, "near")}
    assert find(threads, MinHashRules(near=False)) == []


def test_answers_of_one_thread():
    text = words(0, 40)
    threads = [thread(10, *(response(number, 10, text=text) for number in (11, 12, 13)))]
    assert pairs_of(find(threads)) == {(11, 13, "exact"), (12, 13, "exact")}


def test_a_question_is_never_a_duplicate_of_an_answer():
    text = words(0, 40)
    threads = [thread(10, response(11, 10, text=text), response(12, 10), title="", text=text)]
    assert find(threads) == []


def test_titles_count_in_questions():
    threads = [thread(10, title="One", text="Why?"), thread(20, title="Two", text="Why?")]
    assert find(threads) == []


def test_an_answer_is_kept_where_its_question_is_kept():
    question, answer = words(0, 40), words(100, 40)
    threads = [
        thread(
            10, response(11, 10, text=answer, score=99), response(12, 10), title="", text=question
        ),
        thread(20, response(21, 20, text=answer, score=0), response(22, 20)),
        thread(30, response(31, 30), response(32, 30), title="", text=question, score=5),
    ]
    assert pairs_of(find(threads)) == {(10, 30, "exact"), (11, 21, "exact")}


def test_boilerplate_does_not_join_what_differs():
    rows = []
    shared = words(0, 60)
    for number in range(10, 1010, 10):
        text = f"{shared} {words(1000 * number, 20)}"
        answers = (response(number + 1, number, text=text), response(number + 2, number))
        rows.append(thread(number, *answers))
    copy = response(5002, 5000, text=rows[0].responses[0].text, score=99)
    rows.append(thread(5000, copy, response(5003, 5000)))
    assert pairs_of(find(rows, block=30)) == {(11, 5002, "exact")}


def test_a_thread_given_twice_does_no_harm():
    one = thread(10, response(11, 10, text=words(0, 40)), response(12, 10))
    two = thread(20, response(21, 20, text=words(0, 40)), response(22, 20))
    assert pairs_of(find([one, one, two])) == {(11, 21, "exact")}


def test_no_threads():
    assert find([]) == []


def test_bucket_rows_hold_the_bands_or_the_text():
    one = thread(10, response(11, 10, text=words(0, 40)), response(12, 10))
    rows = bucket_rows(one.responses, RULES)
    assert rows.shape == (RULES.bands + 1, 2)
    assert rows[:, 1].tolist() == [post_node(one.responses[0])] * RULES.bands + [
        post_node(one.responses[1])
    ]
    assert rows.min() >= 0
    assert bucket_rows([], RULES).shape == (0, 2)


@given(st.integers(0, MASK_63), st.integers(1, 10_000), st.integers(0, 2**32 - 1))
def test_a_node_reaches_the_partition_of_its_thread(position, partitions, low):
    border = -(-(position % partitions << 63) // partitions)
    for place in {position, border, max(border - 1, 0)}:
        node = place & ~(2**32 - 1) | low
        routed = dict(route_to_threads(np.array([[node, 7]]), partitions))
        assert len(routed) <= 2
        assert unpack_rows(routed[partition_of(place, partitions)]).tolist() == [[node, 7]]


def test_nodes():
    one = thread(10)
    assert post_node(one.prompt) == hash63(one.id)
    first, second = (post_node(answer) for answer in one.responses)
    assert first != second
    assert first >> 32 == second >> 32 == hash63(one.id) >> 32


def test_posts_that_share_a_node_are_both_candidates(monkeypatch):
    monkeypatch.setattr("transforms.dedup.find_duplicates.post_node", lambda post: 7)
    one = thread(10)
    found = find_candidates([one], np.array([[7, 3]]), RULES)
    assert [(c.root, c.id) for c in found] == [
        (3, post.id) for post in (one.prompt, *one.responses)
    ]
