"""A simulated Telnyx account whose connections change slowly."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.sandbox.connections import (
    CHANNEL_LIMITS,
    FIRST_CREATED,
    LAST_CREATED,
    Row,
    generate,
    iso_time,
    merge,
    nested_object,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_CATCH_UP_STEPS = 300
"""Maximum number of due changes to apply. After a long sleep of the computer, older ones are skipped."""

SORT_KEYS: Mapping[str, Callable[[Row], Any] | None] = {
    "created_at": None,  # the order in which rows are stored
    "connection_name": lambda row: row["connection_name"] or "",
    "active": lambda row: row["active"] is not False,
}
"""The values of the API's `sort` parameter, with their key functions."""
FILTERS: Mapping[str, Callable[[Row, str], bool]] = {
    "filter[connection_name][contains]": lambda row, text: text.lower() in (row["connection_name"] or "").lower(),
    "filter[fqdn]": lambda row, text: row.get("fqdn") == text,  # matches nothing: credential connections have no FQDN
    "filter[outbound_voice_profile_id]": lambda row, text: (
        nested_object(row, "outbound").get("outbound_voice_profile_id") == text
    ),
}
"""The API's filter parameters."""


class Account:
    """A simulated account of `size` connections, in which one thing changes every `step` seconds.

    The same seed gives the same connections. Due changes are applied when the account is read; with a `step` of 0 or
    `None` nothing changes. A change replaces a row and never modifies it, so you can compare a row that you kept.
    """

    def __init__(
        self, size: int = 55, seed: int = 1, *, clock: Callable[[], float] = time.time, step: float | None = 45.0
    ) -> None:
        self.clock = clock
        self._rng = random.Random(seed)  # noqa: S311 -- reproducible on purpose
        self._step = step
        self._started = clock()
        self._steps_applied = 0
        self._rows_generated = 0
        self._last_created = 0
        self._rows: list[Row] = []
        self._encoded: list[bytes] = []  # the JSON of each row at the same index, so that a page is a join
        for index in range(size):
            created = FIRST_CREATED + int((LAST_CREATED - FIRST_CREATED) * (index + self._rng.random()) / size)
            self._append(created, {})

    @property
    def rows(self) -> list[Row]:
        """All connections in the order of creation. Only methods of this class may change them."""
        self._apply_due_changes()
        return self._rows

    def encoded_rows(self, sort: str = "created_at", filters: Mapping[str, str] | None = None) -> list[bytes]:
        """Return the JSON of the rows that match.

        `sort` is a value of the API's `sort` parameter, and `filters` maps the API's filter parameters to their values.
        """
        self._apply_due_changes()
        key = SORT_KEYS[sort.removeprefix("-")]
        found = self._encoded
        if key or filters:
            tests = [(FILTERS[name], text) for name, text in (filters or {}).items()]
            pairs = [
                pair
                for pair in zip(self._rows, self._encoded, strict=True)
                if all(test(pair[0], text) for test, text in tests)
            ]
            if key:
                pairs.sort(key=lambda pair: key(pair[0]))
            found = [encoded for _, encoded in pairs]
        return found[::-1] if sort.startswith("-") else found

    def add(self, **fields: Any) -> Row:
        """Add a generated connection with these fields, created now, and return it."""
        self._apply_due_changes()
        return self._append(self._now(), fields)

    def update(self, connection_id: str, **fields: Any) -> Row:
        """Merge these fields into a connection, updated now, and return it. Raises `ValueError` for an unknown id."""
        self._apply_due_changes()
        return self._change(self._index(connection_id), self._now(), fields)

    def remove(self, connection_id: str) -> None:
        """Remove a connection. Raises `ValueError` for an unknown id."""
        self._apply_due_changes()
        index = self._index(connection_id)
        del self._rows[index], self._encoded[index]

    def _now(self) -> int:
        return int(self.clock() * 1000)

    def _index(self, connection_id: str) -> int:
        return [row["id"] for row in self._rows].index(connection_id)

    def _append(self, created: int, fields: Row) -> Row:
        self._last_created = max(created, self._last_created + 1, FIRST_CREATED)
        row = merge(generate(self._rng, self._rows_generated, self._last_created), fields)
        self._rows_generated += 1
        self._rows.append(row)
        self._encoded.append(msgspec.json.encode(row))
        return row

    def _change(self, index: int, updated: int, fields: Row) -> Row:
        row = merge(self._rows[index], {"updated_at": iso_time(updated), **fields})
        self._rows[index], self._encoded[index] = row, msgspec.json.encode(row)
        return row

    def _apply_due_changes(self) -> None:
        if not self._step:
            return
        due = int((self.clock() - self._started) / self._step)
        for number in range(max(self._steps_applied, due - _MAX_CATCH_UP_STEPS), due):
            self._change_something(int((self._started + (number + 1) * self._step) * 1000))
        self._steps_applied = max(self._steps_applied, due)

    def _change_something(self, at: int) -> None:
        """Change one setting, or add a connection.

        Disabled settings are restored later, so that a long-running account stays balanced.
        """
        (kind,) = self._rng.choices(("limit", "disable", "decrypt", "add"), (72, 16, 10, 2))
        if kind == "add" or not self._rows:
            self._append(at, {})
            return
        index = self._rng.randrange(len(self._rows))
        row = self._rows[index]
        change: Row
        if not row["active"]:
            change = {"active": True}
        elif not row["encrypted_media"]:
            change = {"encrypted_media": "SRTP"}
        elif kind == "disable":
            change = {"active": False}
        elif kind == "decrypt":
            change = {"encrypted_media": None}
        else:
            direction = self._rng.choice(("inbound", "outbound"))
            current = nested_object(row, direction).get("channel_limit")
            change = {direction: {"channel_limit": self._rng.choice([n for n in CHANNEL_LIMITS if n != current])}}
        self._change(index, at, change)
