"""IP connections: SIP trunks that Telnyx recognizes by the IP addresses of the customer's system."""

from __future__ import annotations

from exporter.collectors.collector import ListEndpoint
from exporter.collectors.connection_families import SIP_TRUNK, TAGS, TRANSPORT
from exporter.collectors.connection_rows import Connection
from exporter.collectors.connections import connection_collector, connection_filters


class IpConnection(Connection, frozen=True, gc=False, kw_only=True):
    """One IP connection."""

    documented_type = "ip_connection"


COLLECTOR = connection_collector(
    IpConnection,
    name="ip-connections",
    title="IP connections",
    endpoint=ListEndpoint("/ip_connections", sort="created_at", filters=connection_filters),
    families=(*SIP_TRUNK, *TAGS, *TRANSPORT),
)
