"""The audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from exporter.sandbox.api.lists.pages import page
from exporter.sandbox.api.requests import choice_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.sandbox.account import Account

_PAGE_SIZE = 20


def audit_events(account: Account, query: Mapping[str, str]) -> bytes:
    """Return a page of the audit log. By default, the newest event is the first one."""
    sort = choice_parameter({"sort": "desc", **query}, "sort", ("asc", "desc"))
    after, before = (query.get(f"filter[created_{name}]") for name in ("after", "before"))
    events = [
        event
        for event in account.audit_events
        if (not after or event["created_at"] >= after) and (not before or event["created_at"] <= before)
    ]
    ordered = events if sort == "asc" else events[::-1]
    return page([msgspec.json.encode(event) for event in ordered], query, _PAGE_SIZE)
