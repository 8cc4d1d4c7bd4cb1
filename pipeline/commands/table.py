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
INSPECT = Command("inspect", "look at pairs side by side", "pipeline.commands.inspect", prints=True)
REPORT = Command(
    "report",
    "write figures and a browser of rows as one HTML file",
    "pipeline.report_page.command",
)
VALIDATE_THREADS = Command(
    "validate-threads",
    "say what is wrong in your own thread files",
    "pipeline.commands.validate",
    prints=True,
)
PREPARE = Command(
    "prepare",
    "split large archives into parts that are read in parallel",
    "pipeline.commands.prepare",
)
HYDRATE = Command(
    "hydrate", "restore the texts of a dataset of ids and labels", "pipeline.commands.hydrate"
)
DIFF = Command(
    "diff",
    "say what is new, removed or changed between two versions of a dataset",
    "pipeline.commands.diff",
    prints=True,
)
VERIFY = Command(
    "verify",
    "check a dataset folder: files, accounting, leaks between splits, limits",
    "pipeline.commands.verify",
    prints=True,
)
PUBLISH = Command(
    "publish",
    "publish a dataset folder as a version on the Hugging Face Hub",
    "pipeline.commands.publish",
)
PULL = Command(
    "pull",
    "fetch a version from the Hugging Face Hub into a folder, and check it",
    "pipeline.commands.pull",
)
