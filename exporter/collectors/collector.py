"""The type `Collector`: a Telnyx resource and its metric families."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol

from exporter.collectors.families import Info
from exporter.collectors.index import IndexRecord, id_and_name
from exporter.telnyx.budget import UNLIMITED
from exporter.telnyx.lists.pages import RowT
from exporter.telnyx.lists.progress import NO_PROGRESS
from exporter.telnyx.lists.reader import JoinedReader, ListQuery, ListReader
from exporter.telnyx.objects import ObjectReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from exporter.collectors.connection_index import ConnectionRecord
    from exporter.collectors.families import RowFamily, SnapshotFamily
    from exporter.config.settings import FilterSettings, TelnyxSettings
    from exporter.telnyx.budget import Limiter
    from exporter.telnyx.http.client import Client
    from exporter.telnyx.lists.progress import Progress
    from exporter.telnyx.lists.reader import Reader
    from exporter.telnyx.lists.snapshots import ContentT, PageProcessor
    from exporter.telnyx.structs import ApiObject


class Get(Protocol):
    """Sends a request."""

    async def __call__(self, path: str, params: Mapping[str, str | int]) -> bytes:
        """Return the body of the response. Raises `TelnyxError`."""


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
class JoinedLists:
    """Lists that are read one after the other, and exposed as one."""

    lists: Mapping[type[ApiObject], ListEndpoint]
    """The lists by the type of their rows."""

    @property
    def path(self) -> str:
        """The paths of all lists."""
        return ", ".join(endpoint.path for endpoint in self.lists.values())


@dataclass(frozen=True, slots=True)
class ObjectEndpoint:
    """A single object, such as the numbers of connections. It is exposed like a list of one row."""

    path: str
    """Below the base URL."""


@dataclass(frozen=True, slots=True)
class FanOutEndpoint:
    """One object for each connection, such as its registration. They are read one by one in the background."""

    path: str
    """Below the base URL, for the help and the documentation."""
    selects: Callable[[ConnectionRecord], bool]
    """Returns whether to read the object of a connection."""
    read: Callable[[Get, ConnectionRecord], Awaitable[ApiObject]]
    """Reads the row of a connection with these requests. Raises `TelnyxError`."""
    default_rate: float = 2.0
    """Maximum number of connections to read per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector(Generic[RowT]):
    """A Telnyx resource: where it is read, the struct that decodes a row, and the metric families of the rows."""

    name: str
    """As in the flag `--collector.NAME`, and the value of the label `collector`."""
    title: str
    """What it reads, for the help and the documentation, such as `Credential connections`."""
    endpoint: ListEndpoint | JoinedLists | ObjectEndpoint | FanOutEndpoint
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
    connections_of: tuple[str, ...] = ()
    """Collectors whose connections it needs to know. At least one of them must be enabled."""
    changes_to: Mapping[str, Callable[[Collector[Any]], Collector[Any]]] = field(default_factory=dict)
    """Functions that change other collectors while this one is enabled, by the name of the other collector."""

    @property
    def default_rate(self) -> float | None:
        """Connections to read per second. None if it does not read them one by one."""
        return self.endpoint.default_rate if isinstance(self.endpoint, FanOutEndpoint) else None

    @property
    def ignores_filters(self) -> bool:
        """Whether the collector reads connections that the filters do not apply to."""
        is_of_connections = "connection_id" in self.identity_labels
        return is_of_connections and isinstance(self.endpoint, ListEndpoint) and not self.endpoint.filters

    def reader(
        self,
        client: Client,
        processor: PageProcessor[RowT, ContentT],
        telnyx: TelnyxSettings,
        *,
        on_restart: Callable[[], None] = lambda: None,
        limiter: Limiter = UNLIMITED,
        progress: Progress = NO_PROGRESS,
    ) -> Reader[ContentT]:
        """Return a reader of the endpoint, which is not a fan-out. `on_restart` is called when a list is read again."""
        endpoint = self.endpoint
        assert not isinstance(endpoint, FanOutEndpoint)  # noqa: S101 -- `FanOut` reads these
        if isinstance(endpoint, ObjectEndpoint):
            return ObjectReader(client, endpoint.path, self.row_type, processor, limiter=limiter, progress=progress)

        def list_reader(row_type: type[ApiObject], one: ListEndpoint) -> ListReader[Any, ContentT]:
            query = one.query(row_type, telnyx.filter, telnyx.page_size)
            return ListReader(client, query, processor, on_restart=on_restart, limiter=limiter, progress=progress)

        if isinstance(endpoint, JoinedLists):
            return JoinedReader({one.path: list_reader(row_type, one) for row_type, one in endpoint.lists.items()})
        return list_reader(self.row_type, endpoint)

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
