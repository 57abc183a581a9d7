"""The type `Collector`: a Telnyx resource and its metric families."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic

from exporter.collectors.families import Info
from exporter.telnyx.lists.pages import RowT
from exporter.telnyx.lists.reader import ListQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from exporter.collectors.families import RowFamily, SnapshotFamily
    from exporter.collectors.index import IndexRecord
    from exporter.config.settings import FilterSettings


@dataclass(frozen=True, slots=True)
class Collector(Generic[RowT]):
    """A Telnyx resource: its list endpoint, the struct that decodes a row, and the metric families of the rows."""

    path: str
    """Path of the list endpoint below the base URL."""
    row_type: type[RowT]
    index_type: type[IndexRecord]
    index_record: Callable[[RowT], IndexRecord]
    """Returns the index record of a row, which has the type `index_type`."""
    params: Callable[[FilterSettings], Mapping[str, str]]
    """Returns the query parameters: the filters that are set, and a sort order.

    It must be by creation time, oldest first, because `telnyx.pagination` relies on that.
    """
    identity_labels: Mapping[str, str]
    """Maps the first labels of each row's series to the row attributes that hold their values.

    There are two or more, and the first one is the id.
    """
    snapshot_families: tuple[SnapshotFamily, ...]
    row_families: tuple[RowFamily, ...]

    def query(self, filters: FilterSettings, page_size: int) -> ListQuery[RowT]:
        """Return the list to read."""
        return ListQuery(path=self.path, row_type=self.row_type, page_size=page_size, params=self.params(filters))

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
