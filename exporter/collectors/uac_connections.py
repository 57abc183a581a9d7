"""UAC connections: SIP trunks for which Telnyx is the user agent client, which registers with the customer's system."""

from __future__ import annotations

from exporter.collectors.collector import ListEndpoint
from exporter.collectors.connection_families import REGISTRATION, SIP_TRUNK, TAGS, TRANSPORT
from exporter.collectors.connection_rows import Connection
from exporter.collectors.connections import connection_collector, connection_filters
from exporter.telnyx.structs import ApiObject


class ExternalUacSettings(ApiObject, frozen=True, gc=False):
    """How Telnyx reaches the customer's system."""

    transport: str | None = None


class UacConnection(Connection, frozen=True, gc=False, kw_only=True):
    """One UAC connection."""

    documented_type = "uac_connection"

    external_uac_settings: ExternalUacSettings | None = None

    @property
    def transport(self) -> str | None:
        """The transport protocol of SIP messages."""
        return self.external_uac_settings.transport if self.external_uac_settings else None


COLLECTOR = connection_collector(
    UacConnection,
    name="uac-connections",
    title="UAC connections",
    endpoint=ListEndpoint("/uac_connections", sort="created_at", filters=connection_filters),
    families=(*SIP_TRUNK, *TAGS, *TRANSPORT, *REGISTRATION),
)
