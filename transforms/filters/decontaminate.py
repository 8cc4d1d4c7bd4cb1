"""Threads that share text with a benchmark, on which a model is to be tested later.

Three rules, any of which is enough:

* 13 words in a row, without case and punctuation, after the filter of GPT-3 (Brown et al. 2020,
  arXiv 2005.14165, appendix C), which cut the words out of long documents, let very common runs
  be, and took fewer words for benchmarks of short texts; here the whole thread goes;
* equal texts of 8 to 12 words, which have no 13 in a row (8 is the minimum of that appendix);
* near-duplicates by the rules of the deduplication (`transforms.dedup.minhash`), which find texts
  with a change every few words.
"""

import functools
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import xxhash
from apache_beam.io.filesystems import FileSystems

from schemas.audit import Reason, Stage
from schemas.post import Post, Thread
from schemas.words import words_of
from transforms.core import Rejection, StepResult, ThreadOutcome, apply_to_threads, drop_posts
from transforms.dedup import MinHashRules, band_keys, jaccard, normalise, shingle_hashes, signatures

UInt32Array = npt.NDArray[np.uint32]
UInt64Array = npt.NDArray[np.uint64]
Int64Array = npt.NDArray[np.int64]

GRAM_WORDS: Final = 13
MIN_WORDS: Final = 8
SHOWN_CHARS: Final = 80
BATCH_TEXTS: Final = 1 << 10

_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Benchmarks:
    """What benchmark files say, as far as threads are compared with them."""

    names: tuple[str, ...]
    """Of the files."""
    grams: UInt64Array
    """Hashes of runs of 13 words, sorted, each once, and the first file that holds each."""
    gram_files: UInt32Array
    short: UInt64Array
    """The same of whole texts of 8 to 12 words."""
    short_files: UInt32Array
    keys: Int64Array
    """LSH bucket keys of the longer texts, sorted, and the text of each."""
    key_texts: Int64Array
    shingles: tuple[UInt32Array, ...]
    """Of each longer text, sorted, each once."""
    starts: tuple[str, ...]
    """File and first words of each longer text."""


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
    fits = MIN_WORDS <= len(words) < GRAM_WORDS
    return gram_hashes(words, len(words)) if fits else np.zeros(0, dtype=np.uint64)


def read_texts(files: Iterable[tuple[str, Iterable[str]]], rules: MinHashRules) -> Benchmarks:
    """Collect what the texts of files, each with its name, are recognised by."""
    names: list[str] = []
    grams: list[UInt64Array] = []
    short: list[UInt64Array] = []
    shingles: list[UInt32Array] = []
    starts: list[str] = []
    keys = [np.zeros((0, rules.bands), dtype=np.int64)]
    for name, texts in files:
        names.append(name)
        distinct = list(dict.fromkeys(texts))
        words = [words_of(text) for text in distinct]
        grams.append(_distinct([gram_hashes(part) for part in words]))
        short.append(_distinct([whole_hash(part) for part in words]))
        for first in range(0, len(distinct), BATCH_TEXTS):
            batch = distinct[first : first + BATCH_TEXTS]
            sets = shingle_hashes([normalise(text) for text in batch], rules)
            long = [(text, found) for text, found in zip(batch, sets, strict=True) if len(found)]
            shingles += [found for _, found in long]
            starts += [f"{name}: {_start(text)}" for text, _ in long]
            keys.append(_keys([found for _, found in long], rules))
    table = np.concatenate(keys)
    order = np.argsort(table.ravel(), kind="stable")
    return Benchmarks(
        tuple(names),
        *_merged(grams),
        *_merged(short),
        keys=table.ravel()[order],
        key_texts=np.repeat(np.arange(len(table)), rules.bands)[order],
        shingles=tuple(shingles),
        starts=tuple(starts),
    )


def _start(text: str) -> str:
    return " ".join(text[: 4 * SHOWN_CHARS].split())[:SHOWN_CHARS]


def _keys(sets: Sequence[UInt32Array], rules: MinHashRules) -> Int64Array:
    """Bucket keys [n, bands]: whether a text was a prompt or a response makes no difference."""
    return band_keys(signatures(sets, rules), np.zeros(len(sets), dtype=np.bool_), rules)


def _distinct(lots: Sequence[UInt64Array]) -> UInt64Array:
    return np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *lots]))


def _merged(files: Sequence[UInt64Array]) -> tuple[UInt64Array, UInt32Array]:
    """Hashes of all files, sorted, each once, and the number of the first file with each."""
    owners = np.repeat(np.arange(len(files), dtype=np.uint32), [len(part) for part in files])
    hashes, first = np.unique(
        np.concatenate([np.zeros(0, dtype=np.uint64), *files]), return_index=True
    )
    return hashes, owners[first]


def save(benchmarks: Benchmarks, path: str) -> None:
    """Write to a file what workers read with `load`: too much for the job's graph."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        names=np.array(benchmarks.names, dtype=np.str_),
        grams=benchmarks.grams,
        gram_files=benchmarks.gram_files,
        short=benchmarks.short,
        short_files=benchmarks.short_files,
        keys=benchmarks.keys,
        key_texts=benchmarks.key_texts,
        shingles=np.concatenate([np.zeros(0, np.uint32), *benchmarks.shingles]),
        lengths=np.array([len(part) for part in benchmarks.shingles], dtype=np.int64),
        starts=np.array(benchmarks.starts, dtype=np.str_),
    )
    with FileSystems.create(path) as file:
        file.write(buffer.getvalue())


@functools.lru_cache(maxsize=1)
def load(path: str) -> Benchmarks:
    """Read what `save` wrote, once a process."""
    with FileSystems.open(path) as file:
        table = dict(np.load(io.BytesIO(file.read()), allow_pickle=False))
    bounds = np.cumsum(table.pop("lengths"))[:-1]
    parts = np.split(table.pop("shingles"), bounds)
    starts = tuple(table.pop("starts").tolist())
    return Benchmarks(
        names=tuple(table.pop("names").tolist()),
        starts=starts,
        shingles=tuple(parts[: len(starts)]),
        **table,
    )


def shared_words(text: str, benchmarks: Benchmarks) -> str | None:
    """Say which words a text has in common with which benchmark file; None: none."""
    words = words_of(text)
    runs = gram_hashes(words)
    place, file = _find(runs, benchmarks.grams, benchmarks.gram_files)
    length = GRAM_WORDS
    if file is None:
        place, file = _find(whole_hash(words), benchmarks.short, benchmarks.short_files)
        length = len(words)
    if file is None:
        return None
    run = " ".join(words[place : place + length])
    return f"{benchmarks.names[file]}: {run[:SHOWN_CHARS]}"


def _find(hashes: UInt64Array, known: UInt64Array, files: UInt32Array) -> tuple[int, int | None]:
    """Place of the first hash that is known, and the file that it is known from."""
    if not len(hashes) or not len(known):
        return 0, None
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    found = np.flatnonzero(known[places] == hashes)
    return (int(found[0]), int(files[places[found[0]]])) if len(found) else (0, None)


def near_duplicates(
    texts: Sequence[str], benchmarks: Benchmarks, rules: MinHashRules
) -> list[str | None]:
    """Say for each text which benchmark text it is a near-duplicate of; None: of none.

    MinHash only proposes; what decides is the exact Jaccard similarity of the shingles.
    """
    found: list[str | None] = [None] * len(texts)
    if not len(benchmarks.keys):
        return found
    sets = shingle_hashes([normalise(text) for text in texts], rules)
    keys = _keys(sets, rules)
    first = np.searchsorted(benchmarks.keys, keys, side="left")
    last = np.searchsorted(benchmarks.keys, keys, side="right")
    for place in np.flatnonzero((first < last).any(axis=1)).tolist():
        if not len(sets[place]):
            continue
        candidates = {
            text
            for start, end in zip(first[place].tolist(), last[place].tolist(), strict=True)
            for text in benchmarks.key_texts[start:end].tolist()
        }
        best, text = max(
            (jaccard(sets[place], benchmarks.shingles[text]), -text) for text in candidates
        )
        if best >= rules.threshold:
            name, _, start = benchmarks.starts[-text].partition(": ")
            found[place] = f"{name}: similarity {best:.2f} to: {start}"
    return found


def decontaminate_thread(
    thread: Thread, benchmarks: Benchmarks, rules: MinHashRules
) -> ThreadOutcome:
    """Refuse a whole thread of which any post shares text with a benchmark."""
    posts = (thread.prompt, *thread.responses)
    texts = [_text(post) for post in posts]
    near = near_duplicates(texts, benchmarks, rules)
    found = {
        post.id: Rejection(Reason.CONTAMINATED, why)
        for post, text, similar in zip(posts, texts, near, strict=True)
        if (why := shared_words(text, benchmarks) or similar) is not None
    }
    title = shared_words(thread.prompt.title, benchmarks)  # the whole of a short benchmark prompt
    if title is not None:
        found.setdefault(thread.prompt.id, Rejection(Reason.CONTAMINATED, title))
    if found and thread.prompt.id not in found:
        first = next(iter(found))
        found[thread.prompt.id] = Rejection(Reason.CONTAMINATED, f"its response {first} is")
    return drop_posts(thread, found, Stage.FILTER)


def _decontaminate_thread(thread: Thread, path: str, rules: MinHashRules) -> ThreadOutcome:
    return decontaminate_thread(thread, load(path), rules)


def _text(post: Post) -> str:
    return f"{post.title}\n{post.text}"


@dataclass
class Decontaminate(beam.PTransform):
    """Thread → Thread; texts must be Markdown already."""

    benchmarks: str
    """File that `save` wrote, where every worker can read it."""
    rules: MinHashRules

    def expand(self, threads: beam.PCollection[Thread]) -> StepResult:
        judge = functools.partial(_decontaminate_thread, path=self.benchmarks, rules=self.rules)
        return apply_to_threads(threads, judge, Stage.FILTER, Decontaminate)
