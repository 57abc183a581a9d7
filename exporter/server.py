"""Listening, serving an application on a socket, and the signals that end it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import TYPE_CHECKING

import uvicorn

from .protocol import BoundedProtocol
from .settings import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp

KEEP_ALIVE = 120
"""Seconds that an idle connection is kept: longer than the usual scrape interval, so that scrapes reuse one."""
GRACE = 4
"""Seconds that scrapes in flight have to end when the exporter stops."""
_BACKLOG = 1024


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


def url(listener: socket.socket) -> str:
    """Return the URL at which a person on this machine reaches a socket."""
    host, port = listener.getsockname()[:2]
    if host in {"::", "0.0.0.0"}:  # noqa: S104 -- compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would end the process by them, and an orderly end has status 0."""
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Serve an application on a socket; in the end, scrapes in flight are answered within `GRACE` seconds."""
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
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        grace = asyncio.get_running_loop().call_later(GRACE, _abort, server)
        await task
        grace.cancel()


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
