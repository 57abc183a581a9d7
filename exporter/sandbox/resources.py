"""The lists of the API: their rows, their parameters, and how a row changes over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from exporter.sandbox import rows
from exporter.sandbox.fields import applications, connections, endpoints, numbers, profiles
from exporter.sandbox.rows import Fields, Row

if TYPE_CHECKING:
    import random

SortKey: TypeAlias = Callable[[Row], Any]
Sorts: TypeAlias = Mapping[str, SortKey | None]
Filters: TypeAlias = Mapping[str, Callable[[Row, str], bool]]


@dataclass(frozen=True, slots=True)
class _Fault:
    """A field that sometimes gets a wrong value, and at the next change of its row the right one again."""

    field: str
    right: Any
    wrong: tuple[Any, ...]
    weight: int
    time_field: str = "updated_at"


_FAULTS = (
    _Fault("active", True, (False,), 16),  # noqa: FBT003 -- the value of a field
    _Fault("enabled", True, (False,), 16),  # noqa: FBT003 -- the value of a field
    _Fault("encrypted_media", "SRTP", (None,), 10),
    _Fault(
        "registration_status",
        "Registered",
        ("Not Registered", "Expired", "Failed"),
        20,
        "registration_status_updated_at",  # a registration doesn't update the connection
    ),
)
_NEW_LIMIT_WEIGHT = 70


def _change(rng: random.Random, row: Row, at: str) -> Row:
    """Repair the row's first fault. If it has none, cause one that is possible, or set another channel limit, if any.

    A fault is repaired later, so that a long-running account stays balanced. A connection whose tag mutes its alerts is
    meant to be off, and gets only other limits.
    """
    faults = () if rows.MUTING_TAG in row.get("tags", ()) else _FAULTS
    for fault in faults:
        if fault.field in row and row[fault.field] in fault.wrong:
            return {fault.field: fault.right, fault.time_field: at}
    possible = {fault: fault.weight for fault in faults if row.get(fault.field) == fault.right}
    directions = [direction for direction in ("inbound", "outbound") if direction in row]
    if not possible and not directions:
        return {"updated_at": at}
    (chosen,) = rng.choices([*possible, None], [*possible.values(), _NEW_LIMIT_WEIGHT if directions else 0])
    if chosen:
        return {chosen.field: rng.choice(chosen.wrong), chosen.time_field: at}
    direction = rng.choice(directions)
    current = rows.nested_object(row, direction).get("channel_limit")
    limits = [limit for limit in rows.CHANNEL_LIMITS if limit != current]
    return {direction: {"channel_limit": rng.choice(limits)}, "updated_at": at}


def _arbitrary_order(row: Row) -> str:
    return str(row["id"])[::-1]


@dataclass(frozen=True, slots=True)
class Resource:
    """A list of the API."""

    fields: Fields
    sorts: Sorts = field(default_factory=dict)
    """The values of the `sort` parameter, with their key functions. `None` is the order of creation."""
    filters: Filters = field(default_factory=dict)
    """The filter parameters, with functions that say whether a row matches a value."""
    default_sort: str | None = None
    page_size: int = 250
    """Number of rows of a page by default."""
    share: float = 0.2
    """Number of rows, relative to the size of the account."""
    minimum: int = 3
    """Minimum number of rows, unless the account is empty."""
    change: Callable[[random.Random, Row, str], Row] = _change
    """Returns the fields that change in a row at this time, including the field that holds the time."""
    random_changes: bool = False
    """Whether steps change random rows. If not, only incidents change the list."""
    owners: tuple[str, ...] = ()
    """The paths of the lists of connections that a row can belong to."""

    def count(self, size: int) -> int:
        """Return the number of rows in an account of this size."""
        return max(self.minimum, round(size * self.share)) if size else 0

    def sort_key(self, sort: str | None) -> SortKey | None:
        """Return the key function of a value of the `sort` parameter, or `None` for the order of creation.

        Without the parameter, a list that can't be sorted has an arbitrary order.
        """
        if sort is None:
            return None if self.sorts else _arbitrary_order
        return self.sorts[sort.removeprefix("-")]


def _sorts(name: str, name_field: str) -> Sorts:
    return {
        "created_at": None,
        name: lambda row: row[name_field] or "",
        "active": lambda row: row["active"] is not False,
    }


def _text(name: str) -> Callable[[Row], str]:
    return lambda row: str(row[name])


def _by(*fields: str) -> Sorts:
    return {"created_at": None, **{field: _text(field) for field in fields}}


def _is(field: str) -> Callable[[Row, str], bool]:
    return lambda row, text: str(row[field]) == text


def _equal(*fields: str) -> Filters:
    return {f"filter[{field}]": _is(field) for field in fields}


def _contains(field: str) -> Filters:
    return {f"filter[{field}][contains]": lambda row, text: text.lower() in (row[field] or "").lower()}


_BY_CONNECTION_NAME = _sorts("connection_name", "connection_name")
_FILTERS: Filters = {
    **_contains("connection_name"),
    "filter[fqdn]": lambda row, text: row.get("fqdn") == text,  # the FQDNs of FQDN connections are not in their rows
    "filter[outbound_voice_profile_id]": lambda row, text: (
        rows.nested_object(row, "outbound").get("outbound_voice_profile_id") == text
    ),
}

_connections = partial(Resource, random_changes=True)
CONNECTIONS: Mapping[str, Resource] = {
    "/credential_connections": _connections(connections.CREDENTIAL, _BY_CONNECTION_NAME, _FILTERS, share=1, minimum=0),
    "/ip_connections": _connections(connections.IP, _BY_CONNECTION_NAME, _FILTERS),
    "/fqdn_connections": _connections(connections.FQDN, _BY_CONNECTION_NAME, _FILTERS),
    "/uac_connections": _connections(connections.UAC, _BY_CONNECTION_NAME, _FILTERS),
    "/external_connections": _connections(connections.EXTERNAL),
    "/call_control_applications": _connections(
        applications.CALL_CONTROL, _sorts("connection_name", "application_name"), page_size=20
    ),
    "/texml_applications": _connections(applications.TEXML, _sorts("friendly_name", "friendly_name")),
    "/fax_applications": _connections(applications.FAX, _sorts("application_name", "application_name"), page_size=20),
}
"""The lists of connections and applications by their path below `/v2`."""
RESOURCES: Mapping[str, Resource] = {
    **CONNECTIONS,
    "/outbound_voice_profiles": Resource(
        profiles.PROFILE,
        _by("enabled", "name", "service_plan", "traffic_type", "usage_payment_method"),
        _contains("name"),
        default_sort="-created_at",
        page_size=20,
        share=0,
        minimum=len(rows.PROFILE_IDS),
    ),
    "/ips": Resource(
        endpoints.IP,
        filters=_equal("connection_id", "ip_address", "port"),
        share=0.2 * endpoints.ENDPOINTS_PER_CONNECTION,
        owners=("/ip_connections",),
    ),
    "/fqdns": Resource(
        endpoints.FQDN,
        filters=_equal("connection_id", "fqdn", "port", "dns_record_type"),
        share=0.2 * endpoints.ENDPOINTS_PER_CONNECTION,
        owners=("/fqdn_connections",),
    ),
    "/phone_numbers/slim": Resource(
        numbers.PHONE_NUMBER,
        _by("purchased_at", "phone_number"),
        _equal("connection_id", "status", "country_iso_alpha2"),
        default_sort="-created_at",
        page_size=20,
        share=2.2,
        owners=tuple(CONNECTIONS),
    ),
    "/telephony_credentials": Resource(
        numbers.TELEPHONY_CREDENTIAL,
        filters=_equal("name", "resource_id", "sip_username"),
        page_size=50,
        share=1.45,
        owners=("/credential_connections",),
    ),
}
"""All lists by their path below `/v2`."""
