"""The commands of training, as the command line lists them; each loads its module when it is used.

setup.py names them under the entry points ``forumprefs.commands``.
"""

import argparse
from collections.abc import Sequence
from typing import Final

from schemas.command import Command

TRAIN: Final = Command(
    "train",
    "pretrain a reward model on a dataset",
    "training.train_command",
    description="Pretrain a reward model on a dataset folder or a version on the Hub, or "
    "fine-tune one.",
)
SCALING: Final = Command(
    "scaling",
    "fit scaling laws to finished runs, or train a grid of them",
    "training.scaling.command",
    description="Fit loss = E + A·N^-α + B·D^-β to finished runs, with intervals, and say "
    "whether the runs support it.",
)
EVALUATE: Final = Command(
    "evaluate",
    "score reward models on public suites and held-out votes",
    "training.evaluation.command",
    description="Score reward models on the suites that WorldPM uses and on held-out votes, "
    "beside baselines that read no text, with style taken apart.",
)
SCORE: Final = Command(
    "score",
    "add a model's scores to the rows of a file",
    "training.scoring.command",
    description="Score the responses of files with a reward model, or by how probable a language "
    "model finds them, and write the rows with their scores.",
)
UNCERTAINTY: Final = Command(
    "uncertainty",
    "fit the uncertainty of a trained model, and put it beside it",
    "training.uncertainty_command",
    description="Fit the uncertainty of a trained reward model: a Bayesian last layer, and "
    "intervals for the share of votes that hold nine of ten.",
)
EXPORT_MODEL: Final = Command(
    "export-model",
    "write a model folder for other programs: of a checkpoint, or an adapter and its base",
    "training.export_command",
    description="Write a model folder of transformers from a checkpoint, with the mean of the "
    "weights of a run's newest checkpoints, or of a LoRA adapter and its base together.",
)
PROMOTE: Final = Command(
    "promote",
    "register an evaluated model, and promote it unless it is worse",
    "training.registry_command",
    description="Register an evaluated model, and promote it unless it is worse than the one "
    "that is promoted.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of these commands without the others, as torchrun does."""
    parser = argparse.ArgumentParser(prog="forumprefs", allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
        TRAIN,
        SCALING,
        EVALUATE,
        SCORE,
        UNCERTAINTY,
        EXPORT_MODEL,
        PROMOTE,
    ):
        command.add_to(commands)
    namespace = parser.parse_args(arguments)
    chosen: Command = namespace.command
    return chosen.run(namespace)
