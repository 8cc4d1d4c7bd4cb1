"""MinHash signatures and LSH band keys of texts, a batch at a time.

A token is a word as `schemas.words` has it, in the form in which words are compared. A shingle is
`shingle_words` consecutive tokens, and is only ever seen as a 32-bit hash. The similarity of two
texts is the Jaccard similarity of their sets of shingle hashes.
"""

import dataclasses
import functools
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.ids import content_hash
from schemas.words import (
    HAN_PLANES,
    LETTER,
    MARK,
    PARTING,
    SINGLE,
    UNSEEN,
    character_kinds,
    comparable,
)

UInt32Array = npt.NDArray[np.uint32]
UInt64Array = npt.NDArray[np.uint64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BATCH_CHARACTERS: Final = 1 << 17
"""Texts are tokenised about this many characters at a time: 60 bytes of memory for each."""

BLOCK_SHINGLES: Final = 1 << 13
"""Permutations are applied to this many shingles at a time, however long the texts are."""

_MULTIPLIER: Final = 0x9E3779B97F4A7C15
_INVERSE: Final = pow(_MULTIPLIER, -1, 1 << 64)
_SHINGLE_MULTIPLIER: Final = 0xD1B54A32D192ED03


@dataclasses.dataclass(frozen=True)
class MinHashRules:
    """How texts are compared.

    Of pairs with the similarity s, 1 - (1 - s**rows)**bands become candidates: by default 98.6 %
    at the threshold, 99.999 % at 0.9, 13 % at 0.5. `benchmarks/dedup.py` measures it.
    """

    bands: int = 18
    """LSH buckets a text falls into; two texts that share one are compared."""
    rows: int = 7
    """MinHash values that make one bucket."""
    shingle_words: int = 5
    """Consecutive tokens in a shingle."""
    min_words: int = 20
    """Texts with fewer tokens are only compared for equality."""
    threshold: float = 0.8
    """Minimum Jaccard similarity of near-duplicates, in (0, 1]."""
    seed: int = 1
    """Seed of the permutations."""
    near: bool = True
    """Find near-duplicates too; False: only equal texts."""

    def __post_init__(self) -> None:
        if self.bands < 1 or self.rows < 1:
            raise ValueError(f"bands ({self.bands}) and rows ({self.rows}) must be at least 1")
        if not 1 <= self.shingle_words <= self.min_words:
            raise ValueError(
                f"need 1 <= shingle_words ({self.shingle_words}) <= min_words ({self.min_words})"
            )
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], not {self.threshold}")

    @property
    def num_perm(self) -> int:
        """Length of a signature."""
        return self.bands * self.rows


def normalise(text: str) -> str:
    """Return the form in which two equal texts count as exact duplicates.

    Unicode NFC with every run of white space as one space. Case and punctuation stay: short
    answers may differ in nothing but an operator or a capital letter, and longer texts that
    agree apart from these have equal shingles.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def shingle_hashes(texts: Sequence[str], rules: MinHashRules) -> list[UInt32Array]:
    """Return the sorted distinct shingle hashes of each text, in normalised form or ASCII.

    Empty for a text with fewer than ``rules.min_words`` tokens, and for every text when
    near-duplicates are not wanted.
    """
    if not rules.near:
        return [np.empty(0, np.uint32) for _ in texts]
    found = [np.empty(0, np.uint32)] * len(texts)
    for places, batch in _batches(texts):
        hashes = _shingles(*_token_hashes(batch), rules)
        for place, one in zip(places, hashes, strict=True):
            found[place] = one
    return found


class WordHashes(NamedTuple):
    """What a text's words are compared by."""

    shingles: UInt32Array
    """As :func:`shingle_hashes` gives them."""
    sequence: int
    """63-bit hash of all words in their order, equal for texts of equal words."""
    words: int


def word_hashes(texts: Sequence[str], rules: MinHashRules) -> list[WordHashes]:
    """Return the shingles of each text, whatever ``rules.near``, and a hash of all its words."""
    found: dict[int, WordHashes] = {}
    for places, batch in _batches(texts):
        tokens, bounds = _token_hashes(batch)
        sequences = _positive(_sequence_hashes(tokens, bounds)).tolist()
        counts = np.diff(bounds).tolist()
        hashes = map(WordHashes, _shingles(tokens, bounds, rules), sequences, counts)
        found.update(zip(places, hashes, strict=True))
    return [found[place] for place in range(len(texts))]


def _sequence_hashes(tokens: UInt64Array, bounds: Int64Array) -> UInt64Array:
    terms = tokens * _powers(_SHINGLE_MULTIPLIER, len(tokens))
    sums = np.append(np.uint64(0), np.cumsum(terms, dtype=np.uint64))
    inverse = np.append(np.uint64(1), _powers(pow(_SHINGLE_MULTIPLIER, -1, 1 << 64), len(tokens)))
    return _mix64((sums[bounds[1:]] - sums[bounds[:-1]]) * inverse[bounds[:-1]])


def _batches(texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Yield places in ``texts`` and these texts without case; ASCII is not mixed with others."""
    compared = [comparable(text) for text in texts]
    for ascii_only in (True, False):
        places: list[int] = []
        characters = 0
        for place, text in enumerate(compared):
            if text.isascii() is not ascii_only:
                continue
            if places and characters + len(text) > BATCH_CHARACTERS:
                yield places, [compared[place] for place in places]
                places, characters = [], 0
            places.append(place)
            characters += len(text)
        if places:
            yield places, [compared[place] for place in places]


def _shingles(tokens: UInt64Array, bounds: Int64Array, rules: MinHashRules) -> list[UInt32Array]:
    width = rules.shingle_words
    counts = np.diff(bounds)
    shingles = np.where(counts < rules.min_words, 0, counts - width + 1)
    total = int(shingles.sum())
    if not total:
        return [np.empty(0, np.uint32) for _ in counts]

    combined = np.zeros(len(tokens) - width + 1, np.uint64)
    for place, multiplier in enumerate(_powers(_SHINGLE_MULTIPLIER, width)):
        combined += tokens[place : place + len(combined)] * multiplier
    combined = _mix64(combined) >> np.uint64(32)

    # Shingles that cross from one text into the next were hashed too: pick those that do not.
    ends = np.cumsum(shingles)
    picked = np.arange(total) + np.repeat(bounds[:-1] - (ends - shingles), shingles)
    owners = np.repeat(np.arange(len(counts), dtype=np.uint64), shingles)
    rows = (owners << np.uint64(32)) | combined[picked]
    rows.sort()
    rows = rows[np.append(True, rows[1:] != rows[:-1])]
    starts = np.searchsorted(rows, np.arange(1, len(counts), dtype=np.uint64) << np.uint64(32))
    return np.split(rows.astype(np.uint32), starts)


def _token_hashes(texts: list[str]) -> tuple[UInt64Array, Int64Array]:
    """Return the hashes of all tokens and the bounds [n + 1] of each text's tokens in them."""
    joined = "\n".join(texts)
    values, is_start = _ascii_values(joined) if joined.isascii() else _values(joined)
    starts = np.flatnonzero(is_start)
    text_ends = np.cumsum([len(text) + 1 for text in texts])
    bounds = np.append(0, np.searchsorted(starts, text_ends))
    if not len(starts):
        return np.empty(0, np.uint64), bounds

    # The polynomial hash of a token, sum of value * m**place modulo 2**64, is read off one running
    # sum over the batch: places count from the start of the batch, and dividing by m**start moves
    # them back. Separators add 0, so a sum may run up to the next token.
    terms = values * _powers(_MULTIPLIER, len(values))
    sums: UInt64Array = np.add.reduceat(terms, starts)
    return _mix64(sums * _powers(_INVERSE, len(values))[starts]), bounds


def _values(text: str) -> tuple[UInt64Array, BoolArray]:
    """Return of each character its code + 1, 0 if it parts words, and whether it starts a token."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
    kinds = _kinds_by_code()[np.minimum(codes, HAN_PLANES[1] + 1)]
    is_mark = kinds == MARK
    if is_mark.any():  # each is of the kind of the character that it belongs to
        places = np.where(is_mark, 0, np.arange(len(kinds)))
        kinds = kinds[np.maximum.accumulate(places)]
        kinds[: is_mark.argmin()] = PARTING
    in_word = kinds == LETTER
    is_start = (kinds != PARTING) & ~is_mark
    is_start[1:] &= ~(in_word[1:] & in_word[:-1])
    return np.where(kinds == PARTING, 0, codes + np.uint64(1)), is_start


def _ascii_values(text: str) -> tuple[npt.NDArray[np.uint8], BoolArray]:
    """Return :func:`_values` of ASCII text, a byte each: all that part no words are in words."""
    values = np.frombuffer(text.encode("ascii").translate(_ascii_table()), np.uint8)
    in_word = values != 0
    is_start = in_word.copy()
    is_start[1:] &= ~in_word[:-1]
    return values, is_start


@functools.cache
def _ascii_table() -> bytes:
    kinds = character_kinds()[:128]
    assert set(kinds) == {PARTING, LETTER}
    table = bytes(code + 1 if kind == LETTER else 0 for code, kind in enumerate(kinds))
    return table.ljust(256, b"\0")


@functools.cache
def _kinds_by_code() -> npt.NDArray[np.uint8]:
    """Kind of each code point up to the planes of Han, and of one beyond them."""
    below = np.frombuffer(character_kinds(), np.uint8)
    kinds = np.full(HAN_PLANES[1] + 2, SINGLE, np.uint8)
    kinds[: len(below)] = np.where(below == UNSEEN, MARK, below)
    kinds[-1] = PARTING
    return kinds


def _powers(base: int, count: int) -> UInt64Array:
    """base**1 … base**count modulo 2**64, not to be written to."""
    powers = _first_powers(base)
    return powers[:count] if count <= len(powers) else _all_powers(base, count)


@functools.cache
def _first_powers(base: int) -> UInt64Array:
    """As many as the texts of a batch need, unless one alone is longer."""
    powers = _all_powers(base, BATCH_CHARACTERS + (1 << 12))
    powers.flags.writeable = False
    return powers


def _all_powers(base: int, count: int) -> UInt64Array:
    return np.cumprod(np.full(count, base, np.uint64), dtype=np.uint64)


def _mix64(values: UInt64Array) -> UInt64Array:
    """Finaliser of MurmurHash3: a bijection in which every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _mix32(values: UInt32Array) -> UInt32Array:
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


@functools.cache
def _permutations(rules: MinHashRules) -> tuple[UInt32Array, UInt32Array]:
    """Multipliers and increments, each [num_perm, 1], as datasketch draws them."""
    # Here, because it imports scipy.integrate, which commands without dedup need not wait for.
    from datasketch import MinHash

    drawn = MinHash(num_perm=rules.num_perm, seed=rules.seed, scheme="affine32").permutations
    return drawn[0][:, None], drawn[1][:, None]


def signatures(sets: Sequence[UInt32Array], rules: MinHashRules) -> UInt32Array:
    """Return MinHash signatures [n, num_perm], equal to datasketch's scheme "affine32".

    One pass over the shingles of all texts, several times faster than an object per text. The
    signature of an empty set is all ones.
    """
    result = np.full((len(sets), rules.num_perm), 0xFFFFFFFF, np.uint32)
    lengths = np.array([len(hashes) for hashes in sets], np.int64)
    if not lengths.any():
        return result
    hashes = _mix32(np.concatenate(sets))
    filled = np.flatnonzero(lengths)
    starts = np.append(0, np.cumsum(lengths[filled]))
    multipliers, increments = _permutations(rules)
    buffer = np.empty((rules.num_perm, min(BLOCK_SHINGLES, len(hashes))), np.uint32)
    for start in range(0, len(hashes), BLOCK_SHINGLES):
        block = hashes[start : start + BLOCK_SHINGLES]
        first = int(np.searchsorted(starts, start, side="right")) - 1
        last = int(np.searchsorted(starts, start + len(block), side="left"))
        permuted = np.multiply(multipliers, block, out=buffer[:, : len(block)])
        permuted += increments
        segments = np.maximum(starts[first:last], start) - start
        minima = np.minimum.reduceat(permuted, segments, axis=1).T
        rows = filled[first:last]
        result[rows] = np.minimum(result[rows], minima)
    return result


def band_keys(
    signature_rows: UInt32Array, is_prompt: npt.NDArray[np.bool_], rules: MinHashRules
) -> Int64Array:
    """Return LSH bucket keys [n, bands], 63-bit hashes; prompts and responses never share one."""
    values = signature_rows.reshape(-1, rules.bands, rules.rows).astype(np.uint64)
    sums = (values * _powers(_MULTIPLIER, rules.rows)).sum(axis=2, dtype=np.uint64)
    salts = _powers(_SHINGLE_MULTIPLIER, 2 * rules.bands).reshape(2, rules.bands)
    return _positive(_mix64(sums + salts[is_prompt.astype(np.int64)]))


def exact_keys(texts: Sequence[str], is_prompt: npt.NDArray[np.bool_]) -> Int64Array:
    """Return one bucket key [n] for each normalised text: equal for equal texts of one kind."""
    digests = b"".join(content_hash(text)[:8] for text in texts)
    keys = np.frombuffer(digests, np.dtype("<u8")) + is_prompt.astype(np.uint64)
    return _positive(_mix64(keys))


def _positive(keys: UInt64Array) -> Int64Array:
    return (keys >> np.uint64(1)).astype(np.int64)


SIGNATURE_LENGTH: Final = MinHashRules().num_perm

MIN_RECALL: Final = 0.985
"""Probability with which a pair of exactly the threshold must share a band."""


def bands_for(threshold: float) -> tuple[int, int]:
    """Return (bands, rows) with which pairs at ``threshold`` still become candidates.

    The most rows, that is the fewest false candidates, at which a pair of exactly that
    similarity shares a band with probability 0.985: 1 − (1 − threshold**rows)**bands.
    """
    for rows in range(MinHashRules().rows, 1, -1):
        bands = SIGNATURE_LENGTH // rows
        if 1 - (1 - threshold**rows) ** bands >= MIN_RECALL:
            return bands, rows
    return SIGNATURE_LENGTH, 1
