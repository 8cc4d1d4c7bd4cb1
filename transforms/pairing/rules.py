"""The values of the label rules, and published sets of them by name."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from transforms.core import OptionValues, values_asked, values_of
from transforms.pairing.label_rules import LIMITS, PAIRING_OPTIONS, VOTES
from transforms.pairing.votes import VoteMode

_LIMIT_NAMES: Final = frozenset(str(limit.option) for limit in LIMITS)


@values_of(PAIRING_OPTIONS)
class PairingRules(OptionValues):
    """When two responses to one prompt are a pair, and how many pairs a thread may give.

    A field for each of :data:`transforms.pairing.label_rules.PAIRING_OPTIONS`. The scores compared
    are those of `votes`; `min_prompt_score` and `min_response_score` look at the published score
    (upvotes − downvotes) whatever the mode. Responses of one known author never form a pair.
    """

    seed: int = 0
    """Of the random choice where there are more pairs or responses than the limits allow."""
    # No annotation, for it is no option.
    limits_on_judged = _LIMIT_NAMES
    """Which limits hold for what the source itself judges, too."""


@dataclass(frozen=True, kw_only=True)
class SetPairingRules(PairingRules):
    """Rules for preference sets: what these state is not chosen from again."""

    limits_on_judged: frozenset[str] = frozenset()


def rules_for_sets(rules: PairingRules, names: Container[str]) -> SetPairingRules:
    """Return the rules for preference sets: those of ``rules`` whose options are in ``names``.

    The limits hold in any case where votes are compared, for the number of pairs grows with the
    square of that of the responses.
    """
    own = values_asked(PAIRING_OPTIONS, rules, names) | {"seed": rules.seed}
    if VOTES.option not in names:
        own["votes"] = VOTES.default
    own["limits_on_judged"] = frozenset(name for name in _LIMIT_NAMES if name in names)
    return SetPairingRules(**own)


_YEAR_2023_MS = 1_672_531_200_000

PRESETS: Final[Mapping[str, PairingRules]] = MappingProxyType(
    {
        # Every decided pair under net votes. The cap of 10 is that of lvwerra's
        # stack-exchange-paired, so that threads with many responses do not dominate. Notices of
        # moderators are not responses (StackExchange dumps do not mark them).
        "all": PairingRules(drop_staff=True),
        # WorldPM (arXiv 2505.10527, section 3.1.1 and appendix A.2): two responses of one post
        # with different net votes, drawn at random; acceptance is one more upvote; no margin or
        # length rule. The paper does not say how many pairs a post gives; this takes one.
        "worldpm": PairingRules(max_pairs_per_thread=1),
        # HuggingFaceH4/stack-exchange-preferences with the published binarisation: two responses
        # of unequal log2 score per question. A question whose scores are all equal gives no
        # pair; the published script announces the same but repeats the previous question.
        "h4": PairingRules(votes=VoteMode.LOG2, max_pairs_per_thread=1),
        # SHP (card of stanfordnlp/SHP, section Data Selection), with SHP-2's score for
        # StackExchange, 0 + upvotes − downvotes. Rule 1 as its prose and its rows have it: the
        # preferred response is not the earlier one (the numbered rule says the reverse). Rule 2:
        # post before 2023 (asked here of responses too), not edited (of the post only). Rule 3:
        # no deleted users, moderators or self-answers. Rule 4: post >= 10, both responses >= 2.
        # At most 50 responses of a post, and every pair of them. Rule 2 also asks for a self-post
        # that is not NSFW, and rule 5 for top-level comments: filters and `reply_depth` see to
        # that by default. StackExchange dumps do not mark moderators.
        "shp": PairingRules(
            votes=VoteMode.LATER_WINS,
            max_pairs_per_thread=0,
            max_responses=50,
            min_prompt_score=10,
            min_response_score=2,
            drop_edited_prompts=True,
            drop_deleted_authors=True,
            drop_prompt_author=True,
            drop_staff=True,
            drop_links=True,
            created_before=_YEAR_2023_MS,
        ),
    }
)
"""Published pairing rules by name; ``dataclasses.replace`` changes single fields."""


def preset(name: str) -> PairingRules:
    """Return the pairing rules called ``name``; ValueError lists the names there are."""
    if name not in PRESETS:
        raise ValueError(f"no pairing preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
