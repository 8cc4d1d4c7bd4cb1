"""What the loop needs and changes: the run."""

from collections import Counter
from dataclasses import dataclass, field

import torch

from training.checkpoints.background import BackgroundJob
from training.checkpoints.checkpoint import BestValidation
from training.config import TrainConfig
from training.data.dataset import PairDataset
from training.data.loader import DataLoader
from training.data.sampler import BatchSampler
from training.data.verification import ShardVerification
from training.heads.training_heads import TrainingHeads
from training.labels.settle import LabelNoise
from training.losses.objective import Objective
from training.model.reward_model import LoadedModel
from training.optimizer import StepGuard
from training.parallel.distributed import DistributedContext
from training.parallel.sharding import MasterWeights
from training.planning.defaults import Choice
from training.run.options import TrainOptions
from training.throughput import FlopCount


@dataclass
class Totals:
    """What a run has seen so far, over all ranks."""

    pairs: int = 0
    tokens: int = 0
    updates: int = 0
    """Steps that changed the weights."""
    counts: Counter[str] = field(default_factory=Counter)
    """Pairs excluded and sequences cut, by reason."""


@dataclass
class TrainingRun:
    """Everything the loop needs."""

    options: TrainOptions
    context: DistributedContext
    dataset: PairDataset
    sampler: BatchSampler
    loaded: LoadedModel
    dtype: torch.dtype
    weights: MasterWeights
    optimizer: torch.optim.AdamW
    objective: Objective
    guard: StepGuard
    heads: TrainingHeads | None
    """Beside the reward head; None for none."""
    loader: DataLoader
    flops: FlopCount
    chosen: list[Choice]
    """Settings that nobody gave, and why they are what they are."""
    selected: dict[str, int] = field(default_factory=dict)
    """Training pairs, and how many are excluded by their columns, by reason; {} where none can
    be."""
    verification: ShardVerification | None = None
    """Of the training shards; None where none was asked for."""
    writer: BackgroundJob = field(default_factory=BackgroundJob)
    """Writes checkpoints; one at a time."""
    step: int = 0
    """Steps that were taken."""
    first_step: int = 0
    """Steps that had been taken where this process began."""
    totals: Totals = field(default_factory=Totals)
    taken_step: int = 0
    """The last step that was taken and not skipped."""
    label_noise: LabelNoise | None = None
    """Shares of flipped labels by site that the loss goes by; None: it takes one, or none."""
    best: BestValidation | None = None
    """With ``run.keep_best``: the validation of the lowest loss so far."""
    saved_step: int = -1
    """Step of the newest checkpoint, which may still be being written."""

    @property
    def config(self) -> TrainConfig:
        """The resolved configuration."""
        return self.options.config

    @property
    def last_step(self) -> int:
        """Steps of this run; the schedule is always that of all steps."""
        return min(self.sampler.steps, self.config.run.max_steps or self.sampler.steps)
