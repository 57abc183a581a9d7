"""HTTP with limits on the time and memory that a client can use. uvicorn's own protocol limits only idle time."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from exporter.server.connections import client_address, client_network
from exporter.server.incidents import ConnectionClosed, RequestRefused

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send
    from uvicorn._types import ASGI3Application
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

    from exporter.server.connections import Limits
    from exporter.server.incidents import IncidentObserver

MAX_REQUEST_BYTES = 16 * 2**10
"""Maximum size of a request in bytes, headers and body together. Requests that wait for responses count together."""
MAX_HEADERS = 100
"""Maximum number of headers of a request. In memory, a short header takes over ten times its size."""
MAX_BODY_PIECES = 64
"""Maximum number of pieces of a body. Each takes time, and a chunked body can have one for each byte."""
MAX_PIPELINED = 8
"""Maximum number of requests of one connection that wait for the responses to earlier ones."""
REQUEST_TIMEOUT = 10.0
"""Seconds for a request to arrive completely. The first request's time starts when the connection opens."""
SEND_TIMEOUT = 60.0
"""Seconds for a client to read a whole response, from the first time that the send buffers are full."""

_HOST = re.compile(rb"(\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._~%!$&'()*+,;=-]*)(:\d*)?")
"""A valid `Host` header: RFC 9112, section 3.2, and RFC 3986, section 3.2.2."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection with a deadline for each step that the client has to take."""

    def __init__(self, config: Config, state: ServerState, limits: Limits, observer: IncidentObserver) -> None:
        super().__init__(config, state, {})
        self._limits = limits
        self._observer = observer
        self.peer = ""
        """The address of the client, or empty for a Unix socket."""
        self.network = ""
        self.idle_since = 0.0
        self.is_new = True
        self._request_timer: asyncio.TimerHandle | None = None
        """Runs while a request is expected or incomplete."""
        self._send_timer: asyncio.TimerHandle | None = None
        """Runs from the first time that the client reads more slowly than the exporter writes."""
        self._received = 0
        """Bytes of the requests that are incomplete or wait for the responses to earlier ones."""
        self._body_pieces = 0
        self._final_data: bytes | None = None
        """What to send before closing the connection, after the responses in progress. None while it stays open."""
        self._response: tuple[RequestResponseCycle, asyncio.Task[None]] | None = None
        """The response in progress, and its task. uvicorn's `cycle` belongs to the last request that has arrived."""

    @property
    def is_busy(self) -> bool:
        """Whether the client is waiting for the exporter, not the exporter for the client."""
        return self._has_open_response and not self.flow.write_paused

    @property
    def _has_open_response(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]  # None at first

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection."""
        super().connection_made(transport)
        if self.client:
            self.peer = client_address(self.client[0])
            self.client = (self.peer, self.client[1])
        self.network = client_network(self.peer)
        self.idle_since = self.loop.time()
        self._limits.open.add(self)
        self._start_request_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers and the response. Nothing of the connection stays in memory."""
        self._limits.open.discard(self)
        self._limits.unread.discard(self)
        _cancel(self._request_timer)
        _cancel(self._send_timer)
        self._unset_keepalive_if_required()  # uvicorn does not if the client has reset the connection
        if self._response is not None:
            cycle, task = self._response
            cycle.disconnected = True
            task.cancel()
        super().connection_lost(exc)

    def close_now(self, reason: ConnectionClosed) -> None:
        """Close the connection without finishing a response."""
        self._observer.record_incident(reason, self.peer)
        self.transport.abort()

    def refuse_requests(self, reason: RequestRefused, message: str) -> None:
        """Answer the requests of this connection with status 403, and record why."""
        response = PlainTextResponse(f"{message}\n", 403, {"connection": "close"})

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            self._observer.record_incident(reason, self.peer)
            await response(scope, receive, send)

        self.app = refuse

    def _start_request_timer(self) -> None:
        if self._request_timer is None:
            reason = ConnectionClosed.REQUEST_TIMEOUT
            self._request_timer = self.loop.call_later(REQUEST_TIMEOUT, self.close_now, reason)

    def data_received(self, data: bytes) -> None:
        """Process data, unless it makes the request too large."""
        if self._final_data is not None:
            return
        if not self._has_open_response:
            self._start_request_timer()  # even empty lines, which begin no request, end uvicorn's limit on idle time
        self._received += len(data)
        if self._received > MAX_REQUEST_BYTES:
            self._refuse(RequestRefused.TOO_LARGE, "Request too large.")
        else:
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio allows both
        """Keep the connection open until the responses to all complete requests are sent."""
        if self._final_data is None:
            self._close_after_responses()
        return self._has_open_response

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that could not be parsed."""
        self._refuse(RequestRefused.INVALID, msg)

    def _refuse(self, reason: RequestRefused, message: str) -> None:
        self._observer.record_incident(reason, self.peer)
        if self._has_open_response and self.cycle.more_body:
            self._close_after_responses()  # the invalid part is the body of a request that already gets a response
        else:
            self._close_after_responses(self.bad_request(message))

    def bad_request(self, message: str) -> bytes:
        """Return a response with status 400, after which the connection is closed."""
        body = f"{message}\n".encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        return b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (b"".join(b"%b: %b\r\n" % each for each in headers), body)

    def _close_after_responses(self, final_data: bytes = b"") -> None:
        self._final_data = final_data
        if not self._has_open_response and not self.transport.is_closing():
            self.transport.write(final_data)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start the timer of the request."""
        super().on_message_begin()
        self._body_pieces = 0
        self._start_request_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, or raise `ValueError` if there are too many."""
        if len(self.headers) == MAX_HEADERS:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a response, or raise `ValueError` for an invalid request, which the parser turns into its own error."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
            raise ValueError("invalid Host header")
        if not hosts and self.parser.get_http_version() == "1.1":
            raise ValueError("no Host header")
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many pipelined requests")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Add a piece of the body, or raise `ValueError` if there are too many."""
        self._body_pieces += 1
        if self._body_pieces > MAX_BODY_PIECES:
            raise ValueError("too many pieces of a body")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer of the request: it is now the exporter's turn."""
        super().on_message_complete()
        self._forget_received()
        self.is_new = False
        self.idle_since = self.loop.time()
        _cancel(self._request_timer)
        self._request_timer = None
        if not self._has_open_response:  # the body of the request has arrived after its response was sent
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _forget_received(self) -> None:
        if not self.pipeline:
            self._received = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Start a response as uvicorn does, but keep its task, because uvicorn never cancels it."""
        task = self.loop.create_task(cycle.run_asgi(_end_when_cancelled(app)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        self._response = (cycle, task)

    def pause_writing(self) -> None:
        """Start the timer of the response, unless an earlier piece of it has started it."""
        super().pause_writing()
        self._limits.unread.add(self)
        self._start_send_timer()

    def resume_writing(self) -> None:
        """Stop the timer of the response if this was its last piece."""
        super().resume_writing()
        self._limits.unread.discard(self)
        if self.cycle.response_complete:
            self._stop_send_timer()

    def on_response_complete(self) -> None:
        """Stop the timer of the response if the client has read it, or start it if the connection closes after that."""
        super().on_response_complete()
        self._forget_received()
        if self._final_data is not None:
            self._close_after_responses(self._final_data)
        if self.transport.is_closing():
            self._start_send_timer()
        elif not self.flow.write_paused:
            self._stop_send_timer()

    def _start_send_timer(self) -> None:
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(SEND_TIMEOUT, self.close_now, ConnectionClosed.SEND_TIMEOUT)

    def _stop_send_timer(self) -> None:
        _cancel(self._send_timer)
        self._send_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection at once, even if the client has not read the whole last response."""
        self.transport.abort()


def _end_when_cancelled(app: ASGI3Application) -> ASGI3Application:
    """Wrap an application so that it ends silently when it is cancelled. uvicorn would log a traceback."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return run


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
