"""Renders the rows of a snapshot to exposition lines, one metric family of one page at a time.

A line has three parts: the family's name, the identity labels, which all series of a row share, and a suffix with the
other labels and the number. Identity labels are rendered once per row, and a suffix once per distinct combination of
values, of which there are few. A page that is the same object as in the last snapshot is not rendered again.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from exporter.collectors.families import Gauge, Info
from exporter.exposition.response import EMPTY, Document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exporter.collectors.collector import Collector
    from exporter.collectors.families import Family, Getter, LabelValue, RowFamily, Sample
    from exporter.telnyx.pages import Snapshot

    Rows: TypeAlias = tuple[Any, ...]


class Renderer:
    """Renders the snapshots of a collector and reuses what did not change since the last one."""

    def __init__(self, collector: Collector[Any]) -> None:
        self._collector = collector
        self._families = (*collector.snapshot_families, *collector.row_families)
        self._identity_template = "{" + ",".join(f'{label}="%s"' for label in collector.identity_labels)
        self._identity = attrgetter(*collector.identity_labels.values())
        self._rendered: dict[int, tuple[Rows, list[bytes]]] = {}
        self._document = EMPTY

    def __call__(self, snapshot: Snapshot[Any]) -> Document:
        """Render a snapshot. Return the previous document if nothing changed."""
        suffixes = [_SuffixCache(family) for family in self._collector.row_families]
        rendered = {
            id(page): self._rendered.get(id(page)) or (page, self._render_page(page, suffixes))
            for page in snapshot.pages
        }
        self._rendered = rendered
        blocks = [
            *([_render_samples(family, family.samples(snapshot))] for family in self._collector.snapshot_families),
            *([rendered[id(page)][1][index] for page in snapshot.pages] for index in range(len(suffixes))),
        ]
        if blocks != self._document.blocks:
            self._document = Document(self._families, blocks)
        return self._document

    def _render_page(self, page: Rows, suffixes: Sequence[_SuffixCache]) -> list[bytes]:
        """Return the lines of each row family for these rows."""
        identities = [self._render_identity(row) for row in page]
        sources = _SourceCache(page)
        blocks = []
        for family, suffix in zip(self._collector.row_families, suffixes, strict=True):
            if isinstance(family, Gauge):
                numbers = map(family.get_value, sources[family.source])
                lines = [
                    identity + suffix[number]
                    for identity, number in zip(identities, numbers, strict=True)
                    if number is not None
                ]
            elif isinstance(family, Info):
                labels = map(family.get_labels, sources[family.source])
                lines = [identity + suffix[values] for identity, values in zip(identities, labels, strict=True)]
            else:
                lines = [
                    identity + suffix[sample]
                    for identity, row in zip(identities, page, strict=True)
                    for sample in family.samples(row)
                ]
            name = family.name.encode()
            blocks.append(name + name.join(lines) if lines else b"")
        return blocks

    def _render_identity(self, row: Any) -> bytes:
        return (self._identity_template % tuple([_escape(value or "") for value in self._identity(row)])).encode()


class _SuffixCache(dict[Any, bytes]):
    """Caches the ends of lines, after the identity labels, by their values. Each is rendered when it is first needed.

    The key is the number of a gauge, the label values of an info, or a sample with both.
    """

    def __init__(self, family: RowFamily) -> None:
        self._family = family
        self._template = "".join(f',{label}="%s"' for label in family.labels) + "} %s\n"

    def __missing__(self, key: Any) -> bytes:
        if isinstance(self._family, Gauge):
            suffix = f"}} {key}\n".encode()
        else:
            values, number = (key, 1) if isinstance(self._family, Info) else key
            suffix = (self._template % (*map(_label_text, values), number)).encode()
        self[key] = suffix
        return suffix


class _SourceCache(dict["Getter", "list[Any]"]):
    """The sources of a page's rows by getter, because several families have the same source."""

    def __init__(self, page: Rows) -> None:
        self._page = page

    def __missing__(self, getter: Getter) -> list[Any]:
        self[getter] = list(map(getter, self._page))
        return self[getter]


def _render_samples(family: Family, samples: Iterable[Sample]) -> bytes:
    """Return the lines of a family without identity labels."""
    labels = ",".join(f'{label}="%s"' for label in family.labels)
    template = f"{family.name}{{{labels}}} %s\n" if labels else f"{family.name} %s\n"
    return "".join([template % (*map(_label_text, values), number) for values, number in samples]).encode()


_CONSTANTS: dict[LabelValue, str] = {None: "", True: "true", False: "false"}


def _label_text(value: LabelValue) -> str:
    return _CONSTANTS.get(value) or _escape(value or "")  # type: ignore[arg-type]  # a bool is in _CONSTANTS


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
