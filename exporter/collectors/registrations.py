"""Registrations: the SIP registration of each credential connection at present. Its list can show an older state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.collectors.collector import Collector, FanOutEndpoint
from exporter.collectors.connection_families import REGISTRATION
from exporter.collectors.connection_index import connection_record, registration_changes
from exporter.collectors.families import gauge, unix_time, whole_row
from exporter.collectors.index import IndexRecord
from exporter.telnyx.errors import BadRequest, Malformed
from exporter.telnyx.http.responses import MIN_UNIX_TIME
from exporter.telnyx.objects import ObjectDecoder
from exporter.telnyx.structs import ApiObject, Int

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from exporter.collectors.collector import Get
    from exporter.collectors.connection_index import ConnectionRecord
    from exporter.collectors.connection_rows import Connection
    from exporter.collectors.index import Difference

_PATH = "/sip_registration_status"


class Details(ApiObject, frozen=True, gc=False):
    """What the registrar knows about the registration."""

    expires: Int | None = None
    last_modified: str | None = None
    transport: str | None = None


class RegistrationStatus(ApiObject, frozen=True, gc=False):
    """The response."""

    registered: bool | None = None
    sip_registration_status: str | None = None
    sip_registration_details: Details | None = None


class Registration(ApiObject, frozen=True, gc=False, kw_only=True):
    """The registration of a connection. Fields that a list of connections has, too, have the same names."""

    id: str
    connection_name: str
    registered: bool | None = None
    registration_status: str = "unknown"
    registration_status_updated_at: str | None = None
    transport: str | None = None
    expires: float | None = None
    """Unix time in seconds."""


class RegistrationRecord(IndexRecord, frozen=True, gc=False, array_like=True):
    """The state of a registration."""

    registered: bool | None

    def changes_since(self, previous: Self) -> Iterable[Difference]:
        """Return whether the connection registered, or lost its registration."""
        return registration_changes(previous.registered, self.registered)


_decode = ObjectDecoder(RegistrationStatus)
_last_modified = unix_time("last_modified")


async def _read(get: Get, connection: ConnectionRecord) -> Registration:
    """Read a registration. If Telnyx has no answer for the connection, the status is `unknown`."""
    try:
        body = await get(_PATH, {"credential_type": "sip_credential_connection", "username": connection.login})
    except BadRequest:  # 400 and 404 don't say that the connection is not registered
        return Registration(id=connection.id, connection_name=connection.name)
    status = _decode(body)
    if status.registered is None and status.sip_registration_status is None:
        raise Malformed("the response contains no registration status")
    details = status.sip_registration_details or Details()
    is_unknown = status.sip_registration_status == "unknown"
    return Registration(
        id=connection.id,
        connection_name=connection.name,
        registered=None if is_unknown else status.registered,
        registration_status=status.sip_registration_status or ("registered" if status.registered else "unregistered"),
        registration_status_updated_at=details.last_modified,
        transport=details.transport,
        expires=_expiry(details),
    )


def _expiry(details: Details) -> float | None:
    """Return when the registration expires. Telnyx sends a Unix time, or seconds since the last change."""
    if details.expires is None or details.expires >= MIN_UNIX_TIME:
        return details.expires
    registered_at = _last_modified(details)
    return None if registered_at is None else registered_at + details.expires


def _for_registrations(connections: Collector[Any]) -> Collector[Any]:
    """Return the collector of credential connections without its own registration values, but with logins."""
    families = tuple(family for family in connections.row_families if family not in REGISTRATION)
    return replace(connections, row_families=families, index_record=_record_with_login)


def _record_with_login(row: Connection) -> ConnectionRecord:
    return msgspec.structs.replace(connection_record(row), registered=None, login=row.user_name or "")


COLLECTOR = Collector(
    name="registrations",
    title="SIP registrations of credential connections",
    endpoint=FanOutEndpoint(_PATH, lambda connection: bool(connection.active and connection.login), _read),
    row_type=Registration,
    index_type=RegistrationRecord,
    index_record=lambda row: RegistrationRecord(row.id, row.connection_name, row.registered),
    identity_labels={"connection_id": "id", "connection_name": "connection_name"},
    row_families=(
        *REGISTRATION,
        gauge(
            "telnyx_connection_registration_expires_timestamp_seconds",
            "Time when the SIP registration of the connection expires, in Unix seconds.",
            whole_row,
            "expires",
        ),
    ),
    default_ttl=300.0,
    connections_of=("credential-connections",),
    changes_to={"credential-connections": _for_registrations},
)
