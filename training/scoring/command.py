"""``forumprefs score``: its arguments; torch waits until it runs."""

import argparse
import sys

from schemas.exit_codes import ExitCode
from training.model_options import add_scoring_arguments, add_source_arguments

EPILOG = """\
Reads JSON Lines (.jsonl, .jsonl.gz) or Parquet, a file or the files of a folder. A row has a prompt
(text or messages) and responses: a list in the column responses, a pair chosen and rejected, or one
response or completion. Writes the same rows in the same order into --output, with the scores as
columns: model_scores (a list), chosen_model_score and rejected_model_score, or model_score.
--kind logprob adds log-probabilities and token counts. What is scored is kept there, so after a
stop, or with --best-of, --beta or --per-token, the same command scores only what is missing.
Another model's scores are not replaced unless --overwrite is given.
docs/scoring.md has every column.

examples:
  forumprefs score samples.jsonl --model runs/beer --output scored
  forumprefs score samples.jsonl --model runs/beer --output scored --best-of
  forumprefs score out/beer --model runs/beer --output scored
  forumprefs score pairs.parquet --kind logprob --model out/dpo --reference out/sft \\
      --beta 0.1 --output scored

exit codes: 0 finished, 1 failed, 2 usage error, 130 interrupted (run it again to continue)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``forumprefs score``."""
    parser.epilog = EPILOG
    parser.add_argument("input", metavar="FILE|DIR", help="rows with a prompt and responses")
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="run folder of forumprefs train, a model folder, or NAME[@REVISION] on the Hub",
    )
    add_source_arguments(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="where the rows go")
    parser.add_argument(
        "--kind",
        choices=("reward", "logprob"),
        default="reward",
        help="reward: of a reward model (default). logprob: log π(response | prompt) of a causal "
        "language model",
    )
    parser.add_argument(
        "--reference",
        metavar="MODEL",
        help="of --kind logprob: a second model π₀; the score is β·(log π − log π₀)",
    )
    parser.add_argument(
        "--beta", type=float, metavar="B", help="the β of --reference (default: 0.1)"
    )
    parser.add_argument(
        "--per-token",
        action="store_true",
        help="of --kind logprob: the score is the mean over the response's tokens, not the sum",
    )
    parser.add_argument(
        "--intervals",
        action="store_true",
        help="write the ends of 90 %% intervals, too, e.g. model_score_lower and "
        "model_score_upper, by what forumprefs uncertainty has put beside the model",
    )
    parser.add_argument(
        "--best-of",
        action="store_true",
        help="write the best response of each row, too, into best-of/; of equal ones the first",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what other models said in --output"
    )
    parser.add_argument(
        "--name",
        default="model",
        metavar="NAME",
        help="part of the names of the columns, e.g. model_scores (default: model)",
    )
    add_scoring_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="nothing on the terminal but errors")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs score``; returns the exit code."""
    try:
        from training.scoring.score_files import score
    except ModuleNotFoundError as error:
        print(
            f"forumprefs score: {error.name} is not installed; pip install 'forumprefs[train]'",
            file=sys.stderr,
        )
        return ExitCode.USAGE
    return score(arguments)
