"""Posts per second of the whole job, against a bare loop over the same functions.

    python -m benchmarks.throughput --posts 200000 --rounds 3

Generates a dump, then runs, in turn and each in a process of its own: a plain Python loop over
the project's functions that keeps everything in memory (`loop`; `loop_gc` with the garbage
collector set as the job sets it); the Beam job in one process (`beam1`); the Beam job with two
worker processes (`beam2`). All must find the same number of pairs. What is quoted are ratios of
medians; peak memory is the sum over the process tree, sampled from /proc (Linux).

`--ceiling` also runs two copies of the bare loop at once: what two workers could gain at most on
this machine, whose cores may share caches or be two threads of one.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from benchmarks._processes import watched
from pipeline.curate import recipe as recipes
from pipeline.runners.worker import tune_gc
from schemas.ids import content_hash, hash63
from schemas.metadata import PostMetadata
from schemas.post import Post, Thread
from transforms.dedup.find_duplicates import bucket_rows, post_node, post_text
from transforms.dedup.minhash import shingle_hashes
from transforms.dedup.split import split_of
from transforms.dedup.verify import Candidate, DuplicateMatch, apply_matches, verify_group
from transforms.filters.identifiers import load_identifier
from transforms.filters.language import label_threads
from transforms.filters.posts import filter_thread
from transforms.pairing import PairedThread, pair_thread
from transforms.pairing.pair_threads import SplitThread
from transforms.readers.formats.filesystem import open_input
from transforms.readers.stackexchange.rows import (
    CLOSED_AS,
    EventKind,
    parse_closing,
    parse_post,
    parse_user,
    parse_vote,
)
from transforms.readers.stackexchange.xml_rows import read_rows
from transforms.text.convert import thread_to_markdown
from transforms.threads.assemble import assemble_threads
from transforms.writers.parquet import row_groups
from transforms.writers.shards import place_of

BATCH = 256


def rows_of(path: Path, containing: bytes = b"") -> Iterator[tuple[dict[str, str], int]]:
    """All rows of a table that contain some bytes."""
    with open_input(str(path)) as stream:
        for batch in read_rows(stream, 0, path.stat().st_size, containing=containing):
            yield from zip(batch.rows, batch.offsets, strict=True)


def read_metadata(folder: Path, site: str) -> dict[str, list[PostMetadata]]:
    """Votes by post, as the pipeline's join gives them."""
    ups, downs = defaultdict(list), defaultdict(list)
    accepted, flags = {}, defaultdict(int)
    for row, _ in rows_of(folder / "Votes.xml"):
        event = parse_vote(row)
        if event is None:
            continue
        day = event.at_ms // 86_400_000
        if event.kind == EventKind.UPVOTE:
            ups[event.post_id].append(day)
        elif event.kind == EventKind.DOWNVOTE:
            downs[event.post_id].append(day)
        elif event.kind == EventKind.ACCEPTANCE:
            accepted[event.post_id] = day
        elif event.kind == EventKind.FLAG:
            flags[event.post_id] += 1
    closed = {}
    for row, _ in rows_of(folder / "PostHistory.xml", b'PostHistoryTypeId="10"'):
        event = parse_closing(row)
        if event is not None:
            closed[event.post_id] = max(
                closed.get(event.post_id, (0, 0)), (event.at_ms, event.kind)
            )
    return {
        f"{site}:{number}": [
            PostMetadata(
                id=f"{site}:{number}",
                up_days=tuple(ups[number]),
                down_days=tuple(downs[number]),
                accepted_day=accepted.get(number),
                flags=flags[number],
                closed_as=CLOSED_AS[closed[number][1] - EventKind.CLOSING]
                if number in closed
                else None,
            )
        ]
        for number in ups.keys() | downs.keys() | accepted.keys() | flags.keys() | closed.keys()
    }


def read_posts(folder: Path, site: str) -> list[Post]:
    """Posts with their authors' names."""
    names = dict(parse_user(row) for row, _ in rows_of(folder / "Users.xml"))
    posts = []
    for row, offset in rows_of(folder / "Posts.xml"):
        post = parse_post(row, site, True, offset)
        if isinstance(post, Post):
            if not post.author and post.author_id:
                name = names.get(int(row["OwnerUserId"]), "")
                post = msgspec.structs.replace(post, author=name)
            posts.append(post)
    return posts


def find_duplicates(threads: list[Thread], rules) -> dict[str, dict[str, DuplicateMatch]]:
    """MinHash buckets in a dict, then the project's own verification."""
    posts = [post for thread in threads for post in (thread.prompt, *thread.responses)]
    by_node: dict[int, list[Post]] = defaultdict(list)
    parent: dict[int, int] = {}

    def find(node: int) -> int:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[int, int] = {}
    for start in range(0, len(posts), BATCH):
        batch = posts[start : start + BATCH]
        for post in batch:
            by_node[post_node(post)].append(post)
        for key, node in bucket_rows(batch, rules).tolist():
            other = first.setdefault(key, node)
            if other != node:
                a, b = find(other), find(node)
                parent[max(a, b)] = min(a, b)
    groups: dict[int, list[Post]] = defaultdict(list)
    for node in list(parent):
        groups[find(node)] += by_node[node]
    removed: dict[str, dict[str, DuplicateMatch]] = defaultdict(dict)
    for prompts in (True, False):
        for root, members in groups.items():
            chosen = [post for post in members if post.is_prompt is prompts]
            if len(chosen) < 2:
                continue
            texts = [post_text(post) for post in chosen]
            candidates = [
                Candidate(
                    root=root,
                    id=post.id,
                    thread_id=post.thread_id,
                    is_prompt=prompts,
                    score=post.score,
                    accepted=post.accepted,
                    created_at=post.created_at,
                    content=content_hash(text),
                    shingles=shingles.astype("<u4").tobytes(),
                    prompt_removed=post.thread_id in removed.get(post.thread_id, {}),
                )
                for post, text, shingles in zip(
                    chosen, texts, shingle_hashes(texts, rules), strict=True
                )
            ]
            for match in verify_group(candidates, rules.threshold):
                removed[match.removed_thread_id][match.removed_id] = match
    return removed


def bare_loop(folder: Path, output: Path) -> int:
    """The whole job without Beam; returns the number of pairs."""
    site, recipe = folder.name, recipes.Recipe()
    filters, languages = recipes.filter_rules(recipe), recipes.language_rules(recipe)
    rules, identifier = recipes.pairing_rules(recipe), load_identifier("fasttext")
    threads = []
    for outcome in assemble_threads(read_posts(folder, site), read_metadata(folder, site)):
        if outcome.thread is not None:
            filtered = filter_thread(thread_to_markdown(outcome.thread), filters).thread
            if filtered is not None:
                threads.append(filtered)
    labelled = [
        outcome.thread
        for start in range(0, len(threads), BATCH)
        for outcome in label_threads(threads[start : start + BATCH], identifier, languages)
        if outcome.thread is not None
    ]
    removed = find_duplicates(labelled, recipes.minhash_rules(recipe))
    shares = recipes.split_shares(recipe)
    by_split: dict[str, list[PairedThread]] = defaultdict(list)
    for thread in labelled:
        survivor = thread
        if thread.id in removed:
            survivor, _, _ = apply_matches(thread, removed[thread.id])
        if survivor is not None:
            split = split_of(hash63(thread.id), shares, recipe.seed)
            paired, _ = pair_thread(SplitThread(thread=survivor, split=split), rules)
            if paired is not None:
                by_split[split].append(paired)
    pairs = 0
    for split, rows in by_split.items():
        rows.sort(key=lambda row: (hash63(place_of(row)), place_of(row)))
        writer = None
        for table in row_groups(f"data/{split}", rows):
            writer = writer or pq.ParquetWriter(
                output / f"{split}.parquet",
                table.schema,
                compression="zstd",
                compression_level=3,
                use_content_defined_chunking=True,
                write_page_index=True,
            )
            writer.write_table(table)
            pairs += table.num_rows
        if writer is not None:
            writer.close()
    return pairs


def measure(command: list[str]) -> dict[str, float]:
    """Run a command; wall seconds, peak memory of its tree, and the pairs it reports."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with watched(process.pid) as peak:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return {
        "seconds": time.perf_counter() - began,
        "peak": peak.bytes,
        "pairs": int(output.strip().splitlines()[-1]),
    }


def beam_job(folder: Path, output: Path, workers: int) -> int:
    """The Beam job through its command line; returns the number of pairs."""
    from pipeline.cli import main

    arguments = ["curate", "--input", f"stackexchange={folder}", "--output", str(output)]
    code = main([*arguments, "--quiet", "--overwrite", "--workers", str(workers)])
    if code:
        raise SystemExit(code)
    manifest = json.loads((output / "manifest.json").read_text())
    return sum(manifest["accounting"]["pairs"].values())


def main() -> None:
    """Measure, or be one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--posts", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dump", type=Path, help="a folder to use instead of a generated one")
    parser.add_argument("--modes", default="loop,loop_gc,beam1,beam2")
    parser.add_argument("--ceiling", action="store_true", help="also measure the machine")
    parser.add_argument(
        "--run", choices=("loop", "loop_gc", "beam1", "beam2"), help=argparse.SUPPRESS
    )
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run == "loop_gc":
        tune_gc()
    if arguments.run in ("loop", "loop_gc"):
        print(bare_loop(arguments.dump, arguments.output))
        return
    if arguments.run:
        workers = int(arguments.run[-1])
        print(beam_job(arguments.dump, arguments.output / "dataset", workers))
        return
    with tempfile.TemporaryDirectory() as temporary:
        dump = arguments.dump
        if dump is None:
            command = ["benchmarks.generate_dump", "--posts", str(arguments.posts), "--seed", "1"]
            subprocess.run([sys.executable, "-m", *command, "--output", temporary], check=True)
            dump = Path(temporary) / "generated.example.com"
        with (dump / "Posts.xml").open("rb") as file:
            posts = sum(line.count(b"<row ") for line in file)
        results: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(arguments.rounds):
            for mode in arguments.modes.split(","):
                output = Path(temporary) / mode
                output.mkdir(exist_ok=True)
                command = [sys.executable, "-m", "benchmarks.throughput", "--run", mode]
                command += ["--dump", str(dump), "--output", str(output)]
                results[mode].append(measure(command))
                print(f"  {mode}: {results[mode][-1]}", file=sys.stderr)
        if arguments.ceiling:
            print(f"Two bare loops at once / one: {ceiling(dump, Path(temporary)):.2f}")
    report(results, posts)


def ceiling(dump: Path, temporary: Path) -> float:
    """Return how much more two processes do than one on this machine, at best 2."""

    def seconds(copies: int) -> float:
        began = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.throughput", "--run", "loop_gc"]
        processes = []
        for copy in range(copies):
            output = temporary / f"ceiling-{copy}"
            output.mkdir(exist_ok=True)
            arguments = [*command, "--dump", str(dump), "--output", str(output)]
            processes.append(subprocess.Popen(arguments, stdout=subprocess.DEVNULL))
        for process in processes:
            process.wait()
        return time.perf_counter() - began

    return 2 * seconds(1) / seconds(2)


def report(results: dict[str, list[dict[str, float]]], posts: int) -> None:
    """Print the table and the ratios."""
    medians = {
        mode: statistics.median(run["seconds"] for run in runs) for mode, runs in results.items()
    }
    print(f"\n{posts:,} posts\n")
    print("| | seconds (min, median, max) | posts/s | peak MB | B/post | pairs |")
    print("|---|---|---:|---:|---:|---:|")
    for mode, runs in results.items():
        seconds = [run["seconds"] for run in runs]
        peak = max(run["peak"] for run in runs)
        print(
            f"| {mode} | {min(seconds):.1f}, {medians[mode]:.1f}, {max(seconds):.1f} "
            f"| {posts / medians[mode]:,.0f} | {peak / 1e6:,.0f} | {peak / posts:,.0f} "
            f"| {int(runs[0]['pairs']):,} |"
        )
    for loop, name in (("loop", "bare loop"), ("loop_gc", "bare loop with our collector setting")):
        if {loop, "beam1"} <= medians.keys():
            print(f"\nBeam in one process / {name}: {medians[loop] / medians['beam1']:.2f}")
    if {"beam1", "beam2"} <= medians.keys():
        print(f"Two workers / one process: {medians['beam1'] / medians['beam2']:.2f}")
    found = {int(run["pairs"]) for runs in results.values() for run in runs}
    assert len(found) == 1, f"the number of pairs differs: {sorted(found)}"


if __name__ == "__main__":
    main()
