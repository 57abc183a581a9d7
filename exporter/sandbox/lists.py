"""A list of a simulated account, such as its IP connections."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from exporter.sandbox.rows import FIRST_CREATED, LAST_CREATED, generate, iso_time, merge

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from exporter.sandbox.audit import AuditLog
    from exporter.sandbox.resources import Resource
    from exporter.sandbox.rows import Row

T = TypeVar("T")

_ID_EPOCH = 1_288_834_974_657  # Telnyx's decimal ids look like snowflakes: milliseconds since then, then 22 other bits
_ADD_PROBABILITY = 0.02
"""The probability that a change adds a row."""


class AccountList:
    """A list of an account.

    A change replaces a row and never modifies it, so you can compare a row that you kept.
    """

    def __init__(
        self,
        resource: Resource,
        number: int,
        *,
        size: int,
        rng: random.Random,
        clock: Callable[[], float],
        started: int,
        owners: Sequence[str],
        audit_log: AuditLog,
    ) -> None:
        """Generate the list.

        No other list of the account has the same number. `size` is that of the account, which started at this time.
        Rows can belong to the connections with the ids in `owners`. The audit log records changes.
        """
        self.resource = resource
        self._number = number
        self._rng = rng
        self._clock = clock
        self._owners = owners
        self._audit_log = audit_log
        self._rows_generated = 0
        self._last_created = 0
        self._rows: list[Row] = []
        self._encoded: list[bytes] = []  # the JSON of each row at the same index, so that a page is a join
        self._ids_by_login: dict[str, str] = {}
        self._sorted: dict[str | None, list[bytes]] = {}
        self._derived: dict[Callable[[list[Row]], Any], Any] = {}
        count = resource.count(size)
        for index in range(count):
            created = FIRST_CREATED + int((LAST_CREATED - FIRST_CREATED) * (index + self._rng.random()) / count)
            self.append(created, {}, now=started)
        self.first_ids = [row["id"] for row in self._rows]
        """The ids of the rows that the list had when it was generated."""

    @property
    def rows(self) -> list[Row]:
        """All rows in the order of creation. Only methods of this class may change them."""
        return self._rows

    def encoded_rows(self, sort: str | None = None, filters: Mapping[str, str] | None = None) -> list[bytes]:
        """Return the JSON of the rows that match.

        `sort` is a value of the API's `sort` parameter, and `filters` maps the API's filter parameters to their values.
        """
        sort = sort or self.resource.default_sort
        if filters:
            return self._find_encoded(sort, filters)
        if sort not in self._sorted:
            self._sorted[sort] = self._find_encoded(sort, {})
        return self._sorted[sort]

    def derive(self, function: Callable[[list[Row]], T]) -> T:
        """Return what this function returns for the rows. It is called only after a change."""
        if function not in self._derived:
            self._derived[function] = function(self._rows)
        result: T = self._derived[function]
        return result

    def find(self, row_id: str) -> Row | None:
        """Return the row with this id."""
        with suppress(ValueError):
            return self._rows[self._index(row_id)]
        return None

    def find_login(self, user_name: str) -> Row | None:
        """Return the row with this user name."""
        row = self.find(self._ids_by_login.get(user_name, ""))
        return row if row and row["user_name"] == user_name else None

    def add(self, **fields: Any) -> Row:
        """Add a generated row with these fields, created now, and return it."""
        return self.append(self._now(), fields)

    def update(self, row_id: str, **fields: Any) -> Row:
        """Merge these fields into a row, updated now, and return it. Raises `ValueError` for an unknown id."""
        return self._merge(self._index(row_id), {"updated_at": iso_time(self._now()), **fields}, self._now())

    def remove(self, row_id: str) -> None:
        """Remove a row. Raises `ValueError` for an unknown id."""
        index = self._index(row_id)
        self._audit_log.record(self._now(), "delete", self._rows[index], None)
        del self._rows[index], self._encoded[index]
        self._forget_derived()

    def change_something(self, at: int) -> None:
        """Change a random row, or add one."""
        if not self._rows or self._rng.random() < _ADD_PROBABILITY:
            self.append(at, {})
        else:
            index = self._rng.randrange(len(self._rows))
            self._merge(index, self.resource.change(self._rng, self._rows[index], iso_time(at)), at)

    def append(self, created: int, fields: Row, now: int | None = None) -> Row:
        """Add a generated row with these fields, created at this time, and return it.

        `now` is the time when the first rows are generated. Their creation is not in the audit log.
        """
        created = self._last_created = max(created, self._last_created + 1, FIRST_CREATED)
        # The number of the list makes ids unique in the account.
        row_id = (created - _ID_EPOCH) << 22 | self._number << 17 | self._rng.getrandbits(17)
        index = self._rows_generated
        row = generate(self.resource.fields, self._rng, index, row_id, created, now=now or created, owners=self._owners)
        self._rows_generated += 1
        row = merge(row, fields)
        if now is None:
            self._audit_log.record(created, "create", None, row)
        self._rows.append(row)
        self._encoded.append(msgspec.json.encode(row))
        self._index_login(row)
        self._forget_derived()
        return row

    def _find_encoded(self, sort: str | None, filters: Mapping[str, str]) -> list[bytes]:
        key = self.resource.sort_key(sort)
        found = self._encoded
        if key or filters:
            tests = [(self.resource.filters[name], text) for name, text in filters.items()]
            pairs = [
                pair
                for pair in zip(self._rows, self._encoded, strict=True)
                if all(test(pair[0], text) for test, text in tests)
            ]
            if key:
                pairs.sort(key=lambda pair: key(pair[0]))
            found = [encoded for _, encoded in pairs]
        return found[::-1] if sort and sort.startswith("-") else found

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _index(self, row_id: str) -> int:
        """Return the index of a row. Generated ids ascend, because they begin with the time of creation."""
        index = bisect_left(self._rows, row_id, key=itemgetter("id"))
        if self._rows[index : index + 1] and self._rows[index]["id"] == row_id:
            return index
        for index, row in enumerate(self._rows):  # the id was given, not generated
            if row["id"] == row_id:
                return index
        raise ValueError(f"there is no row {row_id}")

    def _merge(self, index: int, fields: Row, at: int) -> Row:
        row = merge(self._rows[index], fields)
        self._audit_log.record(at, "update", self._rows[index], row)
        self._rows[index], self._encoded[index] = row, msgspec.json.encode(row)
        self._index_login(row)
        self._forget_derived()
        return row

    def _forget_derived(self) -> None:
        self._sorted.clear()
        self._derived.clear()

    def _index_login(self, row: Row) -> None:
        if "user_name" in row:
            self._ids_by_login[row["user_name"]] = row["id"]
