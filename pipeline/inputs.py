"""What ``--input`` names: sites to read, fingerprints, and what cannot be used."""

import glob
import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.options import UsageError
from pipeline.recipe import Recipe
from schemas.audit import Reason, Rejected, Stage
from schemas.manifest import InputFile
from transforms.archives import GivenFile, Site, find_sites, is_meta
from transforms.xml_rows import is_remote

META_NOTE = "a meta site, where votes mean agreement; --include-meta reads it"


@dataclass(frozen=True)
class Inputs:
    """Sites to read, and everything that was named."""

    sites: tuple[Site, ...]
    files: tuple[InputFile, ...]
    problems: tuple[Rejected, ...]
    """Inputs that cannot be read, for the rejected table."""

    @property
    def bytes_to_read(self) -> int:
        """Size of all tables after unpacking."""
        return sum(table.size for site in self.sites for table in site.tables.values())


def find_inputs(recipe: Recipe, work_dir: Path) -> Inputs:
    """Find and fingerprint the sites of a recipe; archives are unpacked below ``work_dir``.

    Raises UsageError for an input that names nothing, which is a slip of the pen; what is there
    and cannot be read becomes a problem, and the rest goes on.
    """
    specs = [entry.partition("=")[2] for entry in recipe.input]
    for spec in specs:
        if not is_remote(spec) and not Path(spec).exists() and not glob.glob(spec):  # noqa: PTH207
            raise UsageError(f"--input {spec}: there is no such file or folder")
    found, problems = find_sites(specs, work_dir)
    sites = [site for site in found if recipe.include_meta or not is_meta(site.name)]
    files = [
        _input_file(site, given, META_NOTE if site not in sites else "")
        for site in found
        for given in site.inputs
    ]
    if recipe.takedown is not None:
        files.append(_takedown_file(Path(recipe.takedown)))
    files += [
        InputFile(
            site="",
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
        files=tuple(sorted(files, key=_order)),
        problems=tuple(
            Rejected(
                id=Path(problem.path).name,
                stage=Stage.READ,
                reason=Reason.UNREADABLE_FILE,
                detail=problem.message,
                record="file",
            )
            for problem in problems
            if problem.skipped
        ),
    )


def _input_file(site: Site, given: GivenFile, note: str) -> InputFile:
    return InputFile(
        site=site.name,
        name=Path(given.path).name,
        bytes=given.size,
        sha256=given.sha256,
        used=not note,
        note=note,
    )


def _takedown_file(path: Path) -> InputFile:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return InputFile(site="", name=path.name, bytes=len(content), sha256=digest)


def _order(file: InputFile) -> tuple[str, str, str, str]:
    return file.site, file.name, file.sha256, file.note
