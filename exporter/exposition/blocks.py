"""Blocks: compressed texts that can be joined in any order.

A block is raw deflate data that ends in a full flush. It ends at a byte boundary and refers to no data before it, so
joined blocks are the deflate data of the joined texts. `isal` compresses nine times as fast as `zlib` at level 6, to
1.26 times the size, and has `crc32_combine`.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_LEVEL = 1
"""Level 0 compresses much less than level 1. Levels 2 and 3 compress hardly better."""
_RAW_DEFLATE = -isal_zlib.MAX_WBITS
_INPUT_BYTES = 16 * 2**10
"""How much to decompress at once. This is about 128 KiB of sample lines."""
_MIN_MAP_BYTES = 64 * 2**10
"""Size from which a buffer is a memory map."""


@dataclass(slots=True, eq=False)
class Block:
    """Compressed text, with the CRC-32 and the length in bytes of the text."""

    data: memoryview
    """Part of a buffer that blocks share. `join` moves it to another buffer."""
    crc: int
    length: int


class Totals(NamedTuple):
    """CRC-32 and length of the text of joined blocks, and the length of their compressed data. Lengths are in bytes."""

    crc: int = 0
    length: int = 0
    compressed_length: int = 0

    def followed_by(self, blocks: Iterable[Block]) -> Totals:
        """Return the totals with more blocks at the end."""
        crc, length, compressed_length = self
        for block in blocks:
            crc = isal_zlib.crc32_combine(crc, block.crc, block.length)
            length += block.length
            compressed_length += len(block.data)
        return Totals(crc, length, compressed_length)


def compress(*texts: bytes) -> tuple[Block, ...]:
    """Return a block for each text. The block of an empty text has no data, not even a flush."""
    deflate = isal_zlib.compressobj(_LEVEL, wbits=_RAW_DEFLATE)
    parts = [deflate.compress(text) + deflate.flush(isal_zlib.Z_FULL_FLUSH) if text else b"" for text in texts]
    views = _split(_concatenate(parts), map(len, parts))
    return tuple(Block(view, isal_zlib.crc32(text), len(text)) for view, text in zip(views, texts, strict=True))


def join(blocks: Sequence[Block]) -> Block:
    """Return one block with the text of all blocks, and let these share its buffer so that no data is held twice."""
    buffer = _concatenate([block.data for block in blocks])
    totals = Totals().followed_by(blocks)
    for block, view in zip(blocks, _split(buffer, [len(block.data) for block in blocks]), strict=True):
        block.data = view
    return Block(buffer, totals.crc, totals.length)


def _concatenate(parts: Sequence[bytes | memoryview]) -> memoryview:
    """Join parts in a new buffer. A large one is a memory map, because freeing many of them would fragment the heap."""
    size = sum(map(len, parts))
    if size < _MIN_MAP_BYTES:
        return memoryview(b"".join(parts))
    buffer = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for part in parts:
        buffer.write(part)
    return memoryview(buffer).toreadonly()


def _split(buffer: memoryview, sizes: Iterable[int]) -> Iterator[memoryview]:
    start = 0
    for size in sizes:
        yield buffer[start : start + size]
        start += size


def decompress(block: Block, max_length: int = 2**63 - 1) -> Iterator[bytes]:
    """Return the text of a block, in pieces of at most `max_length` bytes."""
    inflate = isal_zlib.decompressobj(_RAW_DEFLATE)
    inputs = (block.data[start : start + _INPUT_BYTES] for start in range(0, len(block.data), _INPUT_BYTES))
    remaining = block.length
    while remaining:
        text = inflate.decompress(inflate.unconsumed_tail or next(inputs, b""), max_length)
        remaining -= len(text)
        yield text
