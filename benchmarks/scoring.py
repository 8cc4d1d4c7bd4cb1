"""How much work `forumprefs evaluate` does for a suite, against the usual loop on the same model.

    python -m benchmarks.scoring --model runs/mine --benchmark rm-bench=data/rm-bench

The usual loop is what public scripts of benchmarks do: every comparison's two sequences, in the
order of the file, padded to the longest of each batch, through
`AutoModelForSequenceClassification`. Ours scores each (prompt, response) once, in order of length,
and computes a prompt's tokens once for all responses to it where the model is causal. Both get the
same token ids, so rewards are compared, too. Times are processor seconds of this process.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from training.config import DataConfig, ModelConfig
from training.console import ProgressDisplay, make_console
from training.evaluation.items import Item, Scores
from training.evaluation.models import find_model, open_scorer
from training.evaluation.score_cache import ScoreCache, score_items
from training.evaluation.suites.registry import load_suite
from training.model.reward_model import load_model


def sequences(items: list[Item], path: str, max_length: int) -> tuple[list[list[int]], int]:
    """Token ids of both sides of each comparison, in the order of the file; the pad token."""
    loaded = load_model(
        path, ModelConfig(layout="padded"), DataConfig(max_length=max_length), seed=0
    )
    found = []
    for item in items:
        (prompt,) = loaded.tokens.prompts([item.prompt])
        encoded = loaded.tokens.responses(list(item.responses), len(prompt))
        for label in item.comparisons():
            for side in (label.better, label.worse):
                found.append([*prompt.tolist(), *encoded[side].tolist()])
    return found, loaded.tokens.pad_id


@torch.no_grad()
def usual_loop(path: str, rows: list[list[int]], batch: int, pad: int) -> list[float]:
    """Rewards of the sequences, padded on the right."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        path, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    ).eval()
    rewards: list[float] = []
    for begin in range(0, len(rows), batch):
        together = rows[begin : begin + batch]
        longest = max(map(len, together))
        ids = torch.full((len(together), longest), pad)
        mask = torch.zeros_like(ids)
        for line, row in enumerate(together):
            ids[line, : len(row)] = torch.tensor(row)
            mask[line, : len(row)] = 1
        rewards += model(input_ids=ids, attention_mask=mask).logits[:, 0].double().tolist()
    return rewards


def rewards_in_order(items: list[Item], scores: Scores) -> Iterator[float]:
    """Our rewards in the order of `sequences`."""
    for item, row in zip(items, scores, strict=True):
        for label in item.comparisons():
            yield float(row[label.better])
            yield float(row[label.worse])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True, help="run folder of forumprefs train")
    parser.add_argument("--benchmark", required=True, metavar="NAME=PATH")
    parser.add_argument("--limit", type=int, default=16, help="items of the suite (default: 16)")
    parser.add_argument("--batch", default="8,1", help="sequences of a batch in the usual loop")
    arguments = parser.parse_args()
    name, _, location = arguments.benchmark.partition("=")
    suite = load_suite(name, location)
    # Spread over the file, because its order may follow a subset or a length.
    items = list(suite.items[:: max(1, len(suite.items) // arguments.limit)][: arguments.limit])
    found = find_model(arguments.model)
    length = found.max_length or 2048
    scorer = open_scorer(found, device=torch.device("cpu"), max_length=length, precision="fp32")
    with tempfile.TemporaryDirectory() as folder, ScoreCache(Path(folder), "ours") as cache:
        began = time.process_time()
        ours, _ = score_items(scorer, items, cache, ProgressDisplay(make_console(quiet=True), name))
        seconds = time.process_time() - began
    expected = list(rewards_in_order(items, ours))
    rows, pad = sequences(items, found.path, length)
    once = len({tuple(row) for row in rows})
    print(
        f"{suite.suite.title}: {len(items)} prompts, {len(rows) // 2} comparisons, {len(rows)} "
        f"sequences of which {once} differ, {sum(map(len, rows)) / len(rows):.0f} tokens each"
    )
    print("| | processor s | sequences/s | times ours | largest difference of a reward |")
    print("|---|---:|---:|---:|---:|")
    print(f"| ours | {seconds:.1f} | {len(rows) / seconds:.1f} | 1.0 | |", flush=True)
    for size in map(int, arguments.batch.split(",")):
        began = time.process_time()
        theirs = usual_loop(found.path, rows, size, pad)
        spent = time.process_time() - began
        apart = max(abs(a - b) for a, b in zip(expected, theirs, strict=True))
        print(
            f"| usual loop, {size} at once | {spent:.1f} | {len(rows) / spent:.1f} "
            f"| {spent / seconds:.1f} | {apart:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
