"""External connections: SIP trunks between Telnyx and another provider, such as Zoom or Microsoft Operator Connect."""

from __future__ import annotations

from exporter.collectors.collector import ListEndpoint
from exporter.collectors.connection_families import GENERAL, OUTBOUND, TAGS, WEBHOOK, WEBHOOK_TIMEOUT
from exporter.collectors.connection_rows import NOT_A_SETTING, Connection
from exporter.collectors.connections import connection_collector


class ExternalConnection(Connection, frozen=True, gc=False, kw_only=True):
    """One external connection. It has no name."""

    documented_type = "external_connection"
    documented_anchorsites = NOT_A_SETTING
    documented_encryptions = NOT_A_SETTING


COLLECTOR = connection_collector(
    ExternalConnection,
    name="external-connections",
    title="External connections",
    endpoint=ListEndpoint("/external_connections"),
    families=(*GENERAL, *OUTBOUND, *WEBHOOK, *WEBHOOK_TIMEOUT, *TAGS),
)
