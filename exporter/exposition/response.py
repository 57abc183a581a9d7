"""Builds the body of a response from blocks, family by family.

Sample lines are the same in all formats, so all formats share the blocks. Only the headers of the families differ.
A body is created in pieces while it is sent, so that no copy of the whole is in memory: with gzip, the pieces are
compressed blocks; without, their text.
"""

from __future__ import annotations

import struct
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from exporter.exposition.blocks import Block, Totals, compress, decompress
from exporter.exposition.formats import Format, header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.collectors.families import Family

PIECE_BYTES = 128 * 2**10
"""Approximate size of a piece. A client that reads slowly keeps one in memory."""

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_END_OF_DEFLATE = b"\x03\x00"
"""An empty deflate block that is marked as the last one."""


class FamilyBlocks(NamedTuple):
    """A metric family and its samples."""

    family: Family
    blocks: Sequence[Block]


class Document:
    """The samples of any number of sources, such as collectors. A family that several sources have is joined."""

    def __init__(self, *sources: Iterable[FamilyBlocks]) -> None:
        self._families: dict[str, tuple[Family, list[Block]]] = {}
        for family, blocks in chain.from_iterable(sources):
            self._families.setdefault(family.name, (family, []))[1].extend(blocks)
        self._formats: dict[Format, tuple[Sequence[Block], Totals]] = {}

    def __iter__(self) -> Iterator[FamilyBlocks]:
        """Return the families, so that a document can be a source of another one."""
        return iter(FamilyBlocks(family, blocks) for family, blocks in self._families.values())

    def blocks(self, form: Format) -> tuple[Sequence[Block], Totals]:
        """Return the blocks of all headers and samples, and their totals. They are created once for each format."""
        if form not in self._formats:
            families = self._families.values()
            headers = compress(*(_header(form, family) for family, _ in families))
            blocks = [block for first, (_, others) in zip(headers, families, strict=True) for block in (first, *others)]
            self._formats[form] = blocks, Totals().followed_by(blocks)
        return self._formats[form]


Piece: TypeAlias = bytes | memoryview


class Body(NamedTuple):
    """The body of a response."""

    length: int
    """In bytes."""
    pieces: Iterator[Piece]


def response_body(document: Document, form: Format, own_metrics: bytes, *, gzip: bool) -> Body:
    """Return a body with the document and, after it, the exporter's own metrics, which end with `end_of(form)`."""
    blocks, totals = document.blocks(form)
    if not gzip:
        texts = (text for block in blocks for text in decompress(block, PIECE_BYTES))
        return Body(totals.length + len(own_metrics), _group(chain(texts, (own_metrics,))))
    own_blocks = compress(own_metrics)
    totals = totals.followed_by(own_blocks)
    end = _END_OF_DEFLATE + struct.pack("<LL", totals.crc, totals.length & 0xFFFFFFFF)
    data = (block.data for block in chain(blocks, own_blocks))
    length = len(_GZIP_HEADER) + totals.compressed_length + len(end)
    return Body(length, _group(chain((_GZIP_HEADER,), data, (end,))))


def _header(form: Format, family: Family) -> bytes:
    return header(form, name=family.name, help_text=family.help, family_type=family.type, unit=family.unit).encode()


def _group(parts: Iterable[Piece]) -> Iterator[Piece]:
    """Join small parts to pieces, and divide large ones without copying them."""
    small: list[Piece] = []
    size = 0
    for part in parts:
        is_large = len(part) > PIECE_BYTES // 4
        if size and (is_large or size + len(part) > PIECE_BYTES):
            piece = b"".join(small)
            small, size = [], 0  # before the wait for the client, so that the parts are not in memory, too
            yield piece
        if is_large:
            yield from (part[start : start + PIECE_BYTES] for start in range(0, len(part), PIECE_BYTES))
        else:
            small.append(part)
            size += len(part)
    if size:
        yield b"".join(small)
