"""Listening, serving an application on a socket, and the signals that end it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import TYPE_CHECKING

import uvicorn

from .protocol import MAX_CONNECTIONS, REQUEST_TIMEOUT, BoundedProtocol
from .settings import parse_address

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.types import ASGIApp

KEEP_ALIVE = 120
"""Seconds that an idle connection is kept: longer than the usual scrape interval, so that scrapes reuse one."""
GRACE = 4
"""Seconds that scrapes in flight have to end when the exporter stops."""
_BACKLOG = 1024
_RESPITE = 0.1
"""Seconds without a new connection when none can be taken."""


def listen(address: str) -> socket.socket:
    """Return a socket that listens on `HOST:PORT`, on every address of both families without a host.

    Raises `OSError` if it can't.
    """
    host, port = parse_address(address)
    if not host:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=_BACKLOG)
    family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(where[:2], family=family, backlog=_BACKLOG)


def url(listener: socket.socket, scheme: str = "http") -> str:
    """Return the URL at which a person on this machine reaches a socket."""
    host, port = listener.getsockname()[:2]
    if host in {"::", "0.0.0.0"}:  # noqa: S104 -- compared, not bound
        host = "localhost"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would end the process by them, and an orderly end has status 0."""
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, listener: socket.socket, tls: Callable[[], ssl.SSLContext] | None = None
) -> AsyncIterator[None]:
    """Serve an application on a socket; in the end, scrapes in flight are answered within `GRACE` seconds.

    `tls` gives the context of each connection when it comes.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE + 1,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener] if tls is None else []))
    door = None if tls is None else asyncio.create_task(_accept(server, listener, tls))
    try:
        yield
    finally:
        if door is not None:
            door.cancel()
        server.should_exit = True
        grace = asyncio.get_running_loop().call_later(GRACE, _abort, server)
        await task
        grace.cancel()


async def _accept(server: uvicorn.Server, listener: socket.socket, tls: Callable[[], ssl.SSLContext]) -> None:
    """Take connections and have them served after a handshake; those in the midst of it are bounded, too.

    The event loop's own servers know one context only, and count nothing before the handshake is done.
    """
    loop = asyncio.get_running_loop()
    handshakes: set[asyncio.Task[None]] = set()
    listener.settimeout(0)
    with listener:
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(listener)
                except OSError:  # out of descriptors, or the client is gone
                    await asyncio.sleep(_RESPITE)
                    continue
                if len(server.server_state.connections) + len(handshakes) >= MAX_CONNECTIONS:
                    connection.close()
                    continue
                task = asyncio.create_task(_secure(server, connection, tls()))
                handshakes.add(task)
                task.add_done_callback(handshakes.discard)
        finally:
            for task in handshakes:
                task.cancel()


async def _secure(server: uvicorn.Server, connection: socket.socket, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):  # a handshake that fails, is late or is broken off
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: BoundedProtocol(server.config, server.server_state, {}),
            connection,
            ssl=context,
            ssl_handshake_timeout=REQUEST_TIMEOUT,
            ssl_shutdown_timeout=REQUEST_TIMEOUT,
        )


def _abort(server: uvicorn.Server) -> None:
    """End the connections of those who do not take their answer, before uvicorn calls that an error."""
    for connection in tuple(server.server_state.connections):
        connection.transport.abort()


@contextlib.contextmanager
def told_to_stop() -> Iterator[asyncio.Event]:
    """Give an event that SIGTERM or SIGINT sets."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        yield told
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
