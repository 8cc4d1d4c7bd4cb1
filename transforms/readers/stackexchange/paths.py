"""Paths, globs and remote folders become sources: the folders and archives of forum sites."""

import glob
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from apache_beam.io.filesystems import FileSystems

from transforms.readers.base import InputProblem
from transforms.readers.formats.filesystem import cause_of, is_remote, name_fault, writable
from transforms.readers.hosts import host_name, why_no_host, why_two_hosts
from transforms.readers.stackexchange.archive_kinds import (
    ARCHIVE_SUFFIXES,
    volume_set,
    why_not_an_archive,
)
from transforms.readers.stackexchange.table_names import TABLES, table_of

_log = logging.getLogger(__name__)

_SINGLE_TABLE = re.compile(r"(.+)-([A-Za-z]+)")
_HOST_EXAMPLE = "beer.stackexchange.com"
_ALL_TABLES = {name.lower() for name in (*TABLES, "Comments", "Badges", "Tags")}


class SiteInput(NamedTuple):
    """A folder or archive that stands for a site, or for one table of it."""

    site: str
    """Host name of the site: the name of the folder or archive."""
    path: str
    table: str | None = None


def find_sources(specs: Sequence[str], problems: list[InputProblem]) -> Iterator[SiteInput]:
    """Yield each source that ``specs`` name, once; what names none goes to ``problems``.

    So does a folder or archive that has no host's name, or, by links, those of several hosts.
    """
    found: dict[str, set[SiteInput]] = {}
    for source in _expand(specs, problems):
        if fault := name_fault(source.path):
            problems.append(InputProblem(writable(source.path), fault))
            continue
        identity = source.path if is_remote(source.path) else os.path.realpath(source.path)
        found.setdefault(identity, set()).add(source)  # two globs may both match it
    for same in found.values():
        named = sorted(
            source._replace(site=host) for source in same if (host := host_name(source.site))
        )
        hosts = {source.site for source in named}
        if len(hosts) > 1:
            problems.append(InputProblem(named[0].path, why_two_hosts(hosts)))
        elif named:
            yield named[0]
        else:
            source = min(same, key=lambda source: source.path)
            message = why_no_host(source.site, _HOST_EXAMPLE)
            problems.append(InputProblem(source.path, message))


def _expand(specs: Sequence[str], problems: list[InputProblem]) -> Iterator[SiteInput]:
    for spec in specs:
        if is_remote(spec):
            yield from _expand_remote(spec, problems)
            continue
        # Not Path.glob: it takes no absolute pattern.
        matches = [spec] if Path(spec).exists() else sorted(glob.glob(spec))  # noqa: PTH207
        if not matches:
            what = "nothing matches it" if glob.has_magic(spec) else "it does not exist"
            problems.append(InputProblem(spec, f"{what}; check the path"))
        for match in matches:
            yield from _expand_path(Path(match), problems)


def _expand_path(path: Path, problems: list[InputProblem]) -> Iterator[SiteInput]:
    if not path.is_dir():
        yield from _expand_file(path, problems)
        return
    known = len(problems)
    entries = _list(path, problems)
    unused: list[InputProblem] = []
    sources = list(_sources_in(entries, problems, unused))
    has_tables = any(table_of(entry.name) for entry in entries)
    if has_tables:
        own = _folder_source(path)
        yield own
        # Beside tables, only what is clearly another site: the archive that they came out of, or
        # a copy of them, would be the same posts again.
        here = host_name(own.site)
        sources = [s for s in sources if (host := host_name(s.site)) and host != here]
    else:
        problems.extend(unused)
    if not sources and not has_tables and len(problems) == known:
        message = "no Posts.xml, no folder with one and no archive of a site is in it"
        problems.append(InputProblem(str(path), f"{message}; give the folder of a site"))
    yield from sources


def _sources_in(
    entries: Sequence[Path], problems: list[InputProblem], unused: list[InputProblem]
) -> Iterator[SiteInput]:
    """Yield the archives and site folders of a folder; archives not read go to ``unused``."""
    told: set[str] = set()
    for entry in entries:
        if entry.is_dir():
            if any(table_of(file.name) for file in _list(entry, problems)):
                yield _folder_source(entry)
        elif entry.suffix.lower() in ARCHIVE_SUFFIXES:
            yield from _expand_file(entry, problems)
        elif (why := why_not_an_archive(entry.name)) and volume_set(entry.name) not in told:
            told.add(volume_set(entry.name))  # the volumes of one archive are one problem
            unused.append(InputProblem(str(entry), why))


def _list(folder: Path, problems: list[InputProblem]) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        message = f"it cannot be listed: {cause_of(error)}; check its permissions"
        problems.append(InputProblem(str(folder), message))
        return []


def _expand_file(path: Path, problems: list[InputProblem]) -> Iterator[SiteInput]:
    suffix = path.suffix.lower()
    if not path.is_file():
        problems.append(InputProblem(str(path), "it is not a file that can be read; leave it out"))
    elif suffix in ARCHIVE_SUFFIXES:
        single = _SINGLE_TABLE.fullmatch(path.stem)
        if single is None or single[2].lower() not in _ALL_TABLES:
            yield SiteInput(path.stem.lower(), str(path))
        elif table := table_of(f"{single[2]}.xml"):
            yield SiteInput(single[1].lower(), str(path), table)
        # else: a table such as Comments, which nothing here needs
    elif suffix == ".xml" and path.stem.lower() in _ALL_TABLES:
        yield _folder_source(path.parent)
    else:
        message = why_not_an_archive(path.name) or (
            "it is neither Posts.xml nor a .7z or .zip archive of a site; give one of these or a "
            "folder"
        )
        problems.append(InputProblem(str(path), message))


def _folder_source(folder: Path) -> SiteInput:
    # Not resolve(): the name of a link to a folder counts, not of what it points to.
    name = Path(os.path.abspath(folder)).name.lower()  # noqa: PTH100
    # stackoverflow.com-Posts, as the archive of a table unpacks to
    single = _SINGLE_TABLE.fullmatch(name)
    if single is not None and (table := table_of(f"{single[2]}.xml")):
        return SiteInput(single[1], str(folder), table)
    return SiteInput(name, str(folder))


def _expand_remote(spec: str, problems: list[InputProblem]) -> Iterator[SiteInput]:
    if spec.lower().endswith(ARCHIVE_SUFFIXES):
        message = "archives are read from local disks only; copy it here or unpack it there"
        problems.append(InputProblem(spec, message))
        return
    base = spec.rstrip("/")
    patterns = [base] if base.lower().endswith(".xml") else [f"{base}/*.xml", f"{base}/*/*.xml"]
    try:
        folders = {
            FileSystems.split(path)[0].rstrip("/")
            for pattern in patterns
            for path, _ in list_remote(pattern)
        }
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be listed: %s", spec, error)
        message = (
            "it cannot be listed; check the address and your right to read it (gs:// needs the "
            "package apache-beam[gcp])"
        )
        problems.append(InputProblem(spec, message))
        return
    if not folders:
        problems.append(InputProblem(spec, "no Posts.xml is there; check the path"))
    for folder in sorted(folders):
        yield SiteInput(folder.rpartition("/")[2].lower(), folder)


def list_remote(pattern: str) -> Iterable[tuple[str, int]]:
    """Return (path, size in bytes) of the tables a remote pattern matches.

    Raises OSError or ValueError.
    """
    return [
        (item.path, item.size_in_bytes)
        for item in FileSystems.match([pattern])[0].metadata_list
        if table_of(FileSystems.split(item.path)[1])
    ]
