"""The label rules: what makes two responses a pair, each with its option, reason and check.

docs/adding_a_rule.md says how to add one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from schemas.audit import Reason
from schemas.post import DAY_MS, Post
from transforms.core import Option, PostRule, Rule
from transforms.pairing.votes import VoteMode, label_confidence

AtLeast0 = Annotated[int, msgspec.Meta(ge=0)]
AtLeast0Float = Annotated[float, msgspec.Meta(ge=0)]


class Compared(NamedTuple):
    """Two responses to the same post, and their scores under the vote mode."""

    winner: Post
    loser: Post
    high: float
    """Score of the winner; NaN: the source states no order of the two."""
    low: float
    debiased: float | None = None
    """Confidence by the vote model, where it makes the label."""


@dataclass(frozen=True, kw_only=True)
class PairRule(Rule):
    """A rule that looks at two responses."""

    fails: Callable[[Compared, Any], float | None]
    """(the two, value of the option) → None for a pair, else how near they came: higher is nearer.

    Of all comparisons of a response in no pair, the one that came furthest gives the reason."""
    detail: Callable[[float, Any], str] = lambda nearness, value: ""
    """(what `fails` returned, value of the option) → what was found, for the rejected table."""


def _gap(two: Compared, max_days: float) -> float | None:
    days = abs(two.winner.created_at - two.loser.created_at) / DAY_MS
    return -days if days > max_days else None


def _margin(two: Compared, minimum: float) -> float | None:
    margin = two.high - two.low
    return margin if margin < minimum else None


def _large(two: Compared, maximum: float) -> float | None:
    margin = two.high - two.low
    return -margin if margin > maximum else None


def _unsure(two: Compared, minimum: float) -> float | None:
    sure = label_confidence(two.winner, two.loser, two.debiased)
    return sure if sure < minimum else None


def _ratio(two: Compared, minimum: float) -> float | None:
    ratio = two.high / two.low if two.low > 0 else 0.0
    return ratio if ratio < minimum else None


def _same_author(two: Compared, _: None) -> float | None:
    author = two.winner.author_id
    if author is None or two.winner.preferred_to is not None:  # a stated order needs no voters
        return None
    return 0.0 if author == two.loser.author_id else None


def date_ms(text: str) -> int | None:
    """Milliseconds since the epoch at the start of a UTC date; None for ''."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date like 2023-01-31") from None
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def date_text(time: int | None) -> str:
    """Undo :func:`date_ms`."""
    return "" if time is None else datetime.fromtimestamp(time / 1000, UTC).date().isoformat()


def vote_mode(name: str) -> VoteMode:
    """Return the mode of this name; ValueError lists the modes there are."""
    modes = [mode.value for mode in VoteMode]
    if name not in modes:
        raise ValueError(f"no mode {name!r}; choose from {', '.join(modes)}")
    return VoteMode(name)


VOTES: Final = Option(
    option="votes",
    help="what a score is: " + ", ".join(mode.value for mode in VoteMode),
    kind=str,
    default=VoteMode.NET_VOTES,
    read=vote_mode,
    write=str,
)

LIMITS: Final = (
    Option(
        option="max_pairs_per_thread",
        help="maximum number of pairs of one thread, at random; 0: all",
        kind=AtLeast0,
        default=10,
    ),
    Option(
        option="max_responses",
        help="maximum number of responses to one post that are compared, at random; 0: all",
        kind=AtLeast0,
        default=200,
    ),
)
"""They bound the pairs and the comparisons; what they keep out is rejected as ``pair_cap``."""

LABEL_RULES: Final[tuple[PostRule | PairRule, ...]] = (
    PostRule(
        option="min_prompt_score",
        help="minimum of upvotes − downvotes of a prompt",
        kind=int,
        default=None,
        off=None,
        reason=Reason.PROMPT_SCORE_TOO_LOW,
        on="prompts",
        refuses=lambda post, _, minimum: post.score < minimum,
        detail=lambda post, minimum: f"{post.score} < {minimum}",
    ),
    PostRule(
        option="min_response_score",
        help="minimum of upvotes − downvotes of a response",
        kind=int,
        default=None,
        off=None,
        reason=Reason.SCORE_TOO_LOW,
        on="responses",
        refuses=lambda post, _, minimum: post.score < minimum,
        detail=lambda post, minimum: f"{post.score} < {minimum}",
    ),
    PostRule(
        option="drop_edited",
        help="exclude edited prompts and responses",
        reason=Reason.EDITED,
        refuses=lambda post, _, __: post.edited_at is not None,
    ),
    PostRule(
        option="drop_edited_prompts",
        help="exclude edited prompts",
        reason=Reason.EDITED,
        on="prompts",
        refuses=lambda post, _, __: post.edited_at is not None,
    ),
    PostRule(
        option="drop_links",
        help="exclude prompts that share a link instead of text",
        reason=Reason.LINK_POST,
        on="prompts",
        refuses=lambda post, _, __: post.is_link,
    ),
    PostRule(
        option="drop_deleted_authors",
        help="exclude posts of deleted accounts",
        reason=Reason.DELETED_AUTHOR,
        refuses=lambda post, _, __: post.author_id is None,
    ),
    PostRule(
        option="drop_prompt_author",
        help="exclude self-answers",
        reason=Reason.PROMPT_AUTHOR,
        on="responses",
        refuses=lambda post, prompt, _: (
            post.author_id is not None and post.author_id == prompt.author_id
        ),
    ),
    PostRule(
        option="drop_staff",
        help="exclude posts of moderators and employees",
        reason=Reason.STAFF,
        refuses=lambda post, _, __: post.by_staff,
    ),
    PostRule(
        option="created_before",
        help="exclude posts from this UTC date (YYYY-MM-DD) on; '': none",
        kind=str,
        default=None,
        off=None,
        read=date_ms,
        write=date_text,
        reason=Reason.TOO_NEW,
        refuses=lambda post, _, time: post.created_at >= time,
    ),
    PostRule(
        reason=Reason.UNDATED_VOTES,
        asked=lambda rules: rules.votes is VoteMode.COMMON_WINDOW,
        on="responses",
        refuses=lambda post, _, __: post.up_days is None and not post.is_judged,
    ),
    PairRule(
        reason=Reason.NOT_COMPARED,
        fails=lambda two, _: 0.0 if math.isnan(two.high) else None,
    ),
    PairRule(reason=Reason.SAME_AUTHOR, fails=_same_author),
    PairRule(
        option="max_gap_days",
        help="maximum number of days between the two responses; 0: no limit",
        kind=AtLeast0Float,
        default=0.0,
        off=0.0,
        reason=Reason.GAP_TOO_LONG,
        fails=_gap,
        detail=lambda nearness, maximum: f"{-nearness:.1f} > {maximum:g} days",
    ),
    PairRule(
        reason=Reason.TIED,
        fails=lambda two, _: two.high if two.high == two.low else None,
        detail=lambda score, _: f"score {score:g}",
    ),
    PairRule(
        option="later_must_win",
        help="the winner must not be the earlier response",
        reason=Reason.NOT_LATER,
        asked=lambda rules: rules.later_must_win or rules.votes is VoteMode.LATER_WINS,
        fails=lambda two, _: 0.0 if two.winner.created_at < two.loser.created_at else None,
    ),
    PairRule(
        option="min_margin",
        help="minimum difference of scores; 0: no limit",
        kind=AtLeast0Float,
        default=0.0,
        off=0.0,
        reason=Reason.MARGIN_TOO_SMALL,
        fails=_margin,
        detail=lambda margin, minimum: f"{margin:g} < {minimum:g}",
    ),
    PairRule(
        option="min_ratio",
        help="minimum ratio of positive scores; 0: no limit",
        kind=AtLeast0Float,
        default=0.0,
        off=0.0,
        reason=Reason.RATIO_TOO_SMALL,
        fails=_ratio,
        detail=lambda ratio, minimum: (
            f"{ratio:.2f} < {minimum:g}" if ratio else "no ratio: a score <= 0"
        ),
    ),
    PairRule(
        option="max_margin",
        help="maximum difference of scores; 0: no limit",
        kind=AtLeast0Float,
        default=0.0,
        off=0.0,
        reason=Reason.MARGIN_TOO_LARGE,
        fails=_large,
        detail=lambda nearness, maximum: f"{-nearness:g} > {maximum:g}",
    ),
    PairRule(
        option="min_confidence",
        help="minimum confidence in a label; 0: no limit",
        kind=Annotated[float, msgspec.Meta(ge=0, le=1)],
        default=0.0,
        off=0.0,
        reason=Reason.CONFIDENCE_TOO_LOW,
        fails=_unsure,
        detail=lambda sure, minimum: f"{sure:.3f} < {minimum:g}",
    ),
)
"""In the order in which they are asked: of the prompt, of each response, then of every two."""

PAIRING_OPTIONS: Final[tuple[Option, ...]] = (VOTES, *LIMITS, *LABEL_RULES)
"""All that a preset decides, in the order of docs/recipe.md."""
