"""Which responses of a thread form preference pairs, and why the others do not."""

import heapq
import math
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from schemas.audit import Reason, Rejected, Stage
from schemas.fields import doc
from schemas.ids import hash63
from schemas.pair import Message, Pair, text_hash
from schemas.post import DAY_MS, Post, Thread, conversation_text, prompt_text
from transforms.core.outcomes import Verdict
from transforms.pairing.rules import PRESETS, PairingRules, preset
from transforms.pairing.votes import (
    VoteMode,
    common_window,
    common_window_scores,
    confidence,
    response_score,
)

__all__ = [
    "PRESETS",
    "Decision",
    "PairingRules",
    "VoteMode",
    "decide_pairs",
    "pair_id",
    "pair_row",
    "preset",
]


CONFIDENCE_DIGITS = 6
"""Rounded, because the last bits of erf differ between C libraries, and bytes must not."""


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
    confidence: Annotated[float, doc("see votes.confidence")]


_Decided = tuple[int, int, float, float]
"""Indexes of the chosen and the rejected response, and their scores."""

_Failure = tuple[int, float]
"""Place in _CHECKS of the check that two responses failed, and how far they got in it."""

_CHECKS: Final = (
    Reason.NOT_COMPARED,
    Reason.SAME_AUTHOR,
    Reason.GAP_TOO_LONG,
    Reason.TIED,
    Reason.NOT_LATER,
    Reason.MARGIN_TOO_SMALL,
    Reason.RATIO_TOO_SMALL,
)
_NOT_COMPARED, _SAME_AUTHOR, _GAP, _TIED, _NOT_LATER, _MARGIN, _RATIO = range(len(_CHECKS))

_UNSTATED: Final = (math.nan, math.nan)
"""Scores of two responses that the source does not compare."""


def decide_pairs(thread: Thread, rules: PairingRules) -> tuple[list[Decision], list[Rejected]]:
    """Return the pairs of a thread, ordered by ids, and a reject for every post in no pair.

    Responses to the same post are compared with each other; a reply's prompt is the conversation
    above it. Where the source itself states which of two responses is better, these and only
    these are pairs, whatever the votes.

    A refused prompt takes its responses along (``prompt_rejected``). A response gets the first
    reason that applies: its own fault (score, edited, deleted author, prompt's author, staff,
    too new, undated, in that order); ``too_few_responses`` when nothing is left to compare it
    with; ``pair_cap`` when only the limits of the rules kept it out; else the check its best
    comparison failed, where a comparison is the better the later it fails in the order not
    compared, same author, gap, tie, not later, margin, ratio. A prompt without a pair gets
    ``no_pair``. A response that is part of the conversation of a pair is kept.

    The limits choose by hashes of seed and ids, so neither the order of the responses nor that
    of the threads matters.
    """
    verdict = _prompt_fault(thread.prompt, rules)
    if verdict is not None:
        beside = Verdict(Reason.PROMPT_REJECTED, thread.id)
        return [], [
            _reject(thread.prompt, verdict),
            *(_reject(response, beside) for response in thread.responses),
        ]
    verdicts: dict[int, Verdict] = {}
    siblings: dict[str | None, list[int]] = {}
    for index, response in enumerate(thread.responses):
        verdict = _response_fault(response, thread.prompt, rules)
        if verdict is None:
            siblings.setdefault(response.parent_id, []).append(index)
        else:
            verdicts[index] = verdict
    decided: list[_Decided] = []
    failures: dict[int, _Failure] = {}
    for eligible in siblings.values():
        if len(eligible) == 1:
            verdicts[eligible[0]] = Verdict(Reason.TOO_FEW_RESPONSES, "nothing to compare it with")
        compared = _limit_responses(thread, eligible, rules)
        found, failed = _compare(thread.responses, compared, rules)
        decided += found
        failures |= failed
    kept = _limit_pairs(thread, decided, rules)
    decisions = _add_context(thread, [_decision(thread.responses, pair) for pair in kept])
    used = {index for d in decisions for index in (d.chosen, d.rejected, *d.context)}
    paired = {index for pair in decided for index in pair[:2]}
    rejected = [] if kept else [_reject(thread.prompt, Verdict(Reason.NO_PAIR))]
    for index, response in enumerate(thread.responses):
        if index in used:
            continue
        if index in verdicts:
            verdict = verdicts[index]
        elif index in paired or index not in failures:
            verdict = Verdict(Reason.PAIR_CAP)
        else:
            verdict = _explain(failures[index], rules)
        rejected.append(_reject(response, verdict))
    return decisions, rejected


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


def pair_row(
    thread: Thread, decision: Decision, split: str, *, conversational: bool = False
) -> Pair:
    """Return the output row of one pair, with the columns in turns if ``conversational``."""
    prompt = thread.prompt
    chosen = thread.responses[decision.chosen]
    rejected = thread.responses[decision.rejected]
    context = [thread.responses[index] for index in decision.context]
    text = conversation_text(prompt, context)
    return Pair(
        pair_id=pair_id(thread, chosen, rejected),
        source=prompt.source,
        site=prompt.site,
        thread_id=thread.id,
        split=split,
        language=prompt.language,
        prompt=text,
        chosen=chosen.text,
        rejected=rejected.text,
        prompt_messages=prompt_messages(prompt, context) if conversational else None,
        chosen_messages=answer_messages(chosen) if conversational else None,
        rejected_messages=answer_messages(rejected) if conversational else None,
        text_hash=text_hash(text, chosen.text, rejected.text),
        chosen_score=decision.chosen_score,
        rejected_score=decision.rejected_score,
        margin=decision.margin,
        window_chosen_score=decision.window_chosen_score,
        window_rejected_score=decision.window_rejected_score,
        confidence=decision.confidence,
        chosen_is_accepted=chosen.accepted,
        rejected_is_accepted=rejected.accepted,
        tags=prompt.tags,
        prompt_id=prompt.id,
        prompt_created_at=prompt.created_at,
        prompt_url=prompt.url,
        prompt_author=prompt.author,
        prompt_author_url=prompt.author_url,
        prompt_license=prompt.license,
        context_ids=tuple(post.id for post in context),
        context_urls=tuple(post.url for post in context),
        context_authors=tuple(post.author for post in context),
        context_licenses=tuple(post.license for post in context),
        chosen_id=chosen.id,
        chosen_created_at=chosen.created_at,
        chosen_url=chosen.url,
        chosen_author=chosen.author,
        chosen_author_url=chosen.author_url,
        chosen_license=chosen.license,
        rejected_id=rejected.id,
        rejected_created_at=rejected.created_at,
        rejected_url=rejected.url,
        rejected_author=rejected.author,
        rejected_author_url=rejected.author_url,
        rejected_license=rejected.license,
    )


def prompt_messages(prompt: Post, context: Sequence[Post]) -> tuple[Message, ...]:
    """Return the prompt in turns that a chat template takes: user first, user last, alternating.

    Roles are counted back from the response. Where that would make the prompt itself the
    assistant's, the first reply is joined to it.
    """
    texts = [prompt_text(prompt), *(post.text for post in context)]
    if len(texts) % 2 == 0:
        texts[:2] = [conversation_text(prompt, context[:1])]
    return tuple(
        Message(role="assistant" if place % 2 else "user", content=text)
        for place, text in enumerate(texts)
    )


def answer_messages(response: Post) -> tuple[Message, ...]:
    """Return a response as the one turn that a chat template takes."""
    return (Message(role="assistant", content=response.text),)


def pair_id(thread: Thread, chosen: Post, rejected: Post) -> str:
    """Return ``<thread_id>/<chosen id>><rejected id>``, the latter two without their host."""
    return f"{thread.id}/{_native(chosen)}>{_native(rejected)}"


def _native(post: Post) -> str:
    return post.id.partition(":")[2]


def _prompt_fault(prompt: Post, rules: PairingRules) -> Verdict | None:
    least = rules.min_prompt_score
    if least is not None and prompt.score < least:
        return Verdict(Reason.PROMPT_SCORE_TOO_LOW, f"{prompt.score} < {least}")
    if (rules.drop_edited or rules.drop_edited_prompts) and prompt.edited_at is not None:
        return Verdict(Reason.EDITED)
    if rules.drop_links and prompt.is_link:
        return Verdict(Reason.LINK_POST)
    return _author_or_date_fault(prompt, None, rules)


def _response_fault(response: Post, prompt: Post, rules: PairingRules) -> Verdict | None:
    least = rules.min_response_score
    if least is not None and response.score < least:
        return Verdict(Reason.SCORE_TOO_LOW, f"{response.score} < {least}")
    if rules.drop_edited and response.edited_at is not None:
        return Verdict(Reason.EDITED)
    verdict = _author_or_date_fault(response, prompt, rules)
    if verdict is not None:
        return verdict
    undated = response.up_days is None and response.preferred_to is None
    if undated and rules.mode is VoteMode.COMMON_WINDOW:
        return Verdict(Reason.UNDATED_VOTES)
    return None


def _author_or_date_fault(post: Post, prompt: Post | None, rules: PairingRules) -> Verdict | None:
    author = post.author_id
    if rules.drop_deleted_authors and author is None:
        return Verdict(Reason.DELETED_AUTHOR)
    if rules.drop_prompt_author and prompt and author is not None and author == prompt.author_id:
        return Verdict(Reason.PROMPT_AUTHOR)
    if rules.drop_staff and post.by_staff:
        return Verdict(Reason.STAFF)
    if rules.created_before is not None and post.created_at >= rules.created_before:
        return Verdict(Reason.TOO_NEW)
    return None


def _limit_responses(thread: Thread, eligible: list[int], rules: PairingRules) -> list[int]:
    """The responses to compare: all, or those with the smallest hashes of seed and id."""
    limit = rules.max_responses
    if not limit or len(eligible) <= limit:
        return eligible

    def place(index: int) -> tuple[int, str]:
        name = thread.responses[index].id
        return hash63(f"{rules.seed}/{name}"), name

    return sorted(heapq.nsmallest(limit, eligible, key=place))


def _limit_pairs(thread: Thread, decided: list[_Decided], rules: PairingRules) -> list[_Decided]:
    """The pairs with the smallest hashes of seed and pair id, ordered by response ids."""
    responses = thread.responses
    limit = rules.max_pairs_per_thread
    if limit and len(decided) > limit:

        def place(pair: _Decided) -> tuple[int, str]:
            name = pair_id(thread, responses[pair[0]], responses[pair[1]])
            return hash63(f"{rules.seed}/{name}"), name

        decided = heapq.nsmallest(limit, decided, key=place)
    return sorted(decided, key=lambda pair: (responses[pair[0]].id, responses[pair[1]].id))


def _compare(
    responses: Sequence[Post], compared: list[int], rules: PairingRules
) -> tuple[list[_Decided], dict[int, _Failure]]:
    """Compare every two; returns decided pairs and the best failure of every failing response."""
    windowed = rules.mode is VoteMode.COMMON_WINDOW
    scores = (
        {}
        if windowed
        else {index: response_score(responses[index], rules.mode) for index in compared}
    )
    decided: list[_Decided] = []
    failures: dict[int, _Failure] = {}
    for place, first in enumerate(compared):
        for second in compared[place + 1 :]:
            stated = _stated(responses[first], responses[second])
            if stated is not None:
                high, low = stated
            elif windowed:
                high, low = common_window_scores(responses[first], responses[second])
            else:
                high, low = scores[first], scores[second]
            winner, loser = first, second
            if low > high:
                winner, loser, high, low = second, first, low, high
            failure = _failure(responses[winner], responses[loser], high, low, rules)
            if failure is None:
                decided.append((winner, loser, high, low))
                continue
            for index in (winner, loser):
                if failure > failures.get(index, (-1, 0.0)):
                    failures[index] = failure
    return decided, failures


def _stated(first: Post, second: Post) -> tuple[float, float] | None:
    """Scores of two responses whose order the source states itself; None: it gives votes.

    The scores are the source's own where they are in that order, else 1 and 0. Equal scores
    mean that it states nothing of these two, or both orders.
    """
    if first.preferred_to is None or second.preferred_to is None:
        return None
    better = second.id in first.preferred_to
    if better == (first.id in second.preferred_to):
        return _UNSTATED if not better else (0.0, 0.0)
    if first.score != second.score and (first.score > second.score) == better:
        return float(first.score), float(second.score)
    return (1.0, 0.0) if better else (0.0, 1.0)


def _failure(
    winner: Post, loser: Post, high: float, low: float, rules: PairingRules
) -> _Failure | None:
    """The check two responses fail, or None for a pair."""
    if math.isnan(high):
        return _NOT_COMPARED, 0.0
    if winner.author_id is not None and winner.author_id == loser.author_id:
        return _SAME_AUTHOR, 0.0
    if rules.max_gap_days:
        gap = abs(winner.created_at - loser.created_at) / DAY_MS
        if gap > rules.max_gap_days:
            return _GAP, -gap
    if high == low:
        return _TIED, high
    if winner.created_at < loser.created_at and (
        rules.later_must_win or rules.mode is VoteMode.LATER_WINS
    ):
        return _NOT_LATER, 0.0
    if high - low < rules.min_margin:
        return _MARGIN, high - low
    if rules.min_ratio:
        ratio = high / low if low > 0 else 0.0
        if ratio < rules.min_ratio:
            return _RATIO, ratio
    return None


def _explain(failure: _Failure, rules: PairingRules) -> Verdict:
    check, value = failure
    details = {
        _GAP: f"{-value:.1f} > {rules.max_gap_days:g} days",
        _TIED: f"score {value:g}",
        _MARGIN: f"{value:g} < {rules.min_margin:g}",
        _RATIO: f"{value:.2f} < {rules.min_ratio:g}" if value else "no ratio: a score <= 0",
    }
    return Verdict(_CHECKS[check], details.get(check, ""))


def _decision(responses: Sequence[Post], pair: _Decided) -> Decision:
    chosen, rejected, high, low = pair
    a, b = responses[chosen], responses[rejected]
    # Without votes, the source's word is all there is.
    by_word = a.preferred_to is not None and a.score == b.score
    dated = a.up_days is not None and b.up_days is not None
    window_chosen, window_rejected = common_window(a, b) if dated else (None, None)
    return Decision(
        chosen=chosen,
        rejected=rejected,
        chosen_score=high,
        rejected_score=low,
        margin=high - low,
        window_chosen_score=window_chosen,
        window_rejected_score=window_rejected,
        confidence=1.0 if by_word else round(confidence(a, b), CONFIDENCE_DIGITS),
    )


def _reject(post: Post, verdict: Verdict) -> Rejected:
    return Rejected(id=post.id, stage=Stage.PAIR, reason=verdict.reason, detail=verdict.detail)
