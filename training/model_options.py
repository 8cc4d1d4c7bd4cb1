"""The options of a command that loads a model: its revision, and what its files may do."""

import argparse


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options. They are no settings: a file from someone else must not turn them on."""
    parser.add_argument(
        "--revision",
        metavar="REVISION",
        help="tag, branch or commit of --model on the Hub, the same as --model NAME@REVISION "
        "(default: the newest; the commit is recorded in any case)",
    )
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the Python code that comes with a model, with all your rights; read it first "
        "(default: such a model is refused)",
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read weights from a pickle (pytorch_model.bin) where a model has no safetensors; a "
        "pickle can run code when it is read, which torch's restricted reader is meant to prevent "
        "(default: such a model is refused)",
    )
