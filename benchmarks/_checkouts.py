"""Another checkout of the project, measured with the benchmarks of this one.

An earlier state has no benchmark that came later, and one that has it may count otherwise. So what
is measured is the packages of the other checkout, in its environment, and what measures is a copy
of this checkout's ``benchmarks``, alone in a folder, so that nothing else of this one is found.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

PYTHON = ".venv/bin/python"
PACKAGES = ("schemas", "transforms", "pipeline")
_PROBE = """
import inspect, pathlib, sys
import benchmarks._stages
from pipeline.runners import local
if pathlib.Path(sys.argv[1]) not in pathlib.Path(local.__file__).resolve().parents:
    sys.exit(f"its Python finds the package pipeline elsewhere: {local.__file__}")
if "report" not in inspect.signature(local.DiskShuffleRunner).parameters:
    sys.exit("its DiskShuffleRunner reports no stages (argument `report`)")
"""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a measured process is started with."""

    python: str = sys.executable
    options: dict[str, Any] = {}
    """Of subprocess.Popen."""


@contextmanager
def surroundings_of(checkout: Path | None) -> Iterator[Surroundings]:
    """Where ``python -m benchmarks.NAME`` measures another checkout; None: this one."""
    if checkout is None:
        yield Surroundings()
        return
    checkout = checkout.resolve()
    with tempfile.TemporaryDirectory(prefix="forumprefs-benchmarks-") as folder:
        copied = Path(folder) / "benchmarks"
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(__file__).parent, copied, ignore=skipped)
        # Before what is installed in the environment, which may be other sources.
        path = os.pathsep.join((folder, str(checkout)))
        yield Surroundings(
            python=str(checkout / PYTHON),
            options={"cwd": folder, "env": os.environ | {"PYTHONPATH": path}},
        )


def check_checkout(checkout: Path) -> None:
    """Raise SystemExit where a checkout cannot be measured, with what it has to contain."""
    wanted = [checkout / PYTHON, *(checkout / name / "__init__.py" for name in PACKAGES)]
    for path in wanted:
        if not path.is_file():
            raise SystemExit(
                f"{checkout} cannot be measured: {path.relative_to(checkout)} is missing; it has to"
                f" be a checkout of this project ({', '.join(PACKAGES)}) with an environment in"
                " .venv into which it is installed (pip install -e .)"
            )
    with surroundings_of(checkout) as where:
        probe = [where.python, "-c", _PROBE, str(checkout.resolve())]
        done = subprocess.run(probe, stderr=subprocess.PIPE, text=True, **where.options)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["its Python ends without a word"])[-1]
        raise SystemExit(f"{checkout} cannot be measured: {why}")
