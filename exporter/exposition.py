"""Families to bytes, for each format and encoding.

A snapshot is rendered once: the label text of a connection is escaped once and shared by its series, and a sample's
line is the same in every format, so that a further format costs its headers only. What was rendered is kept for the
life of the snapshot. A scrape sends it with the exporter's own metrics behind.

A gzip answer compresses only these: the snapshot's part is kept as raw deflate blocks that end in a full flush, to
which others can be appended, and the CRC and length of the whole are run on from those of the part.
"""

from __future__ import annotations

import struct
import threading
import zlib
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from .metrics import LabelValue

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .metrics import Family, Selection, Source
    from .models import Connection, Snapshot


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
    """A rendered snapshot: for each family the lines of its samples."""

    def __init__(self, blocks: Sequence[tuple[Family[Any], bytes]] = ()) -> None:
        self._blocks = blocks
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
                texts = (text for family, block in self._blocks for text in (_header(family, form), block))
                self._parts[form, gzip] = _deflate(texts) if gzip else Part(b"".join(texts))
            return self._parts[form, gzip]


EMPTY = Document()
"""What there is to show without a snapshot."""


def render(snapshot: Snapshot, selection: Selection) -> Document:
    """Render a snapshot."""
    escaped = _Escaped()
    connections = [(connection, (_common(connection),)) for connection in snapshot.connections]
    return Document(
        [
            *((family, _lines(family, [(snapshot, ())], (), escaped)) for family in selection.snapshot),
            *((family, _lines(family, connections, ("%s",), escaped)) for family in selection.connection),
        ]
    )


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


def _header(family: Family[Any], form: Format) -> bytes:
    if form is not Format.OPENMETRICS:
        return f"# HELP {family.name} {family.help}\n# TYPE {family.name} gauge\n".encode()
    name = family.name.removesuffix("_info") if family.type == "info" else family.name
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n{unit}".encode()


def _common(connection: Connection) -> str:
    return f'connection_id="{_escape(connection.id)}",connection_name="{_escape(connection.connection_name or "")}"'


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class _Escaped(dict[LabelValue, str]):
    """The text of each label value, escaped once; most are of a small set."""

    def __missing__(self, value: LabelValue) -> str:
        text = str(value).lower() if isinstance(value, bool) else _escape(value or "")
        self[value] = text
        return text


def _lines(
    family: Family[Source],
    sources: Iterable[tuple[Source, tuple[str, ...]]],
    common: tuple[str, ...],
    escaped: _Escaped,
) -> bytes:
    """Return the lines of a family, where each source comes with its `common` label text."""
    labels = ",".join((*common, *(f'{label}="%s"' for label in family.labels)))
    template = f"{family.name}{{{labels}}} %s\n" if labels else f"{family.name} %s\n"
    lines = []
    for source, texts in sources:
        for values, number in family.samples(source):
            lines.append(template % (*texts, *[escaped[value] for value in values], number))
    return "".join(lines).encode()
