"""The main job as a Beam graph: dump files in, Parquet shards and a run result out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipeline import recipe as recipes
from pipeline.recipe import Recipe
from schemas.audit import Rejected, Stage
from transforms.archives import Site
from transforms.assemble import AssembleThreads
from transforms.blocks import thread_partition
from transforms.dedup import FindDuplicates, Verdict
from transforms.filter import FilterThreads
from transforms.language import LabelLanguages
from transforms.pack_threads import PackThreads
from transforms.pair_threads import PairThreads
from transforms.resolve import ResolveDuplicates
from transforms.split import QuestionClusters
from transforms.stackexchange import ReadStackExchange
from transforms.tally import SaveResult, TallyRows
from transforms.text import ConvertToMarkdown
from transforms.write import WriteTables


@dataclass(frozen=True)
class CurateJob:
    """All that the graph depends on: the recipe and where things are."""

    recipe: Recipe
    sites: Sequence[Site]
    problems: Sequence[Rejected]
    takedown: frozenset[str]
    folder: str
    partitions: int


def build(pipeline: beam.Pipeline, job: CurateJob) -> None:
    """Add the whole job to ``pipeline``."""
    recipe = job.recipe
    read = pipeline | "Read StackExchange" >> ReadStackExchange(job.sites, job.partitions)

    assembled = {
        "posts": read.posts,
        "facts": read.facts,
    } | "Assemble threads" >> AssembleThreads(job.takedown)
    markdown = assembled.threads | "Convert to Markdown" >> ConvertToMarkdown()
    filtered = markdown | "Filter threads" >> FilterThreads(recipes.filter_rules(recipe))
    labelled = filtered.threads | "Label languages" >> LabelLanguages(
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
    keyed_verdicts = verdicts | "Key verdicts" >> beam.Map(
        _key_verdict, partitions=job.partitions
    ).with_output_types(tuple[int, Verdict])
    resolved = {
        "threads": blocks,
        "verdicts": keyed_verdicts,
        "clusters": clusters,
    } | "Resolve duplicates" >> ResolveDuplicates(recipes.split_shares(recipe), recipe.seed)
    paired = resolved.threads | "Pair threads" >> PairThreads(recipes.pairing_rules(recipe))

    unusable = pipeline | "List unusable inputs" >> beam.Create(
        list(job.problems)
    ).with_output_types(Rejected)
    rejected = (
        unusable,
        read.rejected,
        assembled.rejected,
        filtered.rejected,
        labelled.rejected,
        resolved.rejected,
        paired.rejected,
    ) | "Collect rejects" >> beam.Flatten()
    shards = (paired.pairs, resolved.duplicates, rejected) | "Write tables" >> WriteTables(
        job.folder, recipe.shard_bytes
    )

    left: list[tuple[Stage, Any]] = [
        (Stage.ASSEMBLE, assembled.threads),
        (Stage.FILTER, filtered.threads),
        (Stage.LANGUAGE, labelled.threads),
        (Stage.DEDUP, resolved.threads),
        (Stage.PAIR, paired.pairs),
    ]
    tallies = (
        read.tallies,
        *(rows | f"Tally {stage}" >> TallyRows(stage.value) for stage, rows in left),
        rejected | "Tally rejects" >> TallyRows("rejected"),
        resolved.duplicates | "Tally duplicates" >> TallyRows("duplicates"),
    ) | "Collect tallies" >> beam.Flatten()
    _ = (tallies, shards) | "Save result" >> SaveResult(job.folder)


def _key_verdict(verdict: Verdict, partitions: int) -> tuple[int, Verdict]:
    return thread_partition(verdict.removed_thread_id, partitions), verdict
