"""Our trainer against TRL's RewardTrainer on a CPU: the same model, pairs, tokens and order.

    make bench-trl DATASET=out/mix        # makes TRL's environment and a small model, then runs
    python -m benchmarks.against_trl --dataset out/mix --model DIR --trl-python .venv-trl/bin/python

Both get a sequence classifier whose head has been drawn, the pairs in the same order, in the
same batches, cut to the same token ids (TRL from its columns chosen_ids and rejected_ids, so it
does not tokenise; we do), the same AdamW, clipping and constant learning rate, Bradley–Terry and
a weight of 1 for each pair. Every run is a process of its own with one thread. Each goes over its
batches once, which does not count, so that imports, loading and compilation do not, and then
--rounds times more: one run after the other takes a round, the rest being stopped, so that a busy
machine hits all alike. Time is processor time of the training steps; a ratio is taken within a
round, and given as the median over rounds with the lowest and the highest. What it still flatters:
TRL gets token ids, and we tokenise. A run that takes more than --limit-minutes of processor time
for a round is ended, and reported so.

Both are measured compiled and not, TRL with several numbers of pairs a pass, in the order of the
batches and grouped by length over all of them (which changes its batches, so its losses too). The
ratio that counts is the last line: ours, shared, as it is on a CPU by default, to the best of
TRL's. Compiled, every new length of a batch is a new shape: "-dynamic" compiles for all lengths at
once, "-padded" fills up to multiples of 128 tokens, so that there are few.

The losses of all runs that keep order and batches are laid over each other (--plot).
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks._job_files import Job
from benchmarks._pairs_per_prompt import write_subset
from benchmarks._processes import tree_use

ROOT = Path(__file__).parents[1]

AT_ONCE = "per_device_train_batch_size"
# The trainer drops the column with the lengths before its sampler asks for it, unless told not to.
GROUPED = {"train_sampling_strategy": "group_by_length", "remove_unused_columns": False}
REBALANCED = {**GROUPED, "train_sampling_strategy": "batch_rebalance"}
NAMES = {"": "", "-grouped": ", grouped by length", "-balanced": ", rebalanced by length"}


@dataclass(frozen=True)
class Variant:
    """A way to train: a row of the table."""

    name: str
    is_ours: bool
    settings: dict[str, Any]
    same_order: bool = True


def _variants() -> dict[str, Variant]:
    found = {}
    for layout in ("shared", "packed", "padded"):
        found[layout] = Variant(f"ours, {layout}", True, {"layout": layout, "compile": False})
        found[f"{layout}-compiled"] = Variant(
            f"ours, {layout}, compiled", True, {"layout": layout, "compile": True}
        )
    for pairs in (1, 2, 4, 8, 16):
        for order, how, same_order in (
            ("", {}, True),
            ("-grouped", GROUPED, False),
            ("-balanced", REBALANCED, False),
        ):
            for compiled in (False, True):
                found[f"trl{pairs}{order}{'-compiled' * compiled}"] = Variant(
                    f"TRL, {pairs} at once{NAMES[order]}{', compiled' * compiled}",
                    False,
                    {AT_ONCE: pairs, "torch_compile": compiled, **how},
                    same_order,
                )
    for pairs in (1, 2, 4):
        compiled_for = {AT_ONCE: pairs, "torch_compile": True, **GROUPED}
        for name, how, more in (
            ("dynamic", "for all lengths", {"dynamic": True}),
            ("padded", "to multiples of 128", {"pad_to_multiple_of": 128}),
        ):
            found[f"trl{pairs}-grouped-compiled-{name}"] = Variant(
                f"TRL, {pairs} at once, grouped by length, compiled {how}",
                False,
                {**compiled_for, **more},
                same_order=False,
            )
    found["trl-default"] = Variant(
        "TRL, 8 at once, checkpointed (its defaults)",
        False,
        {AT_ONCE: 8, "gradient_checkpointing": True},
    )
    return found


VARIANTS = _variants()
DEFAULT = (
    "shared,packed,padded,shared-compiled,padded-compiled,trl1,trl2,trl4,trl8,trl-default,"
    "trl1-grouped,trl2-grouped,trl4-grouped,trl8-grouped,trl8-balanced,trl1-compiled,"
    "trl4-grouped-compiled"
)
REFERENCE = "shared"
LOOK_S = 0.2
"""Seconds between two looks at the run whose turn it is."""

Figures = dict[str, Any]


def prepare(arguments: argparse.Namespace, per_prompt: int, work: Path) -> Job:
    """Write the pairs, the model with its head, and the token ids; return the job for both."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks._token_rows import token_rows
    from training.config import DataConfig, ModelConfig, RunConfig, TrainConfig
    from training.data.collate import micro_batches
    from training.data.dataset import PairDataset
    from training.data.loader import DataLoader
    from training.data.sampler import BatchSampler
    from training.model.reward_model import load_model
    from training.model.save import save_model

    dataset = work / "dataset"
    found = write_subset(Path(arguments.dataset), dataset, per_prompt)
    steps = min(arguments.pairs, found) // arguments.batch_pairs
    if not steps:
        sys.exit(f"{found} pairs with at most {per_prompt} of a prompt: not one batch")
    config = TrainConfig(
        data=DataConfig(
            batch_pairs=arguments.batch_pairs,
            max_length=arguments.max_length,
            max_prompt_length=arguments.max_length // 2,
            max_pairs=steps * arguments.batch_pairs,
            prompt_weights="pair",
        ),
        model=ModelConfig(layout="shared", micro_batch_tokens=16_384),
        run=RunConfig(seed=arguments.seed),
    )
    loaded = load_model(
        arguments.model, ModelConfig(layout="padded"), config.data, seed=arguments.seed
    )
    save_model(work / "model", loaded)
    pairs = PairDataset(str(dataset), "train")
    sampler = BatchSampler(
        rows=pairs.rows,
        batch_rows=config.data.batch_pairs,
        window=config.data.shuffle_row_groups,
        seed=config.run.seed,
        max_rows=config.data.max_pairs,
    )
    loader = DataLoader(pairs, sampler, loaded.tokens, config)
    rows: list[dict[str, Any]] = []
    shared = 0
    for step in range(steps):
        grouped = loader.grouped(step)
        parts = micro_batches(
            grouped.groups,
            "shared",
            tokens=arguments.micro_batch_tokens,
            pad_id=loaded.tokens.pad_id,
            sites={},
        )
        shared += sum(part.input_ids.numel() for part in parts)
        found_rows = token_rows(grouped)
        if len(found_rows) != arguments.batch_pairs:
            sys.exit("pairs became identical when they were cut: set another --max-length")
        rows += found_rows
    longer = sum(max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows)
    print(
        f"{len(rows):,} pairs: ours, shared reads {shared / len(rows):.0f} tokens a pair; a row "
        f"for each side reads at least {2 * longer / len(rows):.0f}, {2 * longer / shared:.2f} "
        "times as many",
        flush=True,
    )
    pq.write_table(pa.Table.from_pylist(rows), work / "ids.parquet")
    return Job(
        model=str(work / "model"),
        dataset=str(dataset),
        ids=str(work / "ids.parquet"),
        batch_pairs=arguments.batch_pairs,
        steps=steps,
        rounds=arguments.rounds,
        seed=arguments.seed,
        max_length=arguments.max_length,
        max_prompt_length=arguments.max_length // 2,
        lr=arguments.lr,
        weight_decay=0.1,
        beta1=0.9,
        beta2=0.95,
        eps=1e-8,
        clip=1.0,
    )


def start(job: Job, name: str, arguments: argparse.Namespace, work: Path) -> subprocess.Popen[str]:
    """Start to train in a process of its own; its answer goes to a file."""
    variant = VARIANTS[name]
    settings = dict(variant.settings)
    if variant.is_ours:
        settings["micro_batch_tokens"] = arguments.micro_batch_tokens
        command = [sys.executable, "-m", "benchmarks._our_job"]
    else:
        command = [arguments.trl_python, "-P", str(ROOT / "benchmarks" / "_trl_job.py")]
    path = work / f"{name}.json"
    replace(job, variant=settings).write(path)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with (work / f"{name}.out").open("w") as out, (work / f"{name}.err").open("w") as err:
        return subprocess.Popen(
            [*command, str(path)], cwd=ROOT, env=environment, stdout=out, stderr=err, text=True
        )


def run_all(
    job: Job, names: list[str], arguments: argparse.Namespace, work: Path
) -> dict[str, Figures]:
    """Run all variants by turns; figures of each that did not run into the limit."""
    children: dict[str, subprocess.Popen[str]] = {}
    try:
        for name in names:  # the round that does not count
            children[name] = start(job, name, arguments, work)
            if not _turn(children[name], arguments.limit_minutes):
                print(
                    f"{VARIANTS[name].name}: ended, its first round took more than "
                    f"{arguments.limit_minutes:g} minutes of processor time",
                    flush=True,
                )
                del children[name]
        for _ in range(job.rounds + 1):  # the last time they write their figures
            for name, child in children.items():
                child.send_signal(signal.SIGCONT)
                if not _turn(child, arguments.limit_minutes):
                    sys.exit(f"{name}: a round took more than the limit")
                if child.returncode:
                    sys.exit(f"{name} failed:\n{(work / f'{name}.err').read_text()[-3000:]}")
    finally:
        for child in children.values():
            _end(child)
    return {
        name: json.loads((work / f"{name}.out").read_text().strip().splitlines()[-1])
        for name in children
    }


def _turn(child: subprocess.Popen[str], limit_minutes: float) -> bool:
    """Wait until a run has stopped itself or ended; False, and it is ended, after the limit."""
    began = _spent(child)
    while child.poll() is None and not _is_stopped(child):
        if _spent(child) - began > 60 * limit_minutes:
            _end(child)
            return False
        time.sleep(LOOK_S)
    return True


def _spent(child: subprocess.Popen[str]) -> float:
    """Processor seconds of a run, compilers that it started included."""
    return sum(use.cpu_s for use in tree_use(child.pid).values())


def _is_stopped(child: subprocess.Popen[str]) -> bool:
    stat = Path(f"/proc/{child.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.kill()
        child.wait()


def table(found: dict[str, Figures], real: float) -> str:
    """A row for each variant."""
    lines = [
        "| | pairs per second of processor time | ours, shared is faster by | peak memory, MB "
        "| above the loaded model, MB | tokens computed per pair | to real tokens |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, own in found.items():
        tokens = own["computed_tokens"] / own["pairs"]
        middle, low, high = ratios(found, name)
        lines.append(
            f"| {VARIANTS[name].name} | {own['pairs'] / sum(own['cpu_seconds']):.2f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) | {own['peak_mb']:,.0f} "
            f"| {own['peak_above_model_mb']:,.0f} | {tokens:,.0f} | {tokens / real:.2f} |"
        )
    return "\n".join(lines)


def ratios(found: dict[str, Figures], name: str) -> tuple[float, float, float]:
    """Times of a run to those of ours, shared, round by round: median, lowest, highest."""
    both = zip(found[name]["cpu_seconds"], found[REFERENCE]["cpu_seconds"], strict=True)
    each = [own / reference for own, reference in both]
    return statistics.median(each), min(each), max(each)


def base_of(found: dict[str, Figures]) -> str | None:
    """A variant of TRL that keeps the order of the batches, to compare losses with."""
    kept = [name for name in found if not VARIANTS[name].is_ours and VARIANTS[name].same_order]
    return kept[0] if kept else None


def best_of_trl(found: dict[str, Figures]) -> str:
    """The line that counts."""
    theirs = [name for name in found if not VARIANTS[name].is_ours]
    if not theirs:
        return ""
    name = min(theirs, key=lambda key: sum(found[key]["cpu_seconds"]) / found[key]["pairs"])
    middle, low, high = ratios(found, name)
    return (
        f"the best of TRL's ({VARIANTS[name].name}) takes {middle:.2f} times as long as ours, "
        f"from {low:.2f} to {high:.2f} in {len(found[name]['cpu_seconds'])} rounds"
    )


def curves(found: dict[str, Figures]) -> str:
    """Largest difference between the losses of two runs of the same batches."""
    base = base_of(found)
    if base is None:
        return ""
    losses = found[base]["losses"]
    lines = [
        f"losses of {len(losses)} steps, from {losses[0]:.6f} to {losses[-1]:.6f} "
        f"({VARIANTS[base].name}); largest difference to them:"
    ]
    for name in found:
        if name != base and VARIANTS[name].same_order:
            differences = [abs(a - b) for a, b in zip(losses, found[name]["losses"], strict=True)]
            lines.append(
                f"  {VARIANTS[name].name:45} {max(differences):.1e} "
                f"(first step {differences[0]:.1e})"
            )
    return "\n".join(lines)


def plot(path: Path, found: dict[str, Figures]) -> None:
    """Loss curves over each other, and their differences below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    base = base_of(found)
    assert base is not None, "--plot needs a variant of TRL that keeps the order"
    shown = [name for name in found if VARIANTS[name].same_order and VARIANTS[name].is_ours]
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(6, 4.2), height_ratios=(2, 1), layout="constrained"
    )
    losses = found[base]["losses"]
    steps = range(1, len(losses) + 1)
    above.plot(steps, losses, color="0.75", linewidth=6, label=VARIANTS[base].name)
    for name, style in zip(shown, ("-", "--", ":"), strict=False):
        own = found[name]["losses"]
        (line,) = above.plot(steps, own, style, linewidth=1.6, label=VARIANTS[name].name)
        differences = [max(abs(a - b), 1e-9) for a, b in zip(losses, own, strict=True)]
        below.semilogy(steps, differences, style, linewidth=1.2, color=line.get_color())
    above.set_ylabel("loss of the step")
    above.legend(frameon=False, fontsize=8)
    below.set_ylabel("difference")
    below.set_xlabel("optimizer step")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def real_tokens(job: Job) -> float:
    """Tokens of both sequences of a pair, padding and sharing excluded; mean."""
    import pyarrow.parquet as pq

    ids = pq.read_table(job.ids, columns=["chosen_ids", "rejected_ids"])
    lengths = [len(row) for column in ids.columns for row in column.to_pylist()]
    return sum(lengths) / ids.num_rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="dataset folder")
    parser.add_argument("--model", required=True, help="folder of a causal language model")
    parser.add_argument("--trl-python", default=".venv-trl/bin/python")
    parser.add_argument("--variants", default=DEFAULT, help="see _variants()")
    parser.add_argument("--per-prompt", default="10", help="pairs kept of each prompt, e.g. 1,3,10")
    parser.add_argument("--pairs", type=int, default=96, help="pairs of a run")
    parser.add_argument("--batch-pairs", type=int, default=16, help="pairs of an optimizer step")
    parser.add_argument("--micro-batch-tokens", type=int, default=8192, help="ours: tokens at once")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5, help="that count (default: 5)")
    parser.add_argument(
        "--limit-minutes", type=float, default=10, help="processor time of a round (default: 10)"
    )
    parser.add_argument(
        "--tokens-only", action="store_true", help="count the tokens of both, and train nothing"
    )
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="write the loss curves there as PNG")
    parser.add_argument("--output", type=Path, help="write all figures there as JSON")
    arguments = parser.parse_args()
    names = arguments.variants.split(",")
    unknown = set(names) - VARIANTS.keys()
    if unknown or REFERENCE not in names:
        parser.error(f"--variants: {', '.join(unknown) or REFERENCE + ' is missing'}")
    if not arguments.tokens_only and not Path(arguments.trl_python).exists():
        parser.error(f"no {arguments.trl_python}: make bench-trl makes it")
    everything: dict[str, Any] = {}
    for per_prompt in map(int, arguments.per_prompt.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            job = prepare(arguments, per_prompt, work)
            if arguments.tokens_only:
                continue
            found = run_all(job, names, arguments, work)
            versions = {k: v for one in found.values() for k, v in one["versions"].items()}
            print(
                f"\nat most {per_prompt} pairs of a prompt; {job.steps} steps of "
                f"{job.batch_pairs} pairs; "
                + ", ".join(f"{name} {number}" for name, number in versions.items())
                + "\n"
            )
            print(table(found, real_tokens(job)))
            print("\n" + best_of_trl(found))
            print("\n" + curves(found), flush=True)
            if arguments.plot:
                plot(arguments.plot, found)
            everything[str(per_prompt)] = found
    if arguments.output:
        arguments.output.write_text(json.dumps(everything, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
