"""Virtual time, in which tests of timers are exact and take no time."""

import asyncio
import selectors
from concurrent.futures import Future, ThreadPoolExecutor

import pytest


class _SkippingSelector(selectors.SelectSelector):
    """A selector that advances its clock instead of sleeping."""

    now = 1000.0

    def select(self, timeout=None):
        """Return the ready events. If there are none, skip the timeout."""
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing is left to wait for"
            self.now += timeout
        return ready


class _InlineExecutor(ThreadPoolExecutor):
    """An executor whose work takes no virtual time, because it runs at once instead of in a thread."""

    def submit(self, work, /, *args, **kwargs):
        """Do the work and return its result as a future."""
        future = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 -- the caller gets it from the future
            future.set_exception(error)
        return future


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer when nothing else is ready to run."""

    def __init__(self):
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)
        self.set_default_executor(_InlineExecutor())

    def time(self):
        """Return the virtual time in seconds."""
        return self._skipping.now

    async def shutdown_default_executor(self, timeout=None):  # noqa: ASYNC109 -- the method of event loops
        """Do nothing, because the executor has no threads. A thread that shuts it down would take real time."""


in_virtual_time = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})], ids=["virtual time"]
)
"""Runs a single test in virtual time."""
