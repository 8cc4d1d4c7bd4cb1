"""Git's objects: names of blobs, trees and commits, and the pointers of Git LFS."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


def object_id(kind: str, body: bytes) -> str:
    """The SHA-1 by which git names an object."""
    return hashlib.sha1(f"{kind} {len(body)}\0".encode() + body).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """What git stores in place of a file kept in LFS."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )


@dataclass(frozen=True)
class Entry:
    """A file of a tree: its git name, its size in bytes, and its SHA-256 when it is in LFS."""

    oid: str
    size: int
    sha256: str | None = None

    @classmethod
    def regular(cls, content: bytes) -> "Entry":
        return cls(object_id("blob", content), len(content))

    @classmethod
    def large(cls, sha256: str, size: int) -> "Entry":
        return cls(object_id("blob", pointer(sha256, size)), size, sha256)

    @property
    def pointer_size(self) -> int:
        return len(pointer(self.sha256 or "", self.size))


@dataclass(frozen=True)
class Commit:
    """A commit with the whole list of its files."""

    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    seconds: int
    files: Mapping[str, Entry]

    @property
    def date(self) -> str:
        return iso(self.seconds)

    @classmethod
    def of(
        cls,
        parent: "Commit | None",
        files: Mapping[str, Entry],
        title: str,
        message: str,
        author: str,
        seconds: int,
    ) -> "Commit":
        """Make a commit and name it as git would."""
        stamp = f"{author} <{author}@users.noreply.hub> {seconds} +0000"
        lines = [f"tree {tree_ids(files)['']}"]
        lines += [] if parent is None else [f"parent {parent.oid}"]
        lines += [f"author {stamp}", f"committer {stamp}", "", title]
        lines += ["", message] if message else []
        oid = object_id("commit", ("\n".join(lines) + "\n").encode())
        previous = None if parent is None else parent.oid
        return cls(oid, previous, title, message, author, seconds, dict(files))


def iso(seconds: int) -> str:
    """A time as the Hub writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def tree_ids(files: Mapping[str, Entry]) -> dict[str, str]:
    """The git name of every folder, by path; the root is the empty path."""
    children: dict[str, dict[str, str]] = {"": {}}
    for path, entry in files.items():
        folder, _, name = path.rpartition("/")
        children.setdefault(folder, {})[name] = entry.oid
        while folder:
            folder = folder.rpartition("/")[0]
            children.setdefault(folder, {})
    names: dict[str, str] = {}
    for folder in sorted(children, key=lambda path: (-path.count("/"), path == "", path)):
        listed = [(name, f"100644 {name}", oid) for name, oid in children[folder].items()]
        for child, oid in names.items():
            above, _, name = child.rpartition("/")
            if above == folder:
                # git orders a folder as if its name ended in a slash
                listed.append((name + "/", f"40000 {name}", oid))
        body = b"".join(
            head.encode() + b"\0" + bytes.fromhex(oid)
            for _, head, oid in sorted(listed, key=lambda row: row[0].encode())
        )
        names[folder] = object_id("tree", body)
    return names
