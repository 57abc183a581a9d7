"""Lets other work go first while the status is read."""

from __future__ import annotations

import asyncio

_TURNS = 16
"""Turns of the event loop in a pause. In each turn, a scrape can send a piece of its body."""


async def pause() -> None:
    """Let the event loop do other work for some turns. Without other work, this takes about 50 microseconds.

    One turn would be too short: a scrape would wait for the next step after each piece, and take several times as long.
    """
    for _ in range(_TURNS):
        await asyncio.sleep(0)
