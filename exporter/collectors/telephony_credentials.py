"""Telephony credentials: further logins of credential connections, for example one for each softphone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from exporter.collectors.collector import Collector, ListEndpoint
from exporter.collectors.families import ConnectionGauge, unix_time
from exporter.collectors.index import IndexRecord
from exporter.telnyx.structs import Row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.collectors.connection_index import ConnectionRecord
    from exporter.collectors.families import Sample


class TelephonyCredential(Row, frozen=True, gc=False, kw_only=True):
    """One telephony credential."""

    resource_id: str | None = None
    """`connection:` and the id of the connection."""
    expired: bool | None = None
    expires_at: str | None = None


class CredentialRecord(IndexRecord, frozen=True, gc=False, array_like=True):
    """The connection and the expiry of a credential."""

    connection_id: str
    expired: bool
    expires_at: float | None
    """Unix time in seconds. None if it does not expire."""


_expires_at = unix_time("expires_at")


def _index_record(row: TelephonyCredential) -> CredentialRecord:
    return CredentialRecord(
        row.id, "", (row.resource_id or "").removeprefix("connection:"), bool(row.expired), _expires_at(row)
    )


def _counts(credentials: Iterable[CredentialRecord], connections: Iterable[ConnectionRecord]) -> Iterable[Sample]:
    counts = Counter((credential.connection_id, credential.expired) for credential in credentials)
    ids = {connection_id for connection_id, _ in counts}
    return [
        ((connection.id, connection.name, expired), counts[connection.id, expired])
        for connection in connections
        if connection.id in ids
        for expired in (False, True)
    ]


def _next_expiry(credentials: Iterable[CredentialRecord], connections: Iterable[ConnectionRecord]) -> Iterable[Sample]:
    times: dict[str, float] = {}
    for credential in credentials:
        if credential.expires_at is not None and not credential.expired:
            soonest = times.get(credential.connection_id, credential.expires_at)
            times[credential.connection_id] = min(soonest, credential.expires_at)
    return [
        ((connection.id, connection.name), times[connection.id]) for connection in connections if connection.id in times
    ]


COLLECTOR = Collector(
    name="telephony-credentials",
    title="Telephony credentials",
    endpoint=ListEndpoint("/telephony_credentials"),
    row_type=TelephonyCredential,
    index_type=CredentialRecord,
    index_record=_index_record,
    identity_labels={},
    snapshot_families=(
        ConnectionGauge(
            "telnyx_connection_telephony_credentials",
            "Number of telephony credentials of the connection, by whether they have expired.",
            ("connection_id", "connection_name", "expired"),
            _counts,
        ),
        ConnectionGauge(
            "telnyx_connection_telephony_credentials_next_expiry_timestamp_seconds",
            "Time when the next telephony credential of the connection expires, in Unix seconds.",
            ("connection_id", "connection_name"),
            _next_expiry,
        ),
    ),
    default_ttl=900.0,
    log_rows=False,  # there can be many, and they come and go with their users
    connections_of=("credential-connections",),
)
