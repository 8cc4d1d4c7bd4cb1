"""``forumprefs merge-adapter``: its arguments, and its errors as messages."""

import argparse
import sys
from pathlib import Path

from schemas.exit_codes import ExitCode
from training.errors import ConfigError, TemplateError
from training.model_options import add_source_arguments

EPILOG = """\
examples:
  forumprefs merge-adapter --model runs/beer/model --output models/beer
exit codes: 0 written, 2 usage error
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs merge-adapter``."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--model",
        required=True,
        metavar="PATH_OR_ID",
        help="adapter of a run: its model folder or a checkpoint, or NAME[@REVISION] on the Hub",
    )
    add_source_arguments(parser)
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder to write, with all weights in fp32"
    )


def run(namespace: argparse.Namespace) -> int:
    """Run ``forumprefs merge-adapter``; returns the exit code."""
    try:
        from training.model.merging import merge_adapter
        from training.model.source import ModelSource
    except ModuleNotFoundError as error:
        print(
            f"forumprefs merge-adapter: {error.name} is not installed; pip install "
            "'forumprefs[lora]'",
            file=sys.stderr,
        )
        return ExitCode.USAGE
    try:
        source = ModelSource.of(
            namespace.model,
            revision=namespace.revision,
            trust_remote_code=namespace.trust_remote_code,
            allow_pickle=namespace.allow_pickle,
        )
        merge_adapter(source, Path(namespace.output))
    except (ConfigError, TemplateError, OSError) as error:
        print(f"forumprefs merge-adapter: {error}", file=sys.stderr)
        return ExitCode.USAGE
    print(f"{namespace.output} is ready for AutoModelForSequenceClassification.from_pretrained")
    return ExitCode.FINISHED
