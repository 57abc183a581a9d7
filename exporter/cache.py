"""A cached value with a TTL, one shared refresh, bounded staleness and a deadline for each caller."""

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
"""Longest backoff after failures, in seconds: long enough to spare the server, short enough to recover soon."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """The state of the cache at one moment."""

    value: T | None
    """None if there is no value, or if it is older than `max_stale`."""
    age: float | None
    """Seconds since the value was refreshed. None if there is no value."""
    stale: bool
    """Whether the value is older than its TTL."""
    error: Exception | None
    """The error of the last refresh, or None if it succeeded."""
    hit: bool
    """Whether the value was fresh when it was requested."""


class Cache(Generic[T]):
    """Caches the result of `refresh`.

    `ttl` and `max_stale` are seconds. The TTL of the first value is `first_ttl`, so that caches which start together do
    not refresh together ever after. That of the first value after a pause, an outage or `expire` is `first_ttl`, too.
    After a failure, the next refresh starts one TTL later at the earliest, and at least 1 s later. Each further failure
    doubles that, up to `MAX_BACKOFF`, or the TTL if that is longer. `retry_after` returns the seconds to wait at least
    after an error.
    """

    def __init__(
        self,
        refresh: Callable[[], Awaitable[T]],
        *,
        ttl: float,
        max_stale: float,
        first_ttl: float | None = None,
        retry_after: Callable[[Exception], float] = lambda _: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refresh = refresh
        self._ttl = ttl
        self._first_ttl = ttl if first_ttl is None else first_ttl
        self._value_ttl = ttl
        """The TTL of the current value. 0 if it has expired."""
        self._max_stale = max_stale
        self._retry_after = retry_after
        self._clock = clock
        self._value: T | None = None
        self._refreshed_at = 0.0
        self._error: Exception | None = None
        self._failures = 0
        self._next_refresh = clock()
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    def peek(self) -> Entry[T]:
        """Return the current state without starting a refresh."""
        age = self._clock() - self._refreshed_at
        if self._value is not None and age > self._max_stale:
            self._value = None  # it is never returned again, so free its memory
        if self._value is None:
            return Entry(None, None, stale=False, error=self._error, hit=False)
        fresh = age < self._value_ttl
        return Entry(self._value, age, stale=not fresh, error=self._error, hit=fresh)

    @property
    def seconds_until_refresh(self) -> float:
        """Seconds until the next refresh can start."""
        return max(0.0, self._next_refresh - self._clock())

    @property
    def is_refreshing(self) -> bool:
        """Whether a refresh is running."""
        return self._running is not None

    def replace(self, value: T, other: T) -> None:
        """Replace this value by another one of the same age. Do nothing if the cache has a newer one."""
        if self._value is value:
            self._value = other

    def adopt(self, other: Cache[T]) -> None:
        """Take over the value of another cache, with its age."""
        self._value, self._refreshed_at = other._value, other._refreshed_at
        if other._value_ttl < other._ttl:  # that of a first value, or of one that has expired
            self._value_ttl = min(self._first_ttl, other._value_ttl)

    def expire(self) -> None:
        """Make the value stale. It is returned until the next refresh, which can start without waiting for the TTL."""
        self._value_ttl = 0.0

    def adopt_wait(self, other: Cache[T]) -> None:
        """Take over the error and the backoff of another cache: start no refresh before the other one would."""
        self._error, self._failures, self._next_refresh = other._error, other._failures, other._next_refresh

    async def get(self, timeout: float | None) -> Entry[T]:  # noqa: ASYNC109 -- a deadline to return by, not an error
        """Return a fresh value, or the current state after `timeout` seconds. None waits until a running refresh ends.

        If no refresh is running or may start, return the current state at once.

        Concurrent callers share one refresh. Cancelling a caller does not cancel the refresh.
        """
        entry = self.peek()
        if entry.hit:
            return entry
        self.start_refresh()
        if self._running is not None:
            await asyncio.wait((self._running,), timeout=timeout)
        return replace(self.peek(), hit=False)

    def start_refresh(self) -> None:
        """Start a refresh if the value is not fresh, none is running, and one may start."""
        may_start = self._running is None and not self._closed and self._clock() >= self._next_refresh
        if may_start and not self.peek().hit:
            self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Cancel a running refresh and start no other."""
        self._closed = True
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        is_first = self._value is None or not self._value_ttl or self._clock() - self._refreshed_at > 2 * self._ttl
        try:
            value = await self._refresh()
        except Exception as error:  # noqa: BLE001 -- callers must get the current state, whatever the error is
            self._error = error
            self._failures += 1
            backoff = min(max(self._ttl, 1.0) * 2.0 ** min(self._failures - 1, 10), max(self._ttl, MAX_BACKOFF))
            self._next_refresh = self._clock() + max(backoff, self._retry_after(error))
        else:
            self._value, self._error, self._failures = value, None, 0
            self._value_ttl = self._first_ttl if is_first else self._ttl
            self._refreshed_at = self._clock()
            self._next_refresh = self._refreshed_at + self._value_ttl
        finally:
            self._running = None
