"""What ``--input`` names: sites to read, fingerprints, and what cannot be used."""

import glob
import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.curate.benchmark_files import find_benchmark_files
from pipeline.curate.recipe import STACKEXCHANGE, Recipe
from pipeline.errors import UsageError
from schemas.audit import Rejected, Stage
from schemas.checksums import sha256_of_file
from schemas.manifest import InputFile
from transforms.readers.base import ForumFile, InputProblem
from transforms.readers.formats.filesystem import is_remote
from transforms.readers.paths import find_forum_files
from transforms.readers.registry import SOURCES
from transforms.readers.stackexchange.archives import GivenFile, Site, find_sites, is_meta

META_NOTE = "a meta site, where votes mean agreement; --include-meta reads it"

COMPRESSED = (".zst", ".bz2", ".xz", ".gz", ".parquet")
COMPRESSION = 7
"""Uncompressed bytes per byte of a compressed dump of Reddit, roughly."""


DECONTAMINATE = "decontaminate"
"""``kind`` of benchmark files in the manifest."""


@dataclass(frozen=True)
class Inputs:
    """Sites to read, and everything that was named."""

    sites: tuple[Site, ...]
    """StackExchange sites."""
    forum_files: tuple[ForumFile, ...]
    """Files of the other sources."""
    files: tuple[InputFile, ...]
    """Fingerprints of all."""
    problems: tuple[Rejected, ...]
    """Inputs that cannot be read, for the rejected table."""

    @property
    def bytes_to_read(self) -> int:
        """Bytes that readers go through: tables after unpacking, other files as they are."""
        return self._table_bytes + sum(file.size for file in self.forum_files)

    @property
    def bytes_to_hold(self) -> int:
        """About how much all rows take uncompressed, which decides the number of partitions."""
        return self._table_bytes + sum(
            file.size * (COMPRESSION if file.name.lower().endswith(COMPRESSED) else 1)
            for file in self.forum_files
        )

    @property
    def _table_bytes(self) -> int:
        return sum(table.size for site in self.sites for table in site.tables.values())


def find_inputs(recipe: Recipe, work_dir: Path) -> Inputs:
    """Find and fingerprint the inputs of a recipe; archives are unpacked below ``work_dir``.

    Raises UsageError for an input that names nothing, which is a slip of the pen; what is there
    and cannot be read becomes a problem, and the rest is read.
    """
    specs = named_inputs(recipe)
    found, problems = find_sites(specs.pop(STACKEXCHANGE, []), work_dir)
    of_kind = dict.fromkeys((problem.path for problem in problems), STACKEXCHANGE)
    sites = [site for site in found if recipe.include_meta or not is_meta(site.name)]
    files = [
        _input_file(site, given, META_NOTE if site not in sites else "")
        for site in found
        for given in site.inputs
    ]
    forum_files: list[ForumFile] = []
    for kind, paths in sorted(specs.items()):
        trouble: list[InputProblem] = []
        forum_files += find_forum_files(SOURCES[kind], paths, trouble)
        of_kind |= dict.fromkeys((problem.path for problem in trouble), kind)
        problems += trouble
    files += [_forum_file(file) for file in forum_files]
    if recipe.takedown is not None:
        files.append(_list_file(Path(recipe.takedown)))
    files += [
        _list_file(path, DECONTAMINATE) for path in find_benchmark_files(recipe.decontaminate)
    ]
    files += [
        InputFile(
            site="",
            kind=of_kind[problem.path],
            name=Path(problem.path).name,
            bytes=0,
            sha256="",
            used=not problem.skipped,
            note=problem.message,
        )
        for problem in problems
    ]
    return Inputs(
        sites=tuple(sites),
        forum_files=tuple(forum_files),
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


def _forum_file(file: ForumFile) -> InputFile:
    digest = "" if is_remote(file.path) else sha256_of_file(file.path)
    return InputFile(site=file.site, kind=file.kind, name=file.name, bytes=file.size, sha256=digest)


def _input_file(site: Site, given: GivenFile, note: str) -> InputFile:
    return InputFile(
        site=site.name,
        kind=STACKEXCHANGE,
        name=Path(given.path).name,
        bytes=given.size,
        sha256=given.sha256,
        used=not note,
        note=note,
    )


def _list_file(path: Path, kind: str = "") -> InputFile:
    """A file that says what to exclude."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return InputFile(site="", kind=kind, name=path.name, bytes=len(content), sha256=digest)


def _order(file: InputFile) -> tuple[str, str, str, str, str]:
    return file.site, file.name, file.sha256, file.note, file.kind
