"""The type `Collector`: a Telnyx resource and its metric families."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic

from exporter.collectors.families import Info
from exporter.collectors.index import IndexRecord, id_and_name
from exporter.telnyx.budget import UNLIMITED
from exporter.telnyx.lists.pages import RowT
from exporter.telnyx.lists.reader import ListQuery, ListReader
from exporter.telnyx.objects import ObjectReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from exporter.collectors.families import RowFamily, SnapshotFamily
    from exporter.config.settings import FilterSettings, TelnyxSettings
    from exporter.telnyx.budget import Limiter
    from exporter.telnyx.client import Client
    from exporter.telnyx.lists.snapshots import ContentT, PageProcessor


@dataclass(frozen=True, slots=True)
class ListEndpoint:
    """A list that is read page by page."""

    path: str
    """Below the base URL, such as `/credential_connections`."""
    sort: str = ""
    """Value of the parameter `sort` that puts the oldest row first. Empty if Telnyx can't sort the list."""
    filters: Callable[[FilterSettings], Mapping[str, str]] | None = None
    """Returns the query parameters of the filters and their values. None if the list does not have these filters."""
    paged: bool = True
    """Whether the list has pages. Otherwise one response contains all rows."""

    def query(self, row_type: type[RowT], filters: FilterSettings, page_size: int) -> ListQuery[RowT]:
        """Return the list to read, with rows of this type."""
        params = {"sort": self.sort, **(self.filters(filters) if self.filters else {})}
        return ListQuery(
            path=self.path,
            row_type=row_type,
            page_size=page_size,
            params={name: value for name, value in params.items() if value},
            ordered=bool(self.sort),
            paged=self.paged,
        )


@dataclass(frozen=True, slots=True)
class ObjectEndpoint:
    """A single object, such as the numbers of connections. It is exposed like a list of one row."""

    path: str
    """Below the base URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector(Generic[RowT]):
    """A Telnyx resource: where it is read, the struct that decodes a row, and the metric families of the rows."""

    name: str
    """As in the flag `--collector.NAME`, and the value of the label `collector`."""
    title: str
    """What it reads, for the help and the documentation, such as `Credential connections`."""
    endpoint: ListEndpoint | ObjectEndpoint
    row_type: type[RowT]
    index_type: type[IndexRecord] = IndexRecord
    index_record: Callable[[RowT], IndexRecord] = id_and_name
    """Returns the index record of a row, which has the type `index_type`."""
    identity_labels: Mapping[str, str]
    """Maps the first labels of each row's series to the row attributes that hold their values.

    The first is the id, unless the rows have none. A resource that is a single object can have no labels.
    """
    snapshot_families: tuple[SnapshotFamily, ...] = ()
    row_families: tuple[RowFamily, ...] = ()
    default_ttl: float | None = 60.0
    """Seconds. None if `--cache.ttl` is the default."""
    on_by_default: bool = False
    log_rows: bool = True
    """Whether the log names the rows that were added, removed or left out."""

    @property
    def ignores_filters(self) -> bool:
        """Whether the collector reads connections that the filters do not apply to."""
        has_filters = isinstance(self.endpoint, ListEndpoint) and self.endpoint.filters is not None
        return "connection_id" in self.identity_labels and not has_filters

    def reader(
        self,
        client: Client,
        processor: PageProcessor[RowT, ContentT],
        telnyx: TelnyxSettings,
        *,
        on_restart: Callable[[], None] = lambda: None,
        limiter: Limiter = UNLIMITED,
    ) -> ListReader[RowT, ContentT] | ObjectReader[RowT, ContentT]:
        """Return a reader of the endpoint. `on_restart` is called when reading a list restarts."""
        if isinstance(self.endpoint, ObjectEndpoint):
            return ObjectReader(client, self.endpoint.path, self.row_type, processor, limiter=limiter)
        query = self.endpoint.query(self.row_type, telnyx.filter, telnyx.page_size)
        return ListReader(client, query, processor, on_restart=on_restart, limiter=limiter)

    def select(
        self, is_exposed: Callable[[str], bool] = lambda _: True, sensitive_labels: Collection[str] = ()
    ) -> Collector[RowT]:
        """Return the collector with only the families that are exposed, and with the requested sensitive labels."""
        return replace(
            self,
            snapshot_families=tuple(family for family in self.snapshot_families if is_exposed(family.name)),
            row_families=tuple(
                family.with_sensitive(sensitive_labels) if isinstance(family, Info) else family
                for family in self.row_families
                if is_exposed(family.name)
            ),
        )
