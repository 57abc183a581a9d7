"""Serving an application on listening sockets, with uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import structlog
import uvicorn

from exporter.server.connections import Limits, connection_limit
from exporter.server.http_protocol import BoundedProtocol
from exporter.server.incidents import ConnectionClosed, IncidentLog
from exporter.server.tls_protocol import TLSProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.types import ASGIApp

    from exporter.server.incidents import IncidentObserver
    from exporter.server.tls_protocol import ServerTLS

KEEP_ALIVE = 120
"""Seconds that an idle connection stays open: longer than usual scrape intervals, so that scrapes reuse it."""
GRACE_PERIOD = 4
"""Seconds for scrapes in flight to finish when the exporter stops."""
_MAX_UNSENT_BYTES = 2**16
"""Bytes of a response that the kernel holds for a client that does not read. By default, it would hold 4 MiB."""
_MAX_ACCEPTS = 32
"""Connections to accept before requests are processed. With more, slow readers could take more memory at once."""
_ACCEPT_RETRY_DELAY = 0.01
"""Seconds until the next attempt after a connection could not be accepted."""

_log = structlog.get_logger()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: uvicorn would raise the signal again at the end, so the status would not be 0."""
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    *listeners: socket.socket,
    observer: IncidentObserver | None = None,
    tls: Callable[[], ServerTLS] | None = None,
) -> AsyncIterator[None]:
    """Serve an application on sockets. On exit, scrapes in flight have `GRACE_PERIOD` seconds to finish.

    `tls` returns the TLS configuration for a new connection; it is called for each. Without an observer, incidents are
    only logged.
    """
    observer = IncidentLog() if observer is None else observer
    for listener in listeners:
        listener.settimeout(0)
        if listener.family != socket.AF_UNIX:  # connections inherit the option
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT_BYTES)
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE_PERIOD + 1,
    )
    server = _Server(config)
    limits = Limits(connection_limit())

    def create_protocol() -> asyncio.Protocol:
        http = BoundedProtocol(config, server.server_state, limits, observer)
        return http if tls is None else TLSProtocol(http, tls(), observer)

    serve_task = asyncio.create_task(server.serve(sockets=[]))
    acceptors = [_Acceptor(listener, create_protocol, limits) for listener in listeners]
    try:
        yield
    finally:
        for acceptor in acceptors:
            await acceptor.close()
        server.should_exit = True
        abort_timer = asyncio.get_running_loop().call_later(GRACE_PERIOD, _abort, server)
        await serve_task
        abort_timer.cancel()


class _Acceptor:
    """Accepts the connections of a listening socket.

    The event loop's own servers would refuse connections for a second when the process has no file descriptor left.
    """

    def __init__(
        self, listener: socket.socket, create_protocol: Callable[[], asyncio.Protocol], limits: Limits
    ) -> None:
        self._listener = listener
        self._create_protocol = create_protocol
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._logged: set[int | None] = set()
        self._start()

    async def close(self) -> None:
        """Close the listening socket. Accepted connections stay open."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        await asyncio.gather(*self._tasks)

    def _start(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Accept the connections that wait. One by one, they would wait for the requests of all others in between."""
        for _ in range(_MAX_ACCEPTS):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:  # the client has disconnected already
                continue
            except OSError as error:
                self._pause(error)
                return
            connection.settimeout(0)
            task = self._loop.create_task(self._connect(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._create_protocol, connection)
        except OSError:  # the client has disconnected already
            connection.close()

    def _pause(self, error: OSError) -> None:
        """Accept no connection for a moment, because the next attempt would fail, too."""
        if error.errno not in self._logged:
            self._logged.add(error.errno)
            _log.warning("client connection can't be accepted; each reason is logged once", reason=str(error))
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            self._limits.open.make_room(ConnectionClosed.FILE_DESCRIPTORS)
        self._loop.remove_reader(self._listener)
        self._timer = self._loop.call_later(_ACCEPT_RETRY_DELAY, self._start)


def _abort(server: uvicorn.Server) -> None:
    """Close connections whose clients don't read their response, before uvicorn logs them as errors."""
    for connection in tuple(server.server_state.connections):
        connection.transport.abort()
