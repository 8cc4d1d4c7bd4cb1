"""One run of the main job: check, read, run, add up, and only then make the folder appear."""

import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.curate import recipe as recipes
from pipeline.curate.benchmark_files import read_benchmarks
from pipeline.curate.finalize import finish, package_versions, read_manifest, take_sample
from pipeline.curate.graph import CurateJob, build
from pipeline.curate.inputs import Inputs, find_inputs
from pipeline.curate.options import CurateOptions
from pipeline.curate.staging import fetch_result, remote_folder, upload_inputs
from pipeline.curate.takedown import read_takedown
from pipeline.dataset.atomic import folder_of_run, locked, recover, replace_folder
from pipeline.dataset.licenses import unlicensed_sources
from pipeline.dataset.run_metadata import Stopwatch, forget, save_notes
from pipeline.errors import NothingToReadError, OutputExistsError, RefusedError, UsageError
from pipeline.hub.permissions import check_target
from pipeline.runners.dispatch import check_runner, run_on
from schemas.manifest import MANIFEST_NAME, Manifest
from transforms.filters.decontaminate import Benchmarks, save
from transforms.filters.language import known_languages
from transforms.pairing import VoteMode
from transforms.readers.base import ForumFile
from transforms.readers.registry import SOURCES
from transforms.writers.parquet import sha256_of

PARTITION_BYTES = 16 * 1024 * 1024
"""Input bytes per partition: what one unit of joined work holds in memory, uncompressed."""

MIN_PARTITIONS = 16
"""Enough for a few local workers to be busy to the end."""

MAX_PARTITIONS = 1024
"""Every range of input makes a block for every partition, so more of them mean crumbs."""


def curate(options: CurateOptions) -> Manifest:
    """Make the dataset folder that ``options`` describe and return its manifest.

    The folder appears at the very end, complete, under its name; before that everything is in
    ``.NAME.partial-…`` beside it. Raises UsageError for what the user can mend, HubError before any
    work is done where the result could not be published,
    pipeline.runners.local.PipelineError and WorkerDiedError when the run fails, and
    pipeline.dataset.accounting.AccountingError when records were lost.
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
        recover(output, options.local_work_dir)
        check_output(options)  # another run may have ended since, or a dataset have been put back
        watch = Stopwatch()
        with folder_of_run(output, "partial") as staging:
            with folder_of_run(output, "work", options.local_work_dir) as work:
                if not options.quiet:
                    print("unpacking and fingerprinting the inputs", file=sys.stderr, flush=True)
                with watch.step("unpack and fingerprint"):
                    inputs = find_inputs(recipe, work)
                check_inputs(inputs, options)
                if options.on_existing == "resume" and is_same(output, options, inputs):
                    print(f"{options.output} is finished and equal: nothing to do", file=sys.stderr)
                    return read_manifest(output)
                with remote_folder(options.work_dir, output.name) as remote:
                    where = inputs
                    if remote is not None:
                        where = upload_inputs(inputs, remote, quiet=options.quiet)
                    job = CurateJob(
                        recipe=recipe,
                        sites=where.sites,
                        forum_files=where.forum_files,
                        problems=inputs.problems,
                        takedown=takedown,
                        benchmarks=save_benchmarks(benchmarks, remote or str(work)),
                        folder=str(staging) if remote is None else f"{remote}/dataset",
                        partitions=options.partitions or default_partitions(inputs.bytes_to_hold),
                        publish=None if options.is_local else publish,
                        sample_threads=options.report and not recipe.ids_only and remote is None,
                    )
                    spans = run_on(
                        functools.partial(build, job=job),
                        options,
                        work=work,
                        input_bytes=inputs.bytes_to_read,
                        bytes_to_hold=inputs.bytes_to_hold,
                    )
                    for name, span in spans.items():
                        watch.seen(name, *span)
                    if remote is not None:
                        fetch_result(job.folder, staging, quiet=options.quiet)
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
    if recipes.pairing_rules(options.recipe).votes is VoteMode.COMMON_WINDOW:
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
