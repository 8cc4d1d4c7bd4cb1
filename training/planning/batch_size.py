"""How many pairs a step takes where nobody says it; loads no torch."""

LARGEST_BATCH = 10_000
LARGE_DATA = 15_000_000
"""Pairs with which WorldPM takes batches of LARGEST_BATCH (arXiv 2505.10527, A.3)."""
USUAL_BATCH = 2048
"""WorldPM's for smaller runs."""
SMALLEST_BATCH = 4
ENOUGH_STEPS = 48
"""Steps of an epoch, at least, where there are pairs for them: the warm-up and AdamW need some."""


def batch_pairs_for(pairs: int) -> int:
    """Pairs of a batch for so many of an epoch: of the data alone, so the same on any machine."""
    if pairs >= LARGE_DATA:
        return LARGEST_BATCH
    most = pairs // ENOUGH_STEPS
    if most >= USUAL_BATCH:
        return USUAL_BATCH
    return max(SMALLEST_BATCH, 1 << max(most.bit_length() - 1, 0))
