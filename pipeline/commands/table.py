"""The commands of this layer, by name and module; setup.py names each as an entry point."""

from schemas.command import Command

CURATE = Command(
    "curate",
    "make a dataset folder from forum dumps",
    "pipeline.commands.curate",
    description="Read forum dumps and write a dataset folder of deduplicated, "
    "language-filtered preference pairs.",
    takes_rest=True,
)
INSPECT = Command("inspect", "look at pairs side by side", "pipeline.commands.inspect")
REPORT = Command(
    "report",
    "write figures and a browser of rows as one HTML file",
    "pipeline.report_page.command",
)
VALIDATE_THREADS = Command(
    "validate-threads",
    "say what is wrong in files of your own threads",
    "pipeline.commands.validate",
)
PREPARE = Command(
    "prepare",
    "cut large archives into parts that are read in parallel",
    "pipeline.commands.prepare",
)
HYDRATE = Command(
    "hydrate", "fill the texts into a dataset of ids and labels", "pipeline.commands.hydrate"
)
DIFF = Command(
    "diff",
    "say what is new, gone or changed between two versions of a dataset",
    "pipeline.commands.diff",
)
VERIFY = Command(
    "verify",
    "check a dataset folder: files, accounting, leaks between splits, limits",
    "pipeline.commands.verify",
)
PUBLISH = Command(
    "publish",
    "make a dataset folder a version at the Hugging Face Hub",
    "pipeline.commands.publish",
)
PULL = Command(
    "pull",
    "fetch a version from the Hugging Face Hub into a folder, and check it",
    "pipeline.commands.pull",
)
