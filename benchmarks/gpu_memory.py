"""Memory of training, measured beside what `train --dry-run` plans: LoRA, 16 K tokens, sharding.

    python -m benchmarks.gpu_memory --dataset out/mix --tokenizer DIR          # on all GPUs
    python -m benchmarks.gpu_memory --dataset out/demo --tokenizer DIR --toy   # two CPU processes

Each case starts torchrun anew: a model folder of random bf16 weights (memory does not depend on
them) is loaded as a run loads it, and two steps of one micro-batch are taken. "start" is the most
of a device until the first step, "training" the most of the second step, both by torch's
allocator; "host" is the growth of the largest process, which on a CPU is all there is. Of several
processes the largest counts. "error" is that of the plan. On a CPU it shows that the script runs.

A size that is not named is the largest of Qwen2.5's that the plan says fits on these GPUs.
Cases of several GPUs are passed over where there is one.
"""

import argparse
import contextlib
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

VOCABULARY = 152_064
SHAPES = {  # hidden size, MLP, blocks, heads, heads of keys and values
    "toy": (64, 128, 2, 4, 2),
    "0.5B": (896, 4864, 24, 14, 2),
    "1.5B": (1536, 8960, 28, 12, 2),
    "3B": (2048, 11_008, 36, 16, 2),
    "7B": (3584, 18_944, 28, 28, 4),
    "14B": (5120, 13_824, 48, 40, 8),
    "32B": (5120, 27_648, 64, 40, 8),
    "72B": (8192, 29_568, 80, 64, 8),
}
"""Those of Qwen2.5."""
TOKENS = 16_384
TOY_TOKENS = 512


@dataclass(frozen=True)
class Case:
    """A way to train, and the texts that it gets."""

    settings: tuple[str, ...]
    shape: str | None = "7B"
    """None: the largest that fits."""
    long: bool = False
    """One prompt that fills the micro-batch with two responses, not many short ones."""
    devices: int = 1
    """At least."""


LORA = "lora.rank=16"
SHARDED = "run.parallel=fsdp"
AGAIN = "model.activation_checkpointing=true"
CASES = {
    "LoRA": Case((LORA,)),
    "LoRA, recomputed": Case((LORA, AGAIN)),
    "LoRA, sharded": Case((LORA, AGAIN, SHARDED), devices=2),
    "QLoRA, recomputed": Case((LORA, AGAIN, "lora.base_precision=nf4")),
    "16K": Case((AGAIN,), "1.5B", long=True),
    "16K, selective": Case(("model.activation_checkpointing=selective",), "1.5B", long=True),
    "16K, offloaded": Case((AGAIN, "model.activation_offload=true"), "1.5B", long=True),
    "16K, context parallel": Case(
        (AGAIN, "run.context_parallel_degree=2"), "1.5B", long=True, devices=2
    ),
    "all weights, sharded": Case((AGAIN, SHARDED), None),
    "all weights, sharded, offloaded": Case(
        (AGAIN, SHARDED, "run.cpu_offload=true", "model.activation_offload=true"), None
    ),
}


def make_config(shape: str) -> Any:
    from transformers import Qwen2Config

    hidden, mlp, blocks, heads, key_heads = SHAPES[shape]
    return Qwen2Config(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        vocab_size=50_000 if shape == "toy" else VOCABULARY,
        max_position_embeddings=32_768,
        pad_token_id=0,
        eos_token_id=0,
    )


def write_model(folder: Path, shape: str, tokenizer: str) -> None:
    """A language model's folder with random weights, block by block, so that it fits anywhere."""
    from safetensors.torch import save_file
    from transformers import AutoModel

    from training.model.pretrained import read_tokenizer_of

    config = make_config(shape)
    config.architectures = ["Qwen2Model"]
    with torch.device("meta"):
        state = AutoModel.from_config(config, dtype=torch.bfloat16).state_dict()
    folder.mkdir(parents=True)
    files: dict[str, list[str]] = {}
    for name in state:
        part = name.split(".")[1] if name.startswith("layers.") else "outside"
        files.setdefault(f"model-{part}.safetensors", []).append(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(0)
    for file, names in files.items():
        tensors = {}
        for name in names:
            like = state[name]
            value = torch.ones(like.shape) if like.dim() < 2 else None
            if value is None:
                value = torch.randn(like.shape, generator=generator, device=device) * 0.02
            tensors[name] = value.to("cpu", torch.bfloat16)
        save_file(tensors, folder / file, metadata={"format": "pt"})
    places = {name: file for file, names in files.items() for name in names}
    index: dict[str, Any] = {"metadata": {"total_size": sum(t.nbytes for t in state.values())}}
    index["weight_map"] = places
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    config.save_pretrained(folder)
    read_tokenizer_of(tokenizer).save_pretrained(folder)


def planned(shape: str, config: Any, devices: int, device: torch.device) -> Any:
    """By the plan: bytes of weights and what goes with them, and the backbone's count."""
    from training.planning.activations import count_backbone
    from training.planning.defaults import trained_weights
    from training.planning.memory import weight_memory

    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    count = count_backbone(make_config(shape), "shared", dtype)
    weights = weight_memory(
        count,
        dtype,
        devices=devices,
        parallel=config.run.parallel,
        cpu_offload=config.run.cpu_offload and device.type == "cuda",
        trained=trained_weights(count, config),
        four_bits=config.lora.base_precision == "nf4",
    )
    return count, weights


def largest_shape(config: Any, devices: int, device: torch.device, free: float) -> str:
    """The largest of Qwen2.5's sizes that the plan says fits, with a micro-batch of 4,096."""
    from training.planning.memory import HEADROOM, activation_memory

    fitting = "0.5B"
    for shape in list(SHAPES)[2:]:
        count, weights = planned(shape, config, devices, device)
        again = config.model.activation_checkpointing
        takes = weights.total + activation_memory(count, 4096, checkpointing=again)
        if takes > free * (1 - HEADROOM):
            break
        fitting = shape
    return fitting


def make_groups(tokens: int, *, long: bool) -> list[Any]:
    """Prompts with two responses that take ``tokens`` together: one, or many of about 400."""
    import numpy as np

    from training.data.prompt_groups import PairOfGroup, PromptGroup

    generator = np.random.default_rng(0)
    count = 1 if long else max(tokens // 400, 1)
    pair = (PairOfGroup(0, 0, 1, 1.0, 1.0, 1.0, ""),)
    groups = []
    for _ in range(count):
        size = tokens // count
        lengths = (size - size // 3 - size // 6, size // 3, size // 6)
        prompt, *responses = (
            generator.integers(5, 5000, length).astype(np.int32) for length in lengths
        )
        groups.append(PromptGroup(prompt, tuple(responses), pair))
    return groups


def make_batch(case: Case, tokens: int, pad_id: int) -> Any:
    from training.data.collate import micro_batches
    from training.data.loader import RankBatch

    groups = make_groups(tokens, long=case.long)
    micro = micro_batches(groups, "shared", tokens=tokens, pad_id=pad_id, sites={})
    return RankBatch(
        step=0,
        micro=micro,
        weight=float(len(groups)),
        pairs=len(groups),
        tokens=sum(part.tokens for part in micro),
        identical=0,
        unsure=0,
        too_clear=0,
        at_limit=0,
        sequences=2 * len(groups),
    )


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak(device: torch.device) -> int:
    """Most of the device since this was last asked; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    found = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return found


def measure(case: Case, arguments: argparse.Namespace, model: Path) -> dict[str, float]:
    """Load and train as one rank of a run; every rank must call."""
    from training.config import load_config
    from training.parallel.distributed import start_distributed
    from training.planning.memory import activation_memory
    from training.run.options import TrainOptions
    from training.run.setup import set_up
    from training.train import train_step

    tokens = arguments.tokens
    config = load_config(
        None,
        (
            f"data.max_length={tokens if case.long else min(tokens, 2048)}",
            "data.batch_pairs=16",
            "data.verify=false",
            "model.layout=shared",
            f"model.micro_batch_tokens={tokens}",
            "run.trackers=[]",
            *case.settings,
        ),
    )
    before = resident()
    context = start_distributed("auto", config.run.context_parallel_degree)
    peak(context.device)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(context.gather(folder)[0]) / "run"
        options = TrainOptions(arguments.dataset, str(model), output, config, quiet=True)
        run = set_up(options, context)
        start = peak(context.device)
        batch = make_batch(case, tokens, run.loaded.tokens.pad_id)
        for _ in range(2):
            train_step(run, batch)
            training = peak(context.device)
        context.barrier()
    count, weights = planned(arguments.shape, config, context.count, context.device)
    activations = activation_memory(
        count.divided(context.context_degree),
        batch.micro[0].input_ids.numel(),
        checkpointing=config.model.activation_checkpointing,
        offloaded=config.model.activation_offload and context.device.type == "cuda",
    )
    return {
        "start": start,
        "training": training,
        "host": resident() - before,
        "weights": weights.total,
        "activations": activations,
    }


def run_ranks(arguments: argparse.Namespace) -> None:
    """Be one rank of some cases; it writes what it measured into ``--result``."""
    from training.parallel.distributed import stop_distributed

    found = {}
    try:
        for name in arguments.case.split("+"):
            found[name] = measure(CASES[name], arguments, Path(arguments.model))
            gc.collect()
    finally:
        stop_distributed()
    rank = os.environ["RANK"]
    Path(arguments.result, f"rank-{rank}.json").write_text(json.dumps(found), encoding="utf-8")


def largest_of_ranks(folder: Path, name: str) -> dict[str, float]:
    ranks = [json.loads(path.read_text())[name] for path in sorted(folder.glob("rank-*.json"))]
    return {key: max(rank[key] for rank in ranks) for key in ranks[0]}


def show(name: str, shape: str, found: dict[str, float], *, on_gpu: bool) -> str:
    total = found["weights"] + found["activations"]
    figures = "".join(
        f"{value / 1e9:10.2f}"
        for value in (found["start"], found["training"], found["host"], found["weights"], total)
    )
    error = f"{total / found['training'] - 1:+9.0%}" if on_gpu else ""
    return f"{name:32}{shape:>6}{figures}{error}"


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--tokenizer", help="folder of a fast tokenizer")
    parser.add_argument("--only", help="cases with this in their name")
    parser.add_argument("--shape", choices=SHAPES, help="of every case, instead of its own")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of the micro-batch")
    parser.add_argument("--toy", action="store_true", help="a tiny model, to try the script")
    parser.add_argument("--work", help="folder for the models; needs 2 bytes a weight")
    parser.add_argument("--output", help="write the figures there as JSON")
    for name in ("--case", "--model", "--result"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.case:
        run_ranks(arguments)
        return 0
    on_gpu = torch.cuda.is_available()
    devices = torch.cuda.device_count() if on_gpu else 2
    if arguments.toy:
        arguments.shape, arguments.tokens = "toy", TOY_TOKENS
    print(f"{devices} × {torch.cuda.get_device_name() if on_gpu else 'CPU'}, GB of each")
    print(
        f"{'':32}{'size':>6}{'start':>10}{'training':>10}{'host':>10}{'weights':>10}"
        f"{'planned':>10}{'error':>9}"
    )
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        for name, case in CASES.items():
            if arguments.only and arguments.only not in name:
                continue
            if devices < case.devices:
                print(f"{name:32}needs {case.devices} GPUs")
                continue
            line, figures[name] = _one(name, case, arguments, Path(work), devices)
            print(line, flush=True)
    if arguments.output:
        Path(arguments.output).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if all(figures.values()) else 1


def _one(
    name: str, case: Case, arguments: argparse.Namespace, work: Path, devices: int
) -> tuple[str, dict[str, float]]:
    """Run a case in processes of its own; its line and its figures, which are {} if it failed."""
    from training.config import load_config

    shape = arguments.shape or case.shape
    if shape is None:
        device = torch.device("cuda")
        free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
        # The optimizer of an offloaded run is in the host's memory, which is smaller than its GPUs.
        settings = [one for one in case.settings if "cpu_offload" not in one]
        shape = largest_shape(load_config(None, settings), devices, device, free)
    model = work / shape
    if not model.exists():
        for old in work.iterdir():  # one at a time: the largest fill a disk
            shutil.rmtree(old)
        write_model(model, shape, arguments.tokenizer)
    with tempfile.TemporaryDirectory() as result:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(devices), "-m", "benchmarks.gpu_memory"]
        command += ["--dataset", arguments.dataset, "--shape", shape, "--case", name]
        command += ["--tokens", str(arguments.tokens), "--model", str(model), "--result", result]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [one for one in done.stderr.splitlines() if "Error" in one]
            return f"{name:32}{shape:>6}  {(lines or ['failed'])[0][:100]}", {}
        found = largest_of_ranks(Path(result), name)
    return show(name, shape, found, on_gpu=torch.cuda.is_available()), found


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
