"""A fan-out: reads one object for each connection in the background, and renders those that are current."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from exporter.account.refresh import View, log_changes, wait_after_refusal
from exporter.cache import MAX_BACKOFF
from exporter.collectors.changes import find_changes
from exporter.collectors.connection_index import EXAMPLE
from exporter.logs import error_location
from exporter.telnyx.errors import Forbidden, Internal, RateLimited, TelnyxError, Unauthorized
from exporter.telnyx.lists.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.account.known_connections import KnownConnections
    from exporter.account.refresh import RefreshObserver
    from exporter.collectors.collector import FanOutEndpoint
    from exporter.collectors.connection_index import ConnectionRecord
    from exporter.collectors.index import PageIndex
    from exporter.exposition.renderer import RenderedPage, Renderer
    from exporter.exposition.response import FamilyBlocks
    from exporter.telnyx.budget import Limiter
    from exporter.telnyx.client import Client
    from exporter.telnyx.structs import ApiObject

IDLE_AFTER = 300.0
"""Seconds without a scrape after which no more requests are sent. Prometheus forgets a series after the same time."""
MAX_CYCLES = 2
"""A row is dropped when it is older than this many cycles."""
_MAX_FAILURES = 10
"""Failures in a row after which the exporter does not try to read the other connections at once."""
_MIN_CYCLE = 10.0
"""Shortest cycle, in seconds: longer than the rendered rows are reused."""
_PAGE_ROWS = 250
_POLL_INTERVAL = 1.0
"""Seconds between two looks at which connections there are, and whether scrapes arrive."""

_log = structlog.get_logger()


class _Value(NamedTuple):
    """The last row of a connection, or None if no request succeeded. It was read, or first requested, at `at`."""

    row: ApiObject | None
    at: float


class FanOut:
    """Reads the connections one after the other, while scrapes arrive, and renders their rows at each call.

    A cycle, in which each connection is read once, takes `ttl` seconds, or longer if `rate` requests per second are not
    enough. The requests of a cycle are evenly spread; only the first cycle is as fast as the rate allows.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._client = client
        self._connections = connections
        self._renderer = renderer
        self._observers = observers
        self._limiter = limiter
        self._ttl = ttl
        self._rate = rate
        self._clock = clock
        self._indexes: Sequence[PageIndex[Any]] = ()
        """The indexes from which the queue was made."""
        self._queue: OrderedDict[str, ConnectionRecord] = OrderedDict()
        """The connections to read by id. The first one is the next."""
        self._values: dict[str, _Value] = {}
        """The values of the connections that were requested, by id."""
        self._pages: Sequence[tuple[Sequence[ApiObject], RenderedPage]] = ()
        """The rows and pages of the last call."""
        self._is_complete = False
        """Whether the first cycle has ended."""
        self._scraped_at = 0.0
        self._next_turn = 0.0
        self._turn = asyncio.Lock()
        self._workers: asyncio.Task[None] | None = None
        self._problems = _Problems(name)

    @property
    def error(self) -> TelnyxError | None:
        """The error of the last request, or None if it succeeded."""
        return self._problems.error

    @property
    def pause(self) -> float:
        """Seconds until the next request can start."""
        return max(0.0, self._problems.pause_until - self._clock())

    @property
    def cycle(self) -> float:
        """Seconds in which each connection is read once."""
        return max(self._ttl, len(self._queue) / self._rate, _MIN_CYCLE)

    async def __call__(self) -> View:
        """Return the current rows. Start to read connections, unless that is under way."""
        self._scraped_at = self._clock()
        await self._connections.refresh(0.0)
        if self._workers is None or self._workers.done():
            self._workers = asyncio.create_task(self._work())
        self._update_queue()
        oldest = self._clock() - MAX_CYCLES * self.cycle
        rows = [value.row for value in self._values.values() if value.row is not None and value.at >= oldest]
        families, changes = await asyncio.to_thread(self._render, rows)
        log_changes(self._name, changes)
        return View(families, len(rows), 0, 0, time.time())

    async def read_all(self) -> None:
        """Read each connection once, as fast as the rate allows, and record failures. End early if they are lasting."""
        await self._connections.refresh()
        self._update_queue()
        for record in tuple(self._queue.values()):
            error = await self._read(record)
            if isinstance(error, Unauthorized | Forbidden) or self._problems.failures >= _MAX_FAILURES:
                break
            await asyncio.sleep(1 / self._rate)

    async def check(self) -> None:
        """Request the object of a connection that does not exist. Raises `TelnyxError` if the key may not read it."""
        await self._endpoint.read(self._client.send_once, EXAMPLE)

    def adopt(self, previous: FanOut) -> None:
        """Continue with the values and the order of another fan-out of the same connections.

        After errors other than a rate limit, the next request can start at once: the user may have fixed the cause.
        """
        self._queue, self._values, self._problems = previous._queue, previous._values, previous._problems
        if not isinstance(self._problems.error, RateLimited):
            self._problems.pause_until = 0.0
        self._pages, self._next_turn, self._is_complete = previous._pages, previous._next_turn, previous._is_complete

    async def close(self) -> None:
        """Stop reading."""
        if self._workers is not None:
            self._workers.cancel()
            await asyncio.wait((self._workers,))

    async def _work(self) -> None:
        """Read connections until no scrapes arrive. Several at a time, because a response can be slow."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._client.concurrency):
                group.create_task(self._read_in_turn())

    async def _read_in_turn(self) -> None:
        while (record := await self._next()) is not None:
            await self._read(record)

    async def _next(self) -> ConnectionRecord | None:
        """Wait for the next turn, and return the connection to read. Return None when no scrapes arrive."""
        async with self._turn:
            while self._clock() - self._scraped_at < IDLE_AFTER:
                self._update_queue()
                wait = max(self._next_turn, self._problems.pause_until) - self._clock()
                if self._queue and wait <= 0:
                    return self._take_turn()
                await asyncio.sleep(min(wait, _POLL_INTERVAL) if wait > 0 else _POLL_INTERVAL)
        return None

    def _take_turn(self) -> ConnectionRecord:
        row_id, record = next(iter(self._queue.items()))
        is_first_cycle = row_id not in self._values
        if not (is_first_cycle or self._is_complete):
            self._is_complete = True
            _log.info("each connection was read once", collector=self._name, connections=len(self._queue))
        self._queue.move_to_end(row_id)
        now = self._clock()
        self._values.setdefault(row_id, _Value(None, now))
        interval = 1 / self._rate if is_first_cycle else self.cycle / len(self._queue)
        is_on_time = now - self._next_turn < interval  # then the turns after it are not delayed
        self._next_turn = (self._next_turn if is_on_time else now) + interval
        return record

    def _update_queue(self) -> None:
        """Put new connections at the front of the queue, and forget those that are gone."""
        indexes = self._connections.indexes
        if list(map(id, indexes)) == list(map(id, self._indexes)):
            return
        self._indexes = indexes
        records = {record.id: record for record in self._connections.records() if self._endpoint.selects(record)}
        new = [row_id for row_id in records if row_id not in self._queue]
        known = [row_id for row_id in self._queue if row_id in records]
        self._queue = OrderedDict((row_id, records[row_id]) for row_id in (*new, *known))
        self._values = {row_id: value for row_id, value in self._values.items() if row_id in records}

    async def _read(self, record: ConnectionRecord) -> TelnyxError | None:
        started = time.perf_counter()
        try:
            session = self._client.session(self._limiter)
            # A retry would exceed the rate. The next cycle is soon enough, because the last value is shown for two.
            row = await session.run(self._endpoint.read(session.send, record))
        except TelnyxError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 -- a bug must not stop the other connections from being read
            failure = Internal(error_location(error))
        else:
            if record.id in self._queue:  # otherwise the connection disappeared meanwhile
                self._values[record.id] = _Value(row, self._clock())
            for observer in self._observers:
                observer.record_refresh(time.perf_counter() - started, time.time())
            self._problems.record_success(len(self._queue))
            return None
        for observer in self._observers:
            observer.record_refresh_failure(time.perf_counter() - started, failure.reason)
        self._problems.record_failure(failure, record.id, self._clock())
        return failure

    def _render(self, rows: Sequence[ApiObject]) -> tuple[Sequence[FamilyBlocks], Mapping[str, Sequence[str]]]:
        """Return the families, and the changes since the last call. Only pages with changed rows are rendered."""
        before = self._pages
        chunks = [tuple(rows[start : start + _PAGE_ROWS]) for start in range(0, len(rows), _PAGE_ROWS)]
        self._pages = [
            before[number] if number < len(before) and before[number][0] == chunk else self._page(chunk)
            for number, chunk in enumerate(chunks)
        ]
        pages = tuple(page for _, page in self._pages)
        changes = find_changes([page.index for _, page in before], [page.index for page in pages])
        changes = {kind: rows for kind, rows in changes.items() if kind not in {"added", "removed"}}
        return self._renderer.render(Snapshot(pages, len(rows))), changes

    def _page(self, rows: Sequence[ApiObject]) -> tuple[Sequence[ApiObject], RenderedPage]:
        return rows, self._renderer.render_page(rows)


class _Problems:
    """Failures of requests: logs them, and decides how long to wait.

    A failure is logged if no other has had the same reason since a whole cycle succeeded.
    """

    def __init__(self, collector: str) -> None:
        self._collector = collector
        self._reasons: set[str] = set()
        """The reasons that were logged."""
        self.error: TelnyxError | None = None
        """The error of the last request, or None if it succeeded."""
        self.failures = 0
        """The number of failures since the last success."""
        self._successes = 0
        """The number of successes since the last failure."""
        self.pause_until = 0.0

    def record_success(self, cycle_length: int) -> None:
        """Record a success. `cycle_length` is the number of connections."""
        self.error = None
        self.failures = 0
        self._successes += 1
        if self._reasons and self._successes >= cycle_length:
            _log.info(
                "requests succeed again", collector=self._collector, last_reasons=", ".join(sorted(self._reasons))
            )
            self._reasons = set()

    def record_failure(self, error: TelnyxError, connection_id: str, now: float) -> None:
        """Record a failure. The pause doubles with each one until a request succeeds."""
        self.error = error
        self._successes = 0
        self.failures += 1
        backoff = min(2.0 ** min(self.failures - 1, 10), MAX_BACKOFF)
        self.pause_until = max(self.pause_until, now + max(backoff, wait_after_refusal(error)))
        log = _log.debug if error.reason in self._reasons else _log.warning
        log(
            "request failed",
            collector=self._collector,
            connection_id=connection_id,
            reason=error.reason,
            error=str(error),
            advice=error.advice,
        )
        self._reasons.add(error.reason)
