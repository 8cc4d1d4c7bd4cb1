"""Find the StackExchange sites that a person means: folders, archives, globs, remote folders.

The name of a site is the name of its folder or archive, and must be the site's host name,
because the links in the output are made from it: ``beer.stackexchange.com/Posts.xml``,
``beer.stackexchange.com.7z``. What has no such name is not read. Archives of single tables make
one site together: ``stackoverflow.com-Posts.7z``, ``stackoverflow.com-Votes.7z``. A folder is
searched for such folders and archives, one level deep.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Self

from apache_beam.io.filesystems import FileSystems

from schemas.checksums import Fingerprint, fingerprint, fingerprints
from transforms.readers.base import InputProblem, Unpacking
from transforms.readers.formats.filesystem import cause_of, is_remote, open_input
from transforms.readers.stackexchange.archive_kinds import UnpackError, UnpackLimits, printable
from transforms.readers.stackexchange.paths import SiteInput, find_sources, list_remote
from transforms.readers.stackexchange.table_names import TABLES, table_of
from transforms.readers.stackexchange.unpack_pool import UnpackPool, WorkFolderError
from transforms.readers.stackexchange.xml_rows import check_table

__all__ = [
    "GivenFile",
    "InputProblem",
    "Site",
    "TableFile",
    "UnpackLimits",
    "WorkFolderError",
    "find_sites",
    "is_meta",
]


class GivenFile(NamedTuple):
    """A file as it was given: what a rerun must find again to give the same output."""

    path: str
    size: int
    """Bytes."""
    sha256: str
    """Of the archive or XML file; '' for a remote file, which would have to be read twice."""
    found: Fingerprint | None = None
    """None: a remote file."""


class TableFile(NamedTuple):
    """One XML table that workers can open."""

    path: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Site:
    """One forum's tables; ``Posts`` is always there."""

    name: str
    """Host name."""
    tables: Mapping[str, TableFile]
    inputs: tuple[GivenFile, ...] = field(default=())

    @property
    def paths(self) -> tuple[str, ...]:
        """Its tables; see :class:`transforms.readers.source.SourceInput`."""
        return tuple(table.path for table in self.tables.values())

    @property
    def bytes_to_read(self) -> int:
        """Size of all tables, unpacked."""
        return sum(table.size for table in self.tables.values())

    @property
    def bytes_to_hold(self) -> int:
        """About what rows take: as much as their XML."""
        return self.bytes_to_read

    def moved(self, place: Callable[[str], str]) -> Self:
        """The same site, its tables where ``place`` says they are now."""
        tables = {
            name: TableFile(place(table.path), table.size) for name, table in self.tables.items()
        }
        return replace(self, tables=tables)

    def texts_only(self) -> Self:
        """The site without the tables of votes, users and the rest."""
        return replace(self, tables={"Posts": self.tables["Posts"]})


def is_meta(site: str) -> bool:
    """Tell whether a site discusses another one; votes there mean agreement, not quality."""
    return "meta" in site.split(".")


_OpenTables = dict[str, tuple[TableFile, GivenFile]]
"""Each table's XML file and the file it was given as."""


def find_sites(
    specs: Sequence[str],
    work_dir: Path,
    limits: UnpackLimits | None = None,
    unpacking: Unpacking | None = None,
) -> tuple[list[Site], list[InputProblem]]:
    """Return the sites that ``specs`` (paths, globs, remote folders) name, ordered by name.

    Archives are unpacked below ``work_dir``, which the workers must be able to read, at the same
    time where ``unpacking`` says so; the result does not depend on it. Whatever cannot be read
    becomes an InputProblem, and the rest continues. A site that is given twice is not read at all:
    its votes would count twice, and which of the two is meant is unknown. Raises WorkFolderError
    when ``work_dir`` cannot take the tables: no input is at fault.
    """
    problems: list[InputProblem] = []
    by_site: dict[str, list[SiteInput]] = defaultdict(list)
    for source in find_sources(specs, problems):
        by_site[source.site].append(source)
    for name, sources in sorted(by_site.items()):
        if repeated := _repeated(sources):
            names = ", ".join(_short_name(source.path) for source in repeated)
            message = f"{name} is given {len(repeated)} times: {names}; leave one"
            problems.append(InputProblem(repeated[0].path, message))
            del by_site[name]
    unpacking = unpacking or Unpacking()
    with UnpackPool(unpacking.threads, unpacking.say) as pool:
        opening = _start_opening(by_site, work_dir, limits or UnpackLimits(), pool)
        found = (
            _open_site(name, sources, opening, problems)
            for name, sources in sorted(by_site.items())
        )
        sites = [site for site in found if site is not None]
    return sites, problems


def _start_opening(
    by_site: Mapping[str, Sequence[SiteInput]],
    work_dir: Path,
    limits: UnpackLimits,
    pool: UnpackPool,
) -> dict[SiteInput, Future[_OpenTables]]:
    """Open all sources, the largest first: it would keep the others waiting at the end."""
    sizes = {source: _archive_size(source) for sources in by_site.values() for source in sources}
    for source, size in sizes.items():
        if size:
            pool.expect(Path(source.path), size)
    return {
        source: pool.archives.submit(_open_source, source, work_dir / source.site, limits, pool)
        for source in sorted(sizes, key=lambda source: (-sizes[source], source.path))
    }


def _archive_size(source: SiteInput) -> int:
    """Bytes of an archive; 0 for what is none, or cannot be read, which is told when it is."""
    path = Path(source.path)
    try:
        return 0 if is_remote(source.path) or path.is_dir() else path.stat().st_size
    except OSError:
        return 0


def list_paths(specs: Sequence[str]) -> set[str]:
    """Return the local archives and tables that ``specs`` name, and open none of them."""
    found: set[str] = set()
    for source in find_sources(specs, []):
        path = Path(source.path)
        if is_remote(source.path):
            continue
        if not path.is_dir():
            found.add(source.path)
            continue
        for entry in path.iterdir():
            if table_of(entry.name) is not None and entry.is_file():
                found.add(str(entry))
    return found


def _repeated(sources: Sequence[SiteInput]) -> Sequence[SiteInput]:
    """Return the sources of one site that hold the same table, or nothing."""
    if len(sources) > 1 and any(source.table is None for source in sources):
        return sources
    tables: dict[str | None, list[SiteInput]] = defaultdict(list)
    for source in sources:
        tables[source.table].append(source)
    return next((same for same in tables.values() if len(same) > 1), ())


def _open_site(
    name: str,
    sources: Sequence[SiteInput],
    opening: Mapping[SiteInput, Future[_OpenTables]],
    problems: list[InputProblem],
) -> Site | None:
    """Return the site with every table that can be read, or None without Posts."""
    tables: dict[str, TableFile] = {}
    inputs: dict[GivenFile, None] = {}
    found_problems: list[InputProblem] = []
    for source in sources:
        try:
            for table, (file, given) in opening[source].result().items():
                problem = _check_file(file.path, table)
                if problem is None:
                    tables[table] = file
                    inputs[given] = None
                else:
                    message = f"{table}.xml of {name} cannot be used: {problem}"
                    found_problems.append(InputProblem(given.path, message))
        except UnpackError as error:
            found_problems.append(InputProblem(source.path, str(error)))
        except WorkFolderError:
            raise
        except (OSError, ValueError) as error:
            found_problems.append(InputProblem(source.path, _why_unreadable(error)))
    problems.extend(found_problems)
    if "Posts" not in tables:
        if not found_problems:
            message = f"{name} has no Posts.xml, where questions and answers are; add it"
            problems.append(InputProblem(sources[0].path, message))
        return None
    return Site(name, {table: tables[table] for table in TABLES if table in tables}, tuple(inputs))


def _short_name(path: str) -> str:
    """Name a source without the path to it, which differs between machines."""
    return repr("/".join(filter(None, (Path(path).parent.name, Path(path).name))))


def _why_unreadable(error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return "it cannot be read; check its name"
    name = Path(error.filename).name if isinstance(error.filename, str) else "it"
    return f"{printable(name)} cannot be read: {cause_of(error)}"


def _open_source(
    source: SiteInput, folder: Path, limits: UnpackLimits, pool: UnpackPool
) -> _OpenTables:
    """Return the tables of one folder or archive. Raises UnpackError, OSError or ValueError."""
    pool.check()
    if is_remote(source.path):
        return _open_remote(source.path)
    path = Path(source.path)
    if path.is_dir():
        return _open_folder(path, _wanted(source), pool)
    try:
        found = fingerprint(path, lambda size: pool.has_hashed(source.path, size))
    finally:
        pool.hashing.end(path)
    given = _given_file(path, found)
    # Here, because its libraries take 0.2 s to load, which a folder need not wait for.
    from transforms.readers.stackexchange.unpack import unpack_tables

    unpacked = unpack_tables(path, folder, _wanted(source), limits, pool)
    if not unpacked:
        raise UnpackError(f"it holds no {_wanted(source)[0]}.xml; give the archive of a site")
    return {
        table: (TableFile(str(xml), xml.stat().st_size), given) for table, xml in unpacked.items()
    }


def _wanted(source: SiteInput) -> tuple[str, ...]:
    return TABLES if source.table is None else (source.table,)


def _open_folder(folder: Path, tables: Collection[str], pool: UnpackPool) -> _OpenTables:
    paths = _tables_in(folder, tables)
    for path in paths.values():
        pool.hashing.expect(path, path.stat().st_size)
    try:
        # Not in threads like this one, which would wait for each other.
        prints = fingerprints(map(str, paths.values()), pool.has_hashed, pool.decoders)
    finally:
        for path in paths.values():
            pool.hashing.end(path)
    found = {}
    for table, path in paths.items():
        given = _given_file(path, prints[str(path)])
        found[table] = TableFile(given.path, given.size), given
    return found


def _tables_in(folder: Path, tables: Collection[str]) -> dict[str, Path]:
    entries = {
        entry.name: entry
        for entry in folder.iterdir()
        if entry.is_file() and table_of(entry.name) in tables
    }
    return {table: entries[name] for table, name in _choose_names(entries).items()}


def _open_remote(folder: str) -> _OpenTables:
    entries = {FileSystems.split(item[0])[1]: item for item in list_remote(f"{folder}/*.xml")}
    found = {}
    for table, name in _choose_names(entries).items():
        path, size = entries[name]
        found[table] = TableFile(path, size), GivenFile(path, size, "")
    return found


def _choose_names(names: Iterable[str]) -> dict[str, str]:
    """Return the file name of each table in a folder; raises UnpackError when one has two."""
    found: dict[str, str] = {}
    for name in sorted(names):
        table = table_of(name)
        if table is None:
            continue
        if table in found:
            raise UnpackError(f"it holds {table}.xml twice ({found[table]!r}, {name!r}); leave one")
        found[table] = name
    return found


def _check_file(path: str, table: str) -> str | None:
    with open_input(path) as stream:
        return check_table(stream, table.lower(), rows_required=table == "Posts")


def _given_file(path: Path, found: Fingerprint) -> GivenFile:
    return GivenFile(str(path), found.size, found.sha256, found)
