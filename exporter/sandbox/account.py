"""A simulated Telnyx account whose lists change slowly."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.sandbox.resources import RESOURCES
from exporter.sandbox.rows import FIRST_CREATED, LAST_CREATED, generate, iso_time, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.sandbox.rows import Row

_ID_EPOCH = 1_288_834_974_657  # Telnyx's decimal ids look like snowflakes: milliseconds since then, then 22 other bits
_MAX_CATCH_UP_STEPS = 300
"""Maximum number of due changes to apply. After a long sleep of the computer, older ones are skipped."""
_ADD_PROBABILITY = 0.02
"""The probability that a change adds a row."""


class AccountList:
    """A list of an account, such as its IP connections.

    A change replaces a row and never modifies it, so you can compare a row that you kept.
    """

    def __init__(self, path: str, size: int, seed: int, clock: Callable[[], float]) -> None:
        self.resource = RESOURCES[path]
        self._list_number = list(RESOURCES).index(path)
        self._clock = clock
        self._rng = random.Random(f"{seed} {path}")  # noqa: S311 -- reproducible on purpose
        self._rows_generated = 0
        self._last_created = 0
        self._rows: list[Row] = []
        self._encoded: list[bytes] = []  # the JSON of each row at the same index, so that a page is a join
        count = self.resource.count(size)
        for index in range(count):
            created = FIRST_CREATED + int((LAST_CREATED - FIRST_CREATED) * (index + self._rng.random()) / count)
            self._append(created, {})

    @property
    def rows(self) -> list[Row]:
        """All rows in the order of creation. Only methods of this class may change them."""
        return self._rows

    def encoded_rows(self, sort: str | None = None, filters: Mapping[str, str] | None = None) -> list[bytes]:
        """Return the JSON of the rows that match.

        `sort` is a value of the API's `sort` parameter, and `filters` maps the API's filter parameters to their values.
        """
        key = self.resource.sort_key(sort)
        found = self._encoded
        if key or filters:
            tests = [(self.resource.filters[name], text) for name, text in (filters or {}).items()]
            pairs = [
                pair
                for pair in zip(self._rows, self._encoded, strict=True)
                if all(test(pair[0], text) for test, text in tests)
            ]
            if key:
                pairs.sort(key=lambda pair: key(pair[0]))
            found = [encoded for _, encoded in pairs]
        return found[::-1] if sort and sort.startswith("-") else found

    def add(self, **fields: Any) -> Row:
        """Add a generated row with these fields, created now, and return it."""
        return self._append(self._now(), fields)

    def update(self, row_id: str, **fields: Any) -> Row:
        """Merge these fields into a row, updated now, and return it. Raises `ValueError` for an unknown id."""
        return self._merge(self._index(row_id), {"updated_at": iso_time(self._now()), **fields})

    def remove(self, row_id: str) -> None:
        """Remove a row. Raises `ValueError` for an unknown id."""
        index = self._index(row_id)
        del self._rows[index], self._encoded[index]

    def change_something(self, at: int) -> None:
        """Change a random row, or add one."""
        if not self._rows or self._rng.random() < _ADD_PROBABILITY:
            self._append(at, {})
        else:
            index = self._rng.randrange(len(self._rows))
            self._merge(index, self.resource.change(self._rng, self._rows[index], iso_time(at)))

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _index(self, row_id: str) -> int:
        return [row["id"] for row in self._rows].index(row_id)

    def _append(self, created: int, fields: Row) -> Row:
        created = self._last_created = max(created, self._last_created + 1, FIRST_CREATED)
        # The number of the list makes ids unique in the account.
        row_id = (created - _ID_EPOCH) << 22 | self._list_number << 17 | self._rng.getrandbits(17)
        row = generate(self.resource.fields, self._rng, self._rows_generated, row_id, created)
        self._rows_generated += 1
        row = merge(row, fields)
        self._rows.append(row)
        self._encoded.append(msgspec.json.encode(row))
        return row

    def _merge(self, index: int, fields: Row) -> Row:
        row = merge(self._rows[index], fields)
        self._rows[index], self._encoded[index] = row, msgspec.json.encode(row)
        return row


class Account:
    """A simulated account of `size` credential connections and related numbers of other rows.

    The same seed gives the same rows. Every `step` seconds, one thing changes in one of the lists. Due changes are
    applied when a list is read; with a `step` of 0 or `None` nothing changes.

    `account[path]` is the list with this path below `/v2`. The other methods are those of the credential connections.
    """

    def __init__(
        self, size: int = 55, seed: int = 1, *, clock: Callable[[], float] = time.time, step: float | None = 45.0
    ) -> None:
        self.clock = clock
        self._size = size
        self._seed = seed
        self._rng = random.Random(seed)  # noqa: S311 -- reproducible on purpose
        self._step = step
        self._started = clock()
        self._steps_applied = 0
        self._lists: dict[str, AccountList] = {}  # each is generated when it is first read or changed

    def __getitem__(self, path: str) -> AccountList:
        """Return a list, after applying due changes to the account."""
        self._apply_due_changes()
        return self._list(path)

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
            self._lists[path] = AccountList(path, self._size, self._seed, self.clock)
        return self._lists[path]

    def _apply_due_changes(self) -> None:
        if not self._step:
            return
        due = int((self.clock() - self._started) / self._step)
        weights = [resource.share for resource in RESOURCES.values()]
        for number in range(max(self._steps_applied, due - _MAX_CATCH_UP_STEPS), due):
            (path,) = self._rng.choices(list(RESOURCES), weights)
            self._list(path).change_something(int((self._started + (number + 1) * self._step) * 1000))
        self._steps_applied = max(self._steps_applied, due)
