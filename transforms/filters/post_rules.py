"""The rules for single posts: gone, empty, out of length, closed, too young, and their options."""

from collections.abc import Container, Sequence
from typing import Annotated, Final

import msgspec

from schemas.audit import Reason
from schemas.post import ClosedAs, Post, RemovedAs
from transforms.core.rules import OptionValues, PostRule, values_asked, values_of

HOUR_MS: Final = 3_600_000

_AtLeast0 = Annotated[int, msgspec.Meta(ge=0)]
_AtLeast1 = Annotated[int, msgspec.Meta(ge=1)]


def _chars(post: Post) -> int:
    return len(post.title) + len(post.text) if post.is_prompt else len(post.text)


def _too_short(post: Post, _: Post, limit: int) -> bool:
    return _chars(post) < limit


def _too_long(post: Post, _: Post, limit: int) -> bool:
    return _chars(post) > limit


def _short_detail(post: Post, limit: int) -> str:
    return f"{_chars(post)} < {limit} characters"


def _long_detail(post: Post, limit: int) -> str:
    return f"{_chars(post)} > {limit} characters"


def _score_age(post: Post) -> float:
    """Hours between a post and the reading of its score; for ever where that is not known."""
    seen = post.score_seen_at
    return float("inf") if seen is None else (seen - post.created_at) / HOUR_MS


def closed_kinds(names: Sequence[str]) -> frozenset[ClosedAs]:
    """Read the names of kinds of closing; ValueError lists the kinds there are."""
    kinds = [kind.value for kind in ClosedAs]
    for name in names:
        if name not in kinds:
            raise ValueError(f"no kind {name!r}; choose from {', '.join(kinds)}")
    return frozenset(ClosedAs(name) for name in names)


def _kind_names(kinds: frozenset[ClosedAs]) -> tuple[str, ...]:
    return tuple(sorted(kind.value for kind in kinds))


FILTER_RULES: Final = (
    PostRule(
        reason=Reason.DELETED, refuses=lambda post, _, __: post.removed_as is RemovedAs.DELETED
    ),
    PostRule(
        reason=Reason.REMOVED, refuses=lambda post, _, __: post.removed_as is RemovedAs.REMOVED
    ),
    PostRule(
        reason=Reason.EMPTY,
        refuses=lambda post, _, __: not (post.text.strip() or post.title.strip()),
    ),
    PostRule(
        option="min_prompt_chars",
        help="shortest prompt, characters of title + Markdown",
        kind=_AtLeast0,
        default=20,
        off=None,
        reason=Reason.TOO_SHORT,
        on="prompts",
        refuses=_too_short,
        detail=_short_detail,
    ),
    PostRule(
        option="max_prompt_chars",
        help="longest prompt",
        kind=_AtLeast1,
        default=40_000,
        off=None,
        reason=Reason.TOO_LONG,
        on="prompts",
        refuses=_too_long,
        detail=_long_detail,
    ),
    PostRule(
        option="min_response_chars",
        help="shortest response, characters of Markdown",
        kind=_AtLeast0,
        default=20,
        off=None,
        reason=Reason.TOO_SHORT,
        on="responses",
        refuses=_too_short,
        detail=_short_detail,
    ),
    PostRule(
        option="max_response_chars",
        help="longest response",
        kind=_AtLeast1,
        default=40_000,
        off=None,
        reason=Reason.TOO_LONG,
        on="responses",
        refuses=_too_long,
        detail=_long_detail,
    ),
    PostRule(
        option="drop_closed",
        help="drop prompts closed as: " + ", ".join(kind.value for kind in ClosedAs),
        kind=tuple[str, ...],
        default=frozenset({ClosedAs.OFF_TOPIC, ClosedAs.SPAM}),
        read=closed_kinds,
        write=_kind_names,
        off=frozenset(),
        reason=Reason.CLOSED,
        refuses=lambda post, _, kinds: post.closed_as in kinds,
        detail=lambda post, _: str(post.closed_as),
    ),
    PostRule(
        option="max_flags",
        help="maximum number of spam and offensive flags of a kept post",
        kind=_AtLeast0,
        default=0,
        off=None,
        reason=Reason.FLAGGED,
        refuses=lambda post, _, limit: post.flags > limit,
        detail=lambda post, _: f"{post.flags} spam or offensive flags",
    ),
    PostRule(
        option="drop_nsfw",
        help="exclude posts marked as not safe for work",
        default=True,
        reason=Reason.NSFW,
        refuses=lambda post, _, __: post.nsfw,
    ),
    PostRule(
        option="drop_pinned",
        help="exclude posts that staff pinned",
        default=True,
        reason=Reason.PINNED,
        refuses=lambda post, _, __: post.pinned,
    ),
    PostRule(
        option="drop_bots",
        help="exclude posts by bots",
        default=True,
        reason=Reason.BOT,
        refuses=lambda post, _, __: post.by_bot,
    ),
    PostRule(
        option="drop_hidden_scores",
        help="exclude posts whose score the forum did not show yet",
        default=True,
        reason=Reason.SCORE_HIDDEN,
        refuses=lambda post, _, __: post.score_hidden,
    ),
    PostRule(
        option="min_score_age_hours",
        help="minimum hours from posting to when the score was recorded, where known; 0: no limit",
        kind=Annotated[float, msgspec.Meta(ge=0)],
        default=24.0,
        off=None,
        reason=Reason.SCORE_IMMATURE,
        refuses=lambda post, _, limit: _score_age(post) < limit,
        detail=lambda post, limit: f"{_score_age(post):.1f} < {limit:g} hours",
    ),
)
"""In the order in which they are asked; docs/adding_a_rule.md says how to add one."""


@values_of(FILTER_RULES)
class FilterRules(OptionValues):
    """The values of :data:`FILTER_RULES`, by option."""


def filter_rules_for_sets(rules: FilterRules, names: Container[str]) -> FilterRules:
    """Return the rules for preference sets: those of ``rules`` whose options are in ``names``.

    Posts without a text, and those whose text is gone, are refused in any case.
    """
    return FilterRules(**values_asked(FILTER_RULES, rules, names))
