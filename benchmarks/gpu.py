"""Speed of training on a GPU: layouts against each other, against TRL, and where the time goes.

    python -m benchmarks.gpu --dataset out/mix --tokenizer DIR          # about 5 minutes on an H100
    python -m benchmarks.gpu --dataset out/demo --tokenizer DIR --toy   # a tiny one, on a CPU

Ours and TRL's are timed alike: both go over the same pairs twice and the second time counts (so
no start, no compilation), both compiled and not, both sorted by length, both from fp32 weights
unless a row says bf16. TRL gets the token ids that ours makes. Memory of LoRA, of texts of 16 K
tokens and of the largest model that fits: `python -m benchmarks.gpu_memory`.

A Qwen2-shaped model of about 1.5B parameters with random weights (throughput does not depend on
them) trains on the pairs of a dataset through the trainer's own step. First the attention over
segments is compared with the loop in fp32, forward and backward.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks._token_rows import token_rows
from training.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from training.model.attention import segment_attention
from training.parallel.distributed import DistributedContext
from training.run.options import TrainOptions
from training.run.setup import set_up
from training.run.state import TrainingRun
from training.throughput import peak_flops
from training.train import train_step

BIG = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151_936,
    "max_position_embeddings": 32_768,
}
"""Qwen2.5-1.5B's shape."""
TOY = BIG | {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 50_000,
}

VARIANTS: dict[str, dict[str, Any]] = {
    # Masked attention takes more memory, so fewer tokens at once.
    "padded": {"layout": "padded", "compile": False, "micro_batch_tokens": 8192},
    "padded, compiled": {"layout": "padded", "compile": True, "micro_batch_tokens": 8192},
    "packed": {"layout": "packed", "compile": False},
    "packed, compiled": {"layout": "packed", "compile": True},
    "shared": {"layout": "shared", "compile": False},
    "shared, compiled": {"layout": "shared", "compile": True},
    "shared, compiled, checkpointed": {
        "layout": "shared",
        "compile": True,
        "activation_checkpointing": True,
    },
    "shared, compiled, selective": {
        "layout": "shared",
        "compile": True,
        "activation_checkpointing": "selective",
    },
    "shared, compiled, checkpointed, offloaded": {
        "layout": "shared",
        "compile": True,
        "activation_checkpointing": True,
        "activation_offload": True,
    },
}


def make_hf(shape: dict[str, Any], device: torch.device, tokenizer: Any) -> Any:
    from transformers import AutoModelForSequenceClassification, Qwen2Config

    torch.manual_seed(0)
    config = Qwen2Config(**shape, num_labels=1, pad_token_id=0, eos_token_id=0)
    assert len(tokenizer) <= shape["vocab_size"], "a smaller tokenizer is needed"
    with device:
        return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def make_run(arguments: argparse.Namespace, variant: dict[str, Any], output: Path) -> TrainingRun:
    from training.model.pretrained import read_tokenizer_of
    from training.model.reward_model import wrap_model

    toy = arguments.toy
    config = TrainConfig(
        data=DataConfig(
            batch_pairs=arguments.pairs,
            max_length=512 if toy else 2048,
            max_pairs=arguments.pairs * arguments.steps,
        ),
        model=ModelConfig(
            **{"micro_batch_tokens": arguments.tokens, **variant}
            | ({"micro_batch_tokens": 2048} if toy else {})
        ),
        optim=OptimConfig(lr=1e-6),
        run=RunConfig(trackers=(), epochs=2),
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = read_tokenizer_of(arguments.tokenizer)
    hf = make_hf(TOY if toy else BIG, device, tokenizer)
    loaded = wrap_model(
        hf, tokenizer, None, config.model, config.data, new_head_seed=0, name="random"
    )
    options = TrainOptions(
        arguments.dataset, "random", output, config, on_existing="overwrite", quiet=True
    )
    return set_up(options, DistributedContext(0, 1, device), loaded)


def measure(run: TrainingRun, seconds: float) -> dict[str, float]:
    """Train on the same pairs twice and time the second time, ``seconds`` or all of it.

    The first time is not measured, for TRL neither: memory is asked for and code is compiled for
    the shapes that occur. Tokens and micro-batches are made while it is timed, by the loader's
    thread.
    """
    device = run.context.device
    warm = run.sampler.steps_per_epoch
    padded = tokens = 0
    for batch in run.loader.batches(0, warm):
        train_step(run, batch)
        padded += sum(part.input_ids.numel() for part in batch.micro)
        tokens += batch.tokens
    sync(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    sums = []
    for batch in run.loader.batches(warm, run.sampler.steps):
        sums.append(train_step(run, batch))
        sync(device)
        if time.perf_counter() - began >= seconds:
            break
    took = time.perf_counter() - began
    peak = peak_flops(device)
    return {
        "pairs_per_second": sum(s.pairs for s in sums) / took,
        "tokens_per_second": sum(s.tokens for s in sums) / took,
        "tokens_per_pair": sum(s.tokens for s in sums) / sum(s.pairs for s in sums),
        "padding": 1 - tokens / padded,
        "mfu": sum(s.flops for s in sums) / took / peak if peak else 0.0,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0,
        "steps": len(sums),
        "loss": sums[-1].loss / sums[-1].weight,
    }


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch._dynamo.reset()
        torch.cuda.empty_cache()


def sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def check_attention() -> dict[str, float]:
    """Largest relative error of the GPU's attention against the loop in fp32; forward, backward."""
    from training.model.attention import AttentionSegments, loop_attention

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(0)
    spans, index, at, keys = [], [], 0, 0
    for prompt, responses in ((37, (5, 300, 64)), (512, (1, 7)), (3, (900,))):
        begin = at
        spans.append((at, at + prompt, keys, keys + prompt))
        index += range(at, at + prompt)
        at, keys = at + prompt, keys + prompt
        for length in responses:
            spans.append((at, at + length, keys, keys + prompt + length))
            index += [*range(begin, begin + prompt), *range(at, at + length)]
            at, keys = at + length, keys + prompt + length
    segments = AttentionSegments(
        torch.tensor([0, *(s[1] for s in spans)], dtype=torch.int32, device=device),
        torch.tensor([0, *(s[3] for s in spans)], dtype=torch.int32, device=device),
        torch.tensor(index, device=device),
        1024,
        tuple(spans),
    )

    def inputs(dtype: torch.dtype) -> list[torch.Tensor]:
        generator.manual_seed(0)
        return [
            torch.randn(1, heads, at, 128, generator=generator, device=device)
            .to(torch.bfloat16)
            .to(dtype)
            .requires_grad_()
            for heads in (12, 2, 2)
        ]

    fast = inputs(torch.bfloat16 if device.type == "cuda" else torch.float32)
    slow = inputs(torch.float32)
    out, _ = segment_attention(torch.nn.Module(), *fast, None, segments=segments, scaling=0.1)
    q, k, v = (tensor[0].transpose(0, 1) for tensor in slow)
    reference = loop_attention(
        q, k[segments.key_index], v[segments.key_index], segments, scaling=0.1
    )
    weight = torch.randn(reference.shape, generator=generator, device=device)
    (out[0].float() * weight).sum().backward()
    (reference * weight).sum().backward()
    found = {"forward": relative(out[0].float(), reference)}
    for name, a, b in zip(("query", "key", "value"), fast, slow, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        found[f"gradient of {name}"] = relative(a.grad.float(), b.grad)
    return found


def relative(found: torch.Tensor, reference: torch.Tensor) -> float:
    return float(((found - reference).norm() / reference.norm()).detach())


def profile(run: TrainingRun, rows: int = 25) -> str:
    """Where a step's time goes on the GPU: kernels by total time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    batch = run.loader.batch(0)
    activities = [ProfilerActivity.CPU]
    if run.context.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with torch_profile(activities=activities) as found:
        train_step(run, batch)
        sync(run.context.device)
    key = "self_device_time_total" if len(activities) > 1 else "self_cpu_time_total"
    return str(found.key_averages().table(sort_by=key, row_limit=rows, max_name_column_width=60))


@dataclass(frozen=True)
class TrlVariant:
    """A way to train with TRL; what is not named is as in every one of them."""

    pairs: int
    """Of a forward pass."""
    compiled: bool
    grouped: bool = True
    """By length, over all pairs."""
    checkpointing: bool = False
    """Its default is True."""
    bf16_weights: bool = False
    """Faster, but a small learning rate does not move them; its default is fp32."""


TRL_STEP_PAIRS = 96
"""Pairs of an optimizer step there."""
TRL_VARIANTS = {
    "TRL, 4, in order": TrlVariant(4, compiled=False, grouped=False),
    "TRL, 4, grouped": TrlVariant(4, compiled=False),
    "TRL, 4, grouped, compiled": TrlVariant(4, compiled=True),
    "TRL, 8, grouped, compiled": TrlVariant(8, compiled=True),
    "TRL, 16, grouped, recomputed": TrlVariant(16, compiled=False, checkpointing=True),
    "TRL, 8, grouped, compiled, bf16": TrlVariant(8, compiled=True, bf16_weights=True),
}


def token_table(arguments: argparse.Namespace) -> Any:
    """The pairs that ours trains on, as token ids, in its order."""
    import datasets

    with tempfile.TemporaryDirectory() as folder:
        run = make_run(arguments, VARIANTS["shared"], Path(folder) / "run")
        rows = [
            row
            for step in range(run.sampler.steps_per_epoch)
            for row in token_rows(run.loader.grouped(step))
        ]
    return datasets.Dataset.from_list(rows)


def measure_trl(arguments: argparse.Namespace, variant: TrlVariant) -> dict[str, float]:
    """TRL's RewardTrainer on the same ids and model shape, in bf16; timed as ours is.

    It goes over the pairs twice, and the second time is timed.
    """
    from transformers import TrainerCallback
    from trl import RewardConfig, RewardTrainer

    from training.model.pretrained import read_tokenizer_of

    toy = arguments.toy
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    table = token_table(arguments)
    free_memory()
    passes = 2 if toy else TRL_STEP_PAIRS // variant.pairs
    steps = len(table) // (passes * variant.pairs)
    table = table.select(range(steps * passes * variant.pairs))
    tokenizer = read_tokenizer_of(arguments.tokenizer)
    model = make_hf(TOY if toy else BIG, device, tokenizer)
    if variant.bf16_weights:
        model.bfloat16()
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            if state.global_step in (steps, 2 * steps):
                sync(device)
                times.append(time.perf_counter())
            if state.global_step == steps and device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()

    how: dict[str, Any] = {"train_sampling_strategy": "sequential"}
    if variant.grouped:
        how = {"train_sampling_strategy": "group_by_length", "remove_unused_columns": False}
    with tempfile.TemporaryDirectory() as folder:
        trainer = RewardTrainer(
            model=model,
            args=RewardConfig(
                output_dir=folder,
                per_device_train_batch_size=variant.pairs,
                gradient_checkpointing=variant.checkpointing,
                gradient_accumulation_steps=passes,
                torch_compile=variant.compiled,
                bf16=device.type == "cuda",
                use_cpu=device.type == "cpu",
                max_length=None,  # the ids are cut already
                max_steps=2 * steps,
                logging_steps=1000,
                report_to=[],
                disable_tqdm=True,
                save_strategy="no",
                learning_rate=1e-6,
                **how,
            ),
            train_dataset=table,
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
    return {
        "pairs_per_second": len(table) / (times[1] - times[0]),
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0,
    }


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--tokenizer", required=True, help="folder of a fast tokenizer")
    parser.add_argument("--variants", default=",".join(VARIANTS).replace(", ", "+"))
    parser.add_argument("--pairs", type=int, default=512, help="pairs a step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of a micro-batch")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--profile", metavar="VARIANT", help="show where its time goes")
    parser.add_argument("--trl", action="store_true", help="also TRL, which must be installed")
    parser.add_argument("--toy", action="store_true", help="a tiny model, to try the script")
    parser.add_argument("--output", help="write the figures there as JSON")
    arguments = parser.parse_args(given)
    if arguments.toy:
        arguments.pairs = min(arguments.pairs, 32)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    figures: dict[str, Any] = {"device": device, "torch": torch.__version__}
    print(device, torch.__version__, flush=True)
    figures["attention"] = check_attention()
    for name, error in figures["attention"].items():
        print(f"attention, {name}: relative error {error:.1e}", flush=True)
    print(f"{'':32}{'pairs/s':>9}{'tokens/s':>10}{'tok/pair':>9}{'padding':>9}{'MFU':>7}{'GB':>6}")
    for name in [variant.replace("+", ", ") for variant in arguments.variants.split(",")]:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                run = make_run(arguments, VARIANTS[name], Path(folder) / "run")
                found = measure(run, arguments.seconds)
                if arguments.profile == name:
                    print(profile(run))
                del run
            except torch.OutOfMemoryError as error:
                found = {}
                print(f"{name:32}out of memory: {str(error)[:60]}")
        free_memory()
        figures[name] = found
        if found:
            print(
                f"{name:32}{found['pairs_per_second']:9.1f}{found['tokens_per_second']:10,.0f}"
                f"{found['tokens_per_pair']:9.0f}{found['padding']:9.1%}{found['mfu']:7.1%}"
                f"{found['memory_gb']:6.1f}   ({found['steps']} steps, "
                f"{time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    if arguments.trl:
        for name, variant in TRL_VARIANTS.items():
            try:
                found = measure_trl(arguments, variant)
            except torch.OutOfMemoryError:
                found = {}
                print(f"{name:32}out of memory")
            free_memory()
            figures[name] = found
            if found:
                print(f"{name:32}{found['pairs_per_second']:9.1f}{'':35}{found['memory_gb']:6.1f}")
    if arguments.output:
        Path(arguments.output).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
