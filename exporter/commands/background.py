"""Work that runs in the background of a command."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

RESTART_DELAY = 5.0
"""Seconds after which work that failed starts again."""

_log = structlog.get_logger()


@contextlib.asynccontextmanager
async def in_background(work: Callable[[], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Run work in the background, and cancel it on exit. If it fails because of a bug, it starts again."""
    task = asyncio.create_task(_run_forever(work))
    try:
        yield
    finally:
        task.cancel()


async def _run_forever(work: Callable[[], Coroutine[None, None, None]]) -> None:
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 -- whatever the bug is, the work must go on
            _log.exception("background task failed, restarting it", seconds=RESTART_DELAY)
        await asyncio.sleep(RESTART_DELAY)
