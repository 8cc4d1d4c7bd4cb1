"""Which responses of a thread form preference pairs, and why the others do not."""

import functools
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Final, NamedTuple

import msgspec

from schemas.audit import Reason, Rejected, Stage
from schemas.fields import doc
from schemas.ids import hash63
from schemas.post import Post, Thread
from schemas.vote_model import VoteModel
from transforms.core import Rejection
from transforms.core.rules import Asked, PostRule, asked, asked_of_posts, first_refusal
from transforms.pairing.label_rules import LABEL_RULES, Compared, PairRule
from transforms.pairing.rules import PairingRules
from transforms.pairing.vote_model import (
    DebiasedScore,
    Quality,
    compare,
    response_quality,
)
from transforms.pairing.votes import (
    VoteMode,
    common_window,
    common_window_scores,
    label_confidence,
    response_score,
)


class Decision(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """One pair of a thread; responses are named by their index in ``thread.responses``."""

    chosen: Annotated[int, doc("index of the preferred response")]
    rejected: Annotated[int, doc("index of the other response")]
    context: Annotated[
        tuple[int, ...], doc("indexes of the responses above these two, outermost first")
    ] = ()
    chosen_score: Annotated[float, doc("score under the vote mode")]
    rejected_score: Annotated[float, doc("score under the vote mode")]
    margin: Annotated[float, doc("chosen_score − rejected_score, > 0")]
    window_chosen_score: Annotated[int | None, doc("see votes.common_window; None: undated")]
    window_rejected_score: Annotated[int | None, doc("see votes.common_window; None: undated")]
    confidence: Annotated[float, doc("see votes.label_confidence")]
    debiased_margin: Annotated[float | None, doc("see vote_model.compare; None: no model")] = None
    debiased_standard_error: Annotated[float | None, doc("see vote_model.compare")] = None


_Decided = tuple[int, int, float, float]
"""Indexes of the chosen and the rejected response, and their scores."""

_Failure = tuple[int, float]
"""Place of the rule that two responses failed among those asked, and how near they came."""

_UNSTATED: Final = (math.nan, math.nan)
"""Scores of two responses that the source does not compare."""


class _Asked(NamedTuple):
    """The rules that are asked, each with the value of its option."""

    of_posts: dict[bool, Asked[PostRule]]
    """By whether the post is a prompt."""
    of_two: Asked[PairRule]


@functools.lru_cache(maxsize=16)
def _asked(rules: PairingRules) -> _Asked:
    posts = [rule for rule in LABEL_RULES if isinstance(rule, PostRule)]
    two = [rule for rule in LABEL_RULES if isinstance(rule, PairRule)]
    return _Asked(asked_of_posts(posts, rules), asked(two, rules))


def decide_pairs(
    thread: Thread, rules: PairingRules, model: VoteModel | None = None
) -> tuple[list[Decision], list[Rejected]]:
    """Return the pairs of a thread, ordered by ids, and a reject for every post in no pair.

    Responses to the same post are compared with each other; a reply's prompt is the conversation
    above it. Where the source itself states which of two responses is better, these and only
    these are pairs, whatever the votes; where it rates responses, its ratings are compared.

    A refused prompt takes its responses along (``prompt_rejected``). A response gets the first
    reason that applies: its own fault (score, edited, deleted author, prompt's author, staff,
    too new, undated, in that order); ``too_few_responses`` when nothing is left to compare it
    with; ``pair_cap`` when only the limits of the rules kept it out; else the check its best
    comparison failed, where a comparison is the better the later it fails in the order not
    compared, same author, gap, tie, not later, margin, ratio. A prompt without a pair gets
    ``no_pair``. A response that is part of the conversation of a pair is kept.

    A stated preference that is no pair, of two responses that are in others, is a reject of its
    own, with ``record='preference'``.

    ``model``: fills the debiased columns, and makes the label under ``votes: debiased``, which
    needs one (ValueError).

    The limits choose by hashes of seed and ids, so neither the order of the responses nor that
    of the threads matters.
    """
    on_posts, on_two = _asked(rules)
    refused = first_refusal(thread.prompt, thread.prompt, on_posts[True])
    if refused is not None:
        beside = Rejection(Reason.PROMPT_REJECTED, thread.id)
        return [], [
            _reject(thread.prompt, refused),
            *(_reject(response, beside) for response in thread.responses),
        ]
    rejections: dict[int, Rejection] = {}
    siblings: dict[str | None, list[int]] = {}
    for index, response in enumerate(thread.responses):
        refused = first_refusal(response, thread.prompt, on_posts[False])
        if refused is None:
            siblings.setdefault(response.parent_id, []).append(index)
        else:
            rejections[index] = refused
    decided: list[_Decided] = []
    failures: dict[int, _Failure] = {}
    unmet: list[tuple[int, int, _Failure]] = []
    groups = [_limit_responses(thread, eligible, rules) for eligible in siblings.values()]
    scorer = _scorer(thread, [index for compared in groups for index in compared], rules, model)
    for eligible, compared in zip(siblings.values(), groups, strict=True):
        if len(eligible) == 1:
            rejections[eligible[0]] = Rejection(
                Reason.TOO_FEW_RESPONSES, "nothing to compare it with"
            )
        found = _compare(thread.responses, compared, scorer, on_two)
        decided += found.decided
        failures |= found.failures
        unmet += found.unmet
    kept = _limit_pairs(thread, decided, rules)
    decisions = _add_context(thread, [_decision(thread.responses, pair, scorer) for pair in kept])
    used = {index for d in decisions for index in (d.chosen, d.rejected, *d.context)}
    paired = {index for pair in decided for index in pair[:2]}
    rejected = [] if kept else [_reject(thread.prompt, Rejection(Reason.NO_PAIR))]
    for index, response in enumerate(thread.responses):
        if index in used:
            continue
        if index in rejections:
            rejection = rejections[index]
        elif index in paired or index not in failures:
            rejection = Rejection(Reason.PAIR_CAP)
        else:
            rejection = _explain(failures[index], on_two)
        rejected.append(_reject(response, rejection))
    lost = [(first, second, _explain(failure, on_two)) for first, second, failure in unmet]
    lost += [
        (first, second, Rejection(Reason.PAIR_CAP))
        for first, second in {pair[:2] for pair in decided} - {pair[:2] for pair in kept}
        if _is_stated(thread.responses[first], thread.responses[second])
    ]
    rejected += _lost_preferences(thread, [two for two in lost if used.issuperset(two[:2])])
    return decisions, rejected


def _lost_preferences(thread: Thread, lost: Iterable[tuple[int, int, Rejection]]) -> list[Rejected]:
    """Rejects of what the source states of two responses that are both used, ordered by ids."""
    rows = [
        Rejected(
            id=pair_id(thread, thread.responses[first], thread.responses[second]),
            stage=Stage.PAIR,
            reason=rejection.reason,
            detail=rejection.detail,
            record="preference",
        )
        for first, second, rejection in lost
    ]
    return sorted(rows, key=lambda row: row.id)


def _add_context(thread: Thread, decisions: list[Decision]) -> list[Decision]:
    """Name the responses between the prompt and the two that are compared."""
    parents = [response.parent_id for response in thread.responses]
    if not any(parents):
        return decisions
    index_of = {response.id: index for index, response in enumerate(thread.responses)}
    complete = []
    for decision in decisions:
        context: list[int] = []
        parent = parents[decision.chosen]
        while parent is not None:
            context.append(index_of[parent])
            parent = parents[context[-1]]
        complete.append(msgspec.structs.replace(decision, context=tuple(reversed(context))))
    return complete


def pair_id(thread: Thread, chosen: Post, rejected: Post) -> str:
    """Return ``<thread_id>/<chosen id>><rejected id>``, the latter two without their host."""
    return f"{thread.id}/{_native(chosen)}>{_native(rejected)}"


def _native(post: Post) -> str:
    return post.id.partition(":")[2]


class _Scorer(NamedTuple):
    """What scores the responses of a thread."""

    mode: VoteMode
    quality: Quality | None
    """By the vote model, where there is one."""
    place: Mapping[int, int]
    """Where the responses are in it."""

    def score(self, responses: Sequence[Post], index: int) -> float:
        if self.mode is not VoteMode.DEBIASED:
            return response_score(responses[index], self.mode)
        if self.quality is None:
            raise ValueError("the vote mode 'debiased' needs a vote model")
        return self.quality.mean[self.place[index]]

    def debiased(self, first: int, second: int) -> DebiasedScore | None:
        """What the vote model says of two; None: there is no model."""
        if self.quality is None:
            return None
        return compare(self.quality, self.place[first], self.place[second])

    def label_confidence(self, winner: int, loser: int) -> float | None:
        """The confidence by the vote model, where it makes the label."""
        found = self.debiased(winner, loser) if self.mode is VoteMode.DEBIASED else None
        return None if found is None else found.confidence


def _scorer(
    thread: Thread, compared: Sequence[int], rules: PairingRules, model: VoteModel | None
) -> _Scorer:
    quality = None if model is None else response_quality(thread, model, compared)
    return _Scorer(rules.votes, quality, {index: at for at, index in enumerate(compared)})


def _limit_responses(thread: Thread, eligible: list[int], rules: PairingRules) -> list[int]:
    """The responses to compare: all, or those with the smallest hashes of seed and id.

    Where the source states preferences, there are no more to compare than it states.
    """
    limit = rules.max_responses
    if not limit or len(eligible) <= limit:
        return eligible
    if "max_responses" not in rules.limits_on_judged and _all_stated(thread.responses, eligible):
        return eligible

    def place(index: int) -> tuple[int, str]:
        name = thread.responses[index].id
        return hash63(f"{rules.seed}/{name}"), name

    return sorted(heapq.nsmallest(limit, eligible, key=place))


def _limit_pairs(thread: Thread, decided: list[_Decided], rules: PairingRules) -> list[_Decided]:
    """The pairs with the smallest hashes of seed and pair id, ordered by response ids."""
    responses = thread.responses
    limit = rules.max_pairs_per_thread
    free: list[_Decided] = []
    if limit and "max_pairs_per_thread" not in rules.limits_on_judged:
        judged = [responses[a].is_judged and responses[b].is_judged for a, b, _, _ in decided]
        free = list(itertools.compress(decided, judged))
        decided = list(itertools.compress(decided, [not free for free in judged]))
    if limit and len(decided) > limit:

        def place(pair: _Decided) -> tuple[int, str]:
            name = pair_id(thread, responses[pair[0]], responses[pair[1]])
            return hash63(f"{rules.seed}/{name}"), name

        decided = heapq.nsmallest(limit, decided, key=place)
    both = [*free, *decided]
    return sorted(both, key=lambda pair: (responses[pair[0]].id, responses[pair[1]].id))


class _Comparisons(NamedTuple):
    """What came of comparing the responses to one post."""

    decided: list[_Decided]
    failures: dict[int, _Failure]
    """The best failure of every response that failed with another."""
    unmet: list[tuple[int, int, _Failure]]
    """Two of which the source states a preference, or a tie, and why they are no pair."""


def _compare(
    responses: Sequence[Post],
    compared: list[int],
    scorer: _Scorer,
    rules: Asked[PairRule],
) -> _Comparisons:
    """Compare every two."""
    windowed = scorer.mode is VoteMode.COMMON_WINDOW
    scores = {} if windowed else {index: scorer.score(responses, index) for index in compared}
    # As sets: one response may be preferred to thousands.
    preferred = {
        post.id: frozenset(post.preferred_to)
        for post in map(responses.__getitem__, compared)
        if post.preferred_to is not None
    }
    result = _Comparisons([], {}, [])
    for first, second in _every_two(responses, compared):
        stated = _stated(responses[first], responses[second], preferred)
        if stated is not None:
            high, low = stated
        elif windowed:
            high, low = common_window_scores(responses[first], responses[second])
        else:
            high, low = scores[first], scores[second]
        winner, loser = first, second
        if low > high:
            winner, loser, high, low = second, first, low, high
        sure = scorer.label_confidence(winner, loser)
        failure = _failure(Compared(responses[winner], responses[loser], high, low, sure), rules)
        if failure is None:
            result.decided.append((winner, loser, high, low))
            continue
        for index in (winner, loser):
            if failure > result.failures.get(index, (-1, 0.0)):
                result.failures[index] = failure
        if _is_stated(responses[first], responses[second]) and not math.isnan(high):
            result.unmet.append((winner, loser, failure))
    return result


def _every_two(responses: Sequence[Post], compared: list[int]) -> Iterator[tuple[int, int]]:
    """Every two responses to compare, in their order.

    Where the source states all preferences itself, those two of which it does. One without any is
    beside the next, to fail: a set may have thousands of responses to one prompt.
    """
    if not _all_stated(responses, compared):
        yield from itertools.combinations(compared, 2)
        return
    index_of = {responses[index].id: index for index in compared}
    known = {
        (min(index, other), max(index, other))
        for index in compared
        for id in responses[index].preferred_to or ()
        if (other := index_of.get(id)) is not None
    }
    met = {index for two in known for index in two}
    for place, index in enumerate(compared):
        if index not in met and len(compared) > 1:
            other = compared[place - 1]
            known.add((min(index, other), max(index, other)))
    yield from sorted(known)


def _all_stated(responses: Sequence[Post], compared: list[int]) -> bool:
    return all(responses[index].preferred_to is not None for index in compared)


def _is_stated(first: Post, second: Post) -> bool:
    return first.preferred_to is not None and second.preferred_to is not None


def _stated(
    first: Post, second: Post, preferred: Mapping[str, frozenset[str]]
) -> tuple[float, float] | None:
    """Scores of two responses that the source itself judges; None: it gives votes.

    ``preferred``: by the id of a response, those that it is stated to be better than.

    Its ratings are these. Where it states an order, they are its ratings or votes where these are
    in that order, else 1 and 0. Equal scores mean a tie, or that it states both orders. A rating
    is not compared with votes.
    """
    one_is_rated = (first.rating is None) is not (second.rating is None)
    if not _is_stated(first, second):
        if first.rating is None or second.rating is None:
            return _UNSTATED if one_is_rated else None
        return first.rating, second.rating
    better = second.id in preferred[first.id]
    if better == (first.id in preferred[second.id]):
        return _UNSTATED if not better else (0.0, 0.0)
    amounts = ((first.rating, second.rating), (first.score, second.score))
    for one, other in () if one_is_rated else amounts:
        if one is not None and other is not None and one != other and (one > other) == better:
            return float(one), float(other)
    return (1.0, 0.0) if better else (0.0, 1.0)


def _failure(two: Compared, rules: Asked[PairRule]) -> _Failure | None:
    """The first rule that two responses fail, or None for a pair."""
    for place, (rule, value) in enumerate(rules):
        nearness = rule.fails(two, value)
        if nearness is not None:
            return place, nearness
    return None


def _explain(failure: _Failure, rules: Asked[PairRule]) -> Rejection:
    place, nearness = failure
    rule, value = rules[place]
    return Rejection(rule.reason, rule.detail(nearness, value))


def _decision(responses: Sequence[Post], pair: _Decided, scorer: _Scorer) -> Decision:
    chosen, rejected, high, low = pair
    a, b = responses[chosen], responses[rejected]
    judged = a.is_judged or b.is_judged
    found = None if judged else scorer.debiased(chosen, rejected)
    sure = None if judged else scorer.label_confidence(chosen, rejected)
    dated = a.up_days is not None and b.up_days is not None
    window_chosen, window_rejected = common_window(a, b) if dated else (None, None)
    return Decision(
        chosen=chosen,
        rejected=rejected,
        chosen_score=high,
        rejected_score=low,
        margin=high - low if found is None or sure is None else found.margin,
        window_chosen_score=window_chosen,
        window_rejected_score=window_rejected,
        confidence=label_confidence(a, b, sure),
        debiased_margin=found.margin if found else None,
        debiased_standard_error=found.standard_error if found else None,
    )


def _reject(post: Post, rejection: Rejection) -> Rejected:
    return Rejected(id=post.id, stage=Stage.PAIR, reason=rejection.reason, detail=rejection.detail)
