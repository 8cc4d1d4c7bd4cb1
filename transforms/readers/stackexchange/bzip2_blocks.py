"""Cut a bzip2 stream into blocks that can be decoded independently, and so at the same time.

A stream is ``BZh`` and a digit, blocks of up to 900 kB of data, and a footer; nothing says where a
block begins, and blocks begin at any bit. But each begins with the same 48 bits, so they can be
found without decoding, as bzip2recover does (https://sourceware.org/bzip2/manual/manual.html). Some
blocks with a header and footer of their own are a stream that libbz2 decodes, checksums included.

The 48 bits may also be in the middle of a block by chance (once in 30 TB), and a stream may have
parts that are not handled here. Both raise NotIndependentError, and are to be decoded from the
start.
"""

import bz2
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

GROUP_BLOCKS: Final = 2
"""Blocks per group: enough that handing one over costs nothing, few enough to be held often."""

_BLOCK_BYTES: Final = 900_000
MAX_GROUP_BYTES: Final = 2 * GROUP_BLOCKS * _BLOCK_BYTES
"""Of a group, unpacked. Long runs of one byte unpack to more; texts have none."""

READ_BYTES: Final = 1 << 20
_MAX_PACKED_BYTES: Final = 16 << 20
"""Of a group: the worst codes there are take 2.3 MB a block."""

_BLOCK: Final = 0x314159265359
_FOOTER: Final = 0x177245385090
_MARK_BITS: Final = 48
_CRC_BITS: Final = 32
_FOOTER_BITS: Final = _MARK_BITS + _CRC_BITS
_HEADER_BITS: Final = 32
_LEVELS: Final = b"123456789"

_PAIRS: Final = tuple(
    int.from_bytes((_BLOCK >> (24 + shift) & 0xFFFF).to_bytes(2, "big"), sys.byteorder)
    for shift in range(8)
)
"""The second and third byte of a block, by the bit it begins at in the first."""


class NotIndependentError(Exception):
    """A stream whose blocks cannot be decoded on their own: damaged, or out of the ordinary."""


class BlockGroup(NamedTuple):
    """Successive blocks of a stream."""

    data: bytes
    """The bytes that hold their bits, which may also hold bits before and after."""
    first_bit: int
    """Of the first block in ``data``: 0 to 7."""
    bits: int
    """Length of the blocks."""
    starts: tuple[int, ...]
    """First bit of each block, from the start of the first."""
    level: int
    """The digit of the stream's header: blocks have up to that many times 100 kB."""


def cut_blocks(read: Callable[[int, int], bytes], size: int) -> Iterator[BlockGroup]:
    """Yield all blocks of the stream of ``size`` bytes, in order.

    ``read(offset, length)`` returns bytes of the stream; whatever it raises is passed on. Raises
    NotIndependentError.
    """
    header = read(0, 4)
    if len(header) < 4 or header[:3] != b"BZh" or header[3] not in _LEVELS:
        raise NotIndependentError("no header")
    level = header[3] - ord("0")
    end = _find_footer(read, size)
    held = b""
    base = position = 0  # the byte at which ``held`` starts, and the next to be read
    known: list[int] = []  # blocks of which some bits are to come, by the bit they start at
    while position < size:
        chunk = read(position, min(READ_BYTES, size - position))
        if not chunk:
            raise NotIndependentError("it became shorter")
        # Marks that begin in what was read before are found when their last byte is here.
        overlap = held[-6:]
        offset = position - len(overlap)
        found = [8 * offset + bit for bit in find_marks(overlap + chunk)]
        held += chunk
        position += len(chunk)
        known += [bit for bit in found if bit < end and (not known or bit > known[-1])]
        if not known or (base == 0 and known[0] != _HEADER_BITS):
            raise NotIndependentError("no block")
        while len(known) > GROUP_BLOCKS:
            yield _group(held, base, known[:GROUP_BLOCKS], known[GROUP_BLOCKS], level)
            del known[:GROUP_BLOCKS]
        start = known[0] // 8
        held = held[start - base :]
        base = start
        if len(held) > _MAX_PACKED_BYTES + READ_BYTES:
            raise NotIndependentError("a block is too long")
    yield _group(held, base, known, end, level)


def find_marks(data: bytes) -> list[int]:
    """Return the bits at which the 48 bits that begin a block are in ``data``, in order."""
    marks = []
    for odd in (0, 1):
        pairs = np.frombuffer(data[odd:], np.uint16, (len(data) - odd) // 2)
        for shift, pair in enumerate(_PAIRS):
            for at in np.flatnonzero(pairs == pair):
                bit = 8 * (2 * int(at) + odd - 1) + shift
                whole = 0 <= bit <= 8 * len(data) - _MARK_BITS
                if whole and _bits(data, bit, _MARK_BITS) == _BLOCK:
                    marks.append(bit)
    return sorted(marks)


def decode_blocks(group: BlockGroup) -> bytes:
    """Return the data of ``group``, whose checksums libbz2 has compared.

    Raises NotIndependentError.
    """
    decoder = bz2.BZ2Decompressor()
    try:
        data = decoder.decompress(_as_stream(group), MAX_GROUP_BYTES)
    except (OSError, EOFError, ValueError) as error:
        raise NotIndependentError(str(error)) from error
    if not decoder.eof or decoder.unused_data:
        raise NotIndependentError("not a group of blocks")
    return data


def _as_stream(group: BlockGroup) -> bytes:
    """Return a whole stream of the blocks of ``group`` alone."""
    array = np.frombuffer(group.data, np.uint8)
    shift = group.first_bit
    if shift:
        array = (array[:-1] << np.uint8(shift)) | (array[1:] >> np.uint8(8 - shift))
    blocks = array.tobytes()
    crc = 0
    for start in group.starts:
        crc = ((crc << 1 | crc >> 31) & 0xFFFFFFFF) ^ _bits(blocks, start + _MARK_BITS, _CRC_BITS)
    whole, rest = divmod(group.bits, 8)
    last = _bits(blocks, 8 * whole, rest) if rest else 0
    footer = (last << _FOOTER_BITS) | (_FOOTER << _CRC_BITS) | crc
    pad = -(rest + _FOOTER_BITS) % 8
    end = (footer << pad).to_bytes((rest + _FOOTER_BITS + pad) // 8, "big")
    return b"BZh%d%b%b" % (group.level, blocks[:whole], end)


def _group(held: bytes, base: int, starts: list[int], end: int, level: int) -> BlockGroup:
    first = starts[0]
    # One byte more, so that bits can be shifted in; behind the last block the footer follows.
    data = held[first // 8 - base : (end + 7) // 8 + 1 - base]
    relative = tuple(start - first for start in starts)
    return BlockGroup(data, first % 8, end - first, relative, level)


def _find_footer(read: Callable[[int, int], bytes], size: int) -> int:
    """Return the bit at which the footer begins, the last thing in a stream."""
    length = (_FOOTER_BITS + 7) // 8 + 1
    tail = read(max(0, size - length), length)
    value = int.from_bytes(tail, "big")
    for pad in range(8):
        if (value >> (pad + _CRC_BITS)) & ((1 << _MARK_BITS) - 1) == _FOOTER:
            return 8 * size - pad - _FOOTER_BITS
    raise NotIndependentError("no footer")


def _bits(data: bytes, start: int, length: int) -> int:
    """Return ``length`` bits as a number, the first the highest."""
    end = start + length
    value = int.from_bytes(data[start // 8 : (end + 7) // 8], "big")
    return (value >> (-end % 8)) & ((1 << length) - 1)
