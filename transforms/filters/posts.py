"""Posts that no one would want to learn from are dropped, as :data:`FILTER_RULES` say."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import apache_beam as beam

from schemas.audit import Stage
from schemas.post import Post, Thread
from transforms.core import (
    Rejection,
    StepResult,
    ThreadOutcome,
    apply_to_threads,
    drop_posts,
    rules_of,
    show_progress,
)
from transforms.core.rules import Asked, PostRule, asked_of_posts, first_refusal
from transforms.filters.post_rules import FILTER_RULES, FilterRules


@functools.lru_cache(maxsize=16)
def _asked(rules: FilterRules) -> dict[bool, Asked[PostRule]]:
    return asked_of_posts(FILTER_RULES, rules)


def judge_post(post: Post, rules: FilterRules) -> Rejection | None:
    """Return why a post is refused, or None. The first rule that fails is the reason."""
    return first_refusal(post, post, _asked(rules)[post.is_prompt])


def filter_thread(thread: Thread, rules: FilterRules) -> ThreadOutcome:
    """Judge every post of a thread; the thread needs its prompt and two responses."""
    refused = {
        post.id: rejection
        for post in (thread.prompt, *thread.responses)
        if (rejection := judge_post(post, rules)) is not None
    }
    return drop_posts(thread, refused, Stage.FILTER)


@dataclass
class FilterThreads(beam.PTransform):
    """Thread → Thread."""

    rules: FilterRules
    by_source: Mapping[str, FilterRules] = field(default_factory=dict)
    """Other rules for kinds of source."""

    def expand(self, threads: beam.PCollection[Thread]) -> StepResult:
        show_progress(FilterThreads, "in-threads", "threads filtered", Stage.FILTER)
        judge = functools.partial(_filter_by_source, rules=self.rules, by_source=self.by_source)
        return apply_to_threads(threads, judge, Stage.FILTER, FilterThreads)


def _filter_by_source(
    thread: Thread, rules: FilterRules, by_source: Mapping[str, FilterRules]
) -> ThreadOutcome:
    return filter_thread(thread, rules_of(thread, rules, by_source))
