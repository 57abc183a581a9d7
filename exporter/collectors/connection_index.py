"""The index records of connections, which tell other parts of the exporter what connections there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.collectors.index import Difference, IndexRecord, values_changed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from exporter.collectors.connection_rows import Connection


class ConnectionRecord(IndexRecord, frozen=True, gc=False, array_like=True):
    """The attributes of a connection that are counted, whose changes are logged, or that other collectors need."""

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

    def changes_since(self, previous: Self) -> Iterable[Difference]:
        """Return what changed: the state, the limits, the encryption or the registration."""
        if self.active is not None and self.active != previous.active:
            yield Difference("enabled" if self.active else "disabled")
        limits = values_changed(
            ("inbound", previous.inbound_channel_limit, self.inbound_channel_limit),
            ("outbound", previous.outbound_channel_limit, self.outbound_channel_limit),
        )
        if limits:
            yield Difference("limits_changed", limits)
        if self.media_encryption != previous.media_encryption:
            detail = values_changed(("", previous.media_encryption, self.media_encryption))
            yield Difference("encryption_changed", detail)
        yield from registration_changes(previous.registered, self.registered)


def registration_changes(before: bool | None, now: bool | None) -> Iterable[Difference]:  # noqa: FBT001 -- a state, not a switch
    """Return the change between two states of a registration, of which None is unknown."""
    if None not in (before, now) and before != now:
        yield Difference("registered" if now else "registration_lost")


EXAMPLE = ConnectionRecord("0", "", "", None, "", "", None, None, None, None, has_webhook=False, login="no-such-login")
"""A connection that does not exist."""


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
