"""Bounds on what a client of the exporter can do to it: uvicorn's own protocol trusts its peer with time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

MAX_CONNECTIONS = 512
"""Connections at the same time; half of the file descriptors that a process usually has."""
MAX_REQUEST = 64 * 2**10
"""Bytes of a request, its head and its body together."""
REQUEST_TIMEOUT = 10.0
"""Seconds for a request to arrive whole, the first one counted from the connection."""
SEND_TIMEOUT = 60.0
"""Seconds for a client to take an answer, once it is slow enough to fill the buffers in between."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection, with a deadline for each step that is the client's to take."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arrival: asyncio.TimerHandle | None = None
        """Runs while a request is awaited or incomplete."""
        self._taking: asyncio.TimerHandle | None = None
        """Runs while the client does not read as fast as it is written to."""
        self._received = 0
        """Bytes since the last complete request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or end it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._arrival = self.loop.call_later(REQUEST_TIMEOUT, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _cancel(self._arrival)
        _cancel(self._taking)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it makes the request too large or too late."""
        if self._arrival is None:
            self._arrival = self.loop.call_later(REQUEST_TIMEOUT, self.transport.abort)
        self._received += len(data)
        if self._received > MAX_REQUEST:
            self.send_400_response("Request too large.")
        else:
            super().data_received(data)

    def on_message_complete(self) -> None:
        """Stop the clock of the request: the next step is the exporter's."""
        super().on_message_complete()
        self._received = 0
        _cancel(self._arrival)
        self._arrival = None

    def pause_writing(self) -> None:
        """Start the clock of the answer."""
        super().pause_writing()
        self._taking = self.loop.call_later(SEND_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the clock of the answer."""
        super().resume_writing()
        _cancel(self._taking)

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection at once, whatever a client has not read of the last answer."""
        self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
