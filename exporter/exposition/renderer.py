"""A snapshot to the lines of its samples, by the column: one family of one chunk of the list at a time.

A line has three pieces: the family's name, the label text that all series of a connection share, and a tail with the
further labels and the number. The common text is made once for each connection, and a tail once for each combination of
values, of which there are few. A chunk that is the same as in the last snapshot is not rendered again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from exporter.collectors.credential_connections import Gauge, Info
from exporter.exposition.response import EMPTY, Document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exporter.collectors.credential_connections import Family, LabelValue, Many, Part, Sample, Selection
    from exporter.telnyx.pages import Connection, Snapshot

    Chunk: TypeAlias = tuple[Connection, ...]


class Renderer:
    """Renders snapshots, each with what it can keep of the one before."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._families = (*selection.snapshot, *selection.connection)
        self._chunks: dict[int, tuple[Chunk, list[bytes]]] = {}
        self._document = EMPTY

    def __call__(self, snapshot: Snapshot) -> Document:
        """Return the rendered snapshot; the same document as before if nothing in it changed."""
        columns = [(family, _Tails(family)) for family in self._selection.connection]
        chunks = {
            id(chunk): self._chunks.get(id(chunk)) or (chunk, _render(chunk, columns)) for chunk in snapshot.chunks
        }
        self._chunks = chunks
        blocks = [
            *([_count_lines(family, family.samples(snapshot))] for family in self._selection.snapshot),
            *([chunks[id(chunk)][1][place] for chunk in snapshot.chunks] for place in range(len(columns))),
        ]
        if blocks != self._document.blocks:
            self._document = Document(self._families, blocks)
        return self._document


class _Tails(dict[Any, bytes]):
    """What follows the common labels in the lines of a family, by what it is made from, made when it is first needed.

    That is the number of a gauge, the label values of an info, or a pair of both.
    """

    def __init__(self, family: Gauge | Info | Many) -> None:
        self._family = family
        self._template = "".join(f',{label}="%s"' for label in family.labels) + "} %s\n"

    def __missing__(self, key: Any) -> bytes:
        if isinstance(self._family, Gauge):
            tail = f"}} {key}\n".encode()
        else:
            values, number = (key, 1) if isinstance(self._family, Info) else key
            tail = (self._template % (*map(_text, values), number)).encode()
        self[key] = tail
        return tail


class _Parts(dict["Part", "list[Any]"]):
    """The parts of a chunk's connections, by what gives them: several families are about the same."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk

    def __missing__(self, part: Part) -> list[Any]:
        self[part] = list(map(part, self._chunk))
        return self[part]


def _render(chunk: Chunk, columns: Sequence[tuple[Gauge | Info | Many, _Tails]]) -> list[bytes]:
    """Return the lines of each family for these connections."""
    commons = [_common(connection) for connection in chunk]
    parts = _Parts(chunk)
    blocks = []
    for family, tails in columns:
        if isinstance(family, Gauge):
            numbers = map(family.value, parts[family.part])
            lines = [
                common + tails[number] for common, number in zip(commons, numbers, strict=True) if number is not None
            ]
        elif isinstance(family, Info):
            settings = map(family.values, parts[family.part])
            lines = [common + tails[labels] for common, labels in zip(commons, settings, strict=True)]
        else:
            lines = [
                common + tails[sample]
                for common, connection in zip(commons, chunk, strict=True)
                for sample in family.samples(connection)
            ]
        name = family.name.encode()
        blocks.append(name + name.join(lines) if lines else b"")
    return blocks


def _count_lines(family: Family, samples: Iterable[Sample]) -> bytes:
    """Return the lines of a family that has none of the common labels."""
    labels = ",".join(f'{label}="%s"' for label in family.labels)
    template = f"{family.name}{{{labels}}} %s\n" if labels else f"{family.name} %s\n"
    return "".join([template % (*map(_text, values), number) for values, number in samples]).encode()


def _common(connection: Connection) -> bytes:
    name = _escape(connection.connection_name or "")
    return f'{{connection_id="{_escape(connection.id)}",connection_name="{name}"'.encode()


_WORDS: dict[LabelValue, str] = {None: "", True: "true", False: "false"}


def _text(value: LabelValue) -> str:
    return _WORDS.get(value) or _escape(value or "")  # type: ignore[arg-type]  # True is among the words


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
