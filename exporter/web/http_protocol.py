"""Limits on the time and memory that a client can use. uvicorn's own HTTP protocol limits only idle time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

MAX_CONNECTIONS = 512
"""Maximum number of concurrent connections: half of the file descriptors that a process usually has."""
MAX_REQUEST_BYTES = 64 * 2**10
"""Maximum size of a request in bytes, headers and body together."""
REQUEST_TIMEOUT = 10.0
"""Seconds for a request to arrive completely. The first request's time starts when the connection opens."""
SEND_TIMEOUT = 60.0
"""Seconds for a client to read a whole response, from the first time that the send buffers are full."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection with a deadline for each step that the client has to take."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request_timer: asyncio.TimerHandle | None = None
        """Runs while a request is expected or incomplete."""
        self._send_timer: asyncio.TimerHandle | None = None
        """Runs from the first time that the client reads more slowly than the exporter writes."""
        self._received = 0
        """Bytes since the last complete request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or close it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._request_timer = self.loop.call_later(REQUEST_TIMEOUT, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        _cancel(self._request_timer)
        _cancel(self._send_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process data, unless it makes the request too large. If no request is open, start its timer."""
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_TIMEOUT, self.transport.abort)
        self._received += len(data)
        if self._received > MAX_REQUEST_BYTES:
            self.send_400_response("Request too large.")
        else:
            super().data_received(data)

    def on_message_complete(self) -> None:
        """Stop the timer of the request: it is now the exporter's turn."""
        super().on_message_complete()
        self._received = 0
        _cancel(self._request_timer)
        self._request_timer = None

    def pause_writing(self) -> None:
        """Start the timer of the response, unless an earlier piece of it has started it."""
        super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(SEND_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timer of the response if this was its last piece."""
        super().resume_writing()
        if self.cycle.response_complete:
            self._stop_send_timer()

    def on_response_complete(self) -> None:
        """Stop the timer of the response if the client has read it, too."""
        super().on_response_complete()
        if not self.flow.write_paused:
            self._stop_send_timer()

    def _stop_send_timer(self) -> None:
        _cancel(self._send_timer)
        self._send_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection at once, even if the client has not read the whole last response."""
        self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
