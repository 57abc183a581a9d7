"""Virtual time, in which tests of timers are exact and take no time."""

import asyncio
import selectors


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


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer when nothing else is ready to run."""

    def __init__(self):
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self):
        """Return the virtual time in seconds."""
        return self._skipping.now
