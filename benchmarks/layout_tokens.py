"""How many tokens each layout computes on a dataset's own lengths; needs no model.

    python -m benchmarks.layout_tokens out/mix --tokenizer models/smollm2

Counts are exact and the same on any machine. They come from the trainer's own sampler, tokens,
groups and micro-batches; only the column of padding in the order of the pairs, which our trainer
does not do, is counted here. The unit is the real tokens of the pairs: prompt and response of
both sides, without padding and without sharing.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._pairs_per_prompt import write_subset
from training.config import DataConfig
from training.data.collate import micro_batches
from training.data.dataset import PairDataset
from training.data.prompt_groups import PromptGroup, ShuffleWindows, group_pairs, prompt_runs
from training.data.sampler import BatchSampler
from training.data.template import choose_template
from training.data.tokenizer import PairTokenizer

LIMITS = (512, 1024, 2048)


class Counts:
    """Sums over all batches of a dataset."""

    def __init__(self) -> None:
        self.pairs = 0
        self.prompts = 0
        self.sequences = 0
        self.real = 0
        self.in_order = 0
        self.laid_out = {"padded": 0, "packed": 0, "shared": 0}
        self.at_limit = 0
        self.identical = 0
        self.prompt_lengths: list[int] = []
        self.response_lengths: list[int] = []


def count(dataset: PairDataset, tokens: PairTokenizer, arguments: argparse.Namespace) -> Counts:
    found = Counts()
    sampler = BatchSampler(
        rows=dataset.rows,
        batch_rows=arguments.batch_pairs,
        window=DataConfig().shuffle_row_groups,
        seed=0,
    )
    windows = ShuffleWindows(dataset)
    for step in range(sampler.steps):
        rows = windows.batch(sampler, step)
        batch = group_pairs(rows, prompt_runs(rows), tokens)
        found.at_limit += batch.at_limit
        found.identical += batch.identical
        add(found, batch.groups, set(rows.site), tokens.pad_id, arguments)
    return found


def add(
    found: Counts,
    groups: list[PromptGroup],
    sites: set[str],
    pad_id: int,
    arguments: argparse.Namespace,
) -> None:
    lengths = [
        tuple(len(g.prompt) + len(g.responses[side]) for side in (p.chosen, p.rejected))
        for g in groups
        for p in g.pairs
    ]
    found.pairs += len(lengths)
    found.prompts += len(groups)
    found.sequences += sum(len(group.responses) for group in groups)
    found.prompt_lengths += [len(group.prompt) for group in groups]
    found.response_lengths += [len(r) for group in groups for r in group.responses]
    found.real += sum(map(sum, lengths))
    at_once = arguments.pairs_at_once
    for begin in range(0, len(lengths), at_once):
        together = lengths[begin : begin + at_once]
        found.in_order += 2 * len(together) * max(map(max, together))
    for layout in found.laid_out:
        found.laid_out[layout] += sum(
            micro.input_ids.numel()
            for micro in micro_batches(
                groups,
                layout,  # type: ignore[arg-type]
                tokens=arguments.micro_batch_tokens,
                pad_id=pad_id,
                sites={site: number for number, site in enumerate(sorted(sites))},
            )
        )


def share_table(rows: dict[str, Counts], at_once: int) -> str:
    lines = [
        f"| pairs kept of a prompt | pairs | prompts | padded, {at_once} pairs in order | padded, "
        "sorted in the batch | packed | shared | padded in order / shared |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in rows.items():
        cells = [found.in_order, *found.laid_out.values()]
        lines.append(
            f"| {name} | {found.pairs:,} | {found.prompts:,} | "
            + " | ".join(f"{cell / found.real:.2f}" for cell in cells)
            + f" | {found.in_order / found.laid_out['shared']:.1f} |"
        )
    return "\n".join(lines)


def limit_table(rows: dict[int, Counts]) -> str:
    lines = [
        "| max_length | sequences | at a limit | identical when cut |",
        "|---|---:|---:|---:|",
    ]
    for limit, found in rows.items():
        lines.append(
            f"| {limit} | {found.sequences:,} | {found.at_limit / found.sequences:.1%} "
            f"| {found.identical} |"
        )
    return "\n".join(lines)


def quantiles(lengths: list[int]) -> str:
    cut = statistics.quantiles(lengths, n=100)
    return f"median {cut[49]:.0f}, 90th percentile {cut[89]:.0f}, longest {max(lengths):,}"


def make_tokens(tokenizer: Any, max_length: int) -> PairTokenizer:
    template = choose_template(tokenizer, "auto", encoder=False)
    return PairTokenizer(tokenizer, template, max_length=max_length)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--tokenizer", required=True, help="folder of a fast tokenizer")
    parser.add_argument("--per-prompt", default="1,3,10", help="pairs kept of each prompt")
    parser.add_argument("--batch-pairs", type=int, default=256, help="pairs of an optimizer step")
    parser.add_argument("--pairs-at-once", type=int, default=16, help="of the padding in order")
    parser.add_argument("--micro-batch-tokens", type=int, default=16_384)
    parser.add_argument("--max-length", type=int, default=2048)
    arguments = parser.parse_args()
    from training.model.pretrained import read_tokenizer_of

    tokenizer = read_tokenizer_of(arguments.tokenizer)
    tokens = make_tokens(tokenizer, arguments.max_length)
    rows: dict[str, Counts] = {}
    for per_prompt in map(int, arguments.per_prompt.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            write_subset(arguments.dataset, Path(folder) / "subset", per_prompt)
            subset = PairDataset(str(Path(folder) / "subset"), "train")
            name = "1" if per_prompt == 1 else f"≤ {per_prompt}"
            rows[name] = count(subset, tokens, arguments)
        print(f"{name} pairs of a prompt counted", file=sys.stderr)
    dataset = PairDataset(str(arguments.dataset), "train")
    whole = count(dataset, tokens, arguments)
    if all(found.pairs < whole.pairs for found in rows.values()):
        rows["all"] = whole
    print(share_table(rows, arguments.pairs_at_once))
    print(f"\nprompts: {quantiles(whole.prompt_lengths)} tokens")
    print(f"responses: {quantiles(whole.response_lengths)} tokens, template included\n")
    limits = {limit: count(dataset, make_tokens(tokenizer, limit), arguments) for limit in LIMITS}
    print(limit_table(limits))


if __name__ == "__main__":
    main()
