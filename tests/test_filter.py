import msgspec
import pytest

from schemas.audit import Reason
from schemas.post import ClosedAs
from tests.make import prompt, response, thread
from transforms.filter import FilterRules, filter_thread, judge_post

RULES = FilterRules(
    min_prompt_chars=10, max_prompt_chars=50, min_response_chars=5, max_response_chars=20
)


def change(post, **fields):
    return msgspec.structs.replace(post, **fields)


@pytest.mark.parametrize(
    ("post", "reason"),
    [
        (response(2, text="   \n"), Reason.EMPTY),
        (response(2, text="abcd"), Reason.TOO_SHORT),
        (response(2, text="abcde"), None),
        (response(2, text="a" * 20), None),
        (response(2, text="a" * 21), Reason.TOO_LONG),
        (prompt(1, title="12345", text="1234"), Reason.TOO_SHORT),
        (prompt(1, title="12345", text="12345"), None),
        (prompt(1, title="1", text="x" * 50), Reason.TOO_LONG),
        (prompt(1, title="12345", text="12345", closed_as=ClosedAs.OFF_TOPIC), Reason.CLOSED),
        (prompt(1, title="12345", text="12345", closed_as=ClosedAs.SPAM), Reason.CLOSED),
        (prompt(1, title="12345", text="12345", closed_as=ClosedAs.DUPLICATE), None),
        (response(2, text="abcdef", flags=1), Reason.FLAGGED),
    ],
)
def test_rules(post, reason) -> None:
    verdict = judge_post(post, RULES)
    assert (verdict.reason if verdict else None) == reason


def test_a_limit_is_reported_with_the_value() -> None:
    verdict = judge_post(response(2, text="abc"), RULES)
    assert verdict is not None
    assert verdict.detail == "3 < 5 characters"


def test_thread_goes_when_its_prompt_goes() -> None:
    outcome = filter_thread(thread(1, text="", title="Title only"), FilterRules())
    assert outcome.thread is None
    assert [r.reason for r in outcome.rejected] == [Reason.EMPTY] + [Reason.PROMPT_REJECTED] * 2
