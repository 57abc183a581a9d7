"""The requests in flight, which all accounts share."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import deque
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

SLOW = 1.0
"""Seconds after which a request counts as slow."""


class RequestSlots:
    """Limits the requests in flight over all accounts, and distributes them fairly.

    A free slot goes to the waiting account that has the fewest requests in flight. Of several, it goes to the one that
    has waited longest since it last got a slot.

    An account is slow if its last request failed or was slow, or if one in flight is. Slow accounts have at most half
    of the slots together, so that accounts whose requests hang leave the other half to the others.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._slow_limit = max(1, limit // 2)
        self._active: set[Slots] = set()
        """The accounts that have requests in flight."""
        self._waiting: set[Slots] = set()
        """The accounts that have waiting requests."""
        self._turns = itertools.count()
        """Numbers in the order in which accounts begin to wait."""

    def share(self) -> Slots:
        """Return the access of one account."""
        return Slots(self)

    def enqueue(self, account: Slots) -> asyncio.Future[Slot]:
        """Let a request of an account wait, and return the future of its slot."""
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        account.queue.append(future)
        if account not in self._waiting:
            self._waiting.add(account)
            account.turn = next(self._turns)
        self.distribute()
        return future

    def distribute(self) -> None:
        """Give free slots to waiting requests."""
        while (account := self._next_account()) is not None:
            slot = Slot(account)
            account.in_flight[slot] = None
            self._active.add(account)
            account.turn = next(self._turns)
            account.queue.popleft().set_result(slot)
            if not account.queue:
                self._waiting.discard(account)

    def release(self, slot: Slot) -> None:
        """Take a slot back."""
        account = slot.account
        del account.in_flight[slot]
        if not account.in_flight:
            self._active.discard(account)
        self.distribute()

    def _next_account(self) -> Slots | None:
        """Return the account that gets the next slot, or None if there is no free slot or no account may have it."""
        if sum(len(account.in_flight) for account in self._active) >= self._limit:
            return None
        for account in tuple(self._waiting):
            account.forget_cancelled()
            if not account.queue:
                self._waiting.discard(account)
        slow = sum(len(account.in_flight) for account in self._active if account.is_slow)
        allowed = [account for account in self._waiting if slow < self._slow_limit or not account.is_slow]
        return min(allowed, key=lambda account: (len(account.in_flight), account.turn), default=None)


class Slots:
    """The access of one account to the slots. Its requests are served in the order in which they arrive."""

    def __init__(self, pool: RequestSlots) -> None:
        self.pool = pool
        self.in_flight: dict[Slot, None] = {}
        """The account's slots, the oldest first."""
        self.queue: deque[asyncio.Future[Slot]] = deque()
        """The slots that requests wait for."""
        self.turn = 0
        """When the account began to wait for its next slot, as a number of the pool."""
        self.last_was_slow = False
        """Whether the last request failed or was slow."""

    async def acquire(self) -> Slot:
        """Wait for a slot."""
        future = self.pool.enqueue(self)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled():
                future.result().release()
            raise

    @property
    def is_slow(self) -> bool:
        """Whether the last request failed or was slow, or one in flight is."""
        oldest = next(iter(self.in_flight), None)
        return self.last_was_slow or (oldest is not None and oldest.seconds > SLOW)

    def forget_cancelled(self) -> None:
        """Remove requests from the front of the queue that no longer wait."""
        while self.queue and self.queue[0].cancelled():
            del self.queue[0]


class Slot:
    """The permission to send one request. As a context manager, it records the result and releases the slot."""

    def __init__(self, account: Slots) -> None:
        self.account = account
        self._started = _now()

    @property
    def seconds(self) -> float:
        """Seconds since the slot was acquired."""
        return _now() - self._started

    def release(self) -> None:
        """Release the slot without a request."""
        self.account.pool.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A request that is cancelled, for example because another one of its refresh failed, has not failed itself.
        self.account.last_was_slow = isinstance(error, Exception) or self.seconds > SLOW
        self.release()


def _now() -> float:
    return asyncio.get_running_loop().time()


UNLIMITED = RequestSlots(sys.maxsize).share()
"""Access that never waits."""
