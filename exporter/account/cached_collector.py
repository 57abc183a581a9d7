"""A collector of an account, and the cache of its data."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from exporter.account.refresh import requested_wait
from exporter.cache import Cache
from exporter.telnyx.errors import RateLimited, TelnyxError
from exporter.telnyx.lists.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.account.refresh import View
    from exporter.account.status import CollectorStatus
    from exporter.cache import Entry
    from exporter.exposition.response import FamilyBlocks
    from exporter.telnyx.lists.progress import Progress


@dataclass(frozen=True, slots=True)
class CollectorState:
    """The state of a collector at one moment."""

    name: str
    entry: Entry[View]
    seconds_until_refresh: float
    """Seconds until the next refresh can start."""
    account: str = ""
    """The name of the account, if it has one."""
    in_background: bool = False
    """Whether it reads one row after the other, without waiting for scrapes."""
    is_refreshing: bool = False
    last_success: float | None = None
    """When the last successful refresh ended, in Unix seconds."""
    duration: float | None = None
    """Duration of the last refresh, in seconds."""


class Source(Protocol):
    """Provides the data of a collector."""

    @property
    def error(self) -> Exception | None:
        """The error because of which requests in the background fail, or None if they succeed."""

    @property
    def pause(self) -> float:
        """Seconds until the next request in the background can start."""

    async def __call__(self) -> View:
        """Return the data. Raises `TelnyxError`."""

    async def read_all(self) -> View | None:
        """Return all data, or None if a call after this one does. Raises `TelnyxError`."""

    async def render_again(self, view: View) -> View | None:
        """Return the view with changes that need no request. Return None if there are none."""

    def adopt(self, previous: Any, *, with_data: bool) -> None:
        """Continue another source of the same data, or only its waits."""

    async def close(self) -> None:
        """Stop background work."""


class CachedCollector:
    """Refreshes the data of one collector and caches it. It shares no state with other collectors.

    `ttl`, `first_ttl` and `max_stale` are seconds. A scrape waits for a refresh at most `max_wait` seconds.
    `retry_after` returns the seconds to wait after an error. The source of a collector `in_background` does not wait
    for Telnyx when it is called. The log lines of a refresh name the account, if it has a name.
    """

    def __init__(
        self,
        source: Source,
        status: CollectorStatus,
        *,
        ttl: float,
        max_stale: float,
        first_ttl: float | None = None,
        max_wait: float = math.inf,
        retry_after: Callable[[Exception], float] = requested_wait,
        in_background: bool = False,
        is_exposed: Callable[[str], bool] = lambda _: True,
        progress: Progress = NO_PROGRESS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.status = status
        self.cache: Cache[View] = Cache(
            self._read, ttl=ttl, first_ttl=first_ttl, max_stale=max_stale, retry_after=retry_after, clock=clock
        )
        self._source = source
        self._in_background = in_background
        self._max_wait = max_wait
        self._is_exposed = is_exposed
        self._progress = progress
        self._families: Sequence[FamilyBlocks] = ()
        self._state: tuple[View | None, int] | None = None
        """The data, and the number of refreshes, from which the families were made."""

    @property
    def name(self) -> str:
        """The name of the collector."""
        return self.status.name

    def adopt(self, previous: CachedCollector, *, with_data: bool) -> None:
        """Continue with the data and the status of the same collector, or only with its counters.

        After errors other than a rate limit, the next refresh can start at once: the user may have fixed the cause.
        """
        self.status.adopt(previous.status, with_data=with_data)
        if isinstance(previous.cache.peek().error, RateLimited):
            self.cache.adopt_wait(previous.cache)
        if with_data:
            self.cache.adopt(previous.cache)
        self._source.adopt(previous._source, with_data=with_data)

    @property
    def state(self) -> CollectorState:
        """The present state."""
        entry, wait = self.cache.peek(), self.cache.seconds_until_refresh
        if self._source.error is not None:
            entry, wait = replace(entry, error=self._source.error), self._source.pause
        status = self.status
        return CollectorState(
            status.name,
            entry,
            wait,
            status.account,
            in_background=self._in_background,
            is_refreshing=self.cache.is_refreshing,
            last_success=status.last_success,
            duration=status.duration,
        )

    async def _read(self) -> View:
        with self._log_context():
            return await self._source()

    def _log_context(self) -> contextlib.AbstractContextManager[object]:
        account = self.status.account
        return structlog.contextvars.bound_contextvars(account=account) if account else contextlib.nullcontext()

    async def get(self, timeout: float) -> Entry[View]:  # noqa: ASYNC109 -- a deadline to return by, not an error
        """Return fresh data, or the current state after `timeout` seconds or the collector's maximum."""
        return await self.cache.get(min(timeout, self._max_wait))

    async def render_again(self) -> None:
        """Update the current data with what other collectors have read meanwhile."""
        view = self.cache.peek().value
        if view is not None and (changed := await self._source.render_again(view)) is not None:
            self.cache.replace(view, changed)

    async def read_completely(self) -> View | None:
        """Return all data, however long it takes to read. Return None if that fails."""
        try:
            with self._log_context():
                view = await self._source.read_all()
            return view or (await self.cache.get(None)).value
        except TelnyxError:
            return None
        finally:
            self._progress.record_end()

    @property
    def has_result(self) -> bool:
        """Whether a refresh has succeeded or failed, or refreshes run in the background."""
        return self._in_background or self.status.success is not None

    @property
    def has_failed(self) -> bool:
        """Whether a refresh has failed."""
        return any(self.status.failures.values())

    async def close(self) -> None:
        """Cancel running refreshes."""
        await self.cache.close()
        await self._source.close()

    def families(self, view: View | None) -> Sequence[FamilyBlocks]:
        """Return the families of this data and of the status. They are rendered again only after a change."""
        state = view, self.status.refreshes
        if state != self._state:
            status = self.status.render(view, self._is_exposed)
            self._families, self._state = [*(view.families if view else ()), *status], state
        return self._families
