"""Listening sockets: opened, or inherited from systemd."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from pathlib import Path

from exporter.config.web.addresses import parse_address

_BACKLOG = 1024
_SD_LISTEN_FDS_START = 3
"""The first file descriptor that systemd passes."""


_FIRST_UNPRIVILEGED_PORT = 1024

_UNKNOWN_HOST = "unknown host name: check it or write an IP address"
_TCP_PROBLEMS = {
    errno.EADDRINUSE: "address already in use: stop the other program or choose another port",
    errno.EADDRNOTAVAIL: "this machine does not have this address: write another one, or :{port} for all addresses",
    errno.EAFNOSUPPORT: "this machine has no IPv6: write an IPv4 address, or :{port} for all addresses",
    errno.EINVAL: "a link-local address needs the name of an interface: write [{host}%INTERFACE]:{port}",
}
_PATH_PROBLEMS = {
    errno.EADDRINUSE: "another program listens on this path: stop it or choose another path",
    errno.EACCES: "permission denied: run as a user who may write to {folder}, or choose another path",
    errno.EPERM: "permission denied: run as a user who may write to {folder}, or choose another path",
    errno.EROFS: "{folder} is read-only: choose another path",
    errno.ENOENT: "the directory {folder} does not exist: create it or choose another path",
    errno.ENOTDIR: "{folder} is not a directory: choose another path",
    errno.EEXIST: "this path exists and is not a socket: remove it or choose another path",
    errno.ENAMETOOLONG: "the path is too long: choose one of at most 107 bytes",
}


class ListenError(OSError):
    """An address that can't be bound. The message says why and what to do."""


def listen(address: str) -> socket.socket:
    """Return a socket that listens on `HOST:PORT` or `unix:///PATH`.

    Without a host, it listens on all IPv4 and IPv6 addresses.

    Raises `ListenError` if the address can't be bound.
    """
    parsed = parse_address(address)
    try:
        return _PathListener(parsed) if isinstance(parsed, Path) else _listen_on_port(*parsed)
    except UnicodeError:  # Python can't encode the host name
        problem = _UNKNOWN_HOST
    except OSError as error:
        problem = _path_problem(error, parsed) if isinstance(parsed, Path) else _port_problem(error, *parsed)
    raise ListenError(problem)


def _listen_on_port(host: str, port: int) -> socket.socket:
    if not host:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=_BACKLOG)
    family, _, _, _, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(resolved, family=family, backlog=_BACKLOG)


def _port_problem(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror):
        _, _, interface = host.partition("%")
        return f"this machine has no network interface {interface}" if interface else _UNKNOWN_HOST
    if error.errno == errno.EACCES and port < _FIRST_UNPRIVILEGED_PORT:
        return "permission denied: choose a port above 1023, or grant the capability CAP_NET_BIND_SERVICE"
    problem = _TCP_PROBLEMS.get(error.errno or 0)
    return problem.format(host=host, port=port) if problem else error.strerror or type(error).__name__


def _path_problem(error: OSError, path: Path) -> str:
    number = error.errno or errno.ENAMETOOLONG  # Python checks the length itself, and sets no number
    problem = _PATH_PROBLEMS.get(number)
    return problem.format(folder=path.parent) if problem else os.strerror(number)


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

    Raises `ListenError` for anything that does not accept connections.
    """
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    count = os.environ.pop("LISTEN_FDS", "0")
    if not re.fullmatch(r"[0-9]{1,6}", count):
        raise ListenError(f"the variable LISTEN_FDS is {count!r}, not a number: start the exporter with a socket unit")
    numbers = range(_SD_LISTEN_FDS_START, _SD_LISTEN_FDS_START + int(count))
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(_inherit(number)) for number in numbers]
        stack.pop_all()
    return listeners


def _inherit(number: int) -> socket.socket:
    """Return the socket with this file descriptor. Raises `ListenError`."""
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.socket(fileno=number))
            is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            raise ListenError(f"file descriptor {number} is not a socket; use only ListenStream= in the unit") from None
        if not is_listening:
            raise ListenError("systemd passed a socket that does not listen; use ListenStream= and Accept=no")
        listener.set_inheritable(False)
        stack.pop_all()
    return listener


def local_url(listener: socket.socket, scheme: str = "http") -> str:
    """Return a URL that reaches the socket from this machine."""
    host, port = listener.getsockname()[:2]
    if host in {"::", "0.0.0.0"}:  # noqa: S104 -- compared, not bound
        host = "localhost"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
