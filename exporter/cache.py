"""One value, refreshed when it is asked for: a TTL, a single flight, bounded staleness, a deadline for each waiter."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

MAX_BACKOFF = 120.0
"""Seconds between two attempts while refreshes fail; long enough to spare the peer, short enough to recover soon."""

MAX_HOLDOFF = 300.0
"""Seconds that a peer can ask to be left alone; an absurd wish must not silence the exporter for days."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """What the cache has to say at one moment."""

    value: T | None
    """None while there is none, or none young enough."""
    age: float | None
    """Seconds since the value was refreshed."""
    stale: bool
    """Whether the value has outlived its TTL."""
    error: Exception | None
    """Why the last refresh failed; None if it did not."""
    hit: bool
    """Whether the value was fresh when it was asked for."""


class Cache(Generic[T]):
    """A value that `refresh` makes.

    `ttl` and `max_stale` are seconds. After a failure the next attempt waits a TTL, then twice that, and so on up to
    `MAX_BACKOFF`; `holdoff` gives the seconds that a failure itself asks for, obeyed up to `MAX_HOLDOFF`.
    """

    def __init__(
        self,
        refresh: Callable[[], Awaitable[T]],
        *,
        ttl: float,
        max_stale: float,
        holdoff: Callable[[Exception], float] = lambda _: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refresh = refresh
        self._ttl = ttl
        self._max_stale = max_stale
        self._holdoff = holdoff
        self._clock = clock
        self._value: T | None = None
        self._refreshed = 0.0
        self._error: Exception | None = None
        self._failures = 0
        self._due = clock()
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    def peek(self) -> Entry[T]:
        """Return what there is, without a refresh."""
        age = self._clock() - self._refreshed
        if self._value is not None and age > self._max_stale:
            self._value = None  # nobody may see it again, so its memory goes
        if self._value is None:
            return Entry(None, None, stale=False, error=self._error, hit=False)
        fresh = age < self._ttl
        return Entry(self._value, age, stale=not fresh, error=self._error, hit=fresh)

    @property
    def pause(self) -> float:
        """Seconds until a refresh can begin."""
        return max(0.0, self._due - self._clock())

    def adopt(self, other: Cache[T]) -> None:
        """Take over the value of another cache, at its age."""
        self._value, self._refreshed = other._value, other._refreshed

    async def get(self, timeout: float) -> Entry[T]:  # noqa: ASYNC109 -- a deadline to answer by, not to fail at
        """Return a fresh value, or after `timeout` seconds whatever there is.

        All who wait share one refresh. One who goes away leaves it running.
        """
        entry = self.peek()
        if entry.hit:
            return entry
        if self._running is None and not self._closed and self._clock() >= self._due:
            self._running = asyncio.create_task(self._run())
        if self._running is not None:
            await asyncio.wait((self._running,), timeout=timeout)
        return replace(self.peek(), hit=False)

    async def close(self) -> None:
        """End a refresh that is under way; none begins after this."""
        self._closed = True
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        try:
            value = await self._refresh()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the waiters must get what there is
            self._error = error
            self._failures += 1
            backoff = min(max(self._ttl, 1.0) * 2.0 ** min(self._failures - 1, 10), max(self._ttl, MAX_BACKOFF))
            self._due = self._clock() + max(backoff, min(self._holdoff(error), MAX_HOLDOFF))
        else:
            self._value, self._error, self._failures = value, None, 0
            self._refreshed = self._clock()
            self._due = self._refreshed + self._ttl
        finally:
            self._running = None
