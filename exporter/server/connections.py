"""Limits on the number of connections. At a limit, the client with the most connections loses one."""

from __future__ import annotations

import ipaddress
import resource
from typing import TYPE_CHECKING, Protocol

from exporter.server.incidents import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_CONNECTIONS = 512
"""Maximum number of concurrent connections."""
MAX_UNREAD = 64
"""Maximum number of connections whose client reads slowly, each with up to 0.3 MiB of its response in memory."""
_NEW_SHARE = 0.25
"""New connections, which have sent no complete request yet, are spared up to this share of a client's connections."""
_IPV6_NETWORK_BITS = 64
"""Size of the network that one IPv6 client usually has to itself."""


class Connection(Protocol):
    """A connection, as the choice of the one to close needs it."""

    network: str
    """The network of the client, see `client_network`."""
    idle_since: float
    """When the last complete request arrived, or when the connection was opened."""

    @property
    def is_new(self) -> bool:
        """Whether no complete request has arrived yet."""

    @property
    def is_busy(self) -> bool:
        """Whether the client is waiting for the exporter, not the exporter for the client."""

    def close_now(self, reason: ConnectionClosed) -> None:
        """Close the connection without finishing a response."""


class ConnectionLimit:
    """Holds at most `limit` connections. Adding one more closes another one, with this reason.

    The client with the most connections loses one: the one that has been idle longest. If more than `_NEW_SHARE` of its
    connections are new, it is one of them, and otherwise one of the others.
    """

    def __init__(self, limit: int, reason: ConnectionClosed) -> None:
        self._limit = limit
        self._reason = reason
        self._by_network: dict[str, list[Connection]] = {}

    def add(self, connection: Connection) -> None:
        """Add a connection, and close another one if there are too many."""
        if sum(map(len, self._by_network.values())) >= self._limit:
            self.make_room(self._reason)
        self._by_network.setdefault(connection.network, []).append(connection)

    def discard(self, connection: Connection) -> None:
        """Remove a connection, unless it has been removed already."""
        connections = self._by_network.get(connection.network, [])
        if connection in connections:
            connections.remove(connection)
        if not connections:
            self._by_network.pop(connection.network, None)

    def make_room(self, reason: ConnectionClosed) -> None:
        """Close one connection, if there is any."""
        most = max(map(len, self._by_network.values()), default=0)
        candidates = [each for group in self._by_network.values() if len(group) == most for each in group]
        if candidates:
            connection = _longest_idle(candidates)
            self.discard(connection)
            connection.close_now(reason)


class Limits:
    """The limits on the connections of a server."""

    def __init__(self, max_connections: int) -> None:
        self.open = ConnectionLimit(max_connections, ConnectionClosed.CONNECTION_LIMIT)
        self.unread = ConnectionLimit(MAX_UNREAD, ConnectionClosed.UNREAD_LIMIT)
        """The connections whose client reads more slowly than the exporter writes."""


def _longest_idle(connections: Sequence[Connection]) -> Connection:
    """Return the connection to close, see `ConnectionLimit`."""
    new = [connection for connection in connections if connection.is_new]
    used = [connection for connection in connections if not connection.is_new]
    # A client that holds many idle connections must not make another client lose the one that it just opened.
    candidates = new if len(new) > len(connections) * _NEW_SHARE else used
    return min(candidates, key=lambda connection: (connection.is_busy, connection.idle_since))


def client_address(address: str) -> str:
    """Return the address of a client. A socket for IPv4 and IPv6 shows IPv4 clients as `::ffff:192.0.2.1`."""
    return address.removeprefix("::ffff:") if "." in address else address


def client_network(address: str) -> str:
    """Return the network that one client usually has to itself: an IPv4 address, or 64 bits of an IPv6 address.

    Other text, such as the empty address of a Unix socket, is returned unchanged.
    """
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((ip, _IPV6_NETWORK_BITS), strict=False))


def connection_limit() -> int:
    """Return how many connections this process can accept: half of its file descriptors, at most `MAX_CONNECTIONS`."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if descriptors == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, descriptors // 2)
