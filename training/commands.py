"""The commands ``train``, ``scaling``, ``evaluate`` and ``promote``; torch waits for the first.

setup.py names :func:`add_commands` under the entry points ``forumprefs.commands``, by which the
command line finds it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.config import ConfigError, load_config, options
from training.evaluation.arguments import add_evaluate_arguments
from training.registry_arguments import add_promote_arguments
from training.scaling.arguments import add_scaling_arguments

EXIT_FAILED = 1
EXIT_USAGE = 2

EPILOG = """\
examples:
  forumprefs train --dataset out/beer --model Qwen/Qwen2.5-0.5B --output runs/beer
  forumprefs train --dataset org/name@v1.2.0 --model models/small --output runs/one \\
      --config train.toml --set optim.lr=1e-5 --set data.max_length=1024
  torchrun --nproc-per-node 8 -m training.train --dataset out/mix --model … --output runs/mix
  forumprefs train --dataset out/mine --model runs/mix/model --output runs/mine     # fine-tune
  forumprefs train --output runs/beer --resume             # go on after a stop, exactly

A run folder holds model/ (load it with AutoModelForSequenceClassification), checkpoints/,
metrics.jsonl, tensorboard/, run.json and, once it is finished, summary.json.
SIGTERM saves a checkpoint and exits 0.
exit codes: 0 finished or stopped by SIGTERM, 1 failed, 2 wrong use, 130 interrupted

settings (--set section.name=value, or a table in --config):
"""


def add_commands(commands: Any) -> None:
    """Add this floor's commands to the parsers of ``forumprefs``."""
    parser = commands.add_parser(
        "train",
        help="pretrain a reward model on a dataset",
        description="Pretrain a reward model on a dataset folder or a version on the Hub, or "
        "fine-tune one.",
        epilog=EPILOG + settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_train_arguments(parser)
    parser.set_defaults(command=_train, name="train")
    parser = commands.add_parser(
        "scaling",
        help="fit scaling laws to finished runs, or train a grid of them",
        description="Fit loss = E + A·N^-α + B·D^-β to finished runs, with intervals, and say "
        "whether the runs support it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_scaling_arguments(parser)
    parser.set_defaults(command=_scaling, name="scaling")
    parser = commands.add_parser(
        "evaluate",
        help="score reward models on public suites and held-out votes",
        description="Score reward models on the suites that WorldPM uses and on held-out votes, "
        "beside priors that read no text, with style taken apart.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_evaluate_arguments(parser)
    parser.set_defaults(command=_evaluate, name="evaluate")
    parser = commands.add_parser(
        "promote",
        help="register an evaluated model, and promote it unless it is worse",
        description="Register an evaluated model, and promote it unless it is worse than the one "
        "that is promoted.",
        allow_abbrev=False,
    )
    add_promote_arguments(parser)
    parser.set_defaults(command=_promote, name="promote")


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs train``."""
    parser.add_argument(
        "--dataset",
        metavar="WHERE",
        help="dataset folder, its URL, or org/name@version on the Hub",
    )
    parser.add_argument(
        "--model",
        metavar="PATH_OR_ID",
        help="backbone or reward model: a folder, or a name on the Hub",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="run folder to write")
    parser.add_argument("--config", metavar="FILE", help="settings as TOML or JSON")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, over those of --config; may be repeated",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest checkpoint in --output, with the run's own dataset, model and "
        "settings where none are given",
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="remove the run in --output and start anew"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quiet", action="store_true", help="nothing on the terminal but errors")


def settings_help() -> str:
    """List every setting with its default, as text."""
    lines = []
    section = ""
    for group, name, default, text in options():
        if group != section:
            lines.append(f"  [{group}]")
            section = group
        shown = (
            "null"
            if default is None
            else str(default).lower()
            if isinstance(default, bool)
            else default
        )
        lines.append(f"    {name} = {shown}")
        if text:
            lines.append(f"        {text}")
    return "\n".join(lines).replace("%", "%%")


def _train(namespace: argparse.Namespace, _: list[str] | None = None) -> int:
    began = _begun_with(Path(namespace.output)) if namespace.resume else {}
    dataset = namespace.dataset or began.get("dataset")
    model = namespace.model or began.get("model_path")
    if began and model != began.get("model_path"):
        return _refuse(f"{namespace.output} was begun with --model {began.get('model_path')}")
    if dataset is None or model is None:
        return _refuse("--dataset and --model are needed")
    base = {key: value for key, value in began.items() if isinstance(value, dict)}
    try:
        config = load_config(namespace.config, namespace.set, base)
    except ConfigError as error:
        return _refuse(error)
    try:
        from torch import OutOfMemoryError

        from training.checkpoint import checkpoints
        from training.data.dataset import DatasetError
        from training.data.template import TemplateError
        from training.optimizer import DivergedError
        from training.run import CHECKPOINTS_NAME, TrainOptions
        from training.train import train
    except ModuleNotFoundError as error:
        return _refuse(f"{error.name} is not installed; pip install 'forumprefs[train]'")
    on_existing = "resume" if namespace.resume else "overwrite" if namespace.overwrite else "refuse"
    try:
        return train(
            TrainOptions(
                dataset=dataset,
                model=model,
                output=Path(namespace.output),
                config=config,
                on_existing=on_existing,  # type: ignore[arg-type]
                device=namespace.device,
                quiet=namespace.quiet,
            )
        )
    except (ConfigError, DatasetError, TemplateError) as error:
        return _refuse(error)
    except DivergedError as error:
        print(f"forumprefs train: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OutOfMemoryError as error:
        print(
            f"forumprefs train: {str(error).splitlines()[0]}\nTry --set model.micro_batch_tokens="
            f"{config.model.micro_batch_tokens // 2}, or --set "
            "model.activation_checkpointing=true; the numbers stay the same.",
            file=sys.stderr,
        )
        return EXIT_FAILED
    except KeyboardInterrupt:
        saved = checkpoints(Path(namespace.output) / CHECKPOINTS_NAME)
        way_on = "--resume goes on from the last checkpoint" if saved else "nothing was saved yet"
        print(f"forumprefs train: interrupted; {way_on}", file=sys.stderr)
        return 130


def _scaling(namespace: argparse.Namespace, _: list[str] | None = None) -> int:
    from training.scaling.command import scaling

    return scaling(namespace)


def _evaluate(namespace: argparse.Namespace, _: list[str] | None = None) -> int:
    try:
        from training.evaluation.evaluate import evaluate
    except ModuleNotFoundError as error:
        print(
            f"forumprefs evaluate: {error.name} is not installed; pip install 'forumprefs[train]'",
            file=sys.stderr,
        )
        return EXIT_USAGE
    return evaluate(namespace)


def _promote(namespace: argparse.Namespace, _: list[str] | None = None) -> int:
    from training.registry import promote

    return promote(namespace)


def _begun_with(output: Path) -> dict[str, Any]:
    """What a run that is to be resumed was begun with; empty where there is none."""
    try:
        begun: dict[str, Any] = json.loads((output / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return begun


def _refuse(why: object) -> int:
    print(f"forumprefs train: {why}", file=sys.stderr)
    return EXIT_USAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of this floor's commands by itself, as torchrun does."""
    parser = argparse.ArgumentParser(prog="forumprefs", allow_abbrev=False)
    add_commands(parser.add_subparsers(title="commands", metavar="COMMAND", required=True))
    namespace = parser.parse_args(arguments)
    code: int = namespace.command(namespace, [])
    return code
