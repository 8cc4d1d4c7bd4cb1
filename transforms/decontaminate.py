"""Threads that share text with a benchmark, on which a model is to be tested later.

Three rules, any of which is enough:

* 13 words in a row, without case and punctuation, as GPT-3 did (Brown et al. 2020,
  arXiv 2005.14165, appendix C) and most who followed;
* equal texts of 8 to 12 words, which have no 13 in a row (8 is the least of that appendix);
* near-duplicates by the rules of the deduplication (`transforms.minhash`), which find texts with a
  change every few words.
"""

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import xxhash

from schemas.audit import Reason, Stage
from schemas.post import Post, Thread
from transforms.jaccard import jaccard
from transforms.minhash import MinHashRules, band_keys, normalise, shingle_hashes, signatures
from transforms.threads import ApplyOutcome, Outcome, Verdict, drop_posts

UInt64Array = npt.NDArray[np.uint64]

GRAM_WORDS: Final = 13
LEAST_WORDS: Final = 8
SHOWN_CHARS: Final = 80
BATCH_TEXTS: Final = 1 << 10

_WORD: Final = re.compile(r"\w+")
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What a benchmark file says, as far as threads are compared with it."""

    name: str
    """Of the file."""
    grams: UInt64Array
    """Hashes of its runs of 13 words, sorted, each once."""
    short: UInt64Array
    """Hashes of its whole texts of 8 to 12 words, sorted, each once."""
    keys: npt.NDArray[np.int64]
    """LSH bucket keys of its longer texts, sorted, and in ``owners`` the text of each."""
    owners: npt.NDArray[np.int64]
    shingles: tuple[npt.NDArray[np.uint32], ...]
    """Of each longer text, sorted, each once."""
    starts: tuple[str, ...]
    """First words of each longer text."""


def words_of(text: str) -> list[str]:
    """Words of a text in lower case."""
    return _WORD.findall(text.lower())


def gram_hashes(words: Sequence[str], length: int = GRAM_WORDS) -> UInt64Array:
    """Hash of the ``length`` words from each place on; empty for fewer words."""
    size = len(words) - length + 1
    if size < 1:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.array([xxhash.xxh3_64_intdigest(word.encode()) for word in words], dtype=np.uint64)
    grams = np.zeros(size, dtype=np.uint64)
    for place in range(length):  # a polynomial modulo 2**64
        grams = grams * _FACTOR + hashes[place : place + size]
    return grams


def whole_hash(words: Sequence[str]) -> UInt64Array:
    """Hash [1] of a text of 8 to 12 words, or nothing [0] for shorter and longer ones."""
    fits = LEAST_WORDS <= len(words) < GRAM_WORDS
    return gram_hashes(words, len(words)) if fits else np.zeros(0, dtype=np.uint64)


def read_texts(name: str, texts: Iterable[str], rules: MinHashRules) -> Benchmark:
    """Collect what a benchmark's texts are recognised by; each text counts once."""
    distinct = list(dict.fromkeys(texts))
    words = [words_of(text) for text in distinct]
    shingles: list[npt.NDArray[np.uint32]] = []
    starts: list[str] = []
    keys = [np.zeros((0, rules.bands), dtype=np.int64)]
    for first in range(0, len(distinct), BATCH_TEXTS):
        batch = distinct[first : first + BATCH_TEXTS]
        sets = shingle_hashes([normalise(text) for text in batch], rules)
        pairs = [(text, found) for text, found in zip(batch, sets, strict=True) if len(found)]
        shingles += [found for _, found in pairs]
        starts += [" ".join(text[: 2 * SHOWN_CHARS].split())[:SHOWN_CHARS] for text, _ in pairs]
        keys.append(_keys([found for _, found in pairs], rules))
    table = np.concatenate(keys)
    order = np.argsort(table.ravel(), kind="stable")
    return Benchmark(
        name=name,
        grams=_distinct([gram_hashes(part) for part in words]),
        short=_distinct([whole_hash(part) for part in words]),
        keys=table.ravel()[order],
        owners=np.repeat(np.arange(len(table)), rules.bands)[order],
        shingles=tuple(shingles),
        starts=tuple(starts),
    )


def _keys(sets: Sequence[npt.NDArray[np.uint32]], rules: MinHashRules) -> npt.NDArray[np.int64]:
    """Bucket keys [n, bands]: whether a text was a prompt or a response makes no difference."""
    return band_keys(signatures(sets, rules), np.zeros(len(sets), dtype=np.bool_), rules)


def _distinct(lots: Sequence[UInt64Array]) -> UInt64Array:
    return np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *lots]))


def shared_run(text: str, benchmarks: Sequence[Benchmark]) -> str | None:
    """Say which words a text has in common with which benchmark; None: none."""
    words = words_of(text)
    for hashes, table, length in (
        (gram_hashes(words), "grams", GRAM_WORDS),
        (whole_hash(words), "short", len(words)),
    ):
        if not len(hashes):
            continue
        for benchmark in benchmarks:
            known: UInt64Array = getattr(benchmark, table)
            if not len(known):
                continue
            place = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            found = np.flatnonzero(known[place] == hashes)
            if len(found):
                run = " ".join(words[found[0] : found[0] + length])
                return f"{benchmark.name}: {run[:SHOWN_CHARS]}"
    return None


def near_duplicates(
    texts: Sequence[str], benchmarks: Sequence[Benchmark], rules: MinHashRules
) -> list[str | None]:
    """Say for each text which benchmark text it is a near-duplicate of; None: of none.

    MinHash only proposes; what decides is the exact Jaccard similarity of the shingles.
    """
    sets = shingle_hashes([normalise(text) for text in texts], rules)
    keys = _keys(sets, rules)
    found: list[str | None] = []
    for own, row in zip(sets, keys, strict=True):
        found.append(_most_similar(own, row, benchmarks, rules.threshold) if len(own) else None)
    return found


def _most_similar(
    own: npt.NDArray[np.uint32],
    keys: npt.NDArray[np.int64],
    benchmarks: Sequence[Benchmark],
    threshold: float,
) -> str | None:
    for benchmark in benchmarks:
        first = np.searchsorted(benchmark.keys, keys, side="left")
        last = np.searchsorted(benchmark.keys, keys, side="right")
        owners = {
            int(owner)
            for start, end in zip(first.tolist(), last.tolist(), strict=True)
            for owner in benchmark.owners[start:end]
        }
        best, negative = max(
            ((jaccard(own, benchmark.shingles[owner]), -owner) for owner in owners),
            default=(0.0, 0),
        )
        if best >= threshold:
            return f"{benchmark.name}: similarity {best:.2f} to: {benchmark.starts[-negative]}"
    return None


def decontaminate_thread(
    thread: Thread, benchmarks: Sequence[Benchmark], rules: MinHashRules
) -> Outcome:
    """Refuse a whole thread of which any post shares text with a benchmark."""
    posts = (thread.prompt, *thread.responses)
    texts = [_text(post) for post in posts]
    near = near_duplicates(texts, benchmarks, rules)
    found = {
        post.id: Verdict(Reason.CONTAMINATED, why)
        for post, text, similar in zip(posts, texts, near, strict=True)
        if (why := shared_run(text, benchmarks) or similar) is not None
    }
    title = shared_run(thread.prompt.title, benchmarks)  # the whole of a short benchmark prompt
    if title is not None:
        found.setdefault(thread.prompt.id, Verdict(Reason.CONTAMINATED, title))
    if found and thread.prompt.id not in found:
        first = next(iter(found))
        found[thread.prompt.id] = Verdict(Reason.CONTAMINATED, f"its response {first} is")
    return drop_posts(thread, found, Stage.FILTER)


def _text(post: Post) -> str:
    return f"{post.title}\n{post.text}"


@dataclass
class Decontaminate(beam.PTransform):
    """Thread → ``threads`` and ``rejected``; texts must be Markdown already."""

    benchmarks: Sequence[Benchmark]
    rules: MinHashRules

    def expand(self, threads: beam.PCollection) -> Any:
        judge = functools.partial(
            decontaminate_thread, benchmarks=tuple(self.benchmarks), rules=self.rules
        )
        step = ApplyOutcome(Decontaminate, judge)
        return threads | "Compare" >> beam.ParDo(step).with_outputs("rejected", main="threads")
