"""Posts that no one would want to learn from: gone, empty, out of length, closed, unripe."""

import functools
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam

from schemas.audit import Reason, Stage
from schemas.post import ClosedAs, Post, RemovedAs, Thread
from transforms.core.outcomes import ApplyOutcome, Outcome, Verdict, drop_posts

HOUR_MS: Final = 3_600_000

_REMOVED: Final = {RemovedAs.DELETED: Reason.DELETED, RemovedAs.REMOVED: Reason.REMOVED}


@dataclass(frozen=True)
class FilterRules:
    """Limits on single posts. Lengths are characters of Markdown; a title counts for a prompt."""

    min_prompt_chars: int = 20
    max_prompt_chars: int = 40_000
    min_response_chars: int = 20
    max_response_chars: int = 40_000
    drop_closed: frozenset[ClosedAs] = frozenset({ClosedAs.OFF_TOPIC, ClosedAs.SPAM})
    max_flags: int = 0
    drop_nsfw: bool = True
    drop_pinned: bool = True
    drop_bots: bool = True
    drop_hidden_scores: bool = True
    min_score_age_hours: float = 24.0
    """Least hours between a post and the reading of its score, where that is known; 0: any."""


def judge_post(post: Post, rules: FilterRules) -> Verdict | None:
    """Return why a post is refused, or None. The first rule that fails is the reason."""
    if post.removed_as is not None:
        return Verdict(_REMOVED[post.removed_as])
    if not (post.text.strip() or post.title.strip()):
        return Verdict(Reason.EMPTY)
    if post.is_prompt:
        length = len(post.title) + len(post.text)
        low, high = rules.min_prompt_chars, rules.max_prompt_chars
    else:
        length = len(post.text)
        low, high = rules.min_response_chars, rules.max_response_chars
    if length < low:
        return Verdict(Reason.TOO_SHORT, f"{length} < {low} characters")
    if length > high:
        return Verdict(Reason.TOO_LONG, f"{length} > {high} characters")
    if post.closed_as is not None and post.closed_as in rules.drop_closed:
        return Verdict(Reason.CLOSED, post.closed_as.value)
    if post.flags > rules.max_flags:
        return Verdict(Reason.FLAGGED, f"{post.flags} spam or offensive flags")
    for dropped, marked, reason in (
        (rules.drop_nsfw, post.nsfw, Reason.NSFW),
        (rules.drop_pinned, post.pinned, Reason.PINNED),
        (rules.drop_bots, post.by_bot, Reason.BOT),
        (rules.drop_hidden_scores, post.score_hidden, Reason.SCORE_HIDDEN),
    ):
        if dropped and marked:
            return Verdict(reason)
    if post.score_seen_at is not None:
        hours = (post.score_seen_at - post.created_at) / HOUR_MS
        if hours < rules.min_score_age_hours:
            return Verdict(
                Reason.SCORE_IMMATURE, f"{hours:.1f} < {rules.min_score_age_hours:g} hours"
            )
    return None


def filter_thread(thread: Thread, rules: FilterRules) -> Outcome:
    """Judge every post of a thread; the thread needs its prompt and two responses."""
    refused = {
        post.id: verdict
        for post in (thread.prompt, *thread.responses)
        if (verdict := judge_post(post, rules)) is not None
    }
    return drop_posts(thread, refused, Stage.FILTER)


@dataclass
class FilterThreads(beam.PTransform):
    """Thread → ``threads`` and ``rejected``."""

    rules: FilterRules

    def expand(self, threads: beam.PCollection) -> Any:
        step = ApplyOutcome(FilterThreads, functools.partial(filter_thread, rules=self.rules))
        return threads | "Filter" >> beam.ParDo(step).with_outputs("rejected", main="threads")
