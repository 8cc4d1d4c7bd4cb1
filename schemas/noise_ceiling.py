"""The noise ceiling: how often a label can be right at most, given how noisy the votes are.

A label comes from few votes, so it is wrong now and then, and no model can agree with all labels
that votes alone decided. An accuracy is to be read beside this number, not beside 100 %.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.fields import doc

MILLION: Final = 1_000_000
"""`confidence` has six digits, so sums of it in millionths are exact."""

Z_95: Final = 1.959964


class NoiseCeiling(msgspec.Struct, frozen=True, kw_only=True):
    """The highest accuracy that a model can be expected to reach on labels of pairs."""

    accuracy: Annotated[float | None, doc("0.5 to 1; None: nothing is known of the noise")]
    standard_error: Annotated[
        float | None,
        doc("of `accuracy`, as an estimate for more such questions; None: one question"),
    ]
    low: Annotated[float | None, doc("lower end of the 95 % interval")]
    high: Annotated[float | None, doc("upper end of the 95 % interval")]
    pairs: Annotated[int, doc("pairs whose confidence is known")]
    questions: Annotated[int, doc("questions that they belong to")]


class CeilingSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over pairs from which :class:`NoiseCeiling` follows; whole numbers, so that they add up
    over shards to the same bytes in any order."""

    pairs: int = 0
    questions: int = 0
    certain: int = 0
    """Pairs of confidence 1."""
    millionths: int = 0
    """Σ max(p, 1 − p) in millionths."""
    squares: int = 0
    """Σ over questions of (their Σ max(p, 1 − p))², each sum rounded to thousandths."""
    products: int = 0
    """Σ over questions of that sum in thousandths × number of pairs."""
    pair_squares: int = 0
    """Σ over questions of (number of pairs)²."""

    def __add__(self, other: "CeilingSums") -> "CeilingSums":
        """Add sums over other questions."""
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        names = self.__struct_fields__
        return CeilingSums(**{name: a + b for name, a, b in zip(names, mine, theirs, strict=True)})

    def ceiling(self) -> NoiseCeiling:
        """Return the mean, with the standard error of a ratio over questions.

        Var(mean) = m / (m − 1) · Σ_q (S_q − mean · n_q)² / n², for m questions q with n_q pairs
        and the sum S_q (Cochran 1977, Sampling Techniques, section 6.3).
        """
        if self.pairs == self.certain:
            return NoiseCeiling(
                accuracy=None, standard_error=None, low=None, high=None,
                pairs=0, questions=0,
            )  # fmt: skip
        mean = self.millionths / (MILLION * self.pairs)
        error = None
        low = high = None
        if self.questions > 1:
            spread = (
                self.squares / 1e6
                - 2 * mean * self.products / 1e3
                + mean * mean * self.pair_squares
            )
            inflation = self.questions / (self.questions - 1)
            error = math.sqrt(max(spread, 0.0) * inflation) / self.pairs
            low = round(max(0.5, mean - Z_95 * error), 6)
            high = round(min(1.0, mean + Z_95 * error), 6)
            error = round(error, 6)
        return NoiseCeiling(
            accuracy=round(mean, 6),
            standard_error=error,
            low=low,
            high=high,
            pairs=self.pairs,
            questions=self.questions,
        )


def ceiling_sums(confidence: NDArray[Any], questions: NDArray[Any] | None = None) -> CeilingSums:
    """Return the sums over pairs.

    ``confidence``: float [pairs], not-a-number where it is not known; ``questions``: equal for the
    pairs of one question, [pairs], of any type that can be sorted; None: each pair is its own.
    """
    confidence = np.asarray(confidence, np.float64)
    known = np.isfinite(confidence)
    found = np.rint(confidence[known] * MILLION).astype(np.int64)
    if not len(found):
        return CeilingSums()
    better = np.maximum(found, MILLION - found)
    if questions is None:
        place = np.arange(len(found))
    else:
        _, place = np.unique(np.asarray(questions)[known], return_inverse=True)
    sizes = np.bincount(place)
    totals = np.zeros(len(sizes), np.int64)
    np.add.at(totals, place, better)
    thousandths = (totals + 500) // 1000
    return CeilingSums(
        pairs=len(found),
        questions=len(sizes),
        certain=int((found == MILLION).sum()),
        millionths=int(better.sum()),
        squares=int((thousandths * thousandths).sum()),
        products=int((thousandths * sizes).sum()),
        pair_squares=int((sizes * sizes).sum()),
    )


def noise_ceiling(
    confidence: Iterable[float | None], questions: Iterable[Hashable] | None = None
) -> NoiseCeiling:
    """Return the best accuracy that a model can be expected to reach on the labels of pairs.

    ``confidence``: of each pair, the posterior probability p that its label is right, [pairs], None
    where it is not known; ``questions``: of each pair, what is equal for pairs that share responses
    (the thread, or the prompt), which widens the standard error; None: each pair is its own.

    A model that has not seen the votes agrees with a label with probability p where it orders the
    two as they truly are and 1 − p where it does not. The best it can do is max(p, 1 − p), and the
    ceiling is the mean of that; under ``--votes debiased`` p is at least ½, so it is the mean
    confidence. It assumes that

    - p is calibrated. Where p is too low the ceiling is too low, and a model may pass it;
    - the model knows of the votes only what the texts tell of the responses. What else decides
      votes, such as who came first, is noise to it; a model that can guess that from the text may
      pass the ceiling of labels that contain it.

    Under other vote modes than `debiased`, `confidence` is the probability that *later votes* put
    the chosen response ahead. The ceiling is then that of predicting the crowd to come, whose
    order the votes before have shaped, and not of telling which response is better.

    The standard error is that of the mean over questions: what another sample of as many such
    questions would give. Errors of the vote model itself are not in it.

    Where every known p is 1, no votes were counted (the source states its preferences), so nothing
    is known of the noise and ``accuracy`` is None.
    """
    values = np.array([np.nan if p is None else p for p in confidence], np.float64)
    return ceiling_sums(values, None if questions is None else _numbers(questions)).ceiling()


def ceilings_by_group(
    confidence: Sequence[float | None],
    groups: Sequence[str],
    questions: Sequence[Hashable] | None = None,
) -> dict[str, NoiseCeiling]:
    """Return :func:`noise_ceiling` by group (a site, a bin of margins), in the order of names."""
    values = np.array([np.nan if p is None else p for p in confidence], np.float64)
    place = np.arange(len(values)) if questions is None else _numbers(questions)
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    found = {}
    for number, name in enumerate(names.tolist()):
        here = group == number
        found[name] = ceiling_sums(values[here], place[here]).ceiling()
    return found


def _numbers(keys: Iterable[Hashable]) -> NDArray[Any]:
    """One number for equal keys."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)
