"""A refresh: reads a list, renders it, and records the result in the log and the metrics."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from exporter.account.known_connections import NO_CONNECTIONS, are_same, records_of
from exporter.collectors.changes import find_changes, of_kept_rows
from exporter.logs import MAX_NAMES, error_location, join_some
from exporter.telnyx.errors import Forbidden, Internal, NotFound, TelnyxError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.account.known_connections import KnownConnections
    from exporter.collectors.changes import Changes
    from exporter.collectors.index import PageIndex
    from exporter.exposition.renderer import RenderedPage, Renderer
    from exporter.exposition.response import FamilyBlocks
    from exporter.telnyx.lists.reader import Reader
    from exporter.telnyx.lists.snapshots import Snapshot

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The rendered result of a refresh. Scrapes and the status page show it until the next one."""

    families: Sequence[FamilyBlocks]
    row_count: int
    malformed: int
    """Rows that were left out because they could not be decoded."""
    missing: int
    """Rows that the list claims to have but that no page contained."""
    refreshed_at: float
    """Unix time in seconds. 0 if nothing was read yet."""
    indexes: Sequence[PageIndex[Any]] = ()
    """The index of each page."""


class RefreshObserver(Protocol):
    """Receives the results of refreshes."""

    def record_refresh(self, seconds: float, at: float) -> None:
        """Record a refresh that succeeded `at` this Unix time."""

    def record_refresh_failure(self, seconds: float, reason: str) -> None:
        """Record a refresh that failed."""


class Refresher:
    """Creates a new `View` at each call.

    It logs the first success, one line when rows changed, one warning when refreshes start to fail or the reason
    changes, and one line when they succeed again. Each line names the collector. Without `log_rows`, rows that were
    added, removed or left out are not named. `on_changes` is called with the rows that changed, too. `connections` are
    those that the renderer needs to know.
    """

    def __init__(
        self,
        collector: str,
        reader: Reader[RenderedPage],
        renderer: Renderer,
        *observers: RefreshObserver,
        connections: KnownConnections = NO_CONNECTIONS,
        log_rows: bool = True,
        on_changes: Callable[[Changes], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._collector = collector
        self._reader = reader
        self._renderer = renderer
        self._observers = observers
        self._connections = connections
        self._log_rows = log_rows
        self._on_changes = on_changes
        self._clock = clock
        self._indexes: Sequence[PageIndex[Any]] = ()
        """The indexes of the connections in the last view."""
        self._snapshot: Snapshot[RenderedPage] | None = None
        """The last snapshot, to find changes."""
        self._failing: str | None = None
        """The reason of the last failure, while refreshes fail."""
        self._missing = 0
        self._unreadable: frozenset[str | None] = frozenset()

    def adopt(self, previous: Refresher, *, with_data: bool) -> None:
        """Continue another refresher of the same list: log what changes from its last result. Or do nothing."""
        if with_data:
            self._snapshot, self._indexes, self._failing = previous._snapshot, previous._indexes, previous._failing
            self._missing, self._unreadable = previous._missing, previous._unreadable

    async def __call__(self) -> View:
        """Read and render the list. Raises `TelnyxError`."""
        started = time.perf_counter()
        failure: TelnyxError | None = None
        try:
            snapshot = await self._reader.fetch()
            self._indexes = self._connections.indexes
            families, changes = await asyncio.to_thread(self._render, snapshot)
        except TelnyxError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 -- a bug must not stop scrapes from being served
            failure = Internal(error_location(error))
        if failure is not None:  # raised outside the handler: its `__context__` could quote the response
            self._log_failure(failure, time.perf_counter() - started)
            raise failure
        seconds, now = time.perf_counter() - started, self._clock()
        for observer in self._observers:
            observer.record_refresh(seconds, now)
        self._log_success(snapshot, changes, seconds)
        self._snapshot = snapshot
        indexes = [page.index for page in snapshot.pages]
        return View(families, snapshot.row_count, len(snapshot.unreadable), snapshot.missing, now, indexes)

    @property
    def error(self) -> None:
        """None, because nothing runs in the background."""

    @property
    def pause(self) -> float:
        """0, because nothing runs in the background."""
        return 0.0

    async def read_all(self) -> None:
        """Wait for the connections that the list needs. A call reads the whole list."""
        await self._connections.refresh()

    async def render_again(self, view: View) -> View | None:
        """Return the view with the current connections, or None if the view already has them.

        Start the refreshes of connections that are due, and don't wait for them.
        """
        if self._snapshot is None:
            return None
        self._connections.start_refreshes()
        indexes = self._connections.indexes
        if are_same(indexes, self._indexes):
            return None
        self._indexes = indexes
        return replace(view, families=await asyncio.to_thread(self._families, self._snapshot))

    async def close(self) -> None:
        """Do nothing: nothing runs between two calls."""

    def _render(self, snapshot: Snapshot[RenderedPage]) -> tuple[Sequence[FamilyBlocks], Changes]:
        """Return the families, and the changes since the last success.

        A row that is left out, or was, is neither added nor removed. Nor is any row if one of the snapshots lacks rows.
        """
        pages = (self._snapshot or snapshot).pages
        unknown = self._unreadable | {row.id for row in snapshot.unreadable}
        changes = find_changes([page.index for page in pages], [page.index for page in snapshot.pages], unknown)
        if snapshot.missing or self._missing or not self._log_rows:
            changes = of_kept_rows(changes)
        return self._families(snapshot), changes

    def _families(self, snapshot: Snapshot[RenderedPage]) -> Sequence[FamilyBlocks]:
        return self._renderer.render(snapshot, tuple(records_of(self._indexes)))

    def _log_success(self, snapshot: Snapshot[RenderedPage], changes: Changes, seconds: float) -> None:
        name = self._collector
        if self._failing is not None:
            _log.info("refreshes succeed again", collector=name, last_reason=self._failing)
            self._failing = None
        log = _log.info if self._snapshot is None else _log.debug
        log("refreshed", collector=name, rows=snapshot.row_count, pages=len(snapshot.pages), seconds=round(seconds, 3))
        report_changes(name, changes, self._on_changes)
        if snapshot.missing != self._missing:
            self._missing = snapshot.missing
            if snapshot.missing:
                event = "list is incomplete: its pages have fewer rows than its total"
                _log.warning(event, collector=name, missing=snapshot.missing)
            else:
                _log.info("list is complete again", collector=name)
        new = [row for row in snapshot.unreadable if row.id not in self._unreadable]
        for row in new[:MAX_NAMES]:
            row_id = row.id if self._log_rows else None
            _log.warning("row left out because it can't be decoded", collector=name, id=row_id, problem=row.problem)
        if len(new) > MAX_NAMES:
            _log.warning("more rows left out", collector=name, more=len(new) - MAX_NAMES)
        self._unreadable = frozenset(row.id for row in snapshot.unreadable)

    def _log_failure(self, error: TelnyxError, seconds: float) -> None:
        for observer in self._observers:
            observer.record_refresh_failure(seconds, error.reason)
        if error.reason == self._failing or error.is_logged_elsewhere:
            _log.debug("refresh still fails", collector=self._collector, reason=error.reason, error=str(error))
        else:
            _log.warning(
                "refresh failed",
                collector=self._collector,
                reason=error.reason,
                error=str(error),
                advice=error.advice,
            )
            self._failing = error.reason


def report_changes(collector: str, changes: Changes, on_changes: Callable[[Changes], None]) -> None:
    """Log the rows that changed, and call `on_changes` with them, if there are any."""
    if changes:
        rows = {kind: join_some([f"{row.id} {row.name}".rstrip() for row in rows]) for kind, rows in changes.items()}
        _log.info("list changed", collector=collector, **rows)
        on_changes(changes)


MAX_RETRY_AFTER = 300.0
"""Longest wait that Telnyx can request, in seconds. An absurd value must not silence the exporter for days."""

REFUSED_WAIT = 600.0
"""Seconds until a collector retries an endpoint that is forbidden or does not exist."""


def requested_wait(error: Exception) -> float:
    """Return the seconds that Telnyx asked to wait before the next refresh, or 0."""
    return min(getattr(error, "retry_after", None) or 0.0, MAX_RETRY_AFTER)


def wait_after_refusal(error: Exception) -> float:
    """Return the seconds to wait before the next refresh. The wait is long if somebody has to fix the cause."""
    return REFUSED_WAIT if isinstance(error, Forbidden | NotFound) else requested_wait(error)
