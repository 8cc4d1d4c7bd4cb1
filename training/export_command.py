"""``forumprefs export-model``: its arguments; what it reads with waits until it runs."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from schemas.exit_codes import ExitCode
from training.errors import ConfigError, TemplateError
from training.model_options import add_source_arguments
from training.run.folder import CHECKPOINTS_NAME

EPILOG = """\
Writes a folder that transformers, vLLM and SGLang load as a sequence classifier with our scores:

  of a run or a checkpoint, in either form: the transformers folder that ddp and one process write,
    and the shards that each process writes with run.parallel=fsdp
  of a LoRA adapter (a run's model/, a checkpoint, or a name on the Hub): merged into its base

A finished run of all weights has such a folder already, its model/. evaluate, score and train read
checkpoints and adapters as they are; this is for other programs.

--average N is checkpoint averaging: each weight, the head's too, is the mean over the newest N
checkpoints of the run, which run.keep_checkpoints must have kept. Check it like any other model
before you use it: forumprefs evaluate --model DIR --compare RUN.

A damaged checkpoint is refused where it was named, and gone round in a run.
memory: 4 bytes a weight, 12 with --average. It needs no GPU and one process.

examples:
  forumprefs export-model runs/mix/checkpoints/step-00001200 --output models/mix-1200
  forumprefs export-model runs/mix --output models/mix               # the newest checkpoint
  forumprefs export-model runs/mix --average 5 --output models/mix-mean
  forumprefs export-model runs/lora/model --output models/merged

exit codes: 0 written, 1 the disk failed, 2 usage error or nothing that can be exported
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs export-model``."""
    parser.epilog = EPILOG
    parser.add_argument(
        "model", metavar="MODEL", help="folder of a run, a checkpoint or an adapter, or a name"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write; new")
    parser.add_argument(
        "--average",
        type=int,
        default=1,
        metavar="N",
        help="mean of the weights of a run's newest N checkpoints (default: 1, the newest alone)",
    )
    add_source_arguments(parser, "MODEL")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs export-model``; returns the exit code."""
    try:
        from training.checkpoints.export import export_model
        from training.model.merging import merge_adapter
        from training.model.source import ModelSource
    except ModuleNotFoundError as error:
        print(
            f"forumprefs export-model: {error.name} is not installed; pip install "
            "'forumprefs[train]'",
            file=sys.stderr,
        )
        return ExitCode.USAGE
    output = Path(arguments.output)
    try:
        source = ModelSource.of(
            arguments.model,
            revision=arguments.revision,
            trust_remote_code=arguments.trust_remote_code,
            allow_pickle=arguments.allow_pickle,
            option="export-model",
        )
        if used := _chosen(Path(arguments.model), arguments.average):
            export_model([replace(source, name=str(path)) for path in used], output)
        else:
            merge_adapter(source, output)
    except (ConfigError, TemplateError) as error:
        print(f"forumprefs export-model: {error}", file=sys.stderr)
        return ExitCode.USAGE
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"forumprefs export-model: {error.strerror or error}{where}", file=sys.stderr)
        return ExitCode.FAILED
    names = ", ".join(path.name for path in used) or arguments.model
    what = f"the mean of {names}" if len(used) > 1 else names
    print(f"{output} holds {what}, ready for AutoModelForSequenceClassification.from_pretrained")
    return ExitCode.FINISHED


def _chosen(place: Path, count: int) -> list[Path]:
    """The checkpoints that are meant, newest first; [] for another model. Raises ConfigError."""
    from training.checkpoints.checkpoint import TRAINER_NAME, find_checkpoint_damage
    from training.checkpoints.export import newest_whole_checkpoints

    if count < 1:
        raise ConfigError(f"--average {count}: at least 1")
    if (place / CHECKPOINTS_NAME).is_dir():
        return newest_whole_checkpoints(place / CHECKPOINTS_NAME, count)
    if count > 1:
        raise ConfigError(f"--average {count}: name the run, which has several checkpoints")
    if not (place / TRAINER_NAME).is_file():
        return []
    if damage := find_checkpoint_damage(place):
        raise ConfigError(f"{place} is damaged ({damage}); name another checkpoint or the run")
    return [place]
