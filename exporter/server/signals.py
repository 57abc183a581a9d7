"""Signal handlers that call a function in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@contextlib.contextmanager
def on_signals(numbers: Iterable[int], callback: Callable[[], None]) -> Iterator[None]:
    """Call `callback` for each of these signals, including signals that arrived while they were blocked."""
    loop, numbers = asyncio.get_running_loop(), tuple(numbers)
    for number in numbers:
        loop.add_signal_handler(number, callback)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
