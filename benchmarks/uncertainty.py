"""What intervals cost: `forumprefs score` with and without ``--intervals``, in turn.

    python -m benchmarks.uncertainty MODEL ROWS [--rounds 5] [--max-length 96]

MODEL has its uncertainty (`forumprefs uncertainty`); ROWS is a file as `forumprefs score` reads it.
Processor seconds, user and system, children included; the order changes with every round. Start-up
is measured by scoring the first row alone, and taken off.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def seconds(model: str, rows: Path, more: list[str]) -> float:
    """Processor seconds of scoring the rows once, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.times()
        code = "import sys; from training.commands import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "score", str(rows), "--model", model]
        command += ["--output", str(Path(folder) / "out"), "--device", "cpu", "--quiet", *more]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        after = os.times()
    return (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )


def main() -> None:
    """Print what each round took, and the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("rows", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-length", type=int)
    given = parser.parse_args()
    length = ["--max-length", str(given.max_length)] if given.max_length else []
    ways = {"plain": length, "intervals": [*length, "--intervals"]}
    whole: list[float] = []
    scoring: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / given.rows.name
        one.write_bytes(given.rows.read_bytes().splitlines(keepends=True)[0])
        for number in range(given.rounds):
            took: dict[str, tuple[float, float]] = {}
            for name in sorted(ways, reverse=number % 2 == 0):
                all_rows = seconds(given.model, given.rows, ways[name])
                took[name] = all_rows, all_rows - seconds(given.model, one, ways[name])
            (plain, plain_net), (bars, bars_net) = took["plain"], took["intervals"]
            whole.append(bars / plain)
            scoring.append(bars_net / plain_net)
            print(
                f"plain {plain:.2f} s, of it start-up {plain - plain_net:.2f}; with intervals "
                f"{bars:.2f} s, {bars - bars_net:.2f}; ratio {whole[-1]:.3f}, of scoring alone "
                f"{scoring[-1]:.3f}",
                flush=True,
            )
    for name, ratios in (("whole command", whole), ("scoring alone", scoring)):
        print(
            f"{name}: median ratio {statistics.median(ratios):.3f}, "
            f"from {min(ratios):.3f} to {max(ratios):.3f}"
        )


if __name__ == "__main__":
    main()
