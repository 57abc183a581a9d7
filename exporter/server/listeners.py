"""Listening sockets: opened, or inherited from systemd."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from exporter.config.values import parse_address

_BACKLOG = 1024
_SD_LISTEN_FDS_START = 3
"""The first file descriptor that systemd passes."""


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
