"""Selects and sorts the connections of the table."""

from __future__ import annotations

from bisect import bisect_right
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from exporter.status.problems import CONNECTION_PROBLEMS
from exporter.status.scan.page_keys import PageKeys
from exporter.status.scan.pause import pause
from exporter.status.table import PAGE_ROWS, ConnectionRow, ConnectionTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from exporter.collectors.connection_index import ConnectionRecord
    from exporter.status.query import Query
    from exporter.status.scan.page_summary import AccountPage, PageSummary

_NAMELESS = "\U0010ffff"
"""Connections without a name come after all others. It is the last of all characters."""
_FIRST_NUMBER = 10**7
"""All numbers have as many digits, so they sort as texts. To pad them with zeros would take longer."""
Registrations: TypeAlias = "Mapping[str, Mapping[str, bool | None]]"
"""Whether connections are registered, by account and id."""


class TableBuilder:
    """Fills the table with the connections of the pages that are added.

    It keeps sort keys only, and at the end reads the rows to show from their pages again. A sort key is a text that
    sorts like the value of the column. It ends with the name and with the number of the connection.

    `registrations` has the registrations that were read one by one. They replace those of the lists of connections.
    """

    def __init__(self, query: Query, registrations: Registrations) -> None:
        self._query = query
        self._registrations = registrations
        self._tests = list(_tests(query))
        self._sort_value = _SORT_VALUES.get(query.sort_column)
        self._keys = PageKeys(query.page * PAGE_ROWS, descending=query.is_descending)
        self._pages: list[AccountPage] = []
        self._starts: list[int] = []
        """The number of the first connection of each page."""
        self._total = self._matches = 0
        self._types: set[str] = set()
        self._sites: set[str] = set()
        self._encryptions: set[str] = set()

    def add(self, page: AccountPage, records: Sequence[ConnectionRecord], summary: PageSummary) -> None:
        """Add the connections of a page, which has these records."""
        account = page.account
        start = _FIRST_NUMBER + self._total
        numbered: Iterable[tuple[int, ConnectionRecord]] = enumerate(self._with_registrations(account, records), start)
        for test in self._tests:
            numbered = [each for each in numbered if test(each[1])]
        value = self._sort_value
        if value is None:  # the usual order, which takes less time without calls
            keys = [f"{record.name.casefold() or _NAMELESS}\0{number}" for number, record in numbered]
        else:
            keys = [
                f"{value(account, record)}\0{record.name.casefold() or _NAMELESS}\0{number}"
                for number, record in numbered
            ]
        self._pages.append(page)
        self._starts.append(start)
        self._total += len(records)
        self._matches += len(keys)
        self._keys.add(keys)
        self._types |= summary.types
        self._sites |= summary.sites
        self._encryptions |= summary.encryptions

    async def build(self) -> ConnectionTable:
        """Return the requested page of the table, or the last one if there are fewer."""
        pages = max(1, -(-self._matches // PAGE_ROWS))
        page = min(self._query.page, pages)
        first = (page - 1) * PAGE_ROWS
        keys = await self._keys.select(first, PAGE_ROWS)
        rows = await self._rows([int(key.rpartition("\0")[2]) for key in keys])
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
        known = self._registrations.get(account)
        if not known:
            return records
        return [
            record
            if (registered := known.get(record.id, record.registered)) is record.registered
            else msgspec.structs.replace(record, registered=registered)
            for record in records
        ]

    async def _rows(self, numbers: Sequence[int]) -> tuple[ConnectionRow, ...]:
        """Return the connections that have these numbers. Read each of their pages once."""
        rows: dict[int, ConnectionRow] = {}
        for position, on_page in groupby(sorted(numbers), lambda number: bisect_right(self._starts, number) - 1):
            page, start = self._pages[position], self._starts[position]
            records = page.index.records
            for number in on_page:
                (record,) = self._with_registrations(page.account, [records[number - start]])
                rows[number] = _row(page.account, record)
            await pause()
        return tuple(rows[number] for number in numbers)


def _row(account: str, record: ConnectionRecord) -> ConnectionRow:
    return ConnectionRow(
        account=account,
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
"""All columns but the name, which each key has."""
