"""A refresh: reads a list, renders it, and records the result in the log and the metrics."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from exporter.exposition.response import EMPTY
from exporter.logs import error_location
from exporter.telnyx.errors import Internal, TelnyxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.exposition.renderer import Renderer
    from exporter.exposition.response import Document
    from exporter.telnyx.pages import Snapshot

_MAX_LOGGED_ROWS = 10
"""Maximum number of unreadable rows that one refresh logs one by one. A metric counts all of them."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class View:
    """The rendered result of a refresh. Scrapes and the status page show it until the next one."""

    document: Document
    connection_count: int
    refreshed_at: float
    """Unix time in seconds."""


class Fetcher(Protocol):
    """Reads a list."""

    async def fetch(self) -> Snapshot[Any]:
        """Return the whole list, or raise `TelnyxError`."""


class RefreshObserver(Protocol):
    """Receives the results of refreshes."""

    def record_refresh(self, seconds: float, at: float) -> None:
        """Record a refresh that succeeded `at` this Unix time."""

    def record_refresh_failure(self, seconds: float, reason: str) -> None:
        """Record a refresh that failed."""


class Refresher:
    """Creates a new `View` at each call.

    It logs one line for each success, one warning when refreshes start to fail or the reason changes, and one line when
    they succeed again.
    """

    def __init__(
        self, fetcher: Fetcher, renderer: Renderer, observer: RefreshObserver, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._fetcher = fetcher
        self._renderer = renderer
        self._observer = observer
        self._clock = clock
        self._document = EMPTY
        self._failing: str | None = None
        """The reason of the last failure, while refreshes fail."""
        self._missing = 0
        self._unreadable: frozenset[str | None] = frozenset()

    async def __call__(self) -> View:
        """Read and render the list. Raises `TelnyxError`."""
        started = time.perf_counter()
        failure: TelnyxError | None = None
        try:
            snapshot = await self._fetcher.fetch()
            document = await asyncio.to_thread(self._render, snapshot)
        except TelnyxError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 -- a bug must not stop scrapes from being served
            failure = Internal(error_location(error))
        if failure is not None:  # raised outside the handler: its `__context__` could quote the response
            self._log_failure(failure, time.perf_counter() - started)
            raise failure
        seconds, now = time.perf_counter() - started, self._clock()
        self._observer.record_refresh(seconds, now)
        self._log_success(snapshot, seconds)
        return View(document, snapshot.row_count, now)

    def _render(self, snapshot: Snapshot[Any]) -> Document:
        """Render, and encode in all formats that scrapes requested before, so that no scrape waits for encoding."""
        document = self._renderer(snapshot)
        for form, gzip in tuple(self._document.encodings):
            document.encode(form, gzip=gzip)
        self._document = document
        return document

    def _log_success(self, snapshot: Snapshot[Any], seconds: float) -> None:
        if self._failing is not None:
            _log.info("refreshes succeed again", last_reason=self._failing)
            self._failing = None
        _log.info("refreshed", connections=snapshot.row_count, pages=len(snapshot.pages), seconds=round(seconds, 3))
        if snapshot.missing != self._missing:
            _log.warning("pages lack connections that the list's total includes", missing=snapshot.missing)
            self._missing = snapshot.missing
        new = [row for row in snapshot.unreadable if row.id not in self._unreadable]
        for row in new[:_MAX_LOGGED_ROWS]:
            _log.warning("connection left out, it can't be decoded", connection_id=row.id, problem=row.problem)
        if len(new) > _MAX_LOGGED_ROWS:
            _log.warning("more connections left out", more=len(new) - _MAX_LOGGED_ROWS)
        self._unreadable = frozenset(row.id for row in snapshot.unreadable)

    def _log_failure(self, error: TelnyxError, seconds: float) -> None:
        self._observer.record_refresh_failure(seconds, error.reason)
        if error.reason == self._failing:
            _log.debug("refresh still fails", reason=error.reason, error=str(error))
        else:
            _log.warning("refresh failed", reason=error.reason, error=str(error), advice=error.advice)
        self._failing = error.reason


def requested_wait(error: Exception) -> float:
    """Return the seconds that Telnyx asked to wait before the next refresh, or 0."""
    return getattr(error, "retry_after", None) or 0.0
