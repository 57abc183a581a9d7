"""FQDN connections: SIP trunks to domain names, such as that of a Microsoft Teams session border controller."""

from __future__ import annotations

from exporter.collectors.collector import ListEndpoint
from exporter.collectors.connection_families import SIP_TRUNK, TAGS, TRANSPORT
from exporter.collectors.connection_rows import Connection
from exporter.collectors.connections import connection_collector, connection_filters


class FqdnConnection(Connection, frozen=True, gc=False, kw_only=True):
    """One FQDN connection."""

    documented_type = "fqdn_connection"


COLLECTOR = connection_collector(
    FqdnConnection,
    name="fqdn-connections",
    title="FQDN connections",
    endpoint=ListEndpoint("/fqdn_connections", sort="created_at", filters=connection_filters),
    families=(*SIP_TRUNK, *TAGS, *TRANSPORT),
)
