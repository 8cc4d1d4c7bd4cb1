"""``forumprefs hydrate``: a dataset of ids and labels becomes the dataset with its texts."""

import functools
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import apache_beam as beam
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commands.hydrate_result import check_filled, filled_manifest, notes_on
from pipeline.curate import recipe as recipes
from pipeline.curate.checks import check_output
from pipeline.curate.finalize import check_shards, package_versions, write_documents
from pipeline.curate.graph import CurateJob, read_all
from pipeline.curate.inputs import Inputs, find_inputs
from pipeline.curate.options import CurateOptions
from pipeline.curate.recipe import Recipe
from pipeline.dataset.accounting import total_stats
from pipeline.dataset.atomic import folder_of_run, locked, recover, replace_folder
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.licenses import unlicensed_texts
from pipeline.errors import (
    OutputExistsError,
    RecipeError,
    UsageError,
)
from pipeline.runners.dispatch import workers_for
from pipeline.runners.local import run_local
from pipeline.runners.options import RunnerOptions
from schemas.audit import Duplicate, Rejected
from schemas.checksums import shard_fault
from schemas.ids import content_hash
from schemas.machine import usable_cores
from schemas.manifest import MANIFEST_NAME, Manifest, Shard
from schemas.pair import PAIR_SCHEMA_VERSION
from transforms.hydrate.fill_texts import (
    FilledShard,
    FillTexts,
    load_filled,
    save_filled,
)
from transforms.hydrate.ids_shards import IdsShard, needed_posts
from transforms.readers.base import Unpacking
from transforms.writers.counts import RunResult
from transforms.writers.parquet import ShardReport
from transforms.writers.stats import duplicate_stats


@dataclass(frozen=True)
class HydrateOptions:
    """Everything ``forumprefs hydrate`` was told."""

    dataset: Path
    input: tuple[str, ...]
    output: str
    workers: int | None = None
    work_dir: Path | None = None
    allow_missing: bool = False
    overwrite: bool = False
    quiet: bool = False
    verbose: bool = False


def hydrate_dataset(options: HydrateOptions) -> tuple[Manifest, list[str]]:
    """Make the folder with texts; returns its manifest and what a person should know.

    The folder appears at the very end, complete. Raises HydrateError, UsageError, and what
    pipeline.runners.local.run_local raises. Memory: per worker, the posts of one shard.
    """
    output = _check_output(options)
    folder = DatasetFolder(options.dataset)
    manifest = folder.manifest
    _check_dataset(manifest, options.dataset)
    folder.check_rows()
    recipe = _reading_recipe(manifest, options.input)
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output):
        recover(output, options.work_dir)
        _check_output(options)  # a dataset may have been put back
        with folder_of_run(output, "partial") as staging:
            with folder_of_run(output, "work", options.work_dir) as work:
                shards, reports = read_dataset(options.dataset, manifest, staging, work)
                inputs = _find_inputs(recipe, work, options)
                filled = _run(shards, recipe, inputs, staging, work, options)
                if not options.allow_missing:
                    check_filled(filled, manifest, inputs)
                reports += [report for result in filled for report in result.reports]
                stats = total_stats(RunResult(counts=(), shards=tuple(reports)))
                reasons = unlicensed_texts(stats, ids_only=False)
                made = filled_manifest(manifest, reports, filled, reasons)
                check_shards(staging, reports, quiet=options.quiet)
                write_documents(staging, made, stats, output.name)
                notes = notes_on(made, inputs, filled, package_versions())
                notes += _load_problems(work)
            _check_output(options)
            replace_folder(staging, output)
    return made, notes


def _check_output(options: HydrateOptions) -> Path:
    try:
        return check_output(
            CurateOptions(
                recipe=Recipe(),
                output=options.output,
                on_existing="overwrite" if options.overwrite else "refuse",
            )
        )
    except OutputExistsError:
        if not (Path(options.output) / MANIFEST_NAME).is_file():
            raise
        message = f"--output {options.output}: there is a dataset already; --overwrite replaces it"
        raise OutputExistsError(message) from None


def _check_dataset(manifest: Manifest, folder: Path) -> None:
    if not manifest.ids_only:
        raise UsageError(f"{folder}: has its texts; only a dataset made with --ids-only has not")
    if manifest.pair_schema_version != PAIR_SCHEMA_VERSION:
        raise UsageError(
            f"{folder}: its columns are of version {manifest.pair_schema_version}, this program "
            f"writes {PAIR_SCHEMA_VERSION}; use the forumprefs that made it "
            f"({manifest.versions.get('forumprefs', 'unknown')})"
        )


def _reading_recipe(manifest: Manifest, given: Sequence[str]) -> Recipe:
    """The dataset's recipe, with the inputs that are to be read now."""
    values = manifest.recipe | {"ids_only": False, "takedown": None, "decontaminate": []}
    try:
        return recipes.make(values | {"input": list(given)} if given else values)
    except RecipeError as error:
        raise UsageError(str(error)) from None


def read_dataset(
    folder: Path, manifest: Manifest, staging: Path, work: Path
) -> tuple[list[IdsShard], list[ShardReport]]:
    """List the posts that data shards need, and copy the other tables with their statistics.

    Raises UsageError when a file is not what the manifest says.
    """
    shards: list[IdsShard] = []
    reports: list[ShardReport] = []
    for shard in manifest.shards:
        file = folder / shard.path
        if fault := shard_fault(folder, shard):
            raise UsageError(f"{folder}: {fault}; get the dataset again")
        if shard.table == "data":
            start, keys = needed_posts(str(file))
            needed = work / f"needed-{len(shards)}.npy"
            np.save(needed, keys)
            shards.append(IdsShard(shard=shard, file=str(file), needed=str(needed), start=start))
            continue
        target = staging / shard.path
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
        reports.append(ShardReport(shard=shard, stats=dict(audit_stats(file, shard))))
    return shards, reports


def audit_stats(file: Path, shard: Shard) -> Counter[str]:
    """Count the rows of a shard of the duplicates or rejected table as their writer does."""
    stats: Counter[str] = Counter()
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches():
            if shard.table == "duplicates":
                values = [list(row.values()) for row in batch.to_pylist()]
                try:
                    stats.update(duplicate_stats(msgspec.convert(values, list[Duplicate])))
                except msgspec.ValidationError as error:
                    raise UsageError(f"{file}: {error}") from None
                continue
            # By value rather than by row: of a large forum there are very many.
            counts = (
                pa.table(batch)
                .group_by(["record", "stage", "reason"])
                .aggregate([([], "count_all")])
            )
            for row in counts.to_pylist():
                key = f"rejected:{row['record']}:{row['stage']}:{row['reason']}"
                stats[key] += row["count_all"]
    return stats


def _find_inputs(recipe: Recipe, work: Path, options: HydrateOptions) -> Inputs:
    if not options.quiet:
        print("unpacking and fingerprinting the inputs", file=sys.stderr, flush=True)
    try:
        say = None if options.quiet else functools.partial(print, file=sys.stderr, flush=True)
        inputs = find_inputs(recipe, work, Unpacking(options.workers or usable_cores(), say))
    except UsageError as error:
        if options.input:
            raise
        message = f"{error}; the dataset was made from it: name your copy with --input KIND=PATH"
        raise UsageError(message) from None
    inputs.check_any()
    # Votes, users and the rest decided the labels, which are there.
    texts = {
        kind: tuple(item.texts_only() for item in items) for kind, items in inputs.to_read.items()
    }
    return replace(inputs, to_read=texts)


def _run(
    shards: Sequence[IdsShard],
    recipe: Recipe,
    inputs: Inputs,
    staging: Path,
    work: Path,
    options: HydrateOptions,
) -> list[FilledShard]:
    # A worker holds the posts of one shard.
    runner = RunnerOptions(workers=options.workers, quiet=options.quiet)
    workers = workers_for(runner, inputs.bytes_to_hold, max(1, len(shards)))
    job = CurateJob(
        recipe=recipe,
        inputs=inputs.to_read,
        problems=inputs.problems,
        takedown={},
        folder=str(staging),
        partitions=1,
        workers=workers,
    )
    fill = FillTexts(shards, str(staging), conversational=recipes.is_conversational(recipe))

    def build(pipeline: beam.Pipeline) -> None:
        read = read_all(pipeline, job)
        filled = read.posts | "Fill texts" >> fill
        _ = filled | "Save" >> beam.MapTuple(functools.partial(save_filled, work))
        _ = read.rejected | "Save problems" >> beam.Map(functools.partial(_save_problem, work))

    run_local(
        build,
        workers=workers or 1,
        input_bytes=inputs.bytes_to_read,
        quiet=options.quiet,
        verbose=options.verbose,
        shuffle_folder=work,
    )
    return load_filled(work, len(shards))


def _save_problem(work: Path, rejected: Rejected) -> None:
    """Remember a file that was not read to its end."""
    if rejected.record == "file":
        line = f"{rejected.id}: {rejected.detail}"
        (work / f"problem-{content_hash(line).hex()}").write_text(line, encoding="utf-8")


def _load_problems(work: Path) -> list[str]:
    texts = (path.read_text(encoding="utf-8") for path in work.glob("problem-*"))
    return sorted(f"not read to its end: {text}" for text in texts)
