"""Which pairs of a split are trained on, by their columns."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Selection:
    """``data.min_confidence`` and ``data.max_margin``: pairs outside are excluded and counted."""

    min_confidence: float = 0.0
    """Least probability, from the votes, that the label is right."""
    max_margin: float | None = None
    """Largest difference of the scores, in votes; None: any."""

    @property
    def is_active(self) -> bool:
        """Whether it can leave anything out."""
        return self.min_confidence > 0 or self.max_margin is not None

    def keeps(self, confidence: Floats, margin: Floats) -> Mask:
        """[P]: whether each pair is used."""
        return ~(self.is_unsure(confidence) | self.is_too_clear(margin))

    def is_unsure(self, confidence: Floats) -> Mask:
        """[P]: below ``min_confidence``; such a pair is counted here, whatever its margin."""
        return confidence < self.min_confidence

    def is_too_clear(self, margin: Floats) -> Mask:
        """[P]: above ``max_margin``."""
        if self.max_margin is None:
            return np.zeros(len(margin), dtype=np.bool_)
        return margin > self.max_margin

    def count(self, confidence: Floats, margin: Floats) -> Counter[str]:
        """How many pairs there are, and how many are excluded, each by its first reason."""
        unsure, clear = self.is_unsure(confidence), self.is_too_clear(margin)
        return Counter(
            pairs=len(margin),
            below_min_confidence=int(unsure.sum()),
            above_max_margin=int((clear & ~unsure).sum()),
        )


ALL_PAIRS = Selection()
"""Leaves nothing out."""
