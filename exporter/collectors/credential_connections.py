"""Credential connections: SIP trunks that authenticate with a user name and a password."""

from __future__ import annotations

from exporter.collectors.collector import ListEndpoint
from exporter.collectors.connection_families import REGISTRATION, SIP_TRUNK, TAGS
from exporter.collectors.connection_rows import Connection
from exporter.collectors.connections import connection_collector, connection_filters
from exporter.collectors.families import SnapshotGauge


class CredentialConnection(Connection, frozen=True, gc=False, kw_only=True):
    """One credential connection."""

    documented_type = "credential_connection"


_LEFT_OUT = (
    SnapshotGauge(
        "telnyx_connections_malformed",
        "Number of credential connections left out because they could not be decoded; see the log.",
        (),
        lambda snapshot: (((), len(snapshot.unreadable)),),
    ),
    SnapshotGauge(
        "telnyx_connections_missing",
        "Number of credential connections that the list's total includes but that no page contained.",
        (),
        lambda snapshot: (((), snapshot.missing),),
    ),
)

COLLECTOR = connection_collector(
    CredentialConnection,
    name="credential-connections",
    title="Credential connections",
    endpoint=ListEndpoint("/credential_connections", sort="created_at", filters=connection_filters),
    families=(*SIP_TRUNK, *TAGS, *REGISTRATION),
    snapshot_families=_LEFT_OUT,
    default_ttl=None,  # --cache.ttl
    on_by_default=True,
)
