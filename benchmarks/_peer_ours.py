"""Our side of benchmarks/peers.py, a step at a time: JOB INPUT OUTPUT (run by it).

`language` and `dedup` read a Parquet file of texts and run the project's Beam transforms on it in
one process, as a local run does.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq

from pipeline.runners.worker import tune_gc
from schemas.audit import Reason, Rejected
from schemas.post import Post, Thread
from tests.beam_run import output_of
from transforms.core.blocks import ThreadBlock, pack, thread_partition
from transforms.dedup.find_duplicates import FindDuplicates
from transforms.dedup.hash_texts import HashTexts
from transforms.dedup.minhash import MinHashRules
from transforms.filters.language import LabelLanguages, LanguageRules

PARTITIONS = 16
THREADS_PER_BLOCK = 100


def read_threads(path: str) -> Iterable[Thread]:
    """Threads of a Parquet file of texts."""
    posts: dict[str, list[Post]] = defaultdict(list)
    prompts: dict[str, Post] = {}
    for row in pq.read_table(path).to_pylist():
        post = Post(
            id=row["id"],
            thread_id=row["thread"],
            source="benchmark",
            site="forum",
            url="",
            text=row["text"],
            markup="markdown",
            created_at=0,
            score=0,
            license="",
        )
        if row["id"] == row["thread"]:
            prompts[row["thread"]] = post
        else:
            posts[row["thread"]].append(post)
    for name, prompt in prompts.items():
        yield Thread(prompt=prompt, responses=tuple(posts[name]))


def read_blocks(path: str) -> Iterable[tuple[int, ThreadBlock]]:
    """The same threads, packed for their partition."""
    waiting: dict[int, list[Thread]] = defaultdict(list)
    for thread in read_threads(path):
        partition = thread_partition(thread.id, PARTITIONS)
        waiting[partition].append(thread)
        if len(waiting[partition]) == THREADS_PER_BLOCK:
            yield partition, pack(ThreadBlock, waiting.pop(partition))
    for partition, rows in waiting.items():
        yield partition, pack(ThreadBlock, rows)


class Label(beam.PTransform):  # type: ignore[misc]
    """Paths -> ids of the posts that the filter for English refuses."""

    def expand(self, paths: Any) -> Any:
        threads = paths | "Read" >> beam.FlatMap(read_threads).with_output_types(Thread)
        labelled = threads | "Label" >> LabelLanguages(LanguageRules())
        return labelled.rejected | "Name" >> beam.FlatMap(_refused)


def _refused(rejected: Rejected) -> Iterable[str]:
    # Threads that have too few answers to be paired are refused here, too, but not for a language.
    if rejected.reason in (Reason.LANGUAGE, Reason.PROMPT_REJECTED):
        yield rejected.id


class Find(beam.PTransform):  # type: ignore[misc]
    """Paths -> matches."""

    def expand(self, paths: Any) -> Any:
        blocks = paths | "Read" >> beam.FlatMap(read_blocks)
        hashed = blocks | "Hash" >> HashTexts(MinHashRules(), PARTITIONS)
        return (blocks, hashed.buckets) | "Find" >> FindDuplicates(MinHashRules(), PARTITIONS)


def language(source: Path, output: Path) -> dict[str, Any]:
    """Ids that a filter for English keeps."""
    refused = set(output_of(Label(), ([str(source)], str)))
    names = pq.read_table(source, columns=["id"])["id"].to_pylist()
    return {"kept": [name for name in names if name not in refused]}


def dedup(source: Path, output: Path) -> dict[str, Any]:
    """Groups and removed ids."""
    matches = output_of(Find(), ([str(source)], str))
    clusters = {match.removed_id: match.kept_id for match in matches}
    clusters |= {match.kept_id: match.kept_id for match in matches}
    return {"clusters": clusters, "removed": [match.removed_id for match in matches]}


JOBS = {"language": language, "dedup": dedup}


def main() -> None:
    tune_gc()
    job, source, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    result = JOBS[job](source, output)
    result["versions"] = {name: version(name) for name in ("apache-beam", "forumprefs")}
    (output / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
