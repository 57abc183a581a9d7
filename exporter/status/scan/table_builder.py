"""Selects and sorts the connections of the table."""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from exporter.status.problems import CONNECTION_PROBLEMS
from exporter.status.table import PAGE_ROWS, ConnectionRow, ConnectionTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from exporter.collectors.connection_index import ConnectionRecord
    from exporter.collectors.index import PageIndex
    from exporter.status.query import Query
    from exporter.status.scan.page_summary import PageSummary

_RUN_KEYS = 4000
"""Sort keys to sort in one step. More would delay scrapes, and fewer would make the merge slower."""
_MERGED_KEYS = 1000
"""Sort keys to merge in one step."""


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a list of connections of an account."""

    account: str
    index: PageIndex[ConnectionRecord]


class TableBuilder:
    """Fills the table with the connections of the pages that are added.

    It keeps sort keys only, and at the end reads the rows to show from their pages again. A sort key is a text that
    sorts like the value of the column. It ends with the name and with the number of the connection.

    `registrations` are the registrations that were read one by one, by account and id of the connection.
    """

    def __init__(self, query: Query, registrations: Mapping[tuple[str, str], bool | None]) -> None:
        self._query = query
        self._registrations = registrations
        self._tests = list(_tests(query))
        self._sort_value = _SORT_VALUES[query.sort_column]
        self._max_keys = query.page * PAGE_ROWS
        """Keys to keep of each run: no other can be on the requested page."""
        self._pages: list[_Page] = []
        self._starts: list[int] = []
        """The number of the first connection of each page."""
        self._total = self._matches = 0
        self._keys: list[str] = []
        """Keys that are not sorted yet."""
        self._runs: list[list[str]] = []
        """Sorted keys."""
        self._types: set[str] = set()
        self._sites: set[str] = set()
        self._encryptions: set[str] = set()

    def add(
        self,
        account: str,
        index: PageIndex[ConnectionRecord],
        records: Sequence[ConnectionRecord],
        summary: PageSummary,
    ) -> None:
        """Add the connections of a page of an account, which has these records."""
        numbered: Iterable[tuple[int, ConnectionRecord]] = enumerate(
            self._with_registrations(account, records), self._total
        )
        for test in self._tests:
            numbered = [each for each in numbered if test(each[1])]
        value = self._sort_value
        keys = [f"{value(account, record)}\0{record.name.casefold()}\0{number}" for number, record in numbered]
        self._pages.append(_Page(account, index))
        self._starts.append(self._total)
        self._total += len(records)
        self._matches += len(keys)
        self._keys += keys
        if len(self._keys) >= _RUN_KEYS:
            self._end_run()
        self._types |= summary.types
        self._sites |= summary.sites
        self._encryptions |= summary.encryptions

    def _end_run(self) -> None:
        self._keys.sort(reverse=self._query.is_descending)
        self._runs.append(self._keys[: self._max_keys])
        self._keys = []

    async def build(self) -> ConnectionTable:
        """Return the requested page of the table, or the last one if there are fewer."""
        self._end_run()
        pages = max(1, -(-self._matches // PAGE_ROWS))
        page = min(self._query.page, pages)
        first = (page - 1) * PAGE_ROWS
        keys = heapq.merge(*self._runs, reverse=self._query.is_descending)
        for skipped in range(0, first, _MERGED_KEYS):
            for _ in islice(keys, min(_MERGED_KEYS, first - skipped)):
                pass
            await asyncio.sleep(0)
        rows = tuple(self._row(int(key.rpartition("\0")[2])) for key in islice(keys, PAGE_ROWS))
        return ConnectionTable(
            rows=rows,
            first=first + 1 if rows else 0,
            matches=self._matches,
            total=self._total,
            page=page,
            pages=pages,
            types=_options(self._types),
            sites=_options(self._sites),
            encryptions=_options(self._encryptions),
        )

    def _with_registrations(self, account: str, records: Sequence[ConnectionRecord]) -> Sequence[ConnectionRecord]:
        """Return the records with the registrations that were read one by one."""
        if not self._registrations:
            return records
        known = self._registrations
        return [
            msgspec.structs.replace(record, registered=known[account, record.id])
            if (account, record.id) in known
            else record
            for record in records
        ]

    def _row(self, number: int) -> ConnectionRow:
        """Return the connection that has this number."""
        position = bisect_right(self._starts, number) - 1
        page = self._pages[position]
        (record,) = self._with_registrations(page.account, [page.index.records[number - self._starts[position]]])
        return ConnectionRow(
            account=page.account,
            id=record.id,
            name=record.name,
            type=record.record_type,
            active=record.active,
            registered=record.registered,
            site=record.anchorsite,
            encryption=record.media_encryption,
            inbound_limit=record.inbound_channel_limit,
            outbound_limit=record.outbound_channel_limit,
            updated_at=record.updated_at or "",
        )


def _options(values: set[str]) -> tuple[str, ...]:
    return tuple(sorted(values - {""}))


def _tests(query: Query) -> Iterator[Callable[[ConnectionRecord], bool]]:
    """Return functions that all connections of the table pass."""
    if query.q:
        text = query.q.casefold()
        yield lambda record: text in record.name.casefold() or text in record.id
    if query.state:
        active = query.state == "active"
        yield lambda record: record.active is active
    if query.registration:
        registered = query.registration == "registered"
        yield lambda record: record.registered is registered
    if query.type:
        yield lambda record: record.record_type == query.type
    if query.site:
        yield lambda record: record.anchorsite == query.site
    if query.encryption:
        yield lambda record: record.media_encryption == query.encryption
    if query.problem:
        yield CONNECTION_PROBLEMS[query.problem]


_WRONG_FIRST = {False: "0", True: "1", None: "2"}
"""Disabled and not registered connections come first, and those whose state is unknown last."""


def _limit(limit: int | None) -> str:
    """Return a text that sorts like the limit. No limit is higher than all others."""
    return "~" if limit is None else f"{limit:012}"


_SORT_VALUES: Mapping[str, Callable[[str, ConnectionRecord], str]] = {
    "name": lambda *_: "",
    "account": lambda account, _: account,
    "type": lambda _, record: record.record_type,
    "state": lambda _, record: _WRONG_FIRST[record.active],
    "registration": lambda _, record: _WRONG_FIRST[record.registered],
    "site": lambda _, record: record.anchorsite,
    "encryption": lambda _, record: record.media_encryption,
    "inbound_limit": lambda _, record: _limit(record.inbound_channel_limit),
    "outbound_limit": lambda _, record: _limit(record.outbound_channel_limit),
    "updated": lambda _, record: record.updated_at or "",
}
