"""The whole job as a plain Python loop over the project's functions, everything in memory.

What Beam is measured against in benchmarks/throughput.py: reading, joins, texts, languages,
duplicates, pairs and Parquet, without a graph, shuffles, audit tables or a manifest.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from pipeline.curate import recipe as recipes
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
