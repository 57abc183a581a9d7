"""Reads a whole list page by page, although rows can be added or removed between two requests.

Pages are cut by offset. A sorted list is sorted by creation time, so a new row appears at the end. When a row is
removed, all rows after it move forward; a row that moves across a page boundary is missed by a reader that goes
forward. Hence two strategies:

- *Concurrently*: read the last page, then all others at the same time, then the last page again. If the rows of the
  last page did not move, no row before them was removed, and the pages are consistent.
- *Backwards*: read from the last page to the first. Rows only move towards pages that are still to be read, so a row
  that exists all the time is never missed. This needs one request after the other.

The first attempt reads concurrently. If the list changed meanwhile, the next attempts read backwards.

Rows of an unsorted list can move anywhere, so no strategy is safe. Each attempt reads its pages *forwards*, one after
the other, and only the list's totals show whether rows are missing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Generic

from exporter.telnyx.errors import BadRequest, Malformed
from exporter.telnyx.lists.pages import Meta, UnreadableRow
from exporter.telnyx.lists.progress import NO_PROGRESS
from exporter.telnyx.lists.snapshots import ContentT, ProcessedPage, Snapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
    from typing import TypeAlias

    from exporter.telnyx.lists.progress import Progress

    ReadPage: TypeAlias = Callable[[int], Awaitable[ProcessedPage[ContentT]]]
    RemoveRows: TypeAlias = Callable[[ContentT, Collection[str]], ContentT]

MAX_ATTEMPTS = 3
MAX_PAGES = 100_000
"""More pages than any account has. A list that claims more makes the refresh fail."""
MAX_EMPTY_PAGES = 10
"""If more than this many last pages are empty, the list is rejected: no list shrinks so much during an attempt."""

_EMPTY: ProcessedPage[Any] = ProcessedPage(None, Meta(), b"[]")


async def read_list(
    read_page: ReadPage[ContentT],
    remove_rows: RemoveRows[ContentT],
    *,
    ordered: bool = True,
    concurrency: int = 4,
    on_restart: Callable[[], None] = lambda: None,
    progress: Progress = NO_PROGRESS,
) -> Snapshot[ContentT]:
    """Read the whole list. `read_page` returns the page of a number, counted from 1, or raises.

    `remove_rows` returns the content of a page without the rows that have these ids. `ordered` says whether the list is
    sorted by creation time. Only a sorted list is read concurrently. `progress` receives the pages of each attempt.

    If the list changed while it was read, or the number of rows contradicts the list's own totals, the list is read
    again, in at most three attempts. `on_restart` is called before the second and the third. If no attempt is
    consistent, the result is the one that misses the fewest rows. If a page after the first is rejected, the
    last attempt fails. Raises the errors of `read_page`, and `Malformed` for a list whose totals are impossible.
    """
    best: Snapshot[ContentT] | None = None
    trust_totals = True
    for attempt in range(MAX_ATTEMPTS):
        if attempt:
            on_restart()
        reader = _PageReader(read_page, progress)
        first = await reader(1)
        last = _stated_page_count(first) if trust_totals else None
        reader.expect(last)
        pages: Sequence[ProcessedPage[ContentT]] | None
        if not ordered:
            pages = await _read_forwards(reader, first, last)
        elif last is None:
            pages = await _read_backwards(reader, len(await _read_forwards(reader, first, None)))
        elif attempt:
            pages = await _read_backwards(reader, last)
        else:
            pages = await _read_concurrently(reader, first, last, concurrency)
        if pages is None:
            continue
        snapshot = await asyncio.to_thread(_join, pages, reader.totals, remove_rows)
        rows = _count_with_unreadable(snapshot)
        totals = reader.totals or {rows}
        is_stable = ordered or len(totals) == 1  # a row that is removed can hide that another one was missed
        if reader.bad_request is None and is_stable and min(totals) <= rows <= max(totals):
            return snapshot
        if reader.bad_request is not None and attempt == MAX_ATTEMPTS - 1:
            raise reader.bad_request
        trust_totals = trust_totals and rows <= max(totals)
        if best is None or (snapshot.missing, -rows) < (best.missing, -_count_with_unreadable(best)):
            best = snapshot
    assert best is not None  # noqa: S101 -- only reading concurrently returns None
    return best


async def read_page_as_list(read_page: ReadPage[ContentT], progress: Progress = NO_PROGRESS) -> Snapshot[ContentT]:
    """Read a list without pages: page 1 is the whole list."""
    page = await read_page(1)
    progress.record_progress(1, 1)
    return _join((page,), set(), lambda content, _: content)


class _PageReader(Generic[ContentT]):
    """Reads pages for one attempt and remembers what they state about the list."""

    def __init__(self, read_page: ReadPage[ContentT], progress: Progress) -> None:
        self._read_page = read_page
        self._progress = progress
        self._page_count: int | None = None
        self._received: dict[int, str] = {}
        self.totals: set[int] = set()
        self.bad_request: BadRequest | None = None

    def expect(self, page_count: int | None) -> None:
        """Record how many pages the list has, or None if that is unknown."""
        self._page_count = page_count
        self._progress.record_progress(len(self._received), page_count)

    async def __call__(self, number: int) -> ProcessedPage[ContentT]:
        """Return the page of this number, or an empty page past the end, however the API signals that."""
        page = await self._read(number)
        self._progress.record_progress(len(self._received), self._page_count)
        return page

    async def _read(self, number: int) -> ProcessedPage[ContentT]:
        try:
            page = await self._read_page(number)
        except BadRequest as error:
            if number == 1:
                raise
            self.bad_request = error
            self._received[number] = str(error)
            return _EMPTY
        if page.meta.total_results is not None:
            self.totals.add(page.meta.total_results)
        if _is_past_end(page, number):
            self._received[number] = f"page {page.meta.page_number}"
            return _EMPTY
        self._received[number] = f"{len(page.rows)} rows"
        return page

    def describe(self, numbers: Iterable[int]) -> str:
        """Describe the responses for these pages, for example `0 rows (8 times), page 2 (3 times)`."""
        counts = Counter(self._received[number] for number in numbers)
        return ", ".join(f"{what} ({count} times)" for what, count in counts.items())


async def _read_concurrently(
    reader: _PageReader[ContentT], first: ProcessedPage[ContentT], last: int, concurrency: int
) -> Sequence[ProcessedPage[ContentT]] | None:
    """Read all pages at the same time. Return None if rows were removed before the last page."""
    if last == 1:
        return (first,)
    before = await reader(last)
    if not before.rows:
        return None
    others = await _gather(reader, range(1, last), concurrency)
    after = await reader(last)
    moved = _ids(after)[: len(before.rows)] != _ids(before)
    return None if moved or _shrank(before.meta, after.meta) else (*others, after)


async def _read_backwards(reader: _PageReader[ContentT], last: int) -> Sequence[ProcessedPage[ContentT]]:
    pages: list[ProcessedPage[ContentT]] = [_EMPTY] * last
    for number in range(last, 0, -1):
        pages[number - 1] = await reader(number)
        if number == last - MAX_EMPTY_PAGES > 1 and not any(page.rows for page in pages):
            raise Malformed(
                f"the list's totals imply {last} pages, but requests for the last {MAX_EMPTY_PAGES + 1} returned "
                f"{reader.describe(range(last, number - 1, -1))}"
            )
    return pages


async def _read_forwards(
    reader: _PageReader[ContentT], first: ProcessedPage[ContentT], last: int | None
) -> Sequence[ProcessedPage[ContentT]]:
    """Read up to the last page or, if it is unknown, until a page repeats the one before. An empty page is the end."""
    pages = [first]
    while len(pages) != last:
        if len(pages) > MAX_PAGES:
            raise Malformed(f"the list has more than {MAX_PAGES} pages")
        page = await reader(len(pages) + 1)
        if not page.rows or (last is None and Counter(_ids(page)) == Counter(_ids(pages[-1]))):
            break
        pages.append(page)
    if last is None:
        reader.bad_request = None  # the page past the end may be rejected
    return pages


async def _gather(
    reader: _PageReader[ContentT], numbers: Iterable[int], concurrency: int
) -> Sequence[ProcessedPage[ContentT]]:
    pages: dict[int, ProcessedPage[ContentT]] = {}
    queue = iter(numbers)

    async def work() -> None:
        for number in queue:
            pages[number] = await reader(number)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [pages[number] for number in sorted(pages)]


def _stated_page_count(first: ProcessedPage[ContentT]) -> int | None:
    """Return the number of pages that the list states, or None if it states none or contradicts its first page."""
    rows, meta = len(first.rows), first.meta
    if not rows:
        return 1
    if meta.total_results is not None and meta.total_results >= rows:
        count = -(-meta.total_results // rows)  # the first page shows the real page size, whatever was requested
    elif meta.total_pages is not None and meta.total_pages > 0:
        count = meta.total_pages
    else:
        return None
    if count > MAX_PAGES:
        raise Malformed(f"the list's totals imply {count} pages, more than the maximum of {MAX_PAGES}")
    return count


def _is_past_end(page: ProcessedPage[ContentT], number: int) -> bool:
    """Return whether the page states another number than requested. Some APIs return the last page past the end."""
    return number > 1 and page.meta.page_number not in {None, number}


def _shrank(before: Meta, after: Meta) -> bool:
    """Return whether the totals became smaller: the last page may then be a different one."""
    totals = ((before.total_results, after.total_results), (before.total_pages, after.total_pages))
    return any(then is not None and now is not None and now < then for then, now in totals)


def _ids(page: ProcessedPage[Any]) -> list[str | None]:
    return [row.id if isinstance(row, UnreadableRow) else row for row in page.rows]


def _count_with_unreadable(snapshot: Snapshot[ContentT]) -> int:
    return snapshot.row_count + len(snapshot.unreadable)


def _join(
    pages: Sequence[ProcessedPage[ContentT]], totals: set[int], remove_rows: RemoveRows[ContentT]
) -> Snapshot[ContentT]:
    """Join the pages into a snapshot that contains each id once.

    The first occurrence counts. When pages are read backwards, it is the newer one.
    """
    contents: list[ContentT] = []
    seen: set[str] = set()
    unreadable: list[UnreadableRow] = []
    for page in pages:
        rows = page.rows
        ids = {row for row in rows if isinstance(row, str)}
        unreadable.extend(row for row in rows if isinstance(row, UnreadableRow))
        if rows:
            repeated = ids & seen
            contents.append(remove_rows(page.content, repeated) if repeated else page.content)
        seen |= ids
    row_count = len(seen)
    left_out: list[UnreadableRow] = []
    for row in unreadable:
        if row.id not in seen:
            left_out.append(row)
        if row.id is not None:
            seen.add(row.id)
    missing = max(0, min(totals, default=0) - row_count - len(left_out))
    return Snapshot(tuple(contents), row_count, tuple(left_out), missing)
