"""A simulated Telnyx account whose lists change slowly."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from exporter.sandbox.audit import AuditLog
from exporter.sandbox.incidents import Incidents
from exporter.sandbox.lists import AccountList
from exporter.sandbox.resources import CONNECTIONS, RESOURCES
from exporter.sandbox.rows import nested_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.sandbox.rows import Row

_MAX_CATCH_UP_STEPS = 300
"""Maximum number of due changes to apply. After a long sleep of the computer, older ones are skipped."""
_PROFILES = "/outbound_voice_profiles"


class Account:
    """A simulated account of `size` credential connections and related numbers of other rows.

    The same seed gives the same rows. Every `step` seconds, one thing changes in one of the lists, and at times there
    is an incident. Due changes are applied when a list is read; with a `step` of 0 or `None` nothing changes.

    `account[path]` is the list with this path below `/v2`. Methods that change rows are those of the credential
    connections.
    """

    def __init__(
        self, size: int = 55, seed: int = 1, *, clock: Callable[[], float] = time.time, step: float | None = 45.0
    ) -> None:
        self.clock = clock
        self.size = size
        self.step = step or 0
        self.started = clock()
        self._seed = seed
        self._rng = random.Random(seed)  # noqa: S311 -- reproducible on purpose
        self._steps_applied = 0
        self._lists: dict[str, AccountList] = {}  # each is generated when it is first read or changed
        self._incidents = Incidents(self._list)
        self._audit_log = AuditLog(random.Random(f"{seed} audit"))  # noqa: S311 -- reproducible on purpose

    def __getitem__(self, path: str) -> AccountList:
        """Return a list, after applying due changes to the account."""
        self._apply_due_changes()
        if path == _PROFILES:
            self._count_connections_of_profiles()
        return self._list(path)

    @property
    def now(self) -> float:
        """The account's time in Unix seconds. It stands still if nothing changes."""
        return self.clock() if self.step else self.started

    def steps_since(self, moment: float) -> float:
        """Return the number of steps from this moment until now, with fractions. It is 0 if nothing changes."""
        return (self.clock() - moment) / self.step if self.step else 0

    def find_connection(self, row_id: str) -> tuple[str, Row] | None:
        """Return the path of the list of the connection with this id, and its row."""
        return next(((path, row) for path in CONNECTIONS if (row := self[path].find(row_id))), None)

    @property
    def audit_events(self) -> list[Row]:
        """The events of the audit log in the order of their times."""
        self._apply_due_changes()
        return self._audit_log.events

    @property
    def rows(self) -> list[Row]:
        """The rows of the credential connections."""
        return self._credential_connections.rows

    def encoded_rows(self, sort: str | None = None, filters: Mapping[str, str] | None = None) -> list[bytes]:
        """Return the JSON of the credential connections that match."""
        return self._credential_connections.encoded_rows(sort, filters)

    def add(self, **fields: Any) -> Row:
        """Add a credential connection."""
        return self._credential_connections.add(**fields)

    def update(self, row_id: str, **fields: Any) -> Row:
        """Update a credential connection."""
        return self._credential_connections.update(row_id, **fields)

    def remove(self, row_id: str) -> None:
        """Remove a credential connection."""
        self._credential_connections.remove(row_id)

    @property
    def _credential_connections(self) -> AccountList:
        return self["/credential_connections"]

    def _list(self, path: str) -> AccountList:
        if path not in self._lists:
            resource = RESOURCES[path]
            self._lists[path] = AccountList(
                resource,
                list(RESOURCES).index(path),
                size=self.size,
                rng=random.Random(f"{self._seed} {path}"),  # noqa: S311 -- reproducible on purpose
                clock=self.clock,
                started=int(self.started * 1000),
                owners=[row_id for owner in resource.owners for row_id in self._list(owner).first_ids],
                audit_log=self._audit_log,
            )
        return self._lists[path]

    def _count_connections_of_profiles(self) -> None:
        counts = sum((self._list(path).derive(_count_profiles) for path in CONNECTIONS), start=Counter[str | None]())
        profiles = self._list(_PROFILES)
        for row in list(profiles.rows):
            if row["connections_count"] != counts[row["id"]]:
                profiles.update(row["id"], connections_count=counts[row["id"]], updated_at=row["updated_at"])

    def _apply_due_changes(self) -> None:
        if not self.step:
            return
        due = int((self.clock() - self.started) / self.step)
        weights = [resource.share if resource.random_changes else 0 for resource in RESOURCES.values()]
        for number in range(max(self._steps_applied, due - _MAX_CATCH_UP_STEPS), due):
            at = int((self.started + (number + 1) * self.step) * 1000)
            (path,) = self._rng.choices(list(RESOURCES), weights)
            self._list(path).change_something(at)
            self._incidents.apply(number + 1, at)
        self._steps_applied = max(self._steps_applied, due)


def _count_profiles(rows: list[Row]) -> Counter[str | None]:
    return Counter(nested_object(row, "outbound").get("outbound_voice_profile_id") for row in rows)
