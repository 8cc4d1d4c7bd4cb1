"""What a language model says of the items of a suite, in each form that is compared.

A policy ranks a pair rightly where it finds the preferred response more probable: ranking accuracy
(Chen et al. 2024, "Preference Learning Algorithms Do Not Learn Preference Rankings", arXiv
2405.19534), by the sum over tokens or by their mean. With a reference β·(log π − log π₀) is the
implicit reward of DPO (arXiv 2305.18290), and the same with β = 1 of a stronger and a weaker model
is their log density ratio as a reward (Xu et al. 2024, "CDR: Customizable Density Ratios of
Strong-over-weak LLMs for Preference Annotation", arXiv 2411.02481).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from training.evaluation.items import Item, Scores
from training.evaluation.models import Scored
from training.evaluation.score_cache import count_cut
from training.validation.metrics import Floats

Kind: TypeAlias = Literal["reward", "logprob", "density-ratio"]

SuiteScores: TypeAlias = Sequence[Sequence[Scored]]
"""What a model says of the responses of each item of a suite."""


class Variant(NamedTuple):
    """One way to make a score of log-probabilities."""

    label: str
    """After the model's name."""
    about: str
    """In words."""
    scores: list[Scores]
    """Of each suite."""
    cut: list[int]
    """Responses of each suite that one of the models has not read whole."""


def variants(
    kind: Kind,
    items: Sequence[Sequence[Item]],
    own: Sequence[SuiteScores],
    reference: Sequence[SuiteScores] | None,
    beta: float,
) -> list[Variant]:
    """Every form of a policy's scores, the one that its kind is named after first.

    Args:
        items: of each suite.
        own: of each suite, by the policy; of ``density-ratio`` the stronger model.
        reference: by the reference, or the weaker model; None: there is none.
        beta: factor of the difference, which changes no order.
    """
    found = {}
    for form, values in (("", _sums), (" / token", _means)):
        over = "means" if form else "sums"
        mine = [[values(item) for item in suite] for suite in own]
        cut = [count_cut(*one) for one in zip(items, own, strict=True)]
        found[f"log π{form}"] = Variant(f"log π{form}", f"log π, {over} over tokens", mine, cut)
        if reference is None:
            continue
        theirs = [[values(item) for item in suite] for suite in reference]
        cut = [count_cut(*one) for one in zip(items, map(_either, own, reference), strict=True)]
        ratio = kind == "density-ratio"
        factor = 1.0 if ratio else beta
        name = _RATIO if ratio else _IMPLICIT
        about = f"{name}, {over} over tokens" + ("" if ratio else f", β = {beta:g}")
        scores = [
            [factor * (high - low) for high, low in zip(*suites, strict=True)]
            for suites in zip(mine, theirs, strict=True)
        ]
        found[f"{name}{form}"] = Variant(f"{name}{form}", about, scores, cut)
    first = _RATIO if kind == "density-ratio" else "log π"
    return sorted(found.values(), key=lambda one: not one.label.startswith(first))


_RATIO = "log strong − log weak"
_IMPLICIT = "β(log π − log π₀)"


def _either(own: SuiteScores, reference: SuiteScores) -> SuiteScores:
    """Scores of a model, cut where one of two has not read a response whole."""
    return [
        [one._replace(cut=one.cut or other.cut) for one, other in zip(mine, theirs, strict=True)]
        for mine, theirs in zip(own, reference, strict=True)
    ]


def _sums(item: Sequence[Scored]) -> Floats:
    return np.array([one.reward for one in item], dtype=np.float64)


def _means(item: Sequence[Scored]) -> Floats:
    return np.array([one.reward / one.tokens for one in item], dtype=np.float64)
