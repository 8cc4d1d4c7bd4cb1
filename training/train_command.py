"""``forumprefs train``: its arguments, and its errors as messages; torch waits until it runs."""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from schemas.exit_codes import ExitCode
from schemas.small_files import SmallFileError, convert, decode_json, fault_of, read_small
from training.config import load_config, options
from training.errors import (
    ConfigError,
    ConnectionLostError,
    DivergedError,
    MemoryShortageError,
    NothingLearnedError,
    TemplateError,
    TrainingDatasetError,
)
from training.model_options import add_source_arguments
from training.run.folder import CHECKPOINTS_NAME, RUN_NAME

EPILOG = """\
examples:
  forumprefs train --dataset out/beer --model Qwen/Qwen2.5-0.5B --output runs/beer
  forumprefs train --dataset org/name@v1.2.0 --model models/small --output runs/one \\
      --config train.toml --set optim.lr=1e-5 --set data.max_length=1024
  torchrun --nproc-per-node 8 --shutdown-timeout 540 \\
      -m training.train --dataset out/mix --model … --output runs/mix   # docs/multi_node.md
  forumprefs train --dataset out/mine --model runs/mix/model --output runs/mine     # fine-tune
  forumprefs train --output runs/beer --resume             # resume exactly after an interruption
  forumprefs train --dataset out/mix --model Qwen/Qwen2.5-7B --dry-run --gpus 8 --gpu h100  # plan

A run folder holds model/ (load it with AutoModelForSequenceClassification), checkpoints/,
metrics.jsonl, tensorboard/ (run.trackers), run.json and, once it is finished, summary.json.
SIGTERM abandons the unfinished step, saves a checkpoint of those before, and exits 0. torchrun
sends it on, kills after --shutdown-timeout seconds (30 unless told), and exits 1 in any case.
exit codes: 0 finished or stopped by SIGTERM, 1 failed, 2 usage error, 130 interrupted

settings (--set section.name=value, or a table in --config):
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs train``, and all settings to its epilog."""
    parser.epilog = EPILOG + settings_help()
    parser.add_argument(
        "--dataset",
        metavar="WHERE",
        help="dataset folder, its URL, or org/name@version on the Hub",
    )
    parser.add_argument(
        "--model",
        metavar="PATH_OR_ID",
        help="backbone or reward model: a folder, or NAME[@REVISION] on the Hub",
    )
    add_source_arguments(parser)
    parser.add_argument("--output", metavar="DIR", help="run folder to write")
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
        help="continue from the newest checkpoint in --output that is not damaged, with the run's "
        "own dataset, model and settings where none are given",
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="remove the run in --output and start again"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to train (default: auto, a GPU where there is one)",
    )
    parser.add_argument("--quiet", action="store_true", help="nothing on the terminal but errors")
    planning = parser.add_argument_group("planning")
    planning.add_argument(
        "--dry-run",
        action="store_true",
        help="print what the run would take (memory of each device, steps, hours, disk) and stop; "
        "of --model its config.json and a tokenizer are enough, and no --output is needed",
    )
    planning.add_argument(
        "--gpus",
        type=int,
        metavar="N",
        help="of --dry-run: plan for so many GPUs, not for this machine",
    )
    planning.add_argument(
        "--gpu",
        metavar="KIND",
        help="of --dry-run: h100 (default), h200, a100, a100-40gb, b200, l40s, 4090",
    )
    planning.add_argument(
        "--pairs",
        type=int,
        metavar="N",
        help="of --dry-run: plan for so many pairs like those of --dataset",
    )


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


def run(namespace: argparse.Namespace) -> int:
    """Run ``forumprefs train``; returns the exit code."""
    if namespace.dry_run:
        return _plan(namespace)
    for name in ("gpus", "gpu", "pairs"):
        if getattr(namespace, name) is not None:
            return _refuse(f"--{name} is of --dry-run")
    if namespace.output is None:
        return _refuse("--output is needed")
    output = Path(namespace.output)
    try:
        started = _started_with(output) if namespace.resume else {}
    except ConfigError as error:
        return _refuse(error)
    dataset = namespace.dataset or started.get("dataset")
    model = namespace.model or started.get("model_path")
    revision = namespace.revision or started.get("model_revision")
    for name, given, before in (
        ("--model", model, started.get("model_path")),
        ("--revision", revision, started.get("model_revision")),
    ):
        if started and given != before:
            return _refuse(f"{output} was started with {name} {before or '(none)'}")
    if dataset is None or model is None:
        return _refuse("--dataset and --model are needed")
    base = {key: value for key, value in started.items() if isinstance(value, dict)}
    try:
        config = load_config(namespace.config, namespace.set, base)
    except ConfigError as error:
        return _refuse(error)
    try:
        from training.checkpoints.checkpoint import checkpoints, last_good
        from training.run.options import TrainOptions
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
                revision=revision,
                trust_remote_code=namespace.trust_remote_code,
                allow_pickle=namespace.allow_pickle,
                commit=started.get("model_commit"),
            )
        )
    except (ConfigError, TrainingDatasetError, TemplateError) as error:
        return _refuse(error)
    except ConnectionLostError as error:
        print(
            f"forumprefs train: {error}\n--resume continues from the last checkpoint",
            file=sys.stderr,
        )
        return ExitCode.FAILED
    except (NothingLearnedError, MemoryShortageError) as error:
        print(f"forumprefs train: {error}", file=sys.stderr)
        return ExitCode.FAILED
    except DivergedError as error:
        good = last_good(output / CHECKPOINTS_NAME, error.suspect_step)
        way_on = (
            "No checkpoint was saved before that: start again, with a smaller optim.lr."
            if good is None
            else f"The last good checkpoint is {good}: a new run with --model {good} and a smaller "
            "optim.lr goes on from it."
        )
        print(f"forumprefs train: {error}\n{way_on}", file=sys.stderr)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        saved = checkpoints(output / CHECKPOINTS_NAME)
        remedy = "--resume continues from the last checkpoint" if saved else "nothing was saved yet"
        print(f"forumprefs train: interrupted; {remedy}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except OSError as error:  # a full disk, a network drive that went away
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"forumprefs train: {error.strerror or error}{where}; --resume continues from the last "
            "checkpoint",
            file=sys.stderr,
        )
        return ExitCode.FAILED


def _plan(namespace: argparse.Namespace) -> int:
    """``--dry-run``: print what a run would take."""
    if namespace.dataset is None or namespace.model is None:
        return _refuse("--dataset and --model are needed")
    for name in ("gpus", "pairs"):
        value = getattr(namespace, name)
        if value is not None and value < 1:
            return _refuse(f"--{name}: at least 1")
    try:
        from training.console import make_console
        from training.model.source import ModelSource
        from training.planning.hardware import find_hardware
        from training.planning.plan import make_plan
        from training.planning.show_plan import show_plan
    except ModuleNotFoundError as error:
        return _refuse(f"{error.name} is not installed; pip install 'forumprefs[train]'")
    try:
        plan = make_plan(
            load_config(namespace.config, namespace.set),
            namespace.dataset,
            ModelSource.of(
                namespace.model,
                revision=namespace.revision,
                trust_remote_code=namespace.trust_remote_code,
            ),
            find_hardware(namespace.gpus, namespace.gpu),
            pairs=namespace.pairs,
        )
    except (ConfigError, TrainingDatasetError, TemplateError) as error:
        return _refuse(error)
    show_plan(plan, make_console(sys.stdout))
    return ExitCode.FINISHED


class _Started(msgspec.Struct):
    dataset: str | None = None
    model_path: str | None = None
    model_revision: str | None = None
    model_commit: str | None = None


def _started_with(output: Path) -> dict[str, Any]:
    """What a run that is to be resumed was started with; empty where there is none.

    Whether code of the model may run is not among it: that is said anew, each time. Raises
    ConfigError for a damaged ``run.json``.
    """
    path = output / RUN_NAME
    try:
        started = decode_json(read_small(path), dict[str, Any])
        convert(started, _Started)
    except FileNotFoundError:
        return {}
    except (OSError, SmallFileError) as error:
        raise ConfigError(
            f"{path}: {fault_of(error)}; put it back from a copy, or remove it and start again "
            f"from the newest of its {CHECKPOINTS_NAME}/ as --model"
        ) from None
    return started


def _refuse(why: object) -> int:
    print(f"forumprefs train: {why}", file=sys.stderr)
    return ExitCode.USAGE
