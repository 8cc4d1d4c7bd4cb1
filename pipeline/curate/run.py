"""One run of the main job: check, read, run, finalize, and only then make the folder appear."""

import contextlib
import functools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.console import print_warning
from pipeline.curate import recipe as recipes
from pipeline.curate.benchmark_files import read_benchmarks
from pipeline.curate.checks import check_inputs, check_languages, check_output, is_same
from pipeline.curate.finalize import (
    finalize_dataset,
    take_result,
    take_sample,
    take_vote_model,
)
from pipeline.curate.graph import CurateJob, build
from pipeline.curate.input_watch import check_unchanged, fingerprints_beside_inputs, list_inputs
from pipeline.curate.inputs import Inputs, find_inputs
from pipeline.curate.options import CurateOptions
from pipeline.curate.staging import fetch, fetch_result, remote_folder, upload_inputs
from pipeline.curate.takedown import TakedownList, read_takedown
from pipeline.curate.takedown_summary import (
    FoundEntry,
    found_entries,
    refuse_unmatched,
    summary,
    write_entries,
)
from pipeline.dataset.atomic import folder_of_run, locked, recover, replace_folder
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.run_metadata import (
    Stopwatch,
    delete_run_metadata,
    run_metadata_folder,
    save_run_metadata,
)
from pipeline.errors import UsageError
from pipeline.hub.permissions import check_target
from pipeline.hub.publish_target import PublishTarget
from pipeline.runners.dispatch import check_runner, run_on, workers_for
from schemas.checksums import Fingerprint, sha256_of_file
from schemas.machine import usable_cores
from schemas.manifest import MANIFEST_NAME, Manifest
from schemas.small_files import SmallFileError, fault_of, read_small
from schemas.vote_model import VoteModel, decode_vote_model
from transforms.filters.decontaminate import Benchmarks, save
from transforms.pairing import VOTE_MODEL_NAME
from transforms.readers.base import Unpacking

PARTITION_BYTES = 16 * 1024 * 1024
"""Input bytes per partition: what one unit of joined work holds in memory, uncompressed."""

MIN_PARTITIONS = 16
"""Enough for a few local workers to be busy to the end."""

MAX_PARTITIONS = 1024
"""Every range of input makes a block for every partition, so more of them mean crumbs."""


def curate(options: CurateOptions) -> Manifest:
    """Make the dataset folder that ``options`` describe and return its manifest.

    The folder appears at the very end, complete, under its name; before that everything is in
    ``.NAME.partial-…`` beside it. Raises UsageError for what the user can fix, HubError before any
    work is done where the result could not be published, PipelineError and WorkerDiedError when the
    run fails, InputChangedError where somebody wrote what it read, and AccountingError when records
    were lost.
    """
    output = check_output(options)
    check_languages(options)
    check_runner(options)
    run = prepare_run(options)
    with staging_folder(output, options) as staging:
        watch = Stopwatch()
        with folder_of_run(output, "work", options.local_work_dir) as work:
            listed = list_inputs(options.recipe)
            inputs = read_inputs(run, work, watch)
            if options.on_existing == "resume" and is_same(output, options, inputs):
                _say(f"{options.output} is finished and equal: nothing to do")
                return DatasetFolder(output).manifest
            make_shards(run, inputs, staging, work, watch)
            with watch.step("compare the inputs"):
                check_unchanged(
                    options.recipe, listed, {**inputs.fingerprints, **run.beside_inputs}
                )
        sample = take_sample(staging)
        result = take_result(staging)
        model = run.vote_model or take_vote_model(staging)
        found = found_entries(run.takedown, result.counts)
        unmatched = refuse_unmatched(run.takedown.path, found, allow=options.allow_unmatched)
        with watch.step("add up and check"):
            manifest = finalize_dataset(staging, options, inputs, output.name, result, model)
        check_output(options)
        replace_folder(staging, output)
        delete_run_metadata(output)
        if options.report:
            _keep_for_report(output, watch, sample)
    if unmatched is not None:
        print_warning(unmatched)
    if found:
        _say_found(run.takedown, found, output, options)
    return manifest


@dataclass(frozen=True)
class CurateRun:
    """What a run is told, and what it has read before its inputs."""

    options: CurateOptions
    publish: PublishTarget | None
    takedown: TakedownList
    benchmarks: Benchmarks | None
    vote_model: VoteModel | None
    beside_inputs: Mapping[str, Fingerprint]
    """What these were read from, as it was before."""


def prepare_run(options: CurateOptions) -> CurateRun:
    """Ask the Hub whether the result may go there, and read the small files that are named.

    Raises HubError and UsageError.
    """
    recipe = options.recipe
    publish = options.publish
    if publish is not None:
        publish = check_target(publish, make_repo=not options.is_local, say=_say)
    prints = fingerprints_beside_inputs(recipe)
    return CurateRun(
        options=options,
        publish=publish,
        takedown=read_takedown(Path(recipe.takedown)) if recipe.takedown else TakedownList(),
        benchmarks=read_benchmarks(recipe.decontaminate, recipes.contamination_rules(recipe)),
        vote_model=read_vote_model(recipe.vote_model),
        beside_inputs=prints,
    )


def read_vote_model(path: str | None) -> VoteModel | None:
    """Read the file that ``--vote-model`` names; raises UsageError."""
    if path is None:
        return None
    try:
        return decode_vote_model(read_small(path))
    except (OSError, SmallFileError) as error:
        raise UsageError(f"--vote-model {path}: {fault_of(error)}") from None


@contextlib.contextmanager
def staging_folder(output: Path, options: CurateOptions) -> Iterator[Path]:
    """Lock ``output`` and yield the folder that becomes the dataset.

    Raises BusyError, and UsageError for an output that may not be written.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output):
        recover(output, options.local_work_dir)
        check_output(options)  # another run may have ended since, or a dataset have been put back
        with folder_of_run(output, "partial") as staging:
            yield staging


def read_inputs(run: CurateRun, work: Path, watch: Stopwatch) -> Inputs:
    """Unpack, fingerprint and check the inputs; raises UsageError for what cannot be used."""
    options = run.options
    if not options.quiet:
        _say("unpacking and fingerprinting the inputs")
    with watch.step("unpack and fingerprint"):
        how = unpacking(options.workers, quiet=options.quiet)
        inputs = find_inputs(options.recipe, work, how, run.beside_inputs)
    check_inputs(inputs, options)
    return inputs


def unpacking(workers: int | None, *, quiet: bool) -> Unpacking:
    """How archives are unpacked, which is done here, wherever the workers are.

    ``workers``: None for as many as there are cores for this process.
    """
    return Unpacking(workers or usable_cores(), None if quiet else _say)


def make_shards(
    run: CurateRun, inputs: Inputs, staging: Path, work: Path, watch: Stopwatch
) -> None:
    """Run the pipeline, on whichever runner; its shards and result are in ``staging`` then."""
    # Once: the graph is cut for the workers that there will be.
    held = inputs.bytes_to_hold
    workers = workers_for(run.options, held, run.options.partitions or default_partitions(held))
    options = replace(run.options, workers=workers)
    run = replace(run, options=options)
    with remote_folder(options.work_dir, Path(options.output).resolve().name) as remote:
        job = make_job(run, inputs, remote, staging, work)
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
            if recipes.fits_vote_model(options.recipe):
                fetch(f"{job.folder}/{VOTE_MODEL_NAME}", staging / VOTE_MODEL_NAME)


def make_job(
    run: CurateRun, inputs: Inputs, remote: str | None, staging: Path, work: Path
) -> CurateJob:
    """What the graph is built from; the inputs are sent to ``remote`` where workers read there."""
    options = run.options
    where = inputs
    if remote is not None:
        where = upload_inputs(inputs, remote, quiet=options.quiet)
    return CurateJob(
        recipe=options.recipe,
        inputs=where.to_read,
        problems=inputs.problems,
        takedown=run.takedown.index,
        benchmarks=save_benchmarks(run.benchmarks, remote or str(work)),
        vote_model=run.vote_model,
        folder=str(staging) if remote is None else f"{remote}/dataset",
        partitions=options.partitions or default_partitions(inputs.bytes_to_hold),
        workers=options.workers,
        publish=None if options.is_local else run.publish,
        sample_threads=options.report and not options.recipe.ids_only and remote is None,
    )


def save_benchmarks(benchmarks: Benchmarks | None, folder: str) -> str | None:
    """Put what benchmarks say beside the unpacked inputs, where workers read it."""
    if benchmarks is None:
        return None
    path = f"{folder}/benchmarks.npz"
    save(benchmarks, path)
    return path


def default_partitions(input_bytes: int) -> int:
    """Choose how many pieces the joined work is cut into; changes no output byte."""
    wanted = math.ceil(input_bytes / PARTITION_BYTES)
    return min(max(MIN_PARTITIONS, wanted), MAX_PARTITIONS)


def _keep_for_report(output: Path, watch: Stopwatch, sample: bytes | None) -> None:
    """Keep, beside the dataset, what only the run knows; the dataset is finished without it."""
    try:
        save_run_metadata(output, sha256_of_file(output / MANIFEST_NAME), watch.steps, sample)
    except OSError as error:
        _say(f"the report will lack timings, votes over time and rejected: {error}")


def _say_found(
    takedown: TakedownList, found: Sequence[FoundEntry], output: Path, options: CurateOptions
) -> None:
    """Say what each entry has removed; who asked for it is no matter of the dataset's readers."""
    local = None
    try:
        local = write_entries(run_metadata_folder(output), found)
    except OSError as error:
        print_warning(f"what the entries of {takedown.path} found is not kept: {error}")
    if not options.quiet:
        _say(summary(takedown.path, found, local))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
