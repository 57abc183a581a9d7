"""One refresh: the list is read and rendered, and what came of it is told to the log and the metrics."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from exporter.exposition.response import EMPTY
from exporter.logs import place
from exporter.telnyx.errors import Internal, TelnyxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.exposition.renderer import Renderer
    from exporter.exposition.response import Document
    from exporter.telnyx.pages import Snapshot

_MAX_NAMED = 10
"""Rows that one log line names; the metrics have the number of all."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class View:
    """What is shown until the next refresh."""

    document: Document
    connections: int
    refreshed_at: float
    """Unix time in seconds."""


class Fetcher(Protocol):
    """Reads the list."""

    async def fetch(self) -> Snapshot:
        """Return the whole list, or raise `TelnyxError`."""


class Recorder(Protocol):
    """Is told how refreshes end."""

    def refreshed(self, seconds: float, at: float) -> None:
        """Take a refresh that succeeded `at` this Unix time."""

    def failed(self, seconds: float, reason: str) -> None:
        """Take a refresh that failed."""


class Refresher:
    """Makes a new `View` at each call.

    It logs one line for each success, one warning when refreshes begin to fail or fail for another reason, and one line
    when they succeed again.
    """

    def __init__(
        self, client: Fetcher, renderer: Renderer, recorder: Recorder, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._renderer = renderer
        self._recorder = recorder
        self._clock = clock
        self._document = EMPTY
        self._failing: str | None = None
        self._missing = 0
        self._left_out: frozenset[str | None] = frozenset()

    async def __call__(self) -> View:
        """Read and render the list. Raises `TelnyxError`."""
        started = time.perf_counter()
        failure: TelnyxError | None = None
        try:
            snapshot = await self._client.fetch()
            document = await asyncio.to_thread(self._render, snapshot)
        except TelnyxError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 -- a fault of ours must not end what can still be shown
            failure = Internal(place(error))
        if failure is not None:  # raised here, because as its context the caught error would come along
            self._failed(failure, time.perf_counter() - started)
            raise failure
        seconds, now = time.perf_counter() - started, self._clock()
        self._recorder.refreshed(seconds, now)
        self._succeeded(snapshot, seconds)
        return View(document, snapshot.size, now)

    def _render(self, snapshot: Snapshot) -> Document:
        """Render, and put together what scrapes asked of the last document, so that none of them waits for it."""
        document = self._renderer(snapshot)
        for form, gzip in tuple(self._document.made):
            document.part(form, gzip=gzip)
        self._document = document
        return document

    def _succeeded(self, snapshot: Snapshot, seconds: float) -> None:
        if self._failing is not None:
            _log.info("Telnyx is back", was=self._failing)
            self._failing = None
        _log.info("refreshed", connections=snapshot.size, pages=len(snapshot.chunks), seconds=round(seconds, 3))
        if snapshot.missing != self._missing:
            _log.warning("the list's pages miss connections that it says it has", missing=snapshot.missing)
            self._missing = snapshot.missing
        new = [row for row in snapshot.unreadable if row.id not in self._left_out]
        for row in new[:_MAX_NAMED]:
            _log.warning("connection left out, it can't be read", connection_id=row.id, problem=row.problem)
        if len(new) > _MAX_NAMED:
            _log.warning("more connections left out", more=len(new) - _MAX_NAMED)
        self._left_out = frozenset(row.id for row in snapshot.unreadable)

    def _failed(self, error: TelnyxError, seconds: float) -> None:
        self._recorder.failed(seconds, error.reason)
        if error.reason == self._failing:
            _log.debug("Telnyx still can't be read", reason=error.reason, error=str(error))
        else:
            _log.warning("Telnyx can't be read", reason=error.reason, error=str(error), advice=error.advice)
        self._failing = error.reason


def holdoff(error: Exception) -> float:
    """Return the seconds that a failed refresh asks for before the next."""
    return getattr(error, "retry_after", None) or 0.0
