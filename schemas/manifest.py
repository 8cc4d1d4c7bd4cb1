"""The manifest of a dataset folder: what is in it, from what, how, and where every record went."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec

from schemas.fields import doc
from schemas.pair import SPLITS
from schemas.small_files import SmallFileError, decode_json
from schemas.vote_model import VoteModel

MANIFEST_VERSION = "1.2.0"
MANIFEST_NAME = "manifest.json"

TABLES = ("data", "duplicates", "rejected")
"""Kinds of shards; those of each lie in a folder of that name."""

EXPORTS_TABLE = "exports"
"""Folder of a version at the Hub that holds what trainers read, each export in a folder of its
own; no dataset folder has it, and no manifest names its files (`schemas.exports` does)."""

_MAX = 2**62
Count = Annotated[int, msgspec.Meta(ge=0, le=_MAX)]
_VERSION = r"^[0-9]{1,9}\."


def _count(description: str) -> msgspec.Meta:
    """Describe a number of things; sums of them fit into 64 bits."""
    return doc(description, ge=0, le=_MAX)


_SHARD_PATH = re.compile(rf"({'|'.join(TABLES)})/[\w-]+\.parquet", re.ASCII)


class ManifestError(ValueError):
    """A manifest that cannot be used; ``problems`` are the findings, one sentence each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class NewerManifestError(ManifestError):
    """A manifest of a layout that only a newer release reads."""


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of the dataset."""

    path: Annotated[str, doc("relative to the dataset folder, with '/'")]
    table: Annotated[str, doc("'data', 'duplicates' or 'rejected'")]
    split: Annotated[str | None, doc("split of a data shard; null for the other tables")]
    rows: Annotated[int, _count("rows in the file, > 0")]
    bytes: Annotated[int, _count("size of the file")]
    sha256: Annotated[str, doc("hex digest of the file")]


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One input file as the user gave it."""

    site: Annotated[str, doc("forum it belongs to; '' when it could not be told")]
    kind: Annotated[
        str,
        doc(
            "kind of forum, e.g. 'stackexchange'; '' for a takedown list, 'decontaminate' for "
            "a benchmark, 'vote_model' for such a file"
        ),
    ] = ""
    name: Annotated[str, doc("file name without its folder, so manifests of two machines agree")]
    bytes: Annotated[int, _count("size in bytes")]
    sha256: Annotated[str, doc("hex digest; '' when the file could not be read")]
    used: Annotated[bool, doc("false: skipped or unreadable, see `note`")] = True
    note: Annotated[str, doc("why it was not used; ''")] = ""


class StageCount(msgspec.Struct, frozen=True, kw_only=True):
    """Posts through one stage: entered = left + duplicates + sum(rejected)."""

    stage: Annotated[str, doc("a Stage value")]
    entered: Annotated[int, _count("posts that came in")]
    left: Annotated[int, _count("posts that continue; after 'pair': posts in at least one pair")]
    duplicates: Annotated[int, _count("posts removed as duplicates")] = 0
    rejected: Annotated[dict[str, Count], doc("posts removed, by Reason")] = {}


POSTS_REPAIRED: Final = "Posts.repaired"
"""Among the other records: posts whose characters were not all as XML wants them."""


class Accounting(msgspec.Struct, frozen=True, kw_only=True):
    """Where every record went: posts_read = posts_kept + duplicates + rejected."""

    posts_read: Annotated[int, _count("posts in all inputs, malformed ones included")]
    posts_kept: Annotated[int, _count("posts in at least one pair")]
    duplicates: Annotated[int, _count("rows of the duplicates table")]
    rejected: Annotated[int, _count("post rows of the rejected table")]
    pairs: Annotated[dict[str, Count], doc("pairs by split")]
    threads: Annotated[dict[str, Count], doc("threads with a pair, by split")]
    stages: Annotated[tuple[StageCount, ...], doc("the funnel, in order")]
    other_records: Annotated[
        dict[str, Count],
        doc("votes, users, links, history rows, posts with repaired characters: counts"),
    ]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``manifest.json``. Holds no clock: equal runs, equal bytes. Paths stand in it as given."""

    manifest_version: Annotated[str, doc("version of this file's layout")] = MANIFEST_VERSION
    pair_schema_version: Annotated[str, doc("version of the pair columns", pattern=_VERSION)]
    recipe: Annotated[dict[str, Any], doc("every option, resolved; feed it back with --config")]
    versions: Annotated[dict[str, str], doc("packages whose version can change output bytes")]
    inputs: Annotated[tuple[InputFile, ...], doc("fingerprints, ordered by (site, name)")]
    accounting: Annotated[Accounting, doc("where every record went")]
    publishable: Annotated[bool, doc("false when a source's licence does not allow publishing")]
    not_publishable_because: Annotated[
        tuple[str, ...], doc("a sentence per source; empty when `publishable`")
    ] = ()
    ids_only: Annotated[bool, doc("true: the data shards hold ids and labels, no texts")] = False
    vote_model: Annotated[
        VoteModel | None,
        doc("the effects that the run fitted or was given; null where it used no vote model"),
    ] = None
    shards: Annotated[tuple[Shard, ...], doc("every Parquet file, ordered by path")]


class _Header(msgspec.Struct):
    """The one thing that every layout of a manifest has."""

    manifest_version: Annotated[str, msgspec.Meta(pattern=_VERSION)]


def decode_manifest(content: bytes) -> Manifest:
    """Decode and check the bytes of ``manifest.json``.

    Raises ManifestError where they are not a manifest, are one of a newer layout
    (:class:`NewerManifestError`), or name a shard twice or outside of its table's folder: a
    manifest comes from outside, and what it names is written to when it is fetched.
    """
    try:
        theirs = decode_json(content, _Header).manifest_version
        if major(theirs) > major(MANIFEST_VERSION):
            raise NewerManifestError(
                f"{MANIFEST_NAME} has version {theirs}, and this forumprefs reads up to "
                f"{major(MANIFEST_VERSION)}.x; install a newer one"
            )
        manifest = decode_json(content, Manifest)
    except SmallFileError as error:
        raise ManifestError(f"{MANIFEST_NAME}: {error}") from None
    problems = []
    seen: set[str] = set()
    for shard in manifest.shards:
        match = _SHARD_PATH.fullmatch(shard.path)
        if match is None or match[1] != shard.table:
            problems.append(f"{MANIFEST_NAME}: {shard.path!r} is not a valid path of a shard")
        if shard.path in seen:
            problems.append(f"{MANIFEST_NAME}: names {shard.path} twice")
        seen.add(shard.path)
        if shard.split not in (SPLITS if shard.table == "data" else (None,)):
            problems.append(f"{MANIFEST_NAME}: {shard.path} names the split {shard.split!r:.40}")
    problems += [f"{MANIFEST_NAME}: {problem}" for problem in _odd_values(manifest)]
    if problems:
        raise ManifestError(*problems)
    return manifest


def _odd_values(manifest: Manifest) -> Iterator[str]:
    """What is of the right type and could still be nothing that we write."""
    for name, value in manifest.recipe.items():
        values = value if isinstance(value, list) else [value]
        if not all(one is None or isinstance(one, str | int | float) for one in values):
            yield f"recipe.{name!r:.60} is no value of an option"
    for key in manifest.accounting.other_records:
        if key.startswith("rejected:") and key.count(":") != 3:
            yield f"accounting.other_records has {key!r:.60}, not rejected:RECORD:STAGE:REASON"


def major(version: str) -> int:
    """Return the first number of a version such as '1.2.0'."""
    return int(version.partition(".")[0])
