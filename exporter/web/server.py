"""Listening, serving an application on a socket, and the signals that end it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn

from exporter.config.settings import parse_address
from exporter.web.http_protocol import MAX_CONNECTIONS, REQUEST_TIMEOUT, BoundedProtocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from starlette.types import ASGIApp

KEEP_ALIVE = 120
"""Seconds that an idle connection is kept: longer than the usual scrape interval, so that scrapes reuse one."""
GRACE = 4
"""Seconds that scrapes in flight have to end when the exporter stops."""
_BACKLOG = 1024
_FIRST_INHERITED = 3
"""The first descriptor that systemd passes."""

_log = structlog.get_logger()
_RESPITE = 0.1
"""Seconds without a new connection when none can be taken."""


def listen(address: str) -> socket.socket:
    """Return a socket that listens on `HOST:PORT`, on every address of both families without a host, or `unix:///PATH`.

    Raises `OSError` if it can't.
    """
    where = parse_address(address)
    if isinstance(where, Path):
        return _PathListener(where)
    host, port = where
    if not host:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=_BACKLOG)
    family, _, _, _, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(resolved[:2], family=family, backlog=_BACKLOG)


class _PathListener(socket.socket):
    """A socket that listens on a path, which goes with it; who may connect is up to the umask, as for any file."""

    def __init__(self, path: Path) -> None:
        super().__init__(socket.AF_UNIX)
        self._path = path
        self._inode: int | None = None
        try:
            if path.is_socket():
                if not _answers(path):
                    path.unlink()  # of a process that was killed
            elif path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self.bind(str(path))
            self._inode = path.stat().st_ino
            self.listen(_BACKLOG)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Remove the path, first, while it is ours; somebody may have removed it and made another one."""
        if self._inode is not None and self.fileno() >= 0:
            with contextlib.suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()
        super().close()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0)  # it can be too busy to say so
        return client.connect_ex(str(path)) != errno.ECONNREFUSED


def inherit() -> list[socket.socket]:
    """Return the sockets that systemd listens on for this process, as sd_listen_fds(3) says; none if there are none.

    Raises `ValueError` for one that connections can't be taken from.
    """
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    last = _FIRST_INHERITED + int(os.environ.pop("LISTEN_FDS", "0"))
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket(fileno=number)) for number in range(_FIRST_INHERITED, last)]
        for listener in listeners:
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ValueError("systemd passed a socket that is none of ListenStream= with Accept=no")
            listener.set_inheritable(False)
        stack.pop_all()
    return listeners


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
    app: ASGIApp, *listeners: socket.socket, tls: Callable[[], ssl.SSLContext] | None = None
) -> AsyncIterator[None]:
    """Serve an application on sockets; in the end, scrapes in flight are answered within `GRACE` seconds.

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
    task = asyncio.create_task(server.serve(sockets=[]))
    opening: set[asyncio.Task[None]] = set()
    doors = [asyncio.create_task(_accept(server, listener, tls, opening)) for listener in listeners]
    try:
        yield
    finally:
        for door in (*doors, *opening):
            door.cancel()
        server.should_exit = True
        grace = asyncio.get_running_loop().call_later(GRACE, _abort, server)
        await task
        grace.cancel()


async def _accept(
    server: uvicorn.Server,
    listener: socket.socket,
    tls: Callable[[], ssl.SSLContext] | None,
    opening: set[asyncio.Task[None]],
) -> None:
    """Take connections, and have them served once they are `opening` no more; those in a handshake are bounded, too.

    The event loop's own servers know one context only, and count nothing before the handshake is done.
    """
    loop = asyncio.get_running_loop()
    listener.settimeout(0)
    with listener:
        while True:
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError:  # out of descriptors, or the client is gone
                await asyncio.sleep(_RESPITE)
                continue
            if len(server.server_state.connections) + len(opening) >= MAX_CONNECTIONS:
                connection.close()
                continue
            task = asyncio.create_task(_open(server, connection, peer, tls() if tls is not None else None))
            opening.add(task)
            task.add_done_callback(opening.discard)


async def _open(server: uvicorn.Server, connection: socket.socket, peer: Any, context: ssl.SSLContext | None) -> None:
    bound = None if context is None else REQUEST_TIMEOUT
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: BoundedProtocol(server.config, server.server_state, {}),
            connection,
            ssl=context,
            ssl_handshake_timeout=bound,
            ssl_shutdown_timeout=bound,
        )
    except OSError as error:  # a handshake that fails, is late or is broken off
        reason = getattr(error, "reason", None) or type(error).__name__
        _log.debug("connection refused", client=peer[0] if peer else "", reason=reason)


def _abort(server: uvicorn.Server) -> None:
    """End the connections of those who do not take their answer, before uvicorn calls that an error."""
    for connection in tuple(server.server_state.connections):
        connection.transport.abort()


@contextlib.contextmanager
def on_signals(numbers: Iterable[int], do: Callable[[], None]) -> Iterator[None]:
    """Call `do` at each of these signals, and at those that were held back until now."""
    loop, numbers = asyncio.get_running_loop(), tuple(numbers)
    for number in numbers:
        loop.add_signal_handler(number, do)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
