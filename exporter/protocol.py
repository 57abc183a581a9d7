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
        self._deadline: asyncio.TimerHandle | None = None
        self._received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or end it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._expect_within(REQUEST_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it makes the request too large."""
        self._received += len(data)
        if self._received > MAX_REQUEST:
            self.send_400_response("Request too large.")
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        super().on_message_begin()
        self._expect_within(REQUEST_TIMEOUT)

    def on_message_complete(self) -> None:
        """Stop the clock: the next step is the exporter's."""
        super().on_message_complete()
        self._received = 0
        self._expect_nothing()

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read as fast as it is written to."""
        super().pause_writing()
        self._expect_within(SEND_TIMEOUT)

    def resume_writing(self) -> None:
        """Stop that clock."""
        super().resume_writing()
        self._expect_nothing()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection at once, whatever a client has not read of the last answer."""
        self.transport.abort()

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
