"""A time limit that can be paused."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType


class Deadline:
    """An asynchronous context manager that raises `TimeoutError` after this many seconds, without those in a pause."""

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._pauses = 0
        self._remaining = seconds
        """The remaining seconds during a pause."""

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._timeout.__aexit__(kind, error, traceback)

    @property
    def remaining(self) -> float:
        """The seconds until the deadline."""
        at = self._timeout.when()
        return self._remaining if at is None else at - _now()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock inside this context. Pauses can overlap: the clock runs again when the last one ends."""
        self._remaining = self.remaining
        self._reschedule(None)
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                self._reschedule(_now() + self._remaining)

    def _reschedule(self, at: float | None) -> None:
        if not self._timeout.expired():  # then other tasks can still run until they are cancelled
            self._timeout.reschedule(at)


def _now() -> float:
    return asyncio.get_running_loop().time()
