import dataclasses

import msgspec
import pytest

from schemas.audit import Reason
from schemas.post import ClosedAs, RemovedAs
from tests.make import prompt, response, thread
from transforms.filters.post_rules import HOUR_MS, FilterRules
from transforms.filters.posts import filter_thread, judge_post

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
        (prompt(1, title="1234567890", text=""), None),
        (response(2, text="abcdef", removed_as=RemovedAs.DELETED), Reason.DELETED),
        (response(2, text="", removed_as=RemovedAs.REMOVED), Reason.REMOVED),
        (response(2, text="abcdef", nsfw=True), Reason.NSFW),
        (response(2, text="abcdef", pinned=True), Reason.PINNED),
        (response(2, text="abcdef", by_bot=True), Reason.BOT),
        (response(2, text="abcdef", score_hidden=True), Reason.SCORE_HIDDEN),
        (response(2, text="abcdef", created_at=0, score_seen_at=24 * HOUR_MS), None),
        (
            response(2, text="abcdef", created_at=0, score_seen_at=24 * HOUR_MS - 1),
            Reason.SCORE_IMMATURE,
        ),
    ],
)
def test_rules(post, reason) -> None:
    rejection = judge_post(post, RULES)
    assert (rejection.reason if rejection else None) == reason


@pytest.mark.parametrize(
    ("marks", "off"),
    [
        ({"nsfw": True}, {"drop_nsfw": False}),
        ({"pinned": True}, {"drop_pinned": False}),
        ({"by_bot": True}, {"drop_bots": False}),
        ({"score_hidden": True}, {"drop_hidden_scores": False}),
        ({"created_at": 5, "score_seen_at": 5}, {"min_score_age_hours": 0.0}),
    ],
)
def test_each_mark_has_a_switch(marks, off) -> None:
    post = response(2, text="abcdef", **marks)
    assert judge_post(post, RULES) is not None
    assert judge_post(post, dataclasses.replace(RULES, **off)) is None


def test_a_limit_is_reported_with_the_value() -> None:
    rejection = judge_post(response(2, text="abc"), RULES)
    assert rejection is not None
    assert rejection.detail == "3 < 5 characters"


def test_thread_goes_when_its_prompt_goes() -> None:
    outcome = filter_thread(thread(1, text=" ", title=""), FilterRules())
    assert outcome.thread is None
    assert [r.reason for r in outcome.rejected] == [Reason.EMPTY] + [Reason.PROMPT_REJECTED] * 2
