"""A huge thread, and a text posted everywhere: the work is counted, not timed."""

import numpy as np
import pytest

from tests.make import response, thread
from transforms.dedup import similarity
from transforms.dedup.components import stars
from transforms.dedup.find_duplicates import bucket_rows, find_candidates
from transforms.dedup.minhash import MinHashRules
from transforms.dedup.verify import verify_group
from transforms.pairing import PairingRules, decide_pairs, pairs

LIMIT = 50


@pytest.mark.parametrize("answers", [200, 2_000])
def test_comparisons_do_not_grow_with_the_thread(
    monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    compared = []
    judge = pairs._failure
    monkeypatch.setattr(
        pairs, "_failure", lambda *arguments: compared.append(1) or judge(*arguments)
    )
    huge = thread(1, *(response(number + 2, 1) for number in range(answers)))
    decisions, rejected = decide_pairs(huge, PairingRules(max_responses=LIMIT))
    assert len(compared) == LIMIT * (LIMIT - 1) // 2
    used = {index for decision in decisions for index in (decision.chosen, decision.rejected)}
    assert len(used) + len(rejected) == answers, "every answer has an outcome"


BOILERPLATE = " ".join(f"w{n * 7919 % 1000}" for n in range(80))


@pytest.mark.parametrize("posts", [300, 1_200])
@pytest.mark.parametrize("different", [False, True])
def test_work_for_copies_grows_with_their_number_alone(
    monkeypatch: pytest.MonkeyPatch, posts: int, different: bool
) -> None:
    """All of them share a bucket; pairs of them would be 720,000."""
    looked_at: list[int] = []
    for name, argument in (("_is_similar", 1), ("_verify", 1)):
        old = getattr(similarity._Join, name)

        def counted(*arguments, old=old, argument=argument):
            looked_at.append(len(arguments[argument]))
            return old(*arguments)

        monkeypatch.setattr(similarity._Join, name, counted)
    rules = MinHashRules()
    texts = [f"{BOILERPLATE} u{n}" if different else BOILERPLATE for n in range(posts)]
    threads = [
        thread(2 * n, response(2 * n + 1, 2 * n, text=text), text=f"question {n}")
        for n, text in enumerate(texts, start=1)
    ]
    rows = bucket_rows([post for one in threads for post in one.responses], rules)
    edges, _ = stars(rows[:, 0], rows[:, 1])
    assert len(edges) <= rules.bands * (posts - 1), "edges of a bucket, not pairs"
    nodes = np.unique(edges)
    table = np.stack([nodes, np.full(len(nodes), nodes[0])], axis=1)
    candidates = list(find_candidates(threads, table, rules))
    assert len(candidates) == posts
    matches = verify_group(candidates, rules.threshold)
    assert len(matches) == posts - 1
    assert len({match.kept_id for match in matches}) == 1
    assert sum(looked_at) <= 4 * posts, "similarities"
