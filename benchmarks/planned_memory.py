"""Compare the memory that training takes on a CPU with what `train --dry-run` plans.

    python -m benchmarks.planned_memory

Each case is a process of its own: a model with random weights, one forward and backward pass and
one AdamW step, after a first one of a few tokens. Measured is the growth of the resident set
(ru_maxrss) from before the weights; planned are weights, gradients, AdamW's state and activations.
"""

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

CASES = {
    "Qwen2 256×4, shared": ("qwen2", 256, 4, "shared", 4096, False),
    "Qwen2 512×8, shared": ("qwen2", 512, 8, "shared", 4096, False),
    "Qwen2 512×8, packed": ("qwen2", 512, 8, "packed", 2048, False),
    "Qwen2 512×8, recomputed": ("qwen2", 512, 8, "shared", 4096, True),
    "Qwen2 512×8, selective": ("qwen2", 512, 8, "shared", 4096, "selective"),
    "GPT-2 384×6, shared": ("gpt2", 384, 6, "shared", 2048, False),
    "BERT 384×6, padded": ("bert", 384, 6, "padded", 2048, False),
    "BERT 768×12, padded": ("bert", 768, 12, "padded", 2048, False),
}
"""Kind, hidden size, layers, layout, tokens of the micro-batch, activations recomputed."""


def make_config(kind: str, hidden: int, layers: int) -> Any:
    from transformers import BertConfig, GPT2Config, Qwen2Config

    common: Any = {"vocab_size": 4000, "num_labels": 1, "pad_token_id": 0}
    heads = hidden // 64
    if kind == "gpt2":
        ends = {"bos_token_id": 0, "eos_token_id": 0}
        return GPT2Config(**common, **ends, n_embd=hidden, n_layer=layers, n_head=heads)
    common |= {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
    }  # fmt: skip
    if kind == "bert":
        return BertConfig(**common, intermediate_size=4 * hidden)
    return Qwen2Config(
        **common, intermediate_size=3 * hidden, num_key_value_heads=max(heads // 2, 1)
    )


def make_batch(layout: Any, tokens: int) -> Any:
    """Prompts of 110 tokens with three responses of 150, in two pairs."""
    import numpy as np

    from training.data.collate import micro_batches
    from training.data.prompt_groups import PairOfGroup, PromptGroup

    pairs = tuple(PairOfGroup(0, other, other, 1.0, 1.0, 1.0, "") for other in (1, 2))
    size = {"shared": 110 + 3 * 150, "packed": 3 * 260, "padded": 4 * 260}[layout]
    groups = []
    for number in range(max(tokens // size, 1)):
        responses = tuple(np.full(150, 5 + at, np.int32) for at in range(3))
        groups.append(PromptGroup(np.full(110, 4 + number, np.int32), responses, pairs))
    (batch,) = micro_batches(groups, layout, tokens=max(tokens, size), pad_id=0, sites={})
    return batch


def measure(kind: str, hidden: int, layers: int, layout: Any, tokens: int, again: Any) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    from training.config import OptimConfig
    from training.model.reward_model import RewardModel, without_dropout
    from training.optimizer import make_optimizer
    from training.parallel.sharding import MasterWeights
    from training.planning.activations import count_backbone
    from training.planning.memory import activation_memory, weight_memory

    config = make_config(kind, hidden, layers)
    batch = make_batch(layout, tokens)
    keys = 0.0
    if batch.segments is not None and batch.segments.key_index is not None:
        keys = batch.segments.key_index.numel() / batch.input_ids.numel()
    count = count_backbone(config, layout, torch.float32, gathered_keys=keys)
    planned = (
        weight_memory(count, torch.float32).total,
        activation_memory(count, batch.input_ids.numel(), checkpointing=again),
    )

    def step(batch: Any) -> None:
        model(batch).sum().backward()
        optimizer.step()
        weights.clear_gradients()

    warm = RewardModel(
        AutoModelForSequenceClassification.from_config(make_config(kind, 64, 1)), layout
    )
    without_dropout(warm.hf)
    warm(make_batch(layout, 1)).sum().backward()  # what the libraries take is there now
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hf = AutoModelForSequenceClassification.from_config(config)
    without_dropout(hf)
    model = RewardModel(hf, layout).train()
    if again:
        model.checkpoint_activations(selective=again == "selective")
    weights = MasterWeights(model, torch.float32, "ddp")
    optimizer = make_optimizer(weights, OptimConfig(lr=1e-5))
    step(make_batch(layout, 1))
    step(batch)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"measured": (after - before) * 1024, "weights": planned[0], "activations": planned[1]}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--only", help="cases with this in their name")
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(*CASES[arguments.case])))
        return 0
    print(f"{'':26}{'measured MB':>12}{'planned MB':>12}{'weights':>10}{'error':>9}")
    for name in CASES:
        if arguments.only and arguments.only not in name:
            continue
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.planned_memory", "--case", name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            print(f"{name:26}{done.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        planned = found["weights"] + found["activations"]
        error = planned / found["measured"] - 1
        print(
            f"{name:26}{found['measured'] / 1e6:12,.0f}{planned / 1e6:12,.0f}"
            f"{found['weights'] / 1e6:10,.0f}{error:+9.1%}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
