"""Recall, precision and cost of deduplication, on generated posts with planted near-duplicates.

    python -m benchmarks.dedup [--pairs 20000] [--documents 100000] [--partitions 64]

Texts are drawn from a Zipf vocabulary and have 170 words on average, as forum posts do. A
near-duplicate is an edited copy (words swapped, passages cut or inserted); its similarity is
computed from the shingles themselves, without any hash. Timings are CPU time of this process.
"""

import argparse
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np

from schemas.post import Post, Thread
from tests.beam_run import output_of
from transforms.core.blocks import ThreadBlock, pack, thread_partition
from transforms.dedup.components import StarBuckets, pack_rows
from transforms.dedup.find_duplicates import FindDuplicates, bucket_rows
from transforms.dedup.hash_texts import HashTexts
from transforms.dedup.minhash import MinHashRules, band_keys, normalise, shingle_hashes, signatures

SETTINGS = ((16, 8), (18, 7), (20, 8), (24, 8), (25, 5))
BUCKETS = ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.82), (0.82, 0.85), (0.85, 0.9), (0.9, 1.01))
RESPONSES = 3
EDITED_SHARE = 0.13
COPIED_SHARE = 0.04


class Generator:
    """Texts and edited copies of them."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        letters = self.random.integers(ord("a"), ord("z") + 1, (30_000, 10), dtype=np.uint8)
        lengths = np.minimum(2 + self.random.poisson(3, 30_000), 10)
        self._words = [
            row[:length].tobytes().decode() for row, length in zip(letters, lengths, strict=True)
        ]

    def words(self, number: int) -> list[str]:
        ranks = self.random.zipf(1.2, number) % len(self._words)
        return [self._words[rank] for rank in ranks]

    def text(self) -> str:
        words = self.words(int(np.clip(self.random.lognormal(4.85, 0.8), 10, 5000)))
        for place in range(11, len(words), 12):
            words[place] += "."
        return " ".join(words)

    def edited(self, text: str) -> str:
        words = text.split()
        kind = self.random.integers(4)
        share = self.random.uniform(0.002, 0.08)
        if kind in (0, 3):
            for place in self.random.integers(0, len(words), max(1, int(share * len(words)))):
                words[place] = self.words(1)[0]
        passage = max(1, int(2.5 * share * len(words)))
        place = int(self.random.integers(len(words)))
        if kind in (1, 3):
            del words[place : place + passage]
        if kind in (2, 3):
            words[place:place] = self.words(passage)
        return " ".join(words)


def plain_shingles(text: str) -> set[tuple[str, ...]]:
    tokens = re.findall(r"\w+", text.lower())
    return set(zip(*(tokens[start:] for start in range(5)), strict=False))


def plain_jaccard(left: str, right: str) -> float:
    one, two = plain_shingles(left), plain_shingles(right)
    return len(one & two) / len(one | two) if one | two else 0.0


def measure_recall(pairs: int) -> None:
    """Print the share of planted pairs that meet in a bucket, by similarity and setting."""
    generator = Generator(seed=1)
    originals = [text for text in (generator.text() for _ in range(pairs)) if text.count(" ") >= 30]
    copies = [generator.edited(text) for text in originals]
    similarity = np.array([plain_jaccard(*pair) for pair in zip(originals, copies, strict=True)])
    rules = MinHashRules()
    hashed = (shingle_hashes(originals, rules), shingle_hashes(copies, rules))
    print(f"recall on {len(originals):,} planted pairs; columns are ranges of similarity")
    print("bands rows   >= 0.8 " + "".join(f"{low:>5}-{min(top, 1):<5}" for low, top in BUCKETS))
    for bands, rows in SETTINGS:
        rules = MinHashRules(bands=bands, rows=rows)
        prompts = np.zeros(len(originals), np.bool_)
        left, right = (band_keys(signatures(sets, rules), prompts, rules) for sets in hashed)
        met = (left == right).any(axis=1)
        shares = [met[(similarity >= low) & (similarity < top)].mean() for low, top in BUCKETS]
        whole = met[similarity >= 0.8].mean()
        print(f"{bands:5} {rows:4}   {whole:.4f} " + "".join(f"{share:^11.4f}" for share in shares))
    counts = [int(((similarity >= low) & (similarity < top)).sum()) for low, top in BUCKETS]
    print(
        f"{'pairs':>10}   {int((similarity >= 0.8).sum()):6} " + "".join(f"{n:^11}" for n in counts)
    )


def timed(label: str, documents: int, function: Callable[[], Any]) -> Any:
    """Print the best of three runs in microseconds a document."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    print(f"{label:32} {best / documents * 1e6:8.1f} us a text")
    return result


def measure_hashing(documents: int) -> None:
    """Print what the steps before the shuffle cost."""
    generator = Generator(seed=2)
    raw = [generator.text() for _ in range(documents)]
    rules = MinHashRules()
    shingle_hashes(raw[:10], rules)  # builds the character table
    texts = timed("normalise", documents, lambda: [normalise(text) for text in raw])
    sets = timed("shingle", documents, lambda: shingle_hashes(texts, rules))
    rows = timed(f"sign, {rules.num_perm} permutations", documents, lambda: signatures(sets, rules))
    prompts = np.ones(documents, np.bool_)
    timed("band keys", documents, lambda: band_keys(rows, prompts, rules))
    size = np.mean([len(text) for text in texts])
    print(f"({size:.0f} characters, {np.mean([len(s) for s in sets]):.0f} shingles a text)")


def post(number: int, thread: int, text: str, score: int) -> Post:
    return Post(
        id=f"forum:{number}",
        thread_id=f"forum:{thread}",
        source="benchmark",
        site="forum",
        url="",
        text=text,
        created_at=number,
        score=score,
        license="",
    )


def generated_threads(documents: int) -> Iterator[Thread]:
    """Threads with three responses each; about one post in six copies an earlier one."""
    generator = Generator(seed=3)
    kept: list[str] = []
    for first in range(0, documents, RESPONSES + 1):
        posts = []
        for number in range(first, first + RESPONSES + 1):
            chance = generator.random.random()
            if kept and chance < EDITED_SHARE + COPIED_SHARE:
                text = kept[generator.random.integers(len(kept))]
                text = generator.edited(text) if chance < EDITED_SHARE else text
            else:
                text = generator.text()
            # Copies are of posts of the same kind only, half of them of earlier copies.
            if number != first and generator.random.random() < 0.5:
                kept.append(text)
            posts.append(post(number, first, text, int(generator.random.integers(10))))
        yield Thread(prompt=posts[0], responses=tuple(posts[1:]))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class ReadThenFind(beam.PTransform):  # type: ignore[misc]
    """Paths of packed blocks -> matches. In a Create, Beam would compress the blocks twice."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def expand(self, paths: Any) -> Any:
        blocks = paths | "Read blocks" >> beam.Map(read_block)
        rules, partitions = MinHashRules(), self._partitions
        hashed = blocks | "Hash texts" >> HashTexts(rules, partitions)
        return (blocks, hashed.buckets) | "Find duplicates" >> FindDuplicates(rules, partitions)


def read_block(path: str) -> tuple[int, ThreadBlock]:
    return msgspec.msgpack.decode(Path(path).read_bytes(), type=tuple[int, ThreadBlock])


def write_blocks(documents: int, partitions: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Write threads as packed blocks; return the paths, and the normalised text of each post."""
    waiting: dict[int, list[Thread]] = {}
    blocks: list[tuple[int, ThreadBlock]] = []
    texts: dict[str, str] = {}
    for thread in generated_threads(documents):
        texts.update((p.id, normalise(p.text)) for p in (thread.prompt, *thread.responses))
        partition = thread_partition(thread.id, partitions)
        rows = waiting.setdefault(partition, [])
        rows.append(thread)
        if len(rows) == 100:
            blocks.append((partition, pack(ThreadBlock, waiting.pop(partition))))
    blocks += [(partition, pack(ThreadBlock, rows)) for partition, rows in waiting.items()]
    paths = [folder / f"{place}.block" for place in range(len(blocks))]
    for path, block in zip(paths, blocks, strict=True):
        path.write_bytes(msgspec.msgpack.encode(block))
    return [str(path) for path in paths], texts


def measure_pipeline(documents: int, partitions: int) -> None:
    """Print what the whole transform costs, and check its matches on the texts themselves."""
    with tempfile.TemporaryDirectory() as folder:
        paths, texts = write_blocks(documents, partitions, Path(folder))
        before, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
        matches = output_of(ReadThenFind(partitions), (paths, str))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{documents:,} posts in {len(paths)} blocks, {partitions} partitions, FnApiRunner:")
    print(f"  {cpu / documents * 1e6:.0f} us CPU a post, {wall:.1f} s wall")
    print(f"  peak memory {peak_mb():.0f} MB, {before:.0f} MB of it before the run")
    rules = [match.rule.value for match in matches]
    shares = {rule: rules.count(rule) for rule in ("exact", "near", "near_chain")}
    wrong = sum(
        abs(plain_jaccard(texts[v.removed_id], texts[v.kept_id]) - v.similarity) > 1e-9
        or (v.rule == "near" and v.similarity < MinHashRules().threshold)
        or (v.rule == "exact" and texts[v.removed_id] != texts[v.kept_id])
        for v in matches
    )
    print(f"  {len(matches):,} duplicates {shares}; {wrong} wrong similarities or rules")


def measure_elements(partitions: int) -> None:
    """Print how many elements a batch of texts sends through the shuffle."""
    generator = Generator(seed=4)
    for documents in (1, 10, 1000):
        posts = [post(n, n, generator.text(), 0) for n in range(documents)]
        rows = bucket_rows(posts, MinHashRules())
        worker = StarBuckets(partitions)
        worker.start_bundle()
        for chunk in pack_rows(rows):
            list(worker.process(chunk))
        sent = [out.value for out in worker.finish_bundle() if hasattr(out, "windows")]
        print(f"{documents} texts, {len(rows)} rows, {partitions} partitions: {len(sent)} elements")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=64)
    arguments = parser.parse_args()
    # The pipeline comes first, so that its peak memory is its own.
    measure_pipeline(arguments.documents, arguments.partitions)
    measure_elements(arguments.partitions)
    measure_hashing(min(arguments.documents, 20_000))
    measure_recall(arguments.pairs)


if __name__ == "__main__":
    main()
