"""What ``--input`` names: what is to be read, fingerprints, and what cannot be used."""

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.curate import recipe as recipes
from pipeline.curate.benchmark_files import find_benchmark_files
from pipeline.curate.recipe import Recipe
from pipeline.errors import NothingToReadError, UsageError
from schemas.audit import Rejected, Stage
from schemas.checksums import Fingerprint, fingerprint
from schemas.manifest import InputFile
from transforms.readers.base import InputProblem, Unpacking
from transforms.readers.formats.filesystem import is_remote
from transforms.readers.registry import SOURCES
from transforms.readers.source import SourceInput

DECONTAMINATE = "decontaminate"
"""``kind`` of benchmark files in the manifest."""

VOTE_MODEL = "vote_model"
"""``kind`` of the file with a vote model in the manifest."""


@dataclass(frozen=True)
class Inputs:
    """What is to be read, and everything that was named."""

    to_read: Mapping[str, tuple[Any, ...]]
    """By kind of forum, what its source found (`transforms.readers.source.SourceInput`); no kind
    without any."""
    files: tuple[InputFile, ...]
    """Fingerprints of all."""
    problems: tuple[Rejected, ...]
    """Inputs that cannot be read, for the rejected table."""
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Of the local files that are read, by path."""

    @property
    def each(self) -> tuple[SourceInput, ...]:
        """What is to be read, of all kinds."""
        return tuple(item for items in self.to_read.values() for item in items)

    @property
    def bytes_to_read(self) -> int:
        """Bytes that readers go through: tables after unpacking, other files as they are."""
        return sum(item.bytes_to_read for item in self.each)

    @property
    def bytes_to_hold(self) -> int:
        """About how much all rows take uncompressed, which decides the number of partitions."""
        return sum(item.bytes_to_hold for item in self.each)

    def check_any(self) -> None:
        """Raise NothingToReadError, with what is wrong with each input, where none can be used."""
        if not self.to_read:
            unused = [f"{item.name}: {item.note}" for item in self.files if not item.used]
            raise NothingToReadError("\n  ".join(("no input can be used:", *unused)))


def find_inputs(
    recipe: Recipe,
    work_dir: Path,
    unpacking: Unpacking | None = None,
    beside: Mapping[str, Fingerprint] | None = None,
) -> Inputs:
    """Find and fingerprint the inputs of a recipe; archives are unpacked below ``work_dir``.

    ``unpacking`` says how; None: one after another, without a word. ``beside``: of the takedown
    list and the benchmarks, those fingerprints that are known, by path.

    Raises UsageError for an input that names nothing, which is a slip of the pen; what is there
    and cannot be read becomes a problem, and the rest is read.
    """
    rules = recipes.read_rules(recipe)
    to_read: dict[str, tuple[Any, ...]] = {}
    files: list[InputFile] = []
    problems: list[InputProblem] = []
    prints: dict[str, Fingerprint] = {}
    for kind, specs in sorted(named_inputs(recipe).items()):
        found = SOURCES[kind].find(specs, rules, work_dir, unpacking)
        if found.inputs:
            to_read[kind] = found.inputs
        files += found.files
        prints |= found.fingerprints
        files += [_problem_file(kind, problem) for problem in found.problems]
        problems += found.problems
    known = beside or {}
    if recipe.takedown is not None:
        files.append(_list_file(Path(recipe.takedown), known))
    if recipe.vote_model is not None:
        files.append(_list_file(Path(recipe.vote_model), known, VOTE_MODEL))
    files += [
        _list_file(path, known, DECONTAMINATE)
        for path in find_benchmark_files(recipe.decontaminate)
    ]
    return Inputs(
        to_read=to_read,
        files=tuple(sorted(files, key=_order)),
        problems=tuple(
            Rejected(
                id=Path(problem.path).name,
                stage=Stage.READ,
                reason=problem.reason,
                detail=problem.message,
                record="file",
            )
            for problem in problems
            if problem.skipped
        ),
        fingerprints=prints,
    )


def named_inputs(recipe: Recipe) -> dict[str, list[str]]:
    """What ``--input`` names, by kind; raises UsageError for what is not there."""
    specs: dict[str, list[str]] = {}
    for entry in recipe.input:
        kind, _, spec = entry.partition("=")
        if not is_remote(spec) and not Path(spec).exists() and not glob.glob(spec):  # noqa: PTH207
            raise UsageError(f"--input {spec}: there is no such file or folder")
        specs.setdefault(kind, []).append(spec)
    return specs


def _problem_file(kind: str, problem: InputProblem) -> InputFile:
    return InputFile(
        site="",
        kind=kind,
        name=Path(problem.path).name,
        bytes=0,
        sha256="",
        used=not problem.skipped,
        note=problem.message,
    )


def _list_file(path: Path, known: Mapping[str, Fingerprint], kind: str = "") -> InputFile:
    """A file that is read beside the inputs."""
    found = known.get(str(path)) or fingerprint(path)
    return InputFile(site="", kind=kind, name=path.name, bytes=found.size, sha256=found.sha256)


def _order(file: InputFile) -> tuple[str, str, str, str, str]:
    return file.site, file.name, file.sha256, file.note, file.kind
