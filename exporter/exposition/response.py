"""Rendered families to answers, for each format and encoding.

A sample's line is the same in every format, so that a further format costs its headers only. What was put together is
kept for the life of the document. A scrape sends it with the exporter's own metrics behind.

A gzip answer compresses only these: the document's part is kept as raw deflate blocks that end in a full flush, to
which others can be appended, and the CRC and length of the whole are run on from those of the part.
"""

from __future__ import annotations

import struct
import threading
import zlib
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from exporter.collectors.credential_connections import Family


class Format(Enum):
    """An exposition format; its value is the content type that it is sent with."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    TEXT_1 = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"


_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL = 6


class Part(NamedTuple):
    """The snapshot's part of an answer: the bytes to send, and CRC and length of the text that is gzipped in them."""

    data: bytes
    crc: int = 0
    length: int = 0


class Document:
    """A rendered snapshot: for each family the blocks of lines that it has."""

    def __init__(self, families: Sequence[Family] = (), blocks: Sequence[Sequence[bytes]] = ()) -> None:
        self.families = families
        self.blocks = blocks
        self._parts: dict[tuple[Format, bool], Part] = {}
        self._lock = threading.Lock()

    @property
    def made(self) -> Collection[tuple[Format, bool]]:
        """The formats, each with whether it is gzipped, whose part is made and costs nothing more."""
        return self._parts.keys()

    def part(self, form: Format, *, gzip: bool) -> Part:
        """Return the part in this format; made at the first call, by one thread for all."""
        if (form, gzip) in self._parts:  # without the lock, which another format may hold for long
            return self._parts[form, gzip]
        with self._lock:
            if (form, gzip) not in self._parts:
                self._parts[form, gzip] = _deflate(self._texts(form)) if gzip else Part(b"".join(self._texts(form)))
            return self._parts[form, gzip]

    def _texts(self, form: Format) -> Iterator[bytes]:
        for family, blocks in zip(self.families, self.blocks, strict=True):
            yield _header(family, form)
            yield from blocks


EMPTY = Document()
"""What there is to show without a snapshot."""


def assemble(part: Part, live: bytes, *, gzip: bool) -> tuple[bytes, bytes]:
    """Return the two pieces of an answer: the snapshot's part as it is, and behind it the exporter's own metrics."""
    if not gzip:
        return part.data, live
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    trailer = struct.pack("<LL", zlib.crc32(live, part.crc), (part.length + len(live)) & 0xFFFFFFFF)
    return part.data, deflate.compress(live) + deflate.flush() + trailer


def _deflate(texts: Iterable[bytes]) -> Part:
    """Return a gzip header and the texts as deflate blocks that others can be appended to."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    pieces, crc, length = [_GZIP_HEADER], 0, 0
    for text in texts:
        pieces.append(deflate.compress(text))
        crc = zlib.crc32(text, crc)
        length += len(text)
    pieces.append(deflate.flush(zlib.Z_FULL_FLUSH))
    return Part(b"".join(pieces), crc, length)


def _header(family: Family, form: Format) -> bytes:
    if form is not Format.OPENMETRICS:
        return f"# HELP {family.name} {family.help}\n# TYPE {family.name} gauge\n".encode()
    name = family.name.removesuffix("_info")
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n{unit}".encode()
