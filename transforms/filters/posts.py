"""Posts that no one would want to learn from are dropped, as :data:`FILTER_RULES` say."""

import functools
from dataclasses import dataclass

import apache_beam as beam

from schemas.audit import Stage
from schemas.post import Post, Thread
from transforms.core import (
    Rejection,
    StepResult,
    ThreadOutcome,
    apply_to_threads,
    drop_posts,
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

    def expand(self, threads: beam.PCollection[Thread]) -> StepResult:
        show_progress(FilterThreads, "in-threads", "threads filtered", Stage.FILTER)
        judge = functools.partial(filter_thread, rules=self.rules)
        return apply_to_threads(threads, judge, Stage.FILTER, FilterThreads)
