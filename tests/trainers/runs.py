"""A few steps with a trainer of TRL, and what it was given."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from tests.trainers.conftest import Made

STEPS = 3
LOG_2 = math.log(2)


@dataclass
class Ran:
    """What a run leaves."""

    trainer: Any
    start: Any
    """The model before the first step."""
    batches: list[dict[str, Any]]
    losses: list[float]

    @property
    def columns(self) -> set[str]:
        """What the trainer took from the dataset into its batches."""
        return {name for batch in self.batches for name in batch}

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self.trainer.train_dataset)


def settings(folder: Path, **others: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "train_sampling_strategy": "sequential",
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": [],
        "save_strategy": "no",
        "seed": 0,
        **others,
    }


def policy(folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def reward_model(folder: str, *, zero: bool) -> Any:
    """A classifier; with a head of zeros, every reward is 0 and every loss known."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    )
    if zero:
        torch.nn.init.zeros_(model.score.weight)
    return model


def tokenizer(folder: str) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def run(trainer: Any) -> Ran:
    """Train; ``trainer`` has been made, so its dataset is tokenised."""
    batches: list[dict[str, Any]] = []
    collate = trainer.data_collator

    def noted(rows: list[dict[str, Any]]) -> Any:
        batches.append(copy.deepcopy(collate(rows)))
        return collate(rows)

    trainer.data_collator = noted
    start = copy.deepcopy(trainer.model)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == STEPS and all(map(math.isfinite, losses))
    return Ran(trainer, start, batches, losses)


LONG = 16_384
"""More tokens than any row has, for trainers that must have a limit."""
BETA = 0.1


def train(made: Made, kind: str, table: Any, folder: Path) -> Ran:
    """Train by ``kind``: reward, dpo, ipo, kto, orpo or simpo."""
    if kind == "reward":
        return run(
            RewardTrainer(
                model=reward_model(made.path("reward"), zero=True),
                args=RewardConfig(**settings(folder, max_length=None)),
                train_dataset=table,
                processing_class=tokenizer(made.path("reward")),
            )
        )
    common = {
        "model": policy(made.path("policy")),
        "train_dataset": table,
        "processing_class": tokenizer(made.path("policy")),
    }
    options = settings(folder, max_length=None, beta=BETA)
    long = {**options, "max_length": LONG, "remove_unused_columns": False}
    if kind == "kto":
        return run(KTOTrainer(args=KTOConfig(**options), **common))
    if kind == "orpo":
        return run(ORPOTrainer(args=ORPOConfig(**long), **common))
    if kind == "simpo":
        args = CPOConfig(**long, loss_type="simpo", cpo_alpha=0.0, simpo_gamma=0.5)
        return run(CPOTrainer(args=args, **common))
    loss = {"dpo": "sigmoid", "ipo": "ipo"}[kind]
    return run(DPOTrainer(args=DPOConfig(**options, loss_type=[loss]), **common))


def contradictory(rows: Any) -> int:
    """Rows whose response is called good in one row and bad in another, to the same prompt."""
    labels: dict[str, set[bool]] = {}
    keys = [repr((row["prompt"], row["completion"])) for row in rows]
    for key, row in zip(keys, rows, strict=True):
        labels.setdefault(key, set()).add(row["label"])
    return sum(len(labels[key]) > 1 for key in keys)


def softplus(values: list[float]) -> float:
    return sum(math.log1p(math.exp(value)) for value in values) / len(values)


def log_probabilities(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """Of each row, log π of each labelled token, one row at a time and without padding."""
    found = []
    model.eval()
    with torch.no_grad():
        for row, of in zip(ids, labels, strict=True):
            length = int((of != -100).nonzero().max()) + 1
            logits = model(input_ids=row[None, :length]).logits[0, :-1].double()
            chances = torch.log_softmax(logits, -1)
            wanted = of[1:length]
            places = (wanted != -100).nonzero()[:, 0]
            found.append(chances[places, wanted[places]])
    return found
