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
    acceptors = [asyncio.create_task(_accept(listener, create_protocol, limits)) for listener in listeners]
    try:
        yield
    finally:
        for task in acceptors:
            task.cancel()
        server.should_exit = True
        abort_timer = asyncio.get_running_loop().call_later(GRACE_PERIOD, _abort, server)
        await serve_task
        abort_timer.cancel()


async def _accept(listener: socket.socket, create_protocol: Callable[[], asyncio.Protocol], limits: Limits) -> None:
    """Accept connections. Without a file descriptor for another one, the event loop's own servers would refuse it."""
    loop = asyncio.get_running_loop()
    logged: set[int | None] = set()
    with listener:
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
                await loop.connect_accepted_socket(create_protocol, connection)
            except ConnectionError:  # the client has disconnected already
                await asyncio.sleep(0)
            except OSError as error:
                if error.errno not in logged:
                    logged.add(error.errno)
                    _log.warning("a connection can't be accepted; the log shows each reason once", reason=str(error))
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    limits.open.make_room(ConnectionClosed.FILE_DESCRIPTORS)
                await asyncio.sleep(_ACCEPT_RETRY_DELAY)


def _abort(server: uvicorn.Server) -> None:
    """Close connections whose clients don't read their response, before uvicorn logs them as errors."""
    for connection in tuple(server.server_state.connections):
        connection.transport.abort()
