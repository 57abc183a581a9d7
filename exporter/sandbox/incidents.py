"""What happens to the profiles, endpoints, numbers and credentials of an account over time.

In each of these lists one row at a time goes wrong, and is right again before the next one goes wrong.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from exporter.sandbox.rows import ROW, iso_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.sandbox.lists import AccountList
    from exporter.sandbox.rows import Row


class Incidents:
    """The incidents of an account, each at its own pace. `get_list` returns a list by its path."""

    def __init__(self, get_list: Callable[[str], AccountList]) -> None:
        self._get_list = get_list
        self._removed: dict[str, Row] = {}

    def apply(self, step: int, at: int) -> None:
        """Apply the incidents of the step with this number, counted from 1."""
        if step % 3 == 0:
            self._remove_or_add_back("/ips", at)
        if step % 4 == 0:
            self._toggle("/outbound_voice_profiles", "enabled", True, False, at)  # noqa: FBT003 -- values of a field
        if step % 5 == 0:
            self._remove_or_add_back("/fqdns", at)
        if step % 6 == 0:
            self._toggle("/phone_numbers/slim", "status", "active", "port-out-pending", at)
        self._expire("/telephony_credentials", at)

    def _remove_or_add_back(self, path: str, at: int) -> None:
        """Remove the oldest row of a list. The next time, add it back as the newest one."""
        rows = self._get_list(path)
        if path in self._removed:
            removed = self._removed.pop(path)
            rows.append(at, {name: value for name, value in removed.items() if name not in ROW})
        elif rows.rows:
            self._removed[path] = rows.rows[0]
            rows.remove(rows.rows[0]["id"])

    def _toggle(self, path: str, field: str, right: Any, wrong: Any, at: int) -> None:
        """Give a field of the row that was updated first its wrong value. The next time, give it the right one."""
        rows = self._get_list(path)
        faulty = next((row for row in rows.rows if row[field] == wrong), None)
        row = faulty or min(rows.rows, key=itemgetter("updated_at"), default=None)
        if row:
            rows.update(row["id"], **{field: right if faulty else wrong}, updated_at=iso_time(at))

    def _expire(self, path: str, at: int) -> None:
        """Let the credentials expire whose time has come."""
        rows, now = self._get_list(path), iso_time(at)
        while (row := rows.derive(_next_to_expire)) and row["expires_at"] <= now:
            rows.update(row["id"], expired=True, updated_at=now)


def _next_to_expire(rows: list[Row]) -> Row | None:
    valid = (row for row in rows if row["expires_at"] and not row["expired"])
    return min(valid, key=itemgetter("expires_at"), default=None)
