"""The main job as a Beam graph: dump files in, Parquet shards and a run result out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipeline.curate import recipe as recipes
from pipeline.curate.recipe import Recipe
from pipeline.hub.preupload import PreuploadShards
from pipeline.hub.publish_target import PublishTarget
from schemas.audit import Rejected
from schemas.counts import RecordCount
from schemas.vote_model import VoteModel
from transforms.core import StepResult, ThreadBlock
from transforms.dedup import (
    DuplicateMatch,
    FindDuplicates,
    FindOverlaps,
    HashedTexts,
    HashTexts,
    QuestionClusters,
    ResolveDuplicates,
)
from transforms.filters import Decontaminate, FilterThreads, LabelLanguages
from transforms.pairing import FitVoteModel, PairedThread, PairThreads
from transforms.readers import SOURCES, ForumRows
from transforms.text.convert import ConvertToMarkdown
from transforms.threads.assemble import AssembleThreads, CountUnread
from transforms.threads.pack import PackThreads
from transforms.threads.sample import SampleThreads
from transforms.threads.takedown import TakedownIndex
from transforms.writers import CountRows, SaveResult, WriteTables


@dataclass(frozen=True)
class CurateJob:
    """All that the graph depends on: the recipe and where things are."""

    recipe: Recipe
    inputs: Mapping[str, Sequence[Any]]
    """What is to be read, by kind of forum (`pipeline.curate.inputs.Inputs.to_read`)."""
    problems: Sequence[Rejected]
    takedown: TakedownIndex
    """Which posts to leave out; what its entries find is counted."""
    folder: str
    partitions: int
    workers: int | None = None
    """How many there will be, as far as that is known; changes no output byte."""
    benchmarks: str | None = None
    """File of what benchmarks say (`transforms.filters.save`); threads that share text with them
    are excluded."""
    publish: PublishTarget | None = None
    """Where workers send their shards as they are written; None: nowhere."""
    vote_model: VoteModel | None = None
    """The one that was given; None: the run fits its own where the recipe needs one."""
    sample_threads: bool = False
    """Whether to save a sample of whole threads for the report."""


class Steps(list[StepResult]):
    """Results of the steps in order, from which follow the audit tables, counts and accounting."""

    def take(self, result: StepResult) -> beam.PCollection[Any]:
        """Add the result of the next step and return the rows that continue."""
        self.append(result)
        return result.kept


def build(pipeline: beam.Pipeline, job: CurateJob) -> None:
    """Add the whole job to ``pipeline``."""
    recipe, partitions = job.recipe, job.partitions
    steps = Steps()

    read = read_all(pipeline, job)
    assemble = AssembleThreads(job.takedown, recipe.reply_depth)
    assembled = (read.posts, read.metadata) | "Assemble threads" >> assemble
    threads = steps.take(assembled.threads)
    threads = threads | "Convert to Markdown" >> ConvertToMarkdown()
    if job.sample_threads:
        _ = threads | "Sample threads" >> SampleThreads(job.folder)
    filters = FilterThreads(
        recipes.filter_rules(recipe), {recipes.SETS: recipes.set_filter_rules(recipe)}
    )
    threads = steps.take(threads | "Filter threads" >> filters)
    if job.benchmarks is not None:
        rules = recipes.contamination_rules(recipe)
        threads = steps.take(threads | "Decontaminate" >> Decontaminate(job.benchmarks, rules))
    languages = LabelLanguages(recipes.language_rules(recipe), recipe.language_model)
    threads = steps.take(threads | "Label languages" >> languages)

    # Before the duplicates are found, so that the model is there when pairs are made.
    model: VoteModel | beam.PCollection[VoteModel] | None = job.vote_model
    if recipes.fits_vote_model(recipe):
        model = threads | "Fit vote model" >> FitVoteModel(job.folder)
    blocks = threads | "Pack threads" >> PackThreads(partitions)
    compared = None if recipe.dedup == "off" else recipes.minhash_rules(recipe)
    hashed = blocks | "Hash texts" >> HashTexts(compared, partitions)
    matches = find_duplicates(blocks, hashed, job)
    overlaps = (hashed.samples, hashed.prompts) | "Find overlaps" >> FindOverlaps(partitions)
    clusters = (matches, read.links, overlaps) | "Cluster questions" >> QuestionClusters(partitions)
    resolve = ResolveDuplicates(partitions, recipes.split_shares(recipe), recipe.seed)
    threads = steps.take((blocks, matches, clusters) | "Resolve duplicates" >> resolve)
    pairing = PairThreads(
        recipes.pairing_rules(recipe), {recipes.SETS: recipes.set_pairing_rules(recipe)}, model
    )
    pairs = steps.take(threads | "Pair threads" >> pairing)

    save(pairs, steps, read, assembled.found, job)


def find_duplicates(
    blocks: beam.PCollection[tuple[int, ThreadBlock]], hashed: HashedTexts, job: CurateJob
) -> beam.PCollection[DuplicateMatch]:
    """Find duplicates as the recipe asks; none at all where it switches deduplication off."""
    if job.recipe.dedup == "off":
        none = beam.Create([]).with_output_types(DuplicateMatch)
        return blocks.pipeline | "No duplicates" >> none
    rules = recipes.minhash_rules(job.recipe)
    return (blocks, hashed.buckets) | "Find duplicates" >> FindDuplicates(rules, job.partitions)


def save(
    pairs: beam.PCollection[PairedThread],
    steps: Sequence[StepResult],
    read: ForumRows,
    found: beam.PCollection[RecordCount],
    job: CurateJob,
) -> None:
    """Write all tables, send them where they are published, and save what the run counted."""
    unusable = pairs.pipeline | "List unusable inputs" >> beam.Create(
        list(job.problems)
    ).with_output_types(Rejected)
    rejected = (unusable, read.rejected, *(step.rejected for step in steps))
    duplicates = [step.duplicates for step in steps if step.duplicates is not None]
    # Each lot of rejects is packed where it arises; flattened first, they would be shuffled
    # one by one, and more than half of a forum's posts are rejects.
    shards = (pairs, *duplicates, *rejected) | "Write tables" >> WriteTables(
        job.folder,
        job.recipe.shard_bytes,
        ids_only=job.recipe.ids_only,
        conversational=recipes.is_conversational(job.recipe),
    )
    if job.publish is not None:
        target = job.publish
        _ = shards | "Send shards" >> PreuploadShards(
            job.folder, target.repo, target.endpoint, job.recipe.ids_only
        )
    # What leaves a stage is what its last step keeps.
    kept = {step.stage.value: step.kept for step in steps}
    counted = [
        *((stage, f"Count {stage}", rows) for stage, rows in kept.items()),
        *(("rejected", f"Count rejects {place}", rows) for place, rows in enumerate(rejected)),
        *(("duplicates", f"Count duplicates {at}", rows) for at, rows in enumerate(duplicates)),
    ]
    if job.takedown:
        unread = read.rejected | "Count unread posts" >> CountUnread(job.takedown)
        found = (found, unread) | "Collect what is taken down" >> beam.Flatten()
    counts = (
        read.counts,
        found,
        *(rows | label >> CountRows(name) for name, label, rows in counted),
    ) | "Collect counts" >> beam.Flatten()
    _ = (counts, shards) | "Save result" >> SaveResult(job.folder)


def read_all(pipeline: beam.Pipeline, job: CurateJob) -> ForumRows:
    """Read every input; what comes out no longer tells which kind of forum it is from."""
    rules = recipes.read_rules(job.recipe)
    lots: list[ForumRows] = [
        pipeline | f"Read {kind}" >> SOURCES[kind].read(inputs, rules, job.partitions, job.workers)
        for kind, inputs in sorted(job.inputs.items())
    ]
    if len(lots) == 1:
        return lots[0]
    return ForumRows(
        *(
            parts | f"All {name}" >> beam.Flatten()
            for name, parts in zip(ForumRows._fields, zip(*lots, strict=True), strict=True)
        )
    )
