"""Our half of benchmarks/against_trl.py: one run through the trainer's own loader and step."""

import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from benchmarks._job_files import Meter, read_job
from training.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)
from training.parallel.distributed import DistributedContext
from training.run.options import TrainOptions
from training.run.setup import set_up
from training.train import train_step


def main() -> None:
    job = read_job(sys.argv[1])
    config = TrainConfig(
        data=DataConfig(
            batch_pairs=job.batch_pairs,
            max_length=job.max_length,
            max_prompt_length=job.max_prompt_length,
            max_pairs=job.batch_pairs * job.steps,
            prompt_weights="pair",
        ),
        model=ModelConfig(**{"micro_batch_tokens": 16_384, **job.variant}),
        loss=LossConfig(name="bt"),
        optim=OptimConfig(
            lr=job.lr,
            warmup=0.0,
            weight_decay=job.weight_decay,
            beta1=job.beta1,
            beta2=job.beta2,
            eps=job.eps,
            clip=job.clip,
        ),
        run=RunConfig(seed=job.seed, trackers=(), epochs=job.rounds + 1),
    )
    with tempfile.TemporaryDirectory() as folder:
        options = TrainOptions(job.dataset, job.model, Path(folder) / "run", config, quiet=True)
        run = set_up(options, DistributedContext(0, 1, torch.device("cpu")))
        assert not run.loaded.head_is_new
        losses, computed, pairs = [], 0, 0
        meter = Meter()
        for number in range(job.rounds + 1):
            # The same pairs again; nothing of a round is made before its turn.
            for batch in run.loader.batches(number * job.steps, (number + 1) * job.steps):
                sums = train_step(run, batch)
                losses.append(sums.loss / sums.weight)
                if number:
                    computed += sum(part.input_ids.numel() for part in batch.micro)
                    pairs += int(sums.pairs)
            meter.end_round()
        figures = meter.figures()
    print(
        json.dumps(
            {
                **figures,
                "pairs": pairs,
                "computed_tokens": computed,
                "losses": losses,
                "versions": {
                    "torch": torch.__version__,
                    "transformers": transformers.__version__,
                },
            }
        )
    )


if __name__ == "__main__":
    main()
