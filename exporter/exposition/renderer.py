"""Renders the rows of a page to blocks, one for each metric family.

A line has three parts: the family's name, the identity labels, which all series of a row share, and a suffix with the
other labels and the number. Identity labels are rendered once per row; a resource that is a single object has none.
Suffixes are cached, because most families have few distinct combinations of values. If the account has a name, the
label `account` comes first. It is a constant part of the templates of labels.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.collectors.families import ConnectionGauge, Gauge, Info, RowCount, attributes_getter
from exporter.collectors.index import PageIndex
from exporter.exposition.blocks import Block, compress, decompress, join
from exporter.exposition.formats import escape
from exporter.exposition.response import FamilyBlocks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from exporter.collectors.collector import Collector
    from exporter.collectors.families import Family, Getter, LabelValue, RowFamily, Sample, SnapshotFamily
    from exporter.collectors.index import IndexRecord
    from exporter.telnyx.lists.snapshots import Snapshot


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """A page as blocks, index and counts. Its rows are discarded."""

    blocks: Sequence[Block]
    """The samples of each row family."""
    index: PageIndex[Any]
    counts: Mapping[str, Counter[tuple[LabelValue, ...]]]
    """The counts of the page's rows for each `RowCount`, by its name."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Joined pages."""

    pages: Sequence[RenderedPage]
    blocks: Sequence[Block]
    """The samples of each row family."""


_BATCH_PAGES = 16
"""Pages to join: enough that a response consists of few parts, and few enough that one changed page costs little."""


class Renderer:
    """Renders the pages of a collector's list, and joins them. An account without a name is no label."""

    def __init__(self, collector: Collector[Any], account: str = "") -> None:
        self._collector = collector
        self._account = account
        labels = collector.identity_labels
        self._suffixes = {family.name: _SuffixCache(family, labels, account) for family in collector.row_families}
        self._batches: dict[tuple[int, ...], _Batch] = {}
        """The joined pages of the last snapshot by the identities of the pages."""
        self._identity_template = _label_template(labels, account).removesuffix("}")
        self._identity = attributes_getter(labels.values())

    def render_page(self, rows: Sequence[Any]) -> RenderedPage:
        """Render rows with distinct ids."""
        return self._page(self._render_rows(rows), [self._collector.index_record(row) for row in rows])

    def remove_rows(self, page: RenderedPage, ids: Collection[str]) -> RenderedPage:
        """Return the page as if it had been rendered without the rows that have these ids."""
        label = next(iter(self._collector.identity_labels), "")  # a collector without row families can have none
        template = _label_template((label,), self._account).removesuffix("}")
        texts = []
        for family, block in zip(self._collector.row_families, page.blocks, strict=True):
            starts = tuple((family.name + template % escape(row_id)).encode() for row_id in ids)
            lines = b"".join(decompress(block)).split(b"\n")
            texts.append(b"\n".join([line for line in lines if not line.startswith(starts)]))
        return self._page(texts, [record for record in page.index.records if record.id not in ids])

    def render(
        self, snapshot: Snapshot[RenderedPage], connections: Collection[IndexRecord] = ()
    ) -> Sequence[FamilyBlocks]:
        """Join the pages of a snapshot, and render the families about the whole list.

        `connections` are those that other collectors have read.
        """
        families, row_families = self._collector.snapshot_families, self._collector.row_families
        samples = [_samples_of(family, snapshot, connections) for family in families]
        self._batches = dict(map(self._batch, _slices(snapshot.pages, _BATCH_PAGES)))
        return [
            *render_families(families, samples, self._account),
            *(
                FamilyBlocks(family, [batch.blocks[number] for batch in self._batches.values()])
                for number, family in enumerate(row_families)
            ),
        ]

    def _batch(self, pages: Sequence[RenderedPage]) -> tuple[tuple[int, ...], _Batch]:
        """Join pages, or return the batch of the last snapshot that has the same pages."""
        key = tuple(map(id, pages))
        batch = self._batches.get(key)
        if batch is None:
            batch = _Batch(pages, [join(blocks) for blocks in zip(*(page.blocks for page in pages), strict=True)])
        return key, batch

    def _page(self, texts: Iterable[bytes], records: Collection[IndexRecord]) -> RenderedPage:
        counts = {
            family.name: Counter(map(family.get_labels, records))
            for family in self._collector.snapshot_families
            if isinstance(family, RowCount)
        }
        return RenderedPage(compress(*texts), PageIndex(self._collector.index_type, records), counts)

    def _render_rows(self, rows: Sequence[Any]) -> Iterable[bytes]:
        """Return the lines of each row family."""
        identities = [self._render_identity(row) for row in rows]
        sources = _SourceCache(rows)
        for family in self._collector.row_families:
            suffixes = self._suffixes[family.name]
            if isinstance(family, Gauge):
                numbers = map(family.get_value, sources[family.source])
                lines = [
                    identity + suffixes[number]
                    for identity, number in zip(identities, numbers, strict=True)
                    if number is not None
                ]
            elif isinstance(family, Info):
                labels = map(family.get_labels, sources[family.source])
                lines = [identity + suffixes[values] for identity, values in zip(identities, labels, strict=True)]
            else:
                lines = [
                    identity + suffixes[sample]
                    for identity, row in zip(identities, rows, strict=True)
                    for sample in family.samples(row)
                ]
            name = family.name.encode()
            yield name + name.join(lines) if lines else b""

    def _render_identity(self, row: Any) -> bytes:
        return (self._identity_template % tuple([escape(value or "") for value in self._identity(row)])).encode()


_MAX_SUFFIXES = 1000
"""Maximum number of suffixes to cache for a family. In some, such as creation times, nearly all are distinct."""


class _SuffixCache(dict[Any, bytes]):
    """Caches the ends of lines, after the identity labels, by their values. Each is rendered when it is first needed.

    The key is the number of a gauge, the label values of an info, or a sample with both.
    """

    def __init__(self, family: RowFamily, identity_labels: Collection[str], account: str) -> None:
        self._family = family
        identity = _label_template(identity_labels, account).removesuffix("}")
        labels = _label_template((*identity_labels, *family.labels), account)
        self._template = labels.removeprefix(identity) + " %s\n"

    def __missing__(self, key: Any) -> bytes:
        if isinstance(self._family, Gauge):
            suffix: bytes = (self._template % key).encode()
        else:
            values, number = (key, 1) if isinstance(self._family, Info) else key
            suffix = (self._template % (*map(_label_text, values), number)).encode()
        if len(self) >= _MAX_SUFFIXES:
            self.clear()
        self[key] = suffix
        return suffix


class _SourceCache(dict["Getter", "list[Any]"]):
    """The sources of a page's rows by getter, because several families have the same source."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __missing__(self, getter: Getter) -> list[Any]:
        self[getter] = list(map(getter, self._rows))
        return self[getter]


def _slices(items: Sequence[RenderedPage], size: int) -> Iterable[Sequence[RenderedPage]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _samples_of(
    family: SnapshotFamily, snapshot: Snapshot[RenderedPage], connections: Collection[IndexRecord]
) -> Iterable[Sample]:
    if isinstance(family, ConnectionGauge):
        return family.samples((record for page in snapshot.pages for record in page.index.records), connections)
    if not isinstance(family, RowCount):
        return family.samples(snapshot)
    counts: Counter[tuple[LabelValue, ...]] = Counter(dict.fromkeys(family.documented, 0))
    for page in snapshot.pages:
        counts.update(page.counts[family.name])
    return counts.items()


def render_families(
    families: Sequence[Family], samples: Iterable[Iterable[Sample]], account: str = ""
) -> Sequence[FamilyBlocks]:
    """Render families without identity labels, each with its samples."""
    blocks = compress(*map(_render_samples, families, samples, itertools.repeat(account)))
    return [FamilyBlocks(family, (block,)) for family, block in zip(families, blocks, strict=True)]


def _render_samples(family: Family, samples: Iterable[Sample], account: str) -> bytes:
    """Return the lines of a family without identity labels."""
    template = f"{family.name}{_label_template(family.labels, account)} %s\n"
    return "".join([template % (*map(_label_text, values), number) for values, number in samples]).encode()


def _label_template(labels: Iterable[str], account: str = "") -> str:
    """Return a template for labels in braces, after that of the account. Without any, it is an empty text."""
    first = [f'account="{escape(account).replace("%", "%%")}"'] if account else []
    pairs = ",".join([*first, *(f'{label}="%s"' for label in labels)])
    return f"{{{pairs}}}" if pairs else ""


_CONSTANTS: dict[LabelValue, str] = {None: "", True: "true", False: "false"}


def _label_text(value: LabelValue) -> str:
    return _CONSTANTS.get(value) or escape(value or "")  # type: ignore[arg-type]  # a bool is in _CONSTANTS
