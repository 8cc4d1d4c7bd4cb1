"""A huge thread costs no more comparisons than the limit allows: work is counted, not timed."""

import pytest

from tests.make import response, thread
from transforms import pairs
from transforms.pairs import PairingRules, decide_pairs

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
    assert len(used) + len(rejected) == answers, "every answer has a fate"
