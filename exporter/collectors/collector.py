"""The type `Collector`: a Telnyx resource and its metric families."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic

from exporter.collectors.families import Info
from exporter.collectors.index import IndexRecord, id_and_name
from exporter.telnyx.lists.pages import RowT
from exporter.telnyx.lists.reader import ListQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from exporter.collectors.families import RowFamily, SnapshotFamily
    from exporter.config.settings import FilterSettings


@dataclass(frozen=True, slots=True)
class ListEndpoint:
    """A list that is read page by page."""

    path: str
    """Below the base URL, such as `/credential_connections`."""
    sort: str = ""
    """Value of the parameter `sort` that puts the oldest row first. Empty if Telnyx can't sort the list."""
    filters: Callable[[FilterSettings], Mapping[str, str]] | None = None
    """Returns the query parameters of the filters and their values. None if the list does not have these filters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector(Generic[RowT]):
    """A Telnyx resource: where it is read, the struct that decodes a row, and the metric families of the rows."""

    name: str
    """As in the flag `--collector.NAME`, and the value of the label `collector`."""
    title: str
    """What it reads, for the help and the documentation, such as `Credential connections`."""
    endpoint: ListEndpoint
    row_type: type[RowT]
    index_type: type[IndexRecord] = IndexRecord
    index_record: Callable[[RowT], IndexRecord] = id_and_name
    """Returns the index record of a row, which has the type `index_type`."""
    identity_labels: Mapping[str, str]
    """Maps the first labels of each row's series to the row attributes that hold their values.

    The first is the id. A resource that is a single object has none.
    """
    snapshot_families: tuple[SnapshotFamily, ...] = ()
    row_families: tuple[RowFamily, ...] = ()
    default_ttl: float | None = 60.0
    """Seconds. None if `--cache.ttl` is the default."""
    on_by_default: bool = False

    def query(self, filters: FilterSettings, page_size: int) -> ListQuery[RowT]:
        """Return the list to read."""
        endpoint = self.endpoint
        params = {"sort": endpoint.sort, **(endpoint.filters(filters) if endpoint.filters else {})}
        return ListQuery(
            path=endpoint.path,
            row_type=self.row_type,
            page_size=page_size,
            params={name: value for name, value in params.items() if value},
            ordered=bool(endpoint.sort),
        )

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
