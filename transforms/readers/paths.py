"""Paths, folders, globs and remote patterns become the files of a source."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from transforms.readers.base import ForumFile, InputProblem
from transforms.readers.formats.filesystem import is_remote, name_fault, writable
from transforms.readers.source import FileSource

PREPARE_RECORD = "prepare.json"
"""What `forumprefs prepare` leaves beside its parts."""

_RENAME = "name it by the forum's host, for example discuss.example.org"


def find_forum_files(
    source: FileSource, specs: Sequence[str], problems: list[InputProblem]
) -> list[ForumFile]:
    """Return the files of a source that ``specs`` name, each once, ordered by site and path.

    A folder is searched with all that is below it. Files that the source refuses, and inputs
    that hold nothing for it, go to ``problems``.
    """
    found: dict[str, ForumFile] = {}
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
            if identity not in found:  # two globs may both match it
                site = _site_of(path, problems) if source.has_sites else ""
                found[identity] = ForumFile(kind=source.kind, site=site, path=path, size=size)
    used = []
    for file in sorted(found.values(), key=lambda file: (file.site, file.path)):
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


def _site_of(path: str, problems: list[InputProblem]) -> str:
    """Host name of a forum: the nearest folder above the file with a dot in its name."""
    absolute = path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100
    folders = absolute.replace("\\", "/").split("/")[:-1]
    for name in reversed(folders):
        if "." in name.strip("."):
            return name.lower().partition(":")[0]
    name = folders[-1].lower() if folders else ""
    message = (
        f"its folder {name!r} is not a host name, so links in the output lead nowhere; {_RENAME}"
    )
    problems.append(InputProblem(path, message, skipped=False))
    return name
