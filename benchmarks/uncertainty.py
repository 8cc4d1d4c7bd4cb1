"""What intervals cost when rows are scored: with and without them, in turn.

    python -m benchmarks.uncertainty MODEL ROWS [--rounds 10] [--rows 200] [--max-length 96]

MODEL has its uncertainty (`forumprefs uncertainty`); ROWS is JSON Lines as `forumprefs score` reads
it, with a prompt and responses. The scorer of that command is opened twice, with ``--intervals``
and without, and both score the same rows again and again, in one process and one thread. Time is
processor time; loading, reading and writing rows, the same for both, are left out, which makes the
ratio larger than that of the whole command. A round of each is not counted; the order changes with
every round.
"""

import argparse
import json
import os
import random
import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

DRAWS = 2000


def read_rows(path: Path, limit: int | None) -> tuple[list[Any], list[list[str]]]:
    """Prompts and responses, as the scorer takes them."""
    from training.evaluation.items import ChatMessage

    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in islice(file, limit)]
    prompts = [(ChatMessage(role="user", content=row["prompt"]),) for row in rows]
    return prompts, [row["responses"] for row in rows]


def interval_of_median(values: list[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(DRAWS))
    return medians[DRAWS // 40], medians[-DRAWS // 40]


def main() -> None:
    """Print what each round took, and the median of the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("file", metavar="ROWS", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rows", type=int, help="read only so many (default: all)")
    parser.add_argument("--max-length", type=int)
    given = parser.parse_args()

    import torch

    from training.evaluation.models import find_model, open_scorer

    torch.set_num_threads(1)
    prompts, responses = read_rows(given.file, given.rows)
    scorers = {
        name: open_scorer(
            find_model(given.model),
            device=torch.device("cpu"),
            max_length=given.max_length,
            intervals=name == "intervals",
        )
        for name in ("plain", "intervals")
    }
    print(f"{len(prompts)} prompts, {sum(map(len, responses))} responses", flush=True)
    ratios: list[float] = []
    for number in range(given.rounds + 1):
        took = {}
        for name in sorted(scorers, reverse=number % 2 == 0):
            began = time.process_time()
            scorers[name].score(prompts, responses)
            took[name] = time.process_time() - began
        if number == 0:
            continue
        ratios.append(took["intervals"] / took["plain"])
        print(
            f"plain {took['plain']:.3f} s, with intervals {took['intervals']:.3f} s: "
            f"{ratios[-1]:.3f}",
            flush=True,
        )
    low, high = interval_of_median(ratios)
    print(
        f"median ratio {statistics.median(ratios):.3f} [{low:.3f}, {high:.3f}], from "
        f"{min(ratios):.3f} to {max(ratios):.3f}"
    )


if __name__ == "__main__":
    main()
