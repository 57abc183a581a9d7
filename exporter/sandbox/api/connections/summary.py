"""The summary of a connection of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.sandbox.api.requests import RequestError
from exporter.sandbox.rows import nested_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.sandbox.account import Account

_NAME_FIELDS = ("connection_name", "application_name", "friendly_name")
_FIELDS = (
    *("id", "record_type", "active", "anchorsite_override", "tags", "created_at", "updated_at"),
    *("webhook_api_version", "webhook_event_url", "webhook_event_failover_url"),
)


def connection_summary(account: Account, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that all kinds of connections have, of the connection with the id in `connection_id`."""
    found = account.find_connection(query["connection_id"])
    if found is None:
        raise RequestError(404, "There is no connection with this id.")
    _, row = found
    name = next((row[field] for field in _NAME_FIELDS if field in row), None)
    profile = nested_object(row, "outbound").get("outbound_voice_profile_id")
    fields = {field: row.get(field) for field in _FIELDS}
    return {"data": {**fields, "connection_name": name, "outbound_voice_profile_id": profile}}
