"""Whether bytes are those that a manifest names."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from schemas.manifest import MANIFEST_NAME, Shard

READ_BYTES = 1 << 20


def sha256_of(file: BinaryIO, progress: Callable[[int], None] | None = None) -> str:
    """Hex digest of what is left in a file; ``progress`` hears the bytes of each read."""
    digest = hashlib.sha256()
    while chunk := file.read(READ_BYTES):
        digest.update(chunk)
        if progress is not None:
            progress(len(chunk))
    return digest.hexdigest()


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Hex digest of a local file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_fault(shard: Shard, size: int | None) -> str | None:
    """Say what is wrong with a shard by its size alone (bytes; None: there is no such file)."""
    if size is None:
        return f"{shard.path}: is missing"
    if size != shard.bytes:
        return (
            f"{shard.path}: has {size:,} bytes, {MANIFEST_NAME} says {shard.bytes:,}: it was cut "
            "off or overwritten"
        )
    return None


def digest_fault(shard: Shard, sha256: str) -> str | None:
    """Say that a shard's bytes are others than those of the manifest; None where they are equal."""
    if sha256 != shard.sha256:
        return (
            f"{shard.path}: was altered: its sha256 is {sha256}, {MANIFEST_NAME} says "
            f"{shard.sha256}"
        )
    return None


def shard_fault(folder: str | os.PathLike[str], shard: Shard) -> str | None:
    """Say what is wrong with a shard in a local dataset folder; None where it is whole."""
    path = Path(folder, shard.path)
    fault = size_fault(shard, path.stat().st_size if path.is_file() else None)
    return fault or digest_fault(shard, sha256_of_file(path))
