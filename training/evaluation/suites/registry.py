"""The suites by name, and where the files of each are found."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from schemas.checksums import sha256_of_file
from schemas.hub_names import is_path, parse_hub_revision
from training.errors import SuiteError
from training.evaluation.items import Item
from training.evaluation.suites import held_out, judged, pairs, ppe, reward_bench, rm_bench, rmb
from training.evaluation.suites.rows import SUFFIXES, read_rows
from training.evaluation.suites.suite import Suite


@dataclass(frozen=True)
class LoadedSuite:
    """A suite that was read."""

    suite: Suite
    location: str
    items: tuple[Item, ...]
    sha256: dict[str, str]
    """Digest by file name."""
    files: str = ""
    """Where they are on this machine: as given, or the folder of a download; '' for a dataset of
    this project."""


SUITES: Final[tuple[Suite, ...]] = (
    rm_bench.RM_BENCH,
    reward_bench.REWARD_BENCH,
    reward_bench.REWARD_BENCH_2,
    rmb.RMB,
    judged.JUDGE_BENCH,
    judged.LLMBAR,
    judged.EVAL_BIAS,
    ppe.HUMAN,
    ppe.CORRECTNESS,
    pairs.HH_RLHF,
    pairs.HELP_STEER_2,
    judged.PANDA_LM,
    pairs.RAG,
    pairs.PAIRS,
    held_out.HELD_OUT,
    held_out.VALIDATION,
    # At the end: the place in this table decides a suite's resamples.
    pairs.HH_HARMLESS,
    pairs.HH_HELPFUL,
)
"""In the order of the documentation."""
BY_NAME: Final = {suite.name: suite for suite in SUITES}


def load_suite(name: str, location: str, limit: int | None = None) -> LoadedSuite:
    """Read a suite.

    Args:
        name: of a suite; forms like ``RM_Bench`` are understood.
        location: a file, a folder (all files in it that can be read), a pattern, or
            ``owner/name[@revision]`` of a dataset on the Hub; '' for the suite's own one there.
        limit: so many items only, spread over the suite, for a trial.

    Raises SuiteError.
    """
    suite = BY_NAME.get(name.lower().replace("_", "-"))
    if suite is None:
        raise SuiteError(f"no benchmark {name!r}; there are {', '.join(BY_NAME)}")
    if suite.read is None:
        items = _spread(held_out.read_split(location, suite.split, suite.name), limit)
        digests: dict[str, str] = {}
        files = ""
    else:
        paths = find_files(suite, location)
        digests = {_short(path, paths): sha256_of_file(path) for path in paths}
        local = Path(location).exists() or glob.has_magic(location)
        files = location if local else os.path.commonpath([path.parent for path in paths])
        rows = (row for path in paths for row in read_rows(path))
        items = _spread(suite.read(rows), limit)
    if not items:
        raise SuiteError(f"{suite.name}={location}: no rows to score")
    return LoadedSuite(suite, location or suite.hub, items, digests, files)


def find_files(suite: Suite, location: str) -> list[Path]:
    """The suite's files at a location, ordered; those on the Hub are downloaded.

    Raises SuiteError where there are none.
    """
    path = Path(location)
    if location and path.is_file():
        return [path]
    if location and path.is_dir():
        every = [file for file in path.rglob("*") if file.is_file()]
        fitting = (
            [file for file in every if fnmatch(file.name, pattern)] for pattern in suite.local_files
        )
        found = next(filter(None, fitting), every)
        found = [file for file in found if not {"CaseStudy", ".git"} & {*file.parts}]
    elif location and glob.has_magic(location):
        found = [Path(name) for name in glob.glob(location, recursive=True)]  # noqa: PTH207 absolute ones, too
    else:
        hub = parse_hub_revision(location or suite.hub)
        if hub is None or is_path(location):
            hint = "" if location else "; its files are not on the Hub: name them"
            raise SuiteError(f"{suite.name}={location}: no such file or folder{hint}")
        folder = _download(hub.repo, hub.revision, suite)
        found = [file for file in folder.rglob("*") if file.is_file()]
    paths = sorted(file for file in found if file.name.endswith(SUFFIXES))
    if not paths:
        raise SuiteError(f"{suite.name}={location}: no file there ends in {', '.join(SUFFIXES)}")
    return paths


def _download(repository: str, revision: str | None, suite: Suite) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    patterns = list(suite.hub_files) if repository == suite.hub else ["*.parquet", "*.json*"]
    named = f"{repository}@{revision}" if revision else repository
    try:
        return Path(
            snapshot_download(
                repository, repo_type="dataset", revision=revision, allow_patterns=patterns
            )
        )
    except RepositoryNotFoundError:
        why = "no dataset of that name there, or none that you may read (set HF_TOKEN)"
    except RevisionNotFoundError:
        why = f"the dataset has no revision {revision}"
    except Exception as error:  # the client's errors have several roots
        why = next((line for line in str(error).splitlines() if line), type(error).__name__)
    raise SuiteError(f"{suite.name}={named}: no file here, and on the Hub: {why}") from None


def _spread(items: Iterator[Item], limit: int | None) -> tuple[Item, ...]:
    """At most so many items, spread evenly: files are often sorted by subset."""
    found = tuple(items)
    if limit is None or len(found) <= limit:
        return found
    return tuple(found[place * len(found) // limit] for place in range(limit))


def _short(path: Path, paths: list[Path]) -> str:
    """The file's name, with as many folders as tell it from the others."""
    for depth in range(1, len(path.parts)):
        name = "/".join(path.parts[-depth:])
        if sum("/".join(other.parts[-depth:]) == name for other in paths) == 1:
            return name
    return str(path)
