"""What the collectors of all types of connections have in common: the index record, the count and the filters."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

from exporter.collectors.collector import Collector
from exporter.collectors.connection_rows import Connection
from exporter.collectors.families import RowCount
from exporter.collectors.index import IndexRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from exporter.collectors.collector import ListEndpoint
    from exporter.collectors.families import RowFamily, SnapshotFamily
    from exporter.config.settings import FilterSettings

ConnectionT = TypeVar("ConnectionT", bound=Connection)


class ConnectionRecord(IndexRecord, frozen=True, gc=False, array_like=True):
    """The attributes of a connection that are counted, or whose changes are logged."""

    record_type: str
    active: bool | None
    anchorsite: str
    media_encryption: str
    inbound_channel_limit: int | None
    outbound_channel_limit: int | None
    registered: bool | None
    updated_at: str | None
    has_webhook: bool
    login: str = ""
    """The SIP login. Empty, unless a collector needs it."""

    def changes_since(self, previous: Self) -> Iterable[str]:
        """Return what changed: the state, the limits, the encryption or the registration."""
        if self.active is not None and self.active != previous.active:
            yield "enabled" if self.active else "disabled"
        if (self.inbound_channel_limit, self.outbound_channel_limit) != (
            previous.inbound_channel_limit,
            previous.outbound_channel_limit,
        ):
            yield "limits_changed"
        if self.media_encryption != previous.media_encryption:
            yield "encryption_changed"
        yield from registration_changes(previous.registered, self.registered)


def registration_changes(before: bool | None, now: bool | None) -> Iterable[str]:  # noqa: FBT001 -- a state, not a switch
    """Return the change between two states of a registration, of which None is unknown."""
    if None not in (before, now) and before != now:
        yield "registered" if now else "registration_lost"


EXAMPLE = ConnectionRecord("0", "", "", None, "", "", None, None, None, None, has_webhook=False, login="no-such-login")
"""A connection that does not exist."""


def connection_collector(
    row_type: type[ConnectionT],
    *,
    name: str,
    title: str,
    endpoint: ListEndpoint,
    families: tuple[RowFamily, ...],
    snapshot_families: tuple[SnapshotFamily, ...] = (),
    default_ttl: float | None = 60.0,
    on_by_default: bool = False,
) -> Collector[ConnectionT]:
    """Return the collector of a type of connections."""
    return Collector(
        name=name,
        title=title,
        endpoint=endpoint,
        row_type=row_type,
        index_type=ConnectionRecord,
        index_record=connection_record,
        identity_labels={"connection_id": "id", "connection_name": "connection_name"},
        snapshot_families=(connection_count(row_type), *snapshot_families),
        row_families=families,
        default_ttl=default_ttl,
        on_by_default=on_by_default,
    )


def connection_filters(filters: FilterSettings) -> Mapping[str, str]:
    """Return the query parameters of the filters. Only lists of SIP trunks have them."""
    return {
        "filter[connection_name][contains]": filters.connection_name,
        "filter[fqdn]": filters.fqdn,
        "filter[outbound_voice_profile_id]": filters.outbound_voice_profile_id,
    }


def connection_count(row_type: type[Connection]) -> RowCount:
    """Return the family that counts connections, with zeros for the documented combinations of a type."""
    settings = (row_type.documented_anchorsites, row_type.documented_encryptions)
    return RowCount(
        "telnyx_connections",
        "Connections by type, state, anchorsite and media encryption, including zeros for documented combinations.",
        ("record_type", "active", "anchorsite", "encrypted_media"),
        ("record_type", "active", "anchorsite", "media_encryption"),
        tuple(itertools.product((row_type.documented_type,), (True, False), *settings)),
    )


def connection_record(row: Connection) -> ConnectionRecord:
    """Return the index record of a connection, without the login."""
    return ConnectionRecord(
        id=row.id,
        name=row.connection_name or "",
        record_type=row.type,
        active=row.active,
        anchorsite=row.anchorsite or "",
        media_encryption=row.media_encryption,
        inbound_channel_limit=row.inbound.channel_limit if row.inbound else None,
        outbound_channel_limit=row.outbound.channel_limit if row.outbound else None,
        registered=row.registered,
        updated_at=row.updated_at,
        has_webhook=bool(row.webhook_event_url),
    )
