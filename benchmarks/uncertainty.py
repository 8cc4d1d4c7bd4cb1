"""What intervals cost: `forumprefs score` with and without ``--intervals``, in turn.

    python -m benchmarks.uncertainty MODEL ROWS [--rounds 10] [--rows 200] [--max-length 96]

MODEL has its uncertainty (`forumprefs uncertainty`); ROWS is a file as `forumprefs score` reads it.
The whole command runs again and again in one process, from reading the rows to writing them, with
one thread: so imports do not count, the model's loading does. What is printed is processor time of
the process, after a round of each that is not counted; the order changes with every round.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

DRAWS = 2000


def seconds(model: str, rows: Path, more: list[str]) -> float:
    """Processor seconds of scoring the rows once."""
    from training.commands import main as command

    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        code = command(
            ["score", str(rows), "--model", model, "--output", str(Path(folder) / "out")]
            + ["--device", "cpu", "--quiet", *more]
        )
        spent = time.process_time() - began
    assert code == 0
    return spent


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
    parser.add_argument("rows", type=Path, help="JSON Lines")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rows", type=int, dest="limit", help="read only so many (default: all)")
    parser.add_argument("--max-length", type=int)
    given = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    length = ["--max-length", str(given.max_length)] if given.max_length else []
    ways = {"plain": length, "intervals": [*length, "--intervals"]}
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / given.rows.name
        with given.rows.open("rb") as file:
            rows.write_bytes(b"".join(islice(file, given.limit)))
        for number in range(given.rounds + 1):
            order = sorted(ways, reverse=number % 2 == 0)
            took = {name: seconds(given.model, rows, ways[name]) for name in order}
            if number == 0:
                continue
            ratios.append(took["intervals"] / took["plain"])
            print(
                f"plain {took['plain']:.2f} s, with intervals {took['intervals']:.2f} s: "
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
