"""``forumprefs export-model``: its arguments; what it reads with waits until it runs."""

import argparse
import sys
from pathlib import Path

from schemas.exit_codes import ExitCode
from training.errors import ConfigError, TemplateError
from training.run.folder import CHECKPOINTS_NAME

EPILOG = """\
Writes a folder that transformers, vLLM and SGLang load as a sequence classifier with our scores,
from a checkpoint in either form: the transformers folder that ddp and one process write, and the
shards that each process writes with run.parallel=fsdp. A finished run has such a folder already,
its model/. evaluate, score and train read a checkpoint as it is; this is for other programs.

--average N is checkpoint averaging: each weight, the head's too, is the mean over the newest N
checkpoints of the run, which run.keep_checkpoints must have kept. Check it like any other model
before you use it: forumprefs evaluate --model DIR --compare RUN.

A damaged checkpoint is refused where it was named, and gone round in a run.
memory: 4 bytes a weight, 12 with --average. It needs no GPU and one process.

examples:
  forumprefs export-model runs/mix/checkpoints/step-00001200 --output models/mix-1200
  forumprefs export-model runs/mix --output models/mix               # the newest checkpoint
  forumprefs export-model runs/mix --average 5 --output models/mix-mean

exit codes: 0 written, 1 the disk failed, 2 usage error or nothing that can be exported
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs export-model``."""
    parser.epilog = EPILOG
    parser.add_argument("checkpoint", metavar="RUN_OR_CHECKPOINT", help="folder of either")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write; new")
    parser.add_argument(
        "--average",
        type=int,
        default=1,
        metavar="N",
        help="mean of the weights of a run's newest N checkpoints (default: 1, the newest alone)",
    )
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the Python code that comes with the model (default: it is refused)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs export-model``; returns the exit code."""
    try:
        from training.checkpoints.export import export_model
    except ModuleNotFoundError as error:
        print(
            f"forumprefs export-model: {error.name} is not installed; pip install "
            "'forumprefs[train]'",
            file=sys.stderr,
        )
        return ExitCode.USAGE
    try:
        used = _chosen(Path(arguments.checkpoint), arguments.average)
        export_model(used, Path(arguments.output), trust_remote_code=arguments.trust_remote_code)
    except (ConfigError, TemplateError) as error:
        print(f"forumprefs export-model: {error}", file=sys.stderr)
        return ExitCode.USAGE
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"forumprefs export-model: {error.strerror or error}{where}", file=sys.stderr)
        return ExitCode.FAILED
    names = ", ".join(path.name for path in used)
    what = f"the mean of {names}" if len(used) > 1 else names
    print(f"{arguments.output} holds {what}")
    return ExitCode.FINISHED


def _chosen(place: Path, count: int) -> list[Path]:
    """The checkpoints that are meant, newest first; raises ConfigError."""
    from training.checkpoints.checkpoint import TRAINER_NAME, find_checkpoint_damage
    from training.checkpoints.export import newest_whole_checkpoints

    if count < 1:
        raise ConfigError(f"--average {count}: at least 1")
    if (place / TRAINER_NAME).is_file():
        if count > 1:
            raise ConfigError(f"--average {count}: name the run, not one of its checkpoints")
        if damage := find_checkpoint_damage(place):
            raise ConfigError(f"{place} is damaged ({damage}); name another checkpoint or the run")
        return [place]
    if not (place / CHECKPOINTS_NAME).is_dir():
        raise ConfigError(
            f"{place}: neither a run folder with {CHECKPOINTS_NAME}/ nor a checkpoint"
        )
    return newest_whole_checkpoints(place / CHECKPOINTS_NAME, count)
