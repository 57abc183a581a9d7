"""Encodes rendered families as the body of a response, for each format and encoding.

Sample lines are the same in all formats, so another format only adds its headers. An encoded document is kept as long
as the document. A scrape sends it, followed by the exporter's own metrics.

With gzip, a scrape only compresses the exporter's own metrics: the document is kept as raw deflate blocks that end with
a full flush, so that more blocks can follow. CRC and length of the whole are continued from those of the document.
"""

from __future__ import annotations

import struct
import threading
import zlib
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from exporter.collectors.families import Family


class Format(Enum):
    """An exposition format. The value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    TEXT_1 = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"


_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_COMPRESSION_LEVEL = 6


class EncodedDocument(NamedTuple):
    """An encoded document: the bytes to send. With gzip also CRC and length of the text that they contain."""

    data: bytes
    crc: int = 0
    length: int = 0


class Document:
    """A rendered snapshot: blocks of lines for each family."""

    def __init__(self, families: Sequence[Family] = (), blocks: Sequence[Sequence[bytes]] = ()) -> None:
        self.families = families
        self.blocks = blocks
        self._encoded: dict[tuple[Format, bool], EncodedDocument] = {}
        self._lock = threading.Lock()

    @property
    def encodings(self) -> Collection[tuple[Format, bool]]:
        """The formats, with and without gzip, in which the document is already encoded."""
        return self._encoded.keys()

    def encode(self, form: Format, *, gzip: bool) -> EncodedDocument:
        """Return the encoded document. The first call encodes it; concurrent calls wait for that one."""
        if (form, gzip) in self._encoded:  # without the lock, which encoding another format can hold for a long time
            return self._encoded[form, gzip]
        with self._lock:
            if (form, gzip) not in self._encoded:
                self._encoded[form, gzip] = (
                    _compress(self._text(form)) if gzip else EncodedDocument(b"".join(self._text(form)))
                )
            return self._encoded[form, gzip]

    def _text(self, form: Format) -> Iterator[bytes]:
        for family, blocks in zip(self.families, self.blocks, strict=True):
            yield _header(family, form)
            yield from blocks


EMPTY = Document()
"""The document when there is no snapshot."""


def response_body(document: EncodedDocument, own_metrics: bytes, *, gzip: bool) -> tuple[bytes, bytes]:
    """Return the two parts of a response body: the document as it is, and the exporter's own metrics."""
    if not gzip:
        return document.data, own_metrics
    deflate = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    crc, length = zlib.crc32(own_metrics, document.crc), (document.length + len(own_metrics)) & 0xFFFFFFFF
    return document.data, deflate.compress(own_metrics) + deflate.flush() + struct.pack("<LL", crc, length)


def _compress(texts: Iterable[bytes]) -> EncodedDocument:
    """Return a gzip header and the texts as raw deflate blocks, to which more blocks can be appended."""
    deflate = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    pieces, crc, length = [_GZIP_HEADER], 0, 0
    for text in texts:
        pieces.append(deflate.compress(text))
        crc = zlib.crc32(text, crc)
        length += len(text)
    pieces.append(deflate.flush(zlib.Z_FULL_FLUSH))
    return EncodedDocument(b"".join(pieces), crc, length)


def _header(family: Family, form: Format) -> bytes:
    if form is not Format.OPENMETRICS:
        return f"# HELP {family.name} {family.help}\n# TYPE {family.name} gauge\n".encode()
    name = family.name.removesuffix("_info")
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n{unit}".encode()
