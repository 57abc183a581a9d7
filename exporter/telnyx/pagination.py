"""Reading a whole list by pages while it can change between any two of them.

Pages are cut by offset from a list in the order of creation. What is added lands at its end; what is removed moves all
that follows towards the front, over the border of a page, where a walk from the front never sees it. So:

- *Across* reads all pages at the same time, between two reads of the last one. If the rows of that last page stayed
  where they were, nothing before them was removed in between, and all pages belong together.
- *Backwards* reads from the last page to the first. A row can only move towards the pages that are still to be read, so
  no row that was there all the time is missed, whatever happens; but it is one page after the other.

The first walk goes across. If the list changed under it, the next goes backwards.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, cast

import msgspec

from exporter.telnyx.errors import BadRequest, Malformed
from exporter.telnyx.pages import Connection, Meta, Page, Snapshot, Unreadable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    Read = Callable[[int], Awaitable[Page]]

MAX_WALKS = 3
MAX_PAGES = 100_000
"""More than any account has; what says it has more is not believed."""
MAX_EMPTY = 10
"""No list shrinks by more pages than this during one walk."""

_EMPTY = Page((), Meta())


async def walk(read: Read, *, concurrency: int = 4, restarted: Callable[[], None] = lambda: None) -> Snapshot:
    """Return the whole list, where `read` gives the page of a number, counted from 1, or raises.

    A walk that the list changed under, or whose rows don't add up to what the list says of itself, is made again, three
    times at most, each told to `restarted`; then the one that misses least counts. Raises what `read` raises, and
    `Malformed` for a list that can't be what it says.
    """
    best: Snapshot | None = None
    believed = True
    for attempt in range(MAX_WALKS):
        if attempt:
            restarted()
        pages = _Pages(read)
        first = await pages(1)
        last = _stated(first) if believed else None
        if last is None:
            walked: Sequence[Page] | None = await _backwards(pages, await _count(read, first))
        elif attempt:
            walked = await _backwards(pages, last)
        else:
            walked = await _across(pages, first, last, concurrency)
        if walked is None:
            continue
        snapshot = _join(walked, pages.totals)
        rows = _rows(snapshot)
        totals = pages.totals or {rows}
        if pages.refusal is None and min(totals) <= rows <= max(totals):
            return snapshot
        if pages.refusal is not None and attempt == MAX_WALKS - 1:
            raise pages.refusal
        believed = believed and rows <= max(totals)
        if best is None or (snapshot.missing, -rows) < (best.missing, -_rows(best)):
            best = snapshot
    assert best is not None  # noqa: S101 -- walking backwards always ends in a snapshot or an error
    return best


class _Pages:
    """Reads pages for one walk, and remembers what they said of the list on the way."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._received: dict[int, str] = {}
        self.totals: set[int] = set()
        self.refusal: BadRequest | None = None

    async def __call__(self, number: int) -> Page:
        """Return the page of this number, an empty one where it is past the end, in whatever way the API says so."""
        try:
            page = await self._read(number)
        except BadRequest as error:
            if number == 1:
                raise
            self.refusal = error
            self._received[number] = str(error)
            return _EMPTY
        if page.meta.total_results is not None:
            self.totals.add(page.meta.total_results)
        if _is_another(page, number):
            self._received[number] = f"page {page.meta.page_number}"
            return _EMPTY
        self._received[number] = f"{len(page.rows)} rows"
        return page

    def received(self, numbers: Iterable[int]) -> str:
        """Describe the answers to the requests for these pages, for example `0 rows (8 times), page 2 (3 times)`."""
        counts = Counter(self._received[number] for number in numbers)
        return ", ".join(f"{what} ({count} times)" for what, count in counts.items())


async def _across(pages: _Pages, first: Page, last: int, concurrency: int) -> Sequence[Page] | None:
    """Read all pages at the same time; None if the list changed before its last page."""
    if last == 1:
        return (first,)
    before = await pages(last)
    if not before.rows:
        return None
    others = await _together(pages, range(1, last), concurrency)
    after = await pages(last)
    moved = _ids(after)[: len(before.rows)] != _ids(before)
    return None if moved or _shrunk(before.meta, after.meta) else (*others, after)


async def _backwards(pages: _Pages, last: int) -> Sequence[Page]:
    read = [_EMPTY] * last
    for number in range(last, 0, -1):
        read[number - 1] = await pages(number)
        if number == last - MAX_EMPTY > 1 and not any(page.rows for page in read):
            answers = pages.received(range(last, number - 1, -1))
            raise Malformed(
                f"the list says it has {last} pages; requests for the last {MAX_EMPTY + 1} returned {answers}"
            )
    return read


async def _together(pages: _Pages, numbers: Iterable[int], concurrency: int) -> Sequence[Page]:
    read: dict[int, Page] = {}
    todo = iter(numbers)

    async def work() -> None:
        for number in todo:
            read[number] = await pages(number)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [read[number] for number in sorted(read)]


def _stated(first: Page) -> int | None:
    """Return how many pages the list says it has, where its first page does not contradict that."""
    rows, meta = len(first.rows), first.meta
    if not rows:
        return 1
    if meta.total_results is not None and meta.total_results >= rows:
        number = -(-meta.total_results // rows)  # whatever size was asked for, this is the size that pages have
    elif meta.total_pages is not None and meta.total_pages > 0:
        number = meta.total_pages
    else:
        return None
    if number > MAX_PAGES:
        raise Malformed(f"the list says it has {number} pages")
    return number


async def _count(read: Read, first: Page) -> int:
    """Return how many pages there are where the list does not say: read on until there is nothing new."""
    previous = first
    for number in range(2, MAX_PAGES + 2):
        try:
            page = await read(number)
        except BadRequest:
            return number - 1
        if not page.rows or _is_another(page, number) or _ids(page) == _ids(previous):
            return number - 1
        previous = page
    raise Malformed(f"the list has more than {MAX_PAGES} pages")


def _is_another(page: Page, number: int) -> bool:
    """Tell whether the page says that it is not the one that was asked for, as some APIs answer past the end."""
    return number > 1 and page.meta.page_number not in {None, number}


def _shrunk(before: Meta, after: Meta) -> bool:
    """Tell whether the list says that it became shorter: then its last page may not be the one that it was."""
    totals = ((before.total_results, after.total_results), (before.total_pages, after.total_pages))
    return any(then is not None and now is not None and now < then for then, now in totals)


def _ids(page: Page) -> list[str | None]:
    return [row.id for row in page.rows]


def _rows(snapshot: Snapshot) -> int:
    return snapshot.size + len(snapshot.unreadable)


def _join(pages: Sequence[Page], totals: set[int]) -> Snapshot:
    """Return what the pages hold, each id once."""
    seen: set[str] = set()
    chunks = tuple(_unseen(page, seen) for page in pages if page.rows)
    left_out: list[Unreadable] = []
    for row in (row for page in pages for row in page.rows if isinstance(row, Unreadable)):
        if row.id not in seen:
            left_out.append(row)
        if row.id is not None:
            seen.add(row.id)
    snapshot = Snapshot(chunks, tuple(left_out))
    return msgspec.structs.replace(snapshot, missing=max(0, min(totals, default=0) - _rows(snapshot)))


def _unseen(page: Page, seen: set[str]) -> tuple[Connection, ...]:
    """Return the connections of a page that no page before it has, which is the page's own tuple where that is all.

    Backwards, a row on two pages was read later on the earlier one: the first that is met is the newer.
    """
    connections = []
    for row in page.rows:
        if isinstance(row, Connection) and row.id not in seen:
            seen.add(row.id)
            connections.append(row)
    if len(connections) == len(page.rows):
        return cast("tuple[Connection, ...]", page.rows)
    return tuple(connections)
