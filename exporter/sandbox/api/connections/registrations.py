"""The registration of a client with a credential connection."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from exporter.sandbox.api.requests import RequestError, choice_parameter
from exporter.sandbox.rows import iso_time, random_ip_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.sandbox.account import Account
    from exporter.sandbox.rows import Row

_STATUSES = {
    "Registered": ("registered", "200 OK"),
    "Not Registered": ("standby", None),
    "Expired": ("unregistering", "200 OK"),
    "Failed": ("failed", "403 Forbidden"),
    None: ("unknown", None),
}
"""The status and the last response, for each status that the row of a connection can have."""


def registration_status(account: Account, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the registration of the credential connection with a user name. The object has no `data` around it."""
    credential_type = choice_parameter(query, "credential_type", ("sip_credential_connection",))
    if not query.get("username"):
        raise RequestError(400, "This parameter is required.", "username")
    row = account["/credential_connections"].find_login(query["username"])
    if row is None:
        raise RequestError(404, "There is no credential with this user name.", "username")
    status, response = _STATUSES[row["registration_status"]]
    if row["active"] is False:
        status, response = "connection_disabled", None
    registered = status == "registered"
    return {
        "connection_id": row["id"],
        "connection_name": row["connection_name"],
        "credential_type": credential_type,
        "credential_username": row["user_name"],
        "last_registration_response": response,
        "registered": registered,
        "sip_registration_details": _details(account, row, registered=registered),
        "sip_registration_status": status,
    }


def _details(account: Account, row: Row, *, registered: bool) -> Row:
    """Return the details. A registered client registers again when half of its time is over."""
    rng = random.Random(row["id"])  # noqa: S311 -- reproducible on purpose
    expires = rng.choice((120, 600, 3600))
    client = {
        "ua_ip": random_ip_address(rng),
        "ua_port": rng.randrange(1024, 65536),
        "transport": rng.choice(("UDP", "TCP", "TLS")),
    }
    changed = row["registration_status_updated_at"]
    if not registered:
        return {"expires": None, "last_modified": changed, **dict.fromkeys(client)}
    renewed = account.now - (account.now + rng.randrange(expires)) % (expires / 2)
    return {"expires": expires, "last_modified": max(changed or "", iso_time(int(renewed * 1000))), **client}
