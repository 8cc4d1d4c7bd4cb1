"""Paths, folders, globs and remote patterns become the files of a source."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from transforms.readers.base import ForumFile, InputProblem
from transforms.readers.formats.filesystem import is_remote, name_fault, writable
from transforms.readers.hosts import host_name, why_no_host, why_two_hosts
from transforms.readers.source import FileSource

PREPARE_RECORD = "prepare.json"
"""What `forumprefs prepare` leaves beside its parts."""


def find_forum_files(
    source: FileSource, specs: Sequence[str], problems: list[InputProblem]
) -> list[ForumFile]:
    """Return the files of a source that ``specs`` name, each once, ordered by site and path.

    A folder is searched with all that is below it. Files that the source refuses, those of no
    host where the source has many, those that links put under several hosts, and inputs that hold
    nothing for it, go to ``problems``.
    """
    found: dict[str, list[ForumFile]] = {}
    for spec in specs:
        files = list(_expand_remote(spec) if is_remote(spec) else _expand_local(spec, source))
        if not files:
            ends = ", ".join(source.suffixes)
            message = f"no file of {source.kind} is there; their names end in {ends}"
            problems.append(InputProblem(spec, message))
        for path, size in files:
            if fault := name_fault(path):
                problems.append(InputProblem(writable(path), fault))
                continue
            identity = path if is_remote(path) else os.path.realpath(path)
            site = _site_of(path) if source.has_sites else ""
            file = ForumFile(kind=source.kind, site=site, path=path, size=size)
            found.setdefault(identity, []).append(file)  # two globs may both match it
    if source.has_sites:
        single = _of_one_host(found.values(), problems)
    else:
        single = [min(same, key=lambda file: file.path) for same in found.values()]
    used = []
    for file in sorted(single, key=lambda file: (file.site, file.path)):
        why = source.refuse(file.name)
        if why is None:
            used.append(file)
        else:
            problems.append(InputProblem(file.path, why, reason=source.refused_as))
    return used


def _expand_local(spec: str, source: FileSource) -> Iterator[tuple[str, int]]:
    # Not Path.glob: it takes no absolute pattern.
    matches = [spec] if Path(spec).exists() else sorted(glob.glob(spec))  # noqa: PTH207
    for match in matches:
        path = Path(match)
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    if name.lower().endswith(source.suffixes) and name != PREPARE_RECORD:
                        file = Path(folder) / name
                        if file.is_file():  # not a link to nowhere
                            yield str(file), file.stat().st_size
        elif path.is_file():
            # A file that was named outright is read whatever its name ends in.
            yield str(path), path.stat().st_size


def _expand_remote(spec: str) -> Iterator[tuple[str, int]]:
    pattern = f"{spec}**" if spec.endswith("/") else spec
    for item in FileSystems.match([pattern])[0].metadata_list:
        yield item.path, item.size_in_bytes


def _site_of(path: str) -> str:
    """Host name of a forum, that of the nearest folder above the file that has one; '' without."""
    absolute = path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100
    folders = absolute.replace("\\", "/").split("/")[:-1]
    return next((host for name in reversed(folders) if (host := host_name(name))), "")


def _of_one_host(
    found: Iterable[Sequence[ForumFile]], problems: list[InputProblem]
) -> list[ForumFile]:
    """Return the files that belong to one host; each item of ``found`` is one file by its names.

    A folder without a host's name is one problem, however many files it holds.
    """
    files: list[ForumFile] = []
    homeless: dict[str, str] = {}
    for same in found:
        of_hosts = sorted((file for file in same if file.site), key=lambda file: file.path)
        hosts = {file.site for file in of_hosts}
        if len(hosts) > 1:
            problems.append(InputProblem(of_hosts[0].path, why_two_hosts(hosts)))
        elif of_hosts:
            files.append(of_hosts[0])
        else:
            folder = os.path.dirname(same[0].path)  # noqa: PTH120 (it may be remote)
            homeless.setdefault(folder, Path(os.path.abspath(folder)).name)  # noqa: PTH100
    for folder, name in sorted(homeless.items()):
        problems.append(InputProblem(folder or ".", why_no_host(name)))
    return files
