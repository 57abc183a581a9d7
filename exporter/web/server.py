"""Listening sockets, serving an application on them, and signal handlers."""

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

from exporter.config.values import parse_address
from exporter.web.http_protocol import MAX_CONNECTIONS, REQUEST_TIMEOUT, BoundedProtocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from starlette.types import ASGIApp

KEEP_ALIVE = 120
"""Seconds that an idle connection stays open: longer than usual scrape intervals, so that scrapes reuse it."""
GRACE_PERIOD = 4
"""Seconds for scrapes in flight to finish when the exporter stops."""
_BACKLOG = 1024
_SD_LISTEN_FDS_START = 3
"""The first file descriptor that systemd passes."""

_log = structlog.get_logger()
_ACCEPT_RETRY_DELAY = 0.1
"""Seconds until the next attempt after a connection could not be accepted."""


def listen(address: str) -> socket.socket:
    """Return a socket that listens on `HOST:PORT` or `unix:///PATH`.

    Without a host, it listens on all IPv4 and IPv6 addresses.

    Raises `OSError` if the address can't be bound.
    """
    parsed = parse_address(address)
    if isinstance(parsed, Path):
        return _PathListener(parsed)
    host, port = parsed
    if not host:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=_BACKLOG)
    family, _, _, _, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(resolved[:2], family=family, backlog=_BACKLOG)


class _PathListener(socket.socket):
    """A listening Unix socket that removes its path when it is closed. The umask determines who may connect."""

    def __init__(self, path: Path) -> None:
        super().__init__(socket.AF_UNIX)
        self._path = path
        self._inode: int | None = None
        try:
            if path.is_socket():
                if not _is_in_use(path):
                    path.unlink()  # left behind by a process that was killed
            elif path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self.bind(str(path))
            self._inode = path.stat().st_ino
            self.listen(_BACKLOG)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Remove the path, then close the socket. A path that another process has created since then stays."""
        if self._inode is not None and self.fileno() >= 0:
            with contextlib.suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()
        super().close()


def _is_in_use(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0)  # a busy server may not accept at once
        return client.connect_ex(str(path)) != errno.ECONNREFUSED


def inherit_sockets() -> list[socket.socket]:
    """Return the sockets that systemd passes to this process, see sd_listen_fds(3), or an empty list.

    Raises `ValueError` for a socket that does not accept connections.
    """
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    end = _SD_LISTEN_FDS_START + int(os.environ.pop("LISTEN_FDS", "0"))
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket(fileno=number)) for number in range(_SD_LISTEN_FDS_START, end)]
        for listener in listeners:
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ValueError("systemd passed a socket that does not listen; use ListenStream= and Accept=no")
            listener.set_inheritable(False)
        stack.pop_all()
    return listeners


def local_url(listener: socket.socket, scheme: str = "http") -> str:
    """Return a URL that reaches the socket from this machine."""
    host, port = listener.getsockname()[:2]
    if host in {"::", "0.0.0.0"}:  # noqa: S104 -- compared, not bound
        host = "localhost"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: uvicorn would raise the signal again at the end, so the status would not be 0."""
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, *listeners: socket.socket, tls: Callable[[], ssl.SSLContext] | None = None
) -> AsyncIterator[None]:
    """Serve an application on sockets. On exit, scrapes in flight have `GRACE_PERIOD` seconds to finish.

    `tls` returns the context for a new connection; it is called for each.
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
            timeout_graceful_shutdown=GRACE_PERIOD + 1,
        )
    )
    serve_task = asyncio.create_task(server.serve(sockets=[]))
    handshakes: set[asyncio.Task[None]] = set()
    acceptors = [asyncio.create_task(_accept(server, listener, tls, handshakes)) for listener in listeners]
    try:
        yield
    finally:
        for task in (*acceptors, *handshakes):
            task.cancel()
        server.should_exit = True
        abort_timer = asyncio.get_running_loop().call_later(GRACE_PERIOD, _abort, server)
        await serve_task
        abort_timer.cancel()


async def _accept(
    server: uvicorn.Server,
    listener: socket.socket,
    tls: Callable[[], ssl.SSLContext] | None,
    handshakes: set[asyncio.Task[None]],
) -> None:
    """Accept connections. Those that are still being set up (`handshakes`) count towards `MAX_CONNECTIONS`, too.

    The event loop's own servers support only one TLS context and don't count connections before the handshake is done.
    """
    loop = asyncio.get_running_loop()
    listener.settimeout(0)
    with listener:
        while True:
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError:  # out of file descriptors, or the client has disconnected
                await asyncio.sleep(_ACCEPT_RETRY_DELAY)
                continue
            if len(server.server_state.connections) + len(handshakes) >= MAX_CONNECTIONS:
                connection.close()
                continue
            task = asyncio.create_task(_start_connection(server, connection, peer, tls() if tls is not None else None))
            handshakes.add(task)
            task.add_done_callback(handshakes.discard)


async def _start_connection(
    server: uvicorn.Server, connection: socket.socket, peer: Any, context: ssl.SSLContext | None
) -> None:
    timeout = None if context is None else REQUEST_TIMEOUT
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: BoundedProtocol(server.config, server.server_state, {}),
            connection,
            ssl=context,
            ssl_handshake_timeout=timeout,
            ssl_shutdown_timeout=timeout,
        )
    except OSError as error:  # the handshake failed, timed out or was interrupted
        reason = getattr(error, "reason", None) or type(error).__name__
        _log.debug("connection failed", client=peer[0] if peer else "", reason=reason)


def _abort(server: uvicorn.Server) -> None:
    """Close connections whose clients don't read their response, before uvicorn logs them as errors."""
    for connection in tuple(server.server_state.connections):
        connection.transport.abort()


@contextlib.contextmanager
def on_signals(numbers: Iterable[int], callback: Callable[[], None]) -> Iterator[None]:
    """Call `callback` for each of these signals, including signals that arrived while they were blocked."""
    loop, numbers = asyncio.get_running_loop(), tuple(numbers)
    for number in numbers:
        loop.add_signal_handler(number, callback)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
