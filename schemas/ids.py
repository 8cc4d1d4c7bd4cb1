"""Stable hashes: the only source of order and placement in the pipeline.

Python's builtin ``hash`` differs between processes and Beam's arrival order
between runs, so every partition, split, seed and sort key comes from here.
"""

import hashlib
from typing import Final

import xxhash

MASK_63: Final = (1 << 63) - 1
"""Largest hash value; ids stay below 2**63 because Beam's VarIntCoder is signed."""


def hash63(text: str) -> int:
    """Return the 63-bit XXH3 of ``text``: an int in [0, 2**63), equal on every machine.

    At 10**9 distinct texts the chance of any collision is about 5 %. Nothing may
    rely on uniqueness: joins that use this hash also compare the full id.
    """
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) & MASK_63


def content_hash(text: str) -> bytes:
    """Return 16 bytes of BLAKE2b over UTF-8 ``text``: equality of texts in practice."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
