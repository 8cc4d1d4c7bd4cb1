"""The main job as a Beam graph: dump files in, Parquet shards and a run result out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipeline.curate import recipe as recipes
from pipeline.curate.recipe import Recipe
from pipeline.hub.preupload import PreuploadShards
from pipeline.hub.publish_target import PublishTarget
from schemas.audit import Rejected, Stage
from transforms.dedup.find_duplicates import FindDuplicates, Verdict
from transforms.dedup.resolve import ResolveDuplicates
from transforms.dedup.split import QuestionClusters
from transforms.filters.decontaminate import Decontaminate
from transforms.filters.language import LabelLanguages
from transforms.filters.posts import FilterThreads
from transforms.pairing.pair_threads import PairThreads
from transforms.readers.base import ForumFile
from transforms.readers.forum_rows import ForumRows
from transforms.readers.read_files import ReadFiles
from transforms.readers.stackexchange.archives import Site
from transforms.readers.stackexchange.reader import ReadStackExchange
from transforms.text.convert import ConvertToMarkdown
from transforms.threads.assemble import AssembleThreads
from transforms.threads.pack import PackThreads
from transforms.threads.sample import SampleThreads
from transforms.writers.counts import SaveResult, TallyRows
from transforms.writers.parquet import WriteTables


@dataclass(frozen=True)
class CurateJob:
    """All that the graph depends on: the recipe and where things are."""

    recipe: Recipe
    sites: Sequence[Site]
    forum_files: Sequence[ForumFile]
    problems: Sequence[Rejected]
    takedown: frozenset[str]
    folder: str
    partitions: int
    benchmarks: str | None = None
    """File of what benchmarks say (`transforms.filters.decontaminate.save`); threads that share text with
    them are left out."""
    publish: PublishTarget | None = None
    """Where workers send their shards as they are written; None: nowhere."""
    sample_threads: bool = False
    """Whether to save a sample of whole threads for the report."""


def build(pipeline: beam.Pipeline, job: CurateJob) -> None:
    """Add the whole job to ``pipeline``."""
    recipe = job.recipe
    read = read_all(pipeline, job)

    assembled = (read.posts, read.facts) | "Assemble threads" >> AssembleThreads(
        job.takedown, recipe.reply_depth
    )
    markdown = assembled.threads | "Convert to Markdown" >> ConvertToMarkdown()
    if job.sample_threads:
        _ = markdown | "Sample threads" >> SampleThreads(job.folder)
    filtered = markdown | "Filter threads" >> FilterThreads(recipes.filter_rules(recipe))
    kept, contaminated = filtered.threads, {}
    if job.benchmarks is not None:
        clean = kept | "Decontaminate" >> Decontaminate(
            job.benchmarks, recipes.contamination_rules(recipe)
        )
        kept, contaminated = clean.threads, {"decontaminate": clean.rejected}
    labelled = kept | "Label languages" >> LabelLanguages(
        recipes.language_rules(recipe), recipe.language_model
    )
    blocks = labelled.threads | "Pack threads" >> PackThreads(job.partitions)

    if recipe.dedup == "off":
        verdicts = pipeline | "No duplicates" >> beam.Create([]).with_output_types(Verdict)
    else:
        verdicts = blocks | "Find duplicates" >> FindDuplicates(
            recipes.minhash_rules(recipe), job.partitions
        )
    clusters = (verdicts, read.links) | "Cluster questions" >> QuestionClusters(job.partitions)
    resolved = (blocks, verdicts, clusters) | "Resolve duplicates" >> ResolveDuplicates(
        job.partitions, recipes.split_shares(recipe), recipe.seed
    )
    paired = resolved.threads | "Pair threads" >> PairThreads(recipes.pairing_rules(recipe))

    unusable = pipeline | "List unusable inputs" >> beam.Create(
        list(job.problems)
    ).with_output_types(Rejected)
    rejected = {
        "inputs": unusable,
        "read": read.rejected,
        "assemble": assembled.rejected,
        "filter": filtered.rejected,
        **contaminated,
        "language": labelled.rejected,
        "dedup": resolved.rejected,
        "pair": paired.rejected,
    }
    # Each lot of rejects is packed where it arises; flattened first, they would be shuffled
    # one by one, and more than half of a forum's posts are rejects.
    shards = (
        paired.pairs,
        resolved.duplicates,
        *rejected.values(),
    ) | "Write tables" >> WriteTables(
        job.folder,
        recipe.shard_bytes,
        ids_only=recipe.ids_only,
        conversational=recipes.is_conversational(recipe),
    )

    if job.publish is not None:
        target = job.publish
        _ = shards | "Send shards" >> PreuploadShards(
            job.folder, target.repo, target.endpoint, recipe.ids_only
        )

    left: list[tuple[Stage, Any]] = [
        (Stage.ASSEMBLE, assembled.threads),
        (Stage.FILTER, kept),
        (Stage.LANGUAGE, labelled.threads),
        (Stage.DEDUP, resolved.threads),
        (Stage.PAIR, paired.pairs),
    ]
    tallies = (
        read.tallies,
        *(rows | f"Tally {stage}" >> TallyRows(stage.value) for stage, rows in left),
        *(
            rows | f"Tally rejects of {name}" >> TallyRows("rejected")
            for name, rows in rejected.items()
        ),
        resolved.duplicates | "Tally duplicates" >> TallyRows("duplicates"),
    ) | "Collect tallies" >> beam.Flatten()
    _ = (tallies, shards) | "Save result" >> SaveResult(job.folder)


def read_all(pipeline: beam.Pipeline, job: CurateJob) -> ForumRows:
    """Read every input; what comes out no longer tells which kind of forum it is from."""
    lots: list[ForumRows] = []
    if job.sites:
        lots.append(pipeline | "Read StackExchange" >> ReadStackExchange(job.sites, job.partitions))
    if job.forum_files:
        rules = recipes.read_rules(job.recipe)
        lots.append(pipeline | "Read files" >> ReadFiles(job.forum_files, rules, job.partitions))
    if len(lots) == 1:
        return lots[0]
    return ForumRows(
        *(
            parts | f"All {name}" >> beam.Flatten()
            for name, parts in zip(ForumRows._fields, zip(*lots, strict=True), strict=True)
        )
    )
