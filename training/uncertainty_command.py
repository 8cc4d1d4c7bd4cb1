"""``forumprefs uncertainty``: its arguments; what it reads with waits until it runs."""

import argparse
import sys

from schemas.exit_codes import ExitCode
from training.model_options import add_scoring_arguments

MAX_PAIRS = 100_000
"""Training pairs that are read: enough for 8,192 weights, and small beside training."""

EPILOG = f"""\
Reads up to --max-pairs pairs of the train split once (all of them below {MAX_PAIRS:,}), for a
Bayesian last layer, then the validation split, whose votes say how wide intervals must be. The
weights do not change. It writes uncertainty.safetensors and uncertainty.json into the model's
folder; `forumprefs score --intervals` adds lower and upper ends to the scores, and `forumprefs
evaluate` says how many votes of the test split the intervals hold. docs/uncertainty.md has the
method and what it cannot see.

examples:
  forumprefs uncertainty runs/beer
  forumprefs uncertainty runs/beer --dataset acme/prefs@v2.0.0 --max-pairs 20000

exit codes: 0 finished, 1 failed, 2 usage error, or a dataset or model without what it needs,
130 interrupted (nothing is written; run it again)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs uncertainty``."""
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="RUN", help="run folder of forumprefs train, or its model")
    parser.add_argument(
        "--dataset",
        metavar="DATASET",
        help="whose train and validation splits are read (default: that of the run)",
    )
    parser.add_argument(
        "--max-pairs",
        type=int,
        default=MAX_PAIRS,
        metavar="N",
        help="training pairs to read; what they say is scaled to all of them (default: "
        f"{MAX_PAIRS:,})",
    )
    add_scoring_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="nothing on the terminal but errors")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs uncertainty``; returns the exit code."""
    try:
        from training.evaluation.uncertainty import put_beside
    except ModuleNotFoundError as error:
        print(
            f"forumprefs uncertainty: {error.name} is not installed; pip install "
            "'forumprefs[train]'",
            file=sys.stderr,
        )
        return ExitCode.USAGE
    return put_beside(arguments)
