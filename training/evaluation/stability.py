"""Curves over the checkpoints of a run, and how far a headline can be trusted.

Signal and noise after Heineman et al. 2025 (arXiv 2508.13144, section 3): noise is the standard
deviation of a figure over the last checkpoints of one run, over its mean; signal the largest
difference between the models compared, over their mean. A difference between models smaller than
the noise says nothing. Averaging the figures of k checkpoints in a row lowers the noise: by how
much, their running means over the last 2k − 1 checkpoints show.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from training.evaluation.results import CheckpointPoint, Stability


def stability(
    points: Sequence[CheckpointPoint], last: int, others: Mapping[str, Sequence[float]]
) -> tuple[Stability, ...]:
    """Noise of each suite over the last ``last`` points; needs two.

    ``others``: headlines of the other models by suite.
    """
    if len(points) < 2:
        return ()
    found = []
    for suite in points[-1].values:
        tail = [point.values[suite] for point in points[-last:]]
        mean = float(np.mean(tail))
        noise = float(np.std(tail, ddof=1)) / mean if mean else 0.0
        running = [point.values[suite] for point in points[-(2 * last - 1) :]]
        means = [
            float(np.mean(running[begin : begin + last]))
            for begin in range(len(running) - last + 1)
        ]
        compared = [tail[-1], *others.get(suite, ())]
        signal = None
        if len(compared) > 1 and np.mean(compared):
            signal = float((max(compared) - min(compared)) / np.mean(compared))
        found.append(
            Stability(
                suite=suite,
                last=tail[-1],
                mean=mean,
                noise=noise,
                signal=signal,
                noise_of_means=float(np.std(means, ddof=1)) / mean
                if len(means) > 1 and mean
                else None,
                ratio=signal / noise if signal is not None and noise else None,
            )
        )
    return tuple(found)
