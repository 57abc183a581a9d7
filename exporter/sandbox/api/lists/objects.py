"""Single objects of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.sandbox.api.lists.bodies import check_fields, parse_object
from exporter.sandbox.api.requests import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.sandbox.account import Account
    from exporter.sandbox.rows import Row

REQUIRED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "/ips": ("connection_id", "ip_address"),
    "/fqdns": ("connection_id", "fqdn", "dns_record_type"),
}
"""The lists that objects can be added to, with the fields that a new object must have."""


def read_object(path: str, account: Account, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the object of a list with the id in `id`."""
    return {"data": _find(path, account, query["id"])}


def change_object(path: str, account: Account, query: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Merge the fields of a request into an object, and return the object."""
    row = _find(path, account, query["id"])
    fields = parse_object(body)
    check_fields(path, fields)
    return {"data": account[path].update(row["id"], **fields)}


def add_object(path: str, account: Account, _: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Add an object with the fields of a request, and return it. It belongs to a connection."""
    fields = parse_object(body)
    check_fields(path, fields)
    for name in REQUIRED_FIELDS[path]:
        if name not in fields:
            raise RequestError(422, "This field is required.", pointer=f"/{name}")
    if account.find_connection(fields["connection_id"]) is None:
        raise RequestError(422, "There is no connection with this id.", pointer="/connection_id")
    return {"data": account[path].add(**fields)}


def _find(path: str, account: Account, row_id: str) -> Row:
    row = account[path].find(row_id)
    if row is None:
        raise RequestError(404, "There is no object with this id.")
    return row
