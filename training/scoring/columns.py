"""The columns that scores become, by how the responses stand in a row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import pyarrow as pa

from training.evaluation.models import DEFAULT_BETA, Scored
from training.scoring.candidates import Form
from training.uncertainty.posterior import Z90

Value: TypeAlias = float | int | bool | None
Responses: TypeAlias = Sequence[tuple[Scored, Scored | None]]
"""For each response of a row what the model says, and the reference, if there is one."""

_LISTS: Final = {
    "score": "scores",
    "score_lower": "scores_lower",
    "score_upper": "scores_upper",
    "logprob": "logprobs",
    "mean_logprob": "mean_logprobs",
    "reference_logprob": "reference_logprobs",
    "tokens": "tokens",
    "truncated": "truncated",
}
"""Each measure, and its name where it is a list over the responses."""
_TYPES: Final = {"tokens": pa.int64(), "truncated": pa.bool_()}


@dataclass(frozen=True)
class Measures:
    """Which measures are written, and under which names.

    Args:
        name: part of the name of each column.
        logprob: whether the model is a language model.
        reference: whether there is a second one.
        beta: factor of the difference to the reference.
        per_token: whether the score is the mean over tokens.
        intervals: whether the ends of 90 % intervals are written, too.
    """

    name: str = "model"
    logprob: bool = False
    reference: bool = False
    beta: float = DEFAULT_BETA
    per_token: bool = False
    intervals: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the measures of a response."""
        wanted = ["score"]
        if self.intervals:
            wanted += ["score_lower", "score_upper"]
        if self.logprob:
            wanted += ["logprob", "mean_logprob"]
        if self.reference:
            wanted.append("reference_logprob")
        return (*wanted, *(("tokens",) if self.logprob else ()), "truncated")

    def of(self, own: Scored, reference: Scored | None) -> dict[str, Value]:
        """The measures of a response; None where one is not a finite number."""
        found: dict[str, Value] = {"score": _finite(self.score(own, reference))}
        if self.intervals:
            half = Z90 * (math.nan if own.deviation is None else own.deviation)
            found["score_lower"] = _finite(own.reward - half)
            found["score_upper"] = _finite(own.reward + half)
        if self.logprob:
            found["logprob"] = _finite(own.reward)
            found["mean_logprob"] = _finite(own.reward / own.tokens)
        if reference is not None:
            found["reference_logprob"] = _finite(reference.reward)
        if self.logprob:
            found["tokens"] = own.tokens
        found["truncated"] = own.cut or (reference is not None and reference.cut)
        return found

    def score(self, own: Scored, reference: Scored | None) -> float:
        """The reward; log π(y|x), or β·(log π(y|x) − log π₀(y|x)), each per token if wanted."""
        value = _scaled(own, self.per_token)
        if reference is None:
            return value
        return self.beta * (value - _scaled(reference, self.per_token))


def _scaled(scored: Scored, per_token: bool) -> float:
    return scored.reward / scored.tokens if per_token else scored.reward


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def column_names(form: Form, measures: Measures) -> dict[str, pa.DataType]:
    """The columns that are added, in their order, with their types."""
    found = {}
    for measure in measures.names:
        kind = _TYPES.get(measure, pa.float64())
        if form == "responses":
            found[f"{measures.name}_{_LISTS[measure]}"] = pa.list_(kind)
        elif form == "pair":
            for side in ("chosen", "rejected"):
                found[f"{side}_{measures.name}_{measure}"] = kind
        else:
            found[f"{measures.name}_{measure}"] = kind
    return found


def column_values(form: Form, measures: Measures, responses: Responses) -> list[object]:
    """What a row gets in these columns."""
    values = [measures.of(own, reference) for own, reference in responses]
    found: list[object] = []
    for measure in measures.names:
        every = [one[measure] for one in values]
        found += [every] if form == "responses" else every
    return found


def best_names(measures: Measures) -> dict[str, pa.DataType]:
    """The columns that a row of the best responses gets beside ``response``."""
    name = measures.name
    return {
        f"{name}_best": pa.int64(),
        f"{name}_score": pa.float64(),
        f"{name}_truncated": pa.bool_(),
    }


def best_values(measures: Measures, responses: Responses) -> list[Value]:
    """Which response is the best (from 0), its score, and whether it was cut."""
    best = best_of([measures.score(own, reference) for own, reference in responses])
    found = measures.of(*responses[best])
    return [best, found["score"], found["truncated"]]


def best_of(scores: Sequence[float]) -> int:
    """Position of the highest score, of equal ones the first; what is no number is never better."""
    ranked = [score if math.isfinite(score) else -math.inf for score in scores]
    return max(range(len(ranked)), key=ranked.__getitem__)
