"""TRL's half of benchmarks/against_trl.py; runs in its own environment, without this package."""

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import datasets
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import RewardConfig, RewardTrainer

from benchmarks._job_files import Meter, read_job


class Recorded(RewardTrainer):  # type: ignore[misc]
    """Notes the loss of every forward pass and the tokens that went through the backbone."""

    losses: list[float]
    computed = 0
    pairs = 0
    measured_from: int

    def compute_loss(self, model: Any, inputs: Any, *others: Any, **named: Any) -> Any:
        if self.state.global_step >= self.measured_from:
            self.computed += inputs["input_ids"].numel()
            self.pairs += len(inputs["input_ids"]) // 2
        loss = super().compute_loss(model, inputs, *others, **named)
        self.losses.append(float(loss.detach()))
        return loss


class Metered(TrainerCallback):  # type: ignore[misc]
    def __init__(self, steps: int) -> None:
        self.meter = Meter()
        self.steps = steps

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        if state.global_step % self.steps == 0:
            self.meter.end_round()


def main() -> None:
    job = read_job(sys.argv[1])
    torch.manual_seed(job.seed)
    table = datasets.Dataset.from_parquet(job.ids, keep_in_memory=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        job.model, num_labels=1, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    )
    if job.variant.pop("dynamic", False):
        os.environ["ACCELERATE_DYNAMO_USE_DYNAMIC"] = "true"
    at_once = job.variant.pop("per_device_train_batch_size", job.batch_pairs)
    passes, rest = divmod(job.batch_pairs, at_once)
    assert rest == 0, "the batch must be a multiple of the pairs at once"
    metered = Metered(job.steps)
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {
            "output_dir": folder,
            "per_device_train_batch_size": at_once,
            "gradient_accumulation_steps": passes,
            "max_steps": (job.rounds + 1) * job.steps,
            "learning_rate": job.lr,
            "lr_scheduler_type": "constant",
            "warmup_steps": 0,
            "weight_decay": job.weight_decay,
            "adam_beta1": job.beta1,
            "adam_beta2": job.beta2,
            "adam_epsilon": job.eps,
            "max_grad_norm": job.clip,
            "max_length": None,  # the ids are cut already
            "train_sampling_strategy": "sequential",
            "bf16": False,
            "gradient_checkpointing": False,
            "use_cpu": True,
            "dataloader_pin_memory": False,
            "disable_tqdm": True,
            "report_to": [],
            "save_strategy": "no",
            "seed": job.seed,
        }
        trainer = Recorded(
            model=model,
            args=RewardConfig(**settings | job.variant),
            train_dataset=table,
            processing_class=AutoTokenizer.from_pretrained(job.model, trust_remote_code=False),
            callbacks=[metered],
        )
        trainer.losses, trainer.measured_from = [], job.steps
        trainer.train()
    steps = [trainer.losses[at : at + passes] for at in range(0, len(trainer.losses), passes)]
    print(
        json.dumps(
            {
                **metered.meter.figures(),
                "pairs": trainer.pairs,
                "computed_tokens": trainer.computed,
                "losses": [sum(step) / len(step) for step in steps],
                "versions": {name: version(name) for name in ("trl", "torch", "transformers")},
            }
        )
    )


if __name__ == "__main__":
    main()
