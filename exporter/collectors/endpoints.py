"""Endpoints: the IP addresses and FQDNs at which connections are reached. Only their number is exposed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar

from exporter.collectors.collector import Collector, JoinedLists, ListEndpoint
from exporter.collectors.families import ConnectionGauge
from exporter.collectors.index import IndexRecord
from exporter.telnyx.structs import Id, Row, ids_to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporter.collectors.connection_index import ConnectionRecord
    from exporter.collectors.families import Sample


class Endpoint(Row, frozen=True, gc=False, kw_only=True):
    """An IP address or an FQDN. Neither the address nor the name is decoded."""

    connection_type: ClassVar[str]
    """The record type of the connections that have such endpoints."""

    connection_id: Id | None = None

    def __post_init__(self) -> None:
        """Convert ids to text."""
        ids_to_text(self, "id", "connection_id")


class Ip(Endpoint, frozen=True, gc=False, kw_only=True):
    """The IP address of an IP connection."""

    connection_type = "ip_connection"


class Fqdn(Endpoint, frozen=True, gc=False, kw_only=True):
    """The FQDN of an FQDN connection."""

    connection_type = "fqdn_connection"


class EndpointRecord(IndexRecord, frozen=True, gc=False, array_like=True):
    """The connection of an endpoint. Its name, which the log shows, contains the connection id."""

    connection_id: str
    connection_type: str


def _index_record(row: Endpoint) -> EndpointRecord:
    connection_id = row.connection_id or ""
    return EndpointRecord(row.id, f"of connection {connection_id}", connection_id, row.connection_type)


def _count_by_connection(
    connection_type: str,
) -> Callable[[Iterable[EndpointRecord], Iterable[ConnectionRecord]], Iterable[Sample]]:
    def samples(endpoints: Iterable[EndpointRecord], connections: Iterable[ConnectionRecord]) -> Iterable[Sample]:
        counts = Counter(each.connection_id for each in endpoints if each.connection_type == connection_type)
        return [
            ((connection.id, connection.name), counts[connection.id])
            for connection in connections
            if connection.record_type == connection_type
        ]

    return samples


COLLECTOR = Collector(
    name="endpoints",
    title="IP addresses and FQDNs of connections",
    endpoint=JoinedLists({Ip: ListEndpoint("/ips"), Fqdn: ListEndpoint("/fqdns")}),
    row_type=Endpoint,
    index_type=EndpointRecord,
    index_record=_index_record,
    identity_labels={},
    snapshot_families=(
        ConnectionGauge(
            "telnyx_connection_ips",
            "Number of IP addresses of the IP connection. At 0, Telnyx can't send calls to it.",
            ("connection_id", "connection_name"),
            _count_by_connection(Ip.connection_type),
        ),
        ConnectionGauge(
            "telnyx_connection_fqdns",
            "Number of FQDNs of the FQDN connection. At 0, Telnyx can't send calls to it.",
            ("connection_id", "connection_name"),
            _count_by_connection(Fqdn.connection_type),
        ),
    ),
    default_ttl=300.0,
    connections_of=("ip-connections", "fqdn-connections"),
)
