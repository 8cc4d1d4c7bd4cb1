"""The record of ``forumprefs prepare``: which files are finished, and what parts they have."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from pipeline.errors import UsageError
from schemas.fields import doc
from schemas.small_files import SmallFileError, decode_json, read_small
from transforms.readers.base import ForumFile
from transforms.readers.formats.recompress import PartsResult, split_name

PREPARE_NAME = "prepare.json"

FileKey = tuple[str, str, str]
"""Kind, site and name."""


class PreparedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One input file and its parts."""

    kind: Annotated[str, doc("kind of forum")]
    site: Annotated[str, doc("host name where the source has many hosts, else ''")]
    name: Annotated[str, doc("file name without its folder")]
    bytes: Annotated[int, doc("size of the file")]
    result: Annotated[PartsResult, doc("parts and counts")]


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """``prepare.json``: how the parts were made, and what of."""

    prepare_version: str = "1.0.0"
    part_bytes: Annotated[int, doc("bytes of a part before compression")]
    subreddits: Annotated[tuple[str, ...] | None, doc("lower case, sorted; null: all")]
    files: Annotated[tuple[PreparedFile, ...], doc("finished files, by kind, site and name")]


def file_key(file: ForumFile | PreparedFile) -> FileKey:
    """What tells files apart."""
    return file.kind, file.site, file.name


def parts_folder(output: Path, file: ForumFile | PreparedFile) -> Path:
    """Where the parts of a file go: not beside ``prepare.json``, which is not a dump."""
    return output / file.kind / file.site


def load_prepared(
    output: Path, part_bytes: int, subreddits: tuple[str, ...] | None
) -> dict[FileKey, PreparedFile]:
    """Return what an earlier run into this folder has finished.

    Raises UsageError if it was made otherwise, or if the folder holds something else.
    """
    path = output / PREPARE_NAME
    if not path.is_file():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UsageError(
                f"--output {output}: holds other files, and no {PREPARE_NAME}; choose a new folder"
            )
        return {}
    try:
        prepared = decode_json(read_small(path), Prepared)
    except SmallFileError as error:
        raise UsageError(f"{path}: {error}; choose a new folder") from None
    if (prepared.part_bytes, prepared.subreddits) != (part_bytes, subreddits):
        raise UsageError(
            f"--output {output}: its parts were made with other options (see {PREPARE_NAME}); "
            "choose a new folder"
        )
    return {file_key(file): file for file in prepared.files}


def save_prepared(
    output: Path,
    part_bytes: int,
    subreddits: tuple[str, ...] | None,
    files: Mapping[FileKey, PreparedFile],
) -> None:
    """Write ``prepare.json``."""
    prepared = Prepared(
        part_bytes=part_bytes,
        subreddits=subreddits,
        files=tuple(files[key] for key in sorted(files)),
    )
    partial = output / f".{PREPARE_NAME}.partial"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(prepared), indent=2) + b"\n")
    partial.replace(output / PREPARE_NAME)


def is_whole(output: Path, earlier: PreparedFile, file: ForumFile) -> bool:
    """Whether the parts of a file are all there, and the file has the size it had."""
    folder = parts_folder(output, earlier)
    return earlier.bytes == file.size and all(
        (path := folder / part.name).is_file() and path.stat().st_size == part.bytes
        for part in earlier.result.parts
    )


def remove_parts(output: Path, file: ForumFile) -> None:
    """Remove what an interrupted run, or one over an older version of the file, has left."""
    stem, kind = split_name(file.name)
    parts = re.compile(rf"\.?{re.escape(stem)}\.part-\d{{5,}}{re.escape(kind)}\.zst(\.partial)?")
    folder = parts_folder(output, file)
    if folder.is_dir():
        for path in list(folder.iterdir()):
            if parts.fullmatch(path.name):
                path.unlink()
