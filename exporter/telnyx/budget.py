"""The request budget of an account, which its collectors share."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

REJECTION_WINDOW = 60.0
"""If two collectors get a 429 response within this many seconds, the budget is too high for the account."""
SLOWDOWN = 300.0
"""Seconds for which the rate is halved then."""


class RequestBudget:
    """A token bucket: each request takes a token, first come, first served.

    `rate` is the number of new tokens per second, and `burst` the maximum number of tokens in the bucket. The rate is
    halved for five minutes when two collectors get 429 responses within a minute. A single collector can also exceed a
    limit of its endpoint, so its responses alone don't change the rate.
    """

    def __init__(self, rate: float, *, burst: int = 20, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._refilled_at = clock()
        self._slow_until = self._refilled_at
        self._rejected_at: dict[str, float] = {}
        """When each collector got its last 429 response."""
        self._turn = asyncio.Lock()
        """Held by the first caller in the queue. The lock is fair."""

    def adopt(self, previous: RequestBudget) -> None:
        """Continue with the tokens of another budget, and with the rejections that it recorded."""
        previous._refill()
        self._tokens = min(self._burst, previous._tokens)
        self._refilled_at, self._slow_until = previous._refilled_at, previous._slow_until
        self._rejected_at = previous._rejected_at

    def limiter(self, name: str, *, limited: bool = True) -> Limiter:
        """Return the access of one collector. If it is not limited, it takes no tokens."""
        return Limiter(self, name, limited)

    async def acquire(self) -> None:
        """Take a token, and wait for one if there is none."""
        async with self._turn:
            self._refill()
            if self._tokens < 1:
                rate = self._rate / 2 if self._clock() < self._slow_until else self._rate
                await asyncio.sleep((1 - self._tokens) / rate)
                self._refill()
            self._tokens -= 1  # can be below 0 if the rate was halved meanwhile: then the next caller waits longer

    def record_rejection(self, name: str) -> None:
        """Record that a collector got a 429 response."""
        now = self._clock()
        if any(other != name and now - at <= REJECTION_WINDOW for other, at in self._rejected_at.items()):
            self._refill()
            self._slow_until = now + SLOWDOWN
        self._rejected_at[name] = now

    def _refill(self) -> None:
        now = self._clock()
        elapsed = now - self._refilled_at
        slow = min(elapsed, max(0.0, self._slow_until - self._refilled_at))
        self._tokens = min(self._burst, self._tokens + self._rate * (elapsed - slow / 2))
        self._refilled_at = now


@dataclass(frozen=True, slots=True)
class Limiter:
    """A collector's access to the request budget."""

    _budget: RequestBudget
    _name: str
    _limited: bool

    async def acquire(self) -> None:
        """Wait until a request may be sent."""
        if self._limited:
            await self._budget.acquire()

    def record_rejection(self) -> None:
        """Record a 429 response."""
        self._budget.record_rejection(self._name)


UNLIMITED = RequestBudget(math.inf).limiter("unlimited", limited=False)
"""Access that never waits and shares no budget."""
