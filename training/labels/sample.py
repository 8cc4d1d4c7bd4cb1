"""What the backbone makes of a sample of the training pairs before the first step."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from training.config import TrainConfig, known, settled_layout
from training.data.collate import MicroBatch, micro_batches
from training.data.dataset import PairDataset, PairRows
from training.data.loader import selection_of
from training.data.prompt_groups import ShuffleWindows, group_pairs, prompt_runs, shard_by_rank
from training.data.sampler import BatchSampler
from training.errors import TrainingDatasetError
from training.labels.clusters import clusters_of
from training.model.reward_model import LoadedModel
from training.parallel.distributed import DistributedContext
from training.uncertainty.head_inputs import head_inputs
from training.validation.metrics import Floats

WINDOW = 16
"""Row groups among which the sample's prompts are drawn."""


class PairSample(NamedTuple):
    """P pairs of the training split."""

    features: Floats
    """[P, d]: what the head reads of the chosen response minus that of the rejected one."""
    site: npt.NDArray[np.int64]
    """[P]: number of the site."""
    cluster: npt.NDArray[np.int64]
    """[P]: equal for pairs whose threads share a text."""


@torch.no_grad()
def sample_features(
    config: TrainConfig,
    sites: Sequence[str],
    dataset: PairDataset,
    loaded: LoadedModel,
    context: DistributedContext,
) -> PairSample:
    """Read ``loss.noise_pairs`` pairs of the shuffled order through the backbone.

    One forward pass, divided over the ranks; every rank must call. Raises TrainingDatasetError
    where no pair is left.
    """
    most = min(config.loss.noise_pairs, sum(dataset.rows))
    sampler = BatchSampler(
        rows=dataset.rows, batch_rows=most, window=WINDOW, seed=config.run.seed, max_rows=most
    )
    rows = ShuffleWindows(dataset).batch(sampler, 0)

    def make(runs: list[range]) -> list[MicroBatch]:
        grouped = group_pairs(rows, runs, loaded.tokens, selection=selection_of(config.data))
        return micro_batches(
            grouped.groups,
            settled_layout(config.model),
            tokens=known(config.model.micro_batch_tokens),
            pad_id=loaded.tokens.pad_id,
            sites={},
        )

    batches = make(shard_by_rank(rows, context.data_ranks)[context.data_rank])
    missing = int(context.max(len(batches))) - len(batches)
    spares = make(prompt_runs(rows)[:1])[:1] * missing if config.run.parallel == "fsdp" else []
    index, found = _read(loaded, batches, spares, context)
    parts = context.gather_parts((index, found))
    index = np.concatenate([part[0] for part in parts])
    if not len(index):
        raise TrainingDatasetError(
            f"{dataset.location}: loss.label_noise=cross_fitted has no pair to read: data."
            "min_confidence, data.max_margin or data.max_length leave none"
        )
    features = np.concatenate([part[1] for part in parts if len(part[0])])
    order = np.argsort(index, kind="stable")  # so that the number of ranks changes nothing
    index, features = index[order], features[order].astype(np.float64)
    number = {site: place for place, site in enumerate(sites)}
    return PairSample(
        features=features,
        site=np.array([number[rows.site[row]] for row in index], dtype=np.int64),
        cluster=clusters_of([_keys(rows, int(row)) for row in index]),
    )


def _read(
    loaded: LoadedModel,
    batches: list[MicroBatch],
    spares: list[MicroBatch],
    context: DistributedContext,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Numbers of the pairs of this rank's micro-batches, and their features."""
    index: list[npt.NDArray[np.int64]] = []
    found: list[npt.NDArray[np.float32]] = []
    model = loaded.model.eval()
    try:
        with head_inputs(model) as read:
            for number, batch in enumerate([*batches, *spares]):
                _, features = read(batch.to(context.device))
                if number < len(batches):
                    pair = features[batch.chosen] - features[batch.rejected]
                    index.append(batch.rows.numpy())
                    found.append(pair.float().cpu().numpy())
    finally:
        model.train()
    if not index:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.float32)
    return np.concatenate(index), np.concatenate(found)


def _keys(rows: PairRows, row: int) -> tuple[str, ...]:
    """What makes pairs belong together: the thread, and each of the texts."""
    texts = (rows.prompt[row], rows.chosen[row], rows.rejected[row])
    return (f"thread {rows.thread_id[row]}", *(f"text {text.strip()}" for text in texts))
