"""The calls of a connection that are in progress."""

from __future__ import annotations

import math
import random
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from uuid import UUID

from exporter.sandbox.api.requests import MAX_PAGE_SIZE, RequestError, integer_parameter
from exporter.sandbox.rows import nested_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.sandbox.account import Account
    from exporter.sandbox.rows import Row

ACTIVE_CALLS = "/connections/{connection_id}/active_calls"
_CHANNELS = 20
"""The most calls of a connection without channel limits."""
_WAVES = ((0.3, 8, 20), (0.6, 8, 20), (0.97, 45, 60))
"""The highest share of the channels that are in use, and the shortest and longest time between two peaks, in steps.

The last one is above 80 % for about ten minutes, so that the alert about the limit fires in the demo.
"""


def active_calls(account: Account, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of the calls of the connection with the id in `connection_id`.

    A cursor is the position of a call, counted from 1.
    """
    connection_id = query["connection_id"]
    total = _number_of_calls(account, _call_controlled_connection(account, connection_id))
    limit = integer_parameter(query, "page[limit]", 20, MAX_PAGE_SIZE)
    if "page[before]" in query:
        end = min(integer_parameter(query, "page[before]", 1, 10**9) - 1, total)
        start = max(end - limit, 0)
    else:
        start = integer_parameter(query, "page[after]", 1, 10**9) if "page[after]" in query else 0
        end = min(start + limit, total)
    after = str(end) if end < total else None
    before = str(start + 1) if start else None
    url = f"/v2{ACTIVE_CALLS.format(connection_id=connection_id)}?page[limit]={limit}"
    return {
        "data": [_call(account, connection_id, position) for position in range(start, end)],
        "meta": {
            "total_items": total,
            "cursors": {"after": after, "before": before},
            "next": after and f"{url}&page[after]={after}",
            "previous": before and f"{url}&page[before]={before}",
        },
    }


def _call_controlled_connection(account: Account, connection_id: str) -> Row:
    """Return the connection. Its calls are controlled by a program, or it is rejected."""
    found = account.find_connection(connection_id)
    if found is None:
        raise RequestError(404, "There is no connection with this id.")
    path, row = found
    is_application = path in {"/call_control_applications", "/texml_applications"}
    if not is_application and (path == "/fax_applications" or not row["webhook_event_url"]):
        raise RequestError(422, "The connection is neither a voice application, nor does it have a webhook URL.")
    return row


def _number_of_calls(account: Account, row: Row) -> int:
    """Return a number that rises and falls, and never exceeds the channel limits. A third come close to it."""
    if row["active"] is False:
        return 0
    limits = [nested_object(row, direction).get("channel_limit") for direction in ("inbound", "outbound")]
    channels = sum(limit or 0 for limit in limits) if any(limit is not None for limit in limits) else _CHANNELS
    rng = random.Random(row["id"])  # noqa: S311 -- reproducible on purpose
    highest_share, shortest, longest = rng.choice(_WAVES)
    period = rng.uniform(shortest, longest)
    cycles = account.steps_since(account.started) / period + rng.random()
    return round(channels * highest_share * (1 + math.sin(math.tau * cycles)) / 2)


def _call(account: Account, connection_id: str, position: int) -> Row:
    """Return the call at a position. It lasts some minutes, and then another one takes its place."""
    rng = random.Random(f"{connection_id} {position}")  # noqa: S311 -- reproducible on purpose
    length = rng.randrange(60, 1800)
    number, duration = divmod(int(account.now) + rng.randrange(length), length)
    rng.seed(f"{connection_id} {position} {number}")
    return {
        "record_type": "call",
        "call_control_id": f"v3:{rng.getrandbits(240):060x}",
        "call_leg_id": str(UUID(int=rng.getrandbits(128), version=4)),
        "call_session_id": str(UUID(int=rng.getrandbits(128), version=4)),
        "client_state": b64encode(rng.randbytes(15)).decode(),
        "call_duration": duration,
    }
