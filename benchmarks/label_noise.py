"""Shares of flipped labels: how often planted ones lie in the interval, and what the paper's update
says of the same pairs.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.label_noise --turns 20

Pairs of a Bradley–Terry model with linear rewards, three of a question, of which a share is
flipped. "update": η of RE-PO's running estimate after an epoch in steps of 48 pairs from η = 0.9
(decay 0.99), shown as 1 − η. "training fit": the likelihood of :mod:`training.labels.flip_rates`
on the pairs that were fitted. "cross-fitted": the same on the other folds, what
``loss.label_noise=cross_fitted`` does.
"""

import argparse
import time

import numpy as np

from tests.test_label_noise import eta_after_an_epoch, planted
from training.labels import cross_fitted_differences, flip_rates
from training.validation.logistic import fit

CASES = ((2400, 8, 3.0), (4800, 32, 3.0), (2400, 200, 8.0))
"""Pairs, features, and standard deviation of the difference of rewards."""
FLIPS = (0.0, 0.1, 0.2, 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    turns = parser.parse_args().turns
    heads = ("planted", "update", "training fit", "cross-fitted", "width", "inside", "s")
    print(f"| pairs, features | {' | '.join(heads)} |")
    print(f"|---|{'---:|' * len(heads)}")
    for pairs, size, sharp in CASES:
        site = np.zeros(pairs, dtype=np.int64)
        for flips in FLIPS:
            etas, trained, found, width = [], [], [], []
            inside = 0
            seconds = 0.0
            for seed in range(turns):
                features, question = planted(flips, pairs=pairs, size=size, sharp=sharp, seed=seed)
                if seed < 5:
                    etas.append(1 - eta_after_an_epoch(features))
                    own = features @ fit(features, np.ones(pairs))
                    trained.append(flip_rates(own, site, question, 1, draws=2)[0].value)
                began = time.process_time()
                differences = cross_fitted_differences(features, question)
                (rate,) = flip_rates(differences, site, question, 1)
                seconds += time.process_time() - began
                assert rate.low is not None
                assert rate.high is not None
                inside += rate.low - 1e-9 <= flips <= rate.high + 1e-9
                found.append(rate.value)
                width.append(rate.high - rate.low)
            print(
                f"| {pairs:,}, {size} | {flips:.2f} | {np.mean(etas):.3f} | {np.mean(trained):.3f} "
                f"| {np.mean(found):.3f} | {np.mean(width):.3f} | {inside}/{turns} "
                f"| {seconds / turns:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
