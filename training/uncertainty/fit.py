"""Fits the uncertainty of a model to a dataset: its train split, then its validation split."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from training.data.collate import MicroBatch, micro_batches
from training.data.dataset import PairDataset, PairRows
from training.data.prompt_groups import ShuffleWindows, group_pairs, prompt_runs
from training.data.sampler import BatchSampler
from training.data.selection import ALL_PAIRS, Selection
from training.errors import ConfigError, TrainingDatasetError
from training.model.reward_model import LoadedModel
from training.uncertainty.head_inputs import check_last_linear, head_inputs, last_linear
from training.uncertainty.posterior import LastLayerPosterior, PrecisionSum, fit_posterior
from training.uncertainty.vote_shares import (
    ShareModel,
    VotedPairs,
    fit_shares,
    scores_are_votes,
    vote_shares,
)

BATCH_ROWS = 256
"""Pairs that are read and tokenised at a time."""
WINDOW = 16
"""Row groups among which prompts are drawn where only some pairs are read."""


@dataclass(frozen=True)
class Uncertainty:
    """The uncertainty of a model."""

    posterior: LastLayerPosterior
    shares: ShareModel
    prior_precision: float
    train_pairs: int
    """That were read for the posterior."""


@dataclass(frozen=True)
class PairReader:
    """Reads the pairs of a split through a model."""

    location: str
    """Of the dataset."""
    loaded: LoadedModel
    device: torch.device
    batch_tokens: int
    prompt_weights: Literal["prompt", "pair"] = "prompt"
    min_confidence: float = 0.0
    """Pairs below it were not trained on."""
    max_margin: float | None = None
    """Pairs above it were not, either."""
    trained_pairs: int | None = None
    """Of the training split that the run saw; None: all."""
    report: Callable[[int, int], None] = lambda done, total: None
    """Told how many pairs of how many are read."""

    def read(
        self, split: str, max_pairs: int | None = None
    ) -> Iterator[tuple[PairRows, MicroBatch]]:
        """Yield micro-batches on the device, and the rows that their ``rows`` number.

        All pairs, or those of the first ``max_pairs`` of an order drawn with seed 0, the same ones
        each time. Raises TrainingDatasetError.
        """
        # What was left out in training has votes all the same.
        selection = Selection(self.min_confidence, self.max_margin)
        if split != "train":
            selection = ALL_PAIRS
        tags = self.loaded.template.context == "site_tags"
        dataset = PairDataset(self.location, split, selection=selection, tags=tags)
        if not dataset.rows:
            raise TrainingDatasetError(f"{self.location}: has no {split} pairs")
        sampler = BatchSampler(
            rows=dataset.rows, batch_rows=BATCH_ROWS, window=WINDOW, seed=0, max_rows=max_pairs
        )
        windows = ShuffleWindows(dataset)
        tokens = self.loaded.tokens
        done = 0
        for step in range(sampler.steps):
            rows = windows.batch(sampler, step)
            grouped = group_pairs(
                rows,
                prompt_runs(rows),
                tokens,
                prompt_weights=self.prompt_weights,
                selection=selection,
            )
            for batch in micro_batches(
                grouped.groups,
                self.loaded.model.layout,
                tokens=self.batch_tokens,
                pad_id=tokens.pad_id,
                sites={},
            ):
                yield rows, batch.to(self.device)
            done += len(rows)
            self.report(done, sampler.rows_per_epoch)


def fit_uncertainty(reader: PairReader, *, max_pairs: int | None = None) -> Uncertainty:
    """Fit the posterior to training pairs, in one pass, and the shares to validation pairs.

    Args:
        max_pairs: training pairs to read; what is summed up is scaled to all of them.

    Memory beside the model's: d² numbers of 8 bytes, and three times that while they are
    decomposed. Raises ConfigError or TrainingDatasetError.
    """
    check_scores_are_votes(reader.location)  # before hours of reading
    posterior, prior, seen = posterior_of(reader, max_pairs)
    pairs = voted_pairs(reader, posterior, "validation")
    try:
        shares = fit_shares(pairs)
    except ValueError as error:
        raise TrainingDatasetError(
            f"{reader.location}: its validation split has {error}; curate with more of it (--split)"
        ) from None
    return Uncertainty(posterior, shares, prior, seen)


def check_scores_are_votes(location: str) -> None:
    """Raise ConfigError for a dataset whose scores are no numbers of votes."""
    recipe = PairDataset(location, "validation").manifest.recipe
    if not scores_are_votes(recipe):
        raise ConfigError(
            f"dataset {location}: the scores of its pairs are no numbers of votes (--votes "
            f"{recipe['votes']}), and intervals are of shares of votes; name a dataset of the same "
            "threads made with --votes net_votes, later_wins or common_window"
        )


@torch.no_grad()
def posterior_of(
    reader: PairReader, max_pairs: int | None = None
) -> tuple[LastLayerPosterior, float, int]:
    """The posterior, the prior's precision, and how many training pairs were read."""
    model = reader.loaded.model.eval()
    layer = last_linear(model)
    total = sum(PairDataset(reader.location, "train").rows)
    trained = min(total, reader.trained_pairs or total)
    read = min(trained, max_pairs or trained)
    sums = PrecisionSum(layer.in_features)
    with head_inputs(model) as features_of:
        for _, batch in reader.read("train", None if read == total else read):
            rewards, features = features_of(batch)
            if not sums.pairs:
                check_last_linear(model, rewards, features)
            d = rewards[batch.chosen] - rewards[batch.rejected]
            sums.add(features, batch.chosen, batch.rejected, batch.labels.weight, d)
    if not sums.pairs or not bool(torch.isfinite(sums.hessian).all()):
        raise ConfigError(
            "the model gives features or rewards that are no finite numbers to training pairs, so "
            "its uncertainty cannot be fitted"
        )
    scale = trained / read
    posterior, prior = fit_posterior(sums, layer.weight.detach()[0].cpu(), scale=scale)
    return posterior, prior, sums.pairs


@torch.no_grad()
def voted_pairs(
    reader: PairReader, posterior: LastLayerPosterior, split: str, max_pairs: int | None = None
) -> VotedPairs:
    """What the model says of the pairs of a split that have votes, and the votes."""
    model = reader.loaded.model.eval()
    posterior = posterior.to(reader.device)
    threads: dict[str, int] = {}
    found: list[tuple[int, float, float, float, float]] = []
    with head_inputs(model) as read:
        for rows, batch in reader.read(split, max_pairs):
            rewards, features = read(batch)
            deviation = posterior.deviation_of_difference(
                features[batch.chosen], features[batch.rejected]
            )
            index = batch.rows.cpu().numpy()
            share, votes = vote_shares(rows.chosen_score[index], rows.rejected_score[index])
            difference = (rewards[batch.chosen] - rewards[batch.rejected]).double().cpu().numpy()
            variance = deviation.double().square().cpu().numpy()
            for place, row in enumerate(index):
                if votes[place] > 0:
                    number = threads.setdefault(rows.thread_id[row], len(threads))
                    found.append(
                        (
                            number,
                            float(difference[place]),
                            float(variance[place]),
                            float(share[place]),
                            float(votes[place]),
                        )
                    )
    thread = np.array([one[0] for one in found], dtype=np.int64)
    columns = np.array([one[1:] for one in found], dtype=np.float64).reshape(-1, 4)
    return VotedPairs(thread, *columns.T)
