"""The commands of this layer, by name and module; setup.py names each as an entry point."""

from functools import partial

from pipeline.runners.unused_packages import UNUSED_PACKAGES
from schemas.command import Command

_command = partial(Command, unused=UNUSED_PACKAGES)

ABLATE = _command(
    "ablate",
    "say which label trains the better model",
    "pipeline.ablate.command",
    description="Label the same threads in several ways, train a model on each, and say which "
    "label teaches more.",
)
CURATE = _command(
    "curate",
    "make a dataset folder from forum dumps",
    "pipeline.commands.curate",
    description="Read forum dumps and write a dataset folder of deduplicated, "
    "language-filtered preference pairs.",
    takes_rest=True,
)
INSPECT = _command(
    "inspect", "look at pairs side by side", "pipeline.commands.inspect", prints=True
)
REPORT = _command(
    "report",
    "write figures and a browser of rows as one HTML file",
    "pipeline.report_page.command",
)
VALIDATE_THREADS = _command(
    "validate-threads",
    "say what is wrong in your own thread files",
    "pipeline.commands.validate",
    prints=True,
)
PREPARE = _command(
    "prepare",
    "split large archives into parts that are read in parallel",
    "pipeline.commands.prepare",
)
HYDRATE = _command(
    "hydrate",
    "restore the texts of a dataset of ids and labels",
    "pipeline.commands.hydrate_command",
)
EXPORT = _command(
    "export",
    "write a dataset in the columns that trainers read",
    "pipeline.commands.export",
    description="Write the pairs of a dataset folder as TRL, OpenRLHF and others read them: pairs "
    "as text or messages, responses with labels, rankings, prompts.",
)
DIFF = _command(
    "diff",
    "say what is new, removed or changed between two versions of a dataset",
    "pipeline.commands.diff",
    prints=True,
)
VERIFY = _command(
    "verify",
    "check a dataset folder: files, accounting, leaks between splits, limits",
    "pipeline.commands.verify",
    prints=True,
)
PUBLISH = _command(
    "publish",
    "publish a dataset folder as a version on the Hugging Face Hub",
    "pipeline.commands.publish",
)
PULL = _command(
    "pull",
    "fetch a version from the Hugging Face Hub into a folder, and check it",
    "pipeline.commands.pull",
)
