"""The options of commands that load a model: its revision, what its files may do, how it reads."""

import argparse


def add_source_arguments(parser: argparse.ArgumentParser, model: str = "--model") -> None:
    """Add the options. They are no settings: a file from someone else must not turn them on.

    ``model``: how the command is told which model.
    """
    parser.add_argument(
        "--revision",
        metavar="REVISION",
        help=f"tag, branch or commit of {model} on the Hub, the same as NAME@REVISION "
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


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of how a model reads and where it computes."""
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="TOKENS",
        help="of prompt and response together (default: as the run was trained, else what the "
        "model can read, at most 4,096)",
    )
    parser.add_argument(
        "--batch-tokens",
        type=int,
        default=16_384,
        metavar="N",
        help="tokens that go through the model at once (default: 16384)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        default="auto",
        help="auto: bf16 on a GPU, fp32 on a CPU",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
