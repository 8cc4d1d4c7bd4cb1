"""``forumprefs evaluate``: its arguments; torch waits until it runs."""

import argparse
import sys

from schemas.exit_codes import ExitCode
from training.model_options import add_scoring_arguments, add_source_arguments

EPILOG = """\
Writes results.json, results.md (for a model card) and index.html into --output, and keeps every
score under scores/: after a stop, or with another suite, the same command continues where it was.
docs/evaluation.md tells what each suite is and how to read the figures.

benchmarks, as NAME=PATH with a file, a folder, a pattern in quotes, or owner/name[@revision] on
the Hub; NAME alone takes the suite's own dataset there:
{suites}

examples:
  forumprefs evaluate --model runs/beer --benchmark held-out=out/beer --output eval/beer
  forumprefs evaluate --model runs/beer --benchmark rm-bench=data/rm-bench \\
      --benchmark llmbar=data/llmbar --benchmark rewardbench2 --output eval/beer
  forumprefs evaluate --model runs/beer --compare runs/small Skywork/Skywork-Reward-V2-Qwen3-0.6B \\
      --benchmark rm-bench=data/rm-bench --output eval/compared
  forumprefs evaluate --kind logprob --model out/dpo --reference out/sft \\
      --benchmark held-out=out/beer --output eval/dpo
  forumprefs evaluate --model runs/beer --checkpoints --last 5 --benchmark held-out=out/beer \\
      --output eval/beer

exit codes: 0 finished, 1 failed, 2 usage error, 130 interrupted (run it again to continue)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``forumprefs evaluate``."""
    parser.epilog = EPILOG.format(suites=_suites())
    parser.add_argument(
        "--model",
        required=True,
        metavar="RUN",
        help="run folder of forumprefs train, a model folder, or NAME[@REVISION] on the Hub: any "
        "AutoModelForSequenceClassification with one label; for other --kinds a causal language "
        "model",
    )
    add_source_arguments(parser)
    parser.add_argument(
        "--benchmark",
        action="append",
        required=True,
        metavar="NAME[=PATH]",
        help="suite to score; may be repeated",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="where the results go")
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="models to put beside it, with paired differences",
    )
    parser.add_argument(
        "--kind",
        choices=("reward", "logprob", "density-ratio"),
        default="reward",
        help="reward: of reward models (default). logprob: how often a causal language model finds "
        "the preferred response more probable. density-ratio: log --model − log --reference as a "
        "reward, a stronger and a weaker language model",
    )
    parser.add_argument(
        "--reference",
        metavar="MODEL",
        help="of --kind logprob: also by β(log π − log π₀); of density-ratio: the weaker model",
    )
    parser.add_argument(
        "--beta", type=float, metavar="B", help="of --kind logprob: that β (default: 0.1)"
    )
    parser.add_argument(
        "--checkpoints",
        action="store_true",
        help="score every checkpoint in the run folder, too: curves, and noise of the last",
    )
    parser.add_argument(
        "--last",
        type=int,
        default=5,
        metavar="K",
        help="checkpoints to average and to take the noise from (default: 5)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="N items spread over each suite only, for a trial; not comparable to anything",
    )
    add_scoring_arguments(parser)
    parser.add_argument(
        "--bootstrap",
        type=int,
        default=1000,
        metavar="N",
        help="resamples of the prompts behind each interval (default: 1000)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of resamples and folds (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="nothing on the terminal but errors")
    parser.add_argument("--json", action="store_true", help="print results.json, for programs")


def _suites() -> str:
    from training.evaluation.suites.registry import SUITES

    return "\n".join(f"  {suite.name:<16} {suite.title}, {suite.citation}" for suite in SUITES)


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs evaluate``; returns the exit code."""
    try:
        from training.evaluation.evaluate import evaluate
    except ModuleNotFoundError as error:
        print(
            f"forumprefs evaluate: {error.name} is not installed; pip install 'forumprefs[train]'",
            file=sys.stderr,
        )
        return ExitCode.USAGE
    return evaluate(arguments)
