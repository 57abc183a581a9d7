"""A fan-out: reads one object for each connection in the background, and renders the current ones."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from exporter.account.fan_out.problems import Problems
from exporter.account.fan_out.schedule import Schedule
from exporter.account.known_connections import are_same, records_of
from exporter.account.refresh import View, report_changes
from exporter.collectors.changes import find_changes, of_kept_rows
from exporter.collectors.connection_index import EXAMPLE
from exporter.logs import error_location
from exporter.telnyx.errors import Internal, RateLimited, TelnyxError
from exporter.telnyx.lists.progress import NO_PROGRESS
from exporter.telnyx.lists.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.account.known_connections import KnownConnections
    from exporter.account.refresh import RefreshObserver
    from exporter.collectors.changes import Changes
    from exporter.collectors.collector import FanOutEndpoint
    from exporter.collectors.connection_index import ConnectionRecord
    from exporter.collectors.index import PageIndex
    from exporter.exposition.renderer import RenderedPage, Renderer
    from exporter.exposition.response import FamilyBlocks
    from exporter.telnyx.budget import Limiter
    from exporter.telnyx.http.client import Client
    from exporter.telnyx.lists.progress import Progress
    from exporter.telnyx.structs import ApiObject

IDLE_AFTER = 300.0
"""Seconds without a scrape after which no more requests are sent. Prometheus forgets a series after the same time."""
MAX_CYCLES = 2
"""A row is dropped when it is older than this many cycles."""
_MAX_FAILURES = 10
"""Failures in a row after which a complete read ends, and the collector is shown as failing."""
_MAX_LATENCY = 2.0
"""Seconds that responses can take without making a cycle longer. More requests would crowd the request budget."""
_PAGE_ROWS = 250
_POLL_INTERVAL = 1.0
"""Seconds after which the workers look for new connections, and whether scrapes still arrive."""

_log = structlog.get_logger()


class _Value(NamedTuple):
    """A row, and when it was read."""

    row: ApiObject
    at: float


class FanOut:
    """Reads the connections one after the other, while scrapes arrive, and renders their rows at each call.

    `Schedule` chooses the next one, and explains `ttl` and `rate`. A row is dropped after two cycles.
    """

    def __init__(
        self,
        name: str,
        endpoint: FanOutEndpoint,
        client: Client,
        connections: KnownConnections,
        renderer: Renderer,
        *observers: RefreshObserver,
        limiter: Limiter,
        ttl: float,
        rate: float,
        progress: Progress = NO_PROGRESS,
        on_changes: Callable[[Changes], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._client = client
        self._connections = connections
        self._renderer = renderer
        self._observers = observers
        self._limiter = limiter
        self._rate = rate
        self._progress = progress
        self._on_changes = on_changes
        self._schedule = Schedule(ttl, rate)
        self._clock = clock
        self._indexes: Sequence[PageIndex[Any]] = ()
        """The indexes from which the schedule was made."""
        self._values: dict[str, _Value] = {}
        """The last row of each connection."""
        self._pages: Sequence[tuple[Sequence[ApiObject], RenderedPage]] = ()
        """The rows and pages of the last call."""
        self._scraped_at = 0.0
        self._is_complete = False
        """Whether each connection was read once."""
        self._read_at = 0.0
        """When a row was last read, in Unix seconds. 0 before the first one."""
        self._turn = asyncio.Lock()
        self._workers: asyncio.Task[None] | None = None
        self._problems = Problems(name)

    @property
    def error(self) -> TelnyxError | None:
        """The error of the last request, if requests pause because of it, or if several in a row have failed."""
        is_lasting = self.pause > 0 or self._problems.failures >= min(_MAX_FAILURES, len(self._schedule))
        return self._problems.error if is_lasting else None

    @property
    def pause(self) -> float:
        """Seconds until the next request can start."""
        return max(0.0, self._problems.pause_until - self._clock())

    async def __call__(self) -> View:
        """Return the current rows. Start to read connections, unless that is under way. Raises `Internal`."""
        self._scraped_at = self._clock()
        self._connections.start_refreshes()
        if self._workers is None or self._workers.done():
            self._workers = asyncio.create_task(self._work())
        await self._update_schedule()
        oldest = self._clock() - MAX_CYCLES * self._schedule.cycle
        self._values = {row_id: value for row_id, value in self._values.items() if value.at >= oldest}
        return await self._view()

    async def read_all(self) -> View:
        """Read each connection once, as fast as the rate allows, and return all rows. End early if failures last."""
        await self._connections.refresh()
        await self._update_schedule()
        limit = asyncio.Semaphore(self._worker_count)
        connections = self._schedule.connections
        done = itertools.count(1)

        def finish(_: asyncio.Task[None]) -> None:
            limit.release()
            self._progress.record_progress(next(done), len(connections))

        self._progress.record_progress(0, len(connections))
        async with asyncio.TaskGroup() as group:
            for record in connections:
                if self._problems.failures >= _MAX_FAILURES:
                    break
                await limit.acquire()
                task = group.create_task(self._read(record, retry=True))
                task.add_done_callback(finish)
                await asyncio.sleep(1 / self._rate)
        return await self._view()

    async def render_again(self, _view: View) -> None:
        """Do nothing: each call renders the current rows."""

    async def check(self) -> None:
        """Request the object of a connection that does not exist. Raises `TelnyxError` if the key may not read it."""
        await self._endpoint.read(self._client.send_once, EXAMPLE)

    def adopt(self, previous: FanOut, *, with_data: bool) -> None:
        """Continue another fan-out of the same connections: its data, or only its wait after a rate limit.

        After other errors, the next request can start at once: the user may have fixed the cause.
        """
        if with_data:
            self._schedule.adopt(previous._schedule)
            self._values, self._pages = previous._values, previous._pages
            self._is_complete, self._read_at = previous._is_complete, previous._read_at
        if isinstance(previous.error, RateLimited):
            self._problems.pause_until = previous._problems.pause_until

    async def close(self) -> None:
        """Stop reading."""
        if self._workers is not None:
            self._workers.cancel()
            await asyncio.wait((self._workers,))

    @property
    def _worker_count(self) -> int:
        return max(self._client.concurrency, math.ceil(self._rate * _MAX_LATENCY))

    async def _work(self) -> None:
        """Read connections until no scrapes arrive."""
        self._schedule.interrupt()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._worker_count):
                group.create_task(self._read_in_turn())

    async def _read_in_turn(self) -> None:
        while (record := await self._next()) is not None:
            await self._read(record)

    async def _next(self) -> ConnectionRecord | None:
        """Wait for the next turn, and return the connection to read. Return None when no scrapes arrive."""
        async with self._turn:
            while self._clock() - self._scraped_at < IDLE_AFTER:
                await self._update_schedule()
                now = self._clock()
                wait = max(self._schedule.next_turn(now), self._problems.pause_until) - now
                if wait <= 0:
                    return self._schedule.take_turn(now)
                if self.pause:
                    self._schedule.interrupt()
                await asyncio.sleep(min(wait, _POLL_INTERVAL))
        return None

    async def _update_schedule(self) -> None:
        """Forget connections that are gone, and schedule new ones."""
        indexes = self._connections.indexes
        if are_same(indexes, self._indexes):
            return
        self._indexes = indexes
        records = await asyncio.to_thread(self._select, indexes)
        self._schedule.update(records)
        self._values = {row_id: value for row_id, value in self._values.items() if row_id in records}

    def _select(self, indexes: Sequence[PageIndex[Any]]) -> Mapping[str, ConnectionRecord]:
        return {record.id: record for record in records_of(indexes) if self._endpoint.selects(record)}

    async def _read(self, record: ConnectionRecord, *, retry: bool = False) -> None:
        """Read a connection. A retry would exceed the rate, and the last row is shown until the next cycle."""
        started = time.perf_counter()
        try:
            session = self._client.session(self._limiter)
            row = await session.run(self._endpoint.read(session.get if retry else session.send, record))
        except TelnyxError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 -- a bug must not stop the other connections from being read
            failure = Internal(error_location(error))
        else:
            if record.id in self._schedule:  # otherwise the connection disappeared meanwhile
                self._values[record.id] = _Value(row, self._clock())
            self._read_at = time.time()
            for observer in self._observers:
                observer.record_refresh(time.perf_counter() - started, self._read_at)
            self._problems.record_success(len(self._schedule))
            self._log_completion()
            return
        self._record_failure(failure, time.perf_counter() - started, connection_id=record.id)

    def _record_failure(self, failure: TelnyxError, seconds: float, **context: str) -> None:
        for observer in self._observers:
            observer.record_refresh_failure(seconds, failure.reason)
        self._problems.record_failure(failure, len(self._schedule), self._clock(), **context)

    def _log_completion(self) -> None:
        if not self._is_complete and len(self._values) == len(self._schedule):
            self._is_complete = True
            _log.info("every connection has been read once", collector=self._name, connections=len(self._schedule))

    async def _view(self) -> View:
        """Render the rows. Raises `Internal`."""
        rows = [value.row for value in self._values.values()]
        try:
            families, changes = await asyncio.to_thread(self._render, rows)
        except Exception as error:  # noqa: BLE001 -- a bug must not stop scrapes from being served
            failure = Internal(error_location(error))
        else:
            report_changes(self._name, changes, self._on_changes)
            indexes = [page.index for _, page in self._pages]
            return View(families, len(rows), 0, 0, self._read_at, indexes)
        self._record_failure(failure, 0.0)
        raise failure  # outside the handler: the error's text could quote the response

    def _render(self, rows: Sequence[ApiObject]) -> tuple[Sequence[FamilyBlocks], Changes]:
        """Return the families, and the changes since the last call. Only pages with changed rows are rendered."""
        before = self._pages
        chunks = [tuple(rows[start : start + _PAGE_ROWS]) for start in range(0, len(rows), _PAGE_ROWS)]
        self._pages = [
            before[number] if number < len(before) and before[number][0] == chunk else self._page(chunk)
            for number, chunk in enumerate(chunks)
        ]
        pages = tuple(page for _, page in self._pages)
        changes = find_changes([page.index for _, page in before], [page.index for page in pages])
        return self._renderer.render(Snapshot(pages, len(rows))), of_kept_rows(changes)

    def _page(self, rows: Sequence[ApiObject]) -> tuple[Sequence[ApiObject], RenderedPage]:
        return rows, self._renderer.render_page(rows)
