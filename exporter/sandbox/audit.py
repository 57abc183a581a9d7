"""The audit log of an account: who changed what, and when."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any
from uuid import UUID

from exporter.sandbox.rows import iso_time

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from exporter.sandbox.rows import Row

_MAX_EVENTS = 1000
_NOT_AUDITED = frozenset({"updated_at", "connections_count", "registration_status", "registration_status_updated_at"})
"""Fields that nobody sets."""


class AuditLog:
    """The last events of an account. Like Telnyx's, an event contains old and new values, also those of passwords."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._organization_id = self._uuid()
        self._user_id = self._uuid()
        self._events: deque[Row] = deque(maxlen=_MAX_EVENTS)

    @property
    def events(self) -> list[Row]:
        """The events in the order of their times."""
        return sorted(self._events, key=lambda event: event["created_at"])

    def record(self, at: int, change_type: str, before: Row | None, after: Row | None) -> None:
        """Record a change at this time, in Unix milliseconds, unless only fields changed that nobody sets."""
        changes = [
            {"field": field, "from": old, "to": new}
            for field, old, new in _differences(before or {}, after or {})
            if field not in _NOT_AUDITED
        ]
        row = after or before or {}
        if changes:
            self._events.append(
                {
                    "id": self._uuid(),
                    "record_type": row["record_type"],
                    "resource_id": row["id"],
                    "alternate_resource_id": row.get("phone_number"),
                    "change_made_by": "account_owner",
                    "change_type": change_type,
                    "changes": changes,
                    "created_at": iso_time(at),
                    "organization_id": self._organization_id,
                    "user_id": self._user_id,
                }
            )

    def _uuid(self) -> str:
        return str(UUID(int=self._rng.getrandbits(128), version=4))


def _differences(before: Row, after: Row, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the path, the old value and the new value of each field that differs."""
    for name in before | after:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", old, new
