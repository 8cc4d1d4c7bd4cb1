"""What error bars cost: `forumprefs score` with and without ``--intervals``, in turn.

    python -m benchmarks.uncertainty MODEL ROWS [--rounds 5]

MODEL has error bars (`forumprefs uncertainty`); ROWS is a file as `forumprefs score` reads it.
Processor seconds, user and system, children included; each round has both orders.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def seconds(model: str, rows: str, *more: str) -> float:
    """Processor seconds of scoring the rows once, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.times()
        code = "import sys; from training.commands import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "score", rows, "--model", model]
        command += ["--output", str(Path(folder) / "out"), "--device", "cpu", "--quiet", *more]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        after = os.times()
    return (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )


def main() -> None:
    """Print the median of each, and of the ratios of the rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("rows")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    ratios, plain, bars = [], [], []
    for number in range(given.rounds):
        both = {}
        for more in ((), ("--intervals",))[:: 1 if number % 2 else -1]:
            both[more] = seconds(given.model, given.rows, *more)
        plain.append(both[()])
        bars.append(both[("--intervals",)])
        ratios.append(bars[-1] / plain[-1])
        print(f"plain {plain[-1]:.2f} s, with intervals {bars[-1]:.2f} s, ratio {ratios[-1]:.3f}")
    print(
        f"median: plain {statistics.median(plain):.2f} s, with intervals "
        f"{statistics.median(bars):.2f} s, ratio {statistics.median(ratios):.3f}"
    )


if __name__ == "__main__":
    main()
