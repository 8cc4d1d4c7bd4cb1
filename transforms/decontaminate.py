"""Threads that share a run of words with a benchmark, on which a model is to be tested later.

The rule of GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix C) and of most who followed: 13
words in a row, without case and punctuation.
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
from transforms.threads import ApplyOutcome, Outcome, Verdict, drop_posts

GRAM_WORDS: Final = 13
SHOWN_CHARS: Final = 80

_WORD: Final = re.compile(r"\w+")
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class BenchmarkGrams:
    """What a benchmark file says: the hashes of its word runs."""

    name: str
    """Of the file."""
    hashes: npt.NDArray[np.uint64]
    """Sorted, each once."""


def words_of(text: str) -> list[str]:
    """Words of a text in lower case."""
    return _WORD.findall(text.lower())


def gram_hashes(words: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Hash of the 13 words from each place on; empty for fewer words."""
    size = len(words) - GRAM_WORDS + 1
    if size < 1:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.array([xxhash.xxh3_64_intdigest(word.encode()) for word in words], dtype=np.uint64)
    grams = np.zeros(size, dtype=np.uint64)
    for place in range(GRAM_WORDS):  # a polynomial modulo 2**64
        grams = grams * _FACTOR + hashes[place : place + size]
    return grams


def benchmark_grams(name: str, texts: Iterable[str]) -> BenchmarkGrams:
    """Collect the word runs of a benchmark's texts; shorter texts have none."""
    lots = [gram_hashes(words_of(text)) for text in texts]
    joined = np.concatenate(lots) if lots else np.zeros(0, dtype=np.uint64)
    return BenchmarkGrams(name, np.unique(joined))


def shared_run(text: str, benchmarks: Sequence[BenchmarkGrams]) -> str | None:
    """Say which 13 words a text has in common with which benchmark; None: none."""
    words = words_of(text)
    grams = gram_hashes(words)
    if not len(grams):
        return None
    for benchmark in benchmarks:
        if not len(benchmark.hashes):
            continue
        place = np.minimum(np.searchsorted(benchmark.hashes, grams), len(benchmark.hashes) - 1)
        found = np.flatnonzero(benchmark.hashes[place] == grams)
        if len(found):
            run = " ".join(words[found[0] : found[0] + GRAM_WORDS])
            return f"{benchmark.name}: {run[:SHOWN_CHARS]}"
    return None


def decontaminate_thread(thread: Thread, benchmarks: Sequence[BenchmarkGrams]) -> Outcome:
    """Refuse a whole thread of which any post shares a run of words with a benchmark."""
    found = {
        post.id: Verdict(Reason.CONTAMINATED, run)
        for post in (thread.prompt, *thread.responses)
        if (run := shared_run(_text(post), benchmarks)) is not None
    }
    if found and thread.prompt.id not in found:
        first = next(iter(found))
        found[thread.prompt.id] = Verdict(Reason.CONTAMINATED, f"its response {first} is")
    return drop_posts(thread, found, Stage.FILTER)


def _text(post: Post) -> str:
    return f"{post.title}\n{post.text}"


@dataclass
class Decontaminate(beam.PTransform):
    """Thread → ``threads`` and ``rejected``; texts must be Markdown already."""

    benchmarks: Sequence[BenchmarkGrams]

    def expand(self, threads: beam.PCollection) -> Any:
        judge = functools.partial(decontaminate_thread, benchmarks=tuple(self.benchmarks))
        step = ApplyOutcome(Decontaminate, judge)
        return threads | "Compare" >> beam.ParDo(step).with_outputs("rejected", main="threads")
