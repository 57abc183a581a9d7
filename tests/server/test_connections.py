import resource

import pytest

from exporter.server.connections import ConnectionLimit, client_address, client_network, connection_limit
from exporter.server.incidents import ConnectionClosed

LIMIT = 8


class Connection:
    """A connection that records why it was closed."""

    def __init__(self, idle_since, *, network="a", is_new=False, is_busy=False):
        self.idle_since = idle_since
        self.network = network
        self.is_new = is_new
        self.is_busy = is_busy
        self.closed = None

    def close_now(self, reason):
        """Record the reason."""
        self.closed = reason


def closed_by_one_more(*connections, network="a"):
    """Fill the limit with these connections, add one more, and return the one that is closed for it."""
    limit = ConnectionLimit(len(connections), ConnectionClosed.CONNECTION_LIMIT)
    for connection in connections:
        limit.add(connection)
    assert not [connection for connection in connections if connection.closed]
    limit.add(added := Connection(99, network=network, is_new=True))
    (closed,) = [each for each in (*connections, added) if each.closed]
    assert closed.closed is ConnectionClosed.CONNECTION_LIMIT
    return closed


def test_the_longest_idle_connection_is_closed():
    """At the limit, the connection that has been idle longest is closed for a new one."""
    connections = [Connection(since) for since in (4, 2, 3)]
    assert closed_by_one_more(*connections) is connections[1]


def test_connections_without_a_request_are_closed_first():
    """A connection without a complete request is closed before one with a request, even if that is idle longer."""
    connections = [Connection(1), Connection(2), Connection(4, is_new=True), Connection(3, is_new=True)]
    assert closed_by_one_more(*connections) is connections[3]


def test_few_connections_without_a_request_are_spared():
    """If most connections are idle after a request, one that has just been opened is not closed."""
    connections = [Connection(0, is_new=True), *(Connection(since) for since in (4, 2, 3))]
    assert closed_by_one_more(*connections) is connections[2]


def test_busy_connections_are_closed_last():
    """A connection whose client waits for a response is closed only if there is no other."""
    assert closed_by_one_more(Connection(1, is_busy=True), other := Connection(2)) is other
    assert closed_by_one_more(first := Connection(1, is_busy=True), Connection(2, is_busy=True)) is first


def test_only_new_connections():
    """If all connections are new, the oldest one is closed."""
    assert closed_by_one_more(first := Connection(1, is_new=True)) is first


@pytest.mark.parametrize("network", ["a", "b", "c"])
def test_the_client_with_the_most_connections_loses_one(network):
    """At the limit, the client with the most connections loses one, even if another client opens the new one."""
    connections = [Connection(1, network="a"), Connection(3, network="b"), Connection(2, network="b")]
    assert closed_by_one_more(*connections, network=network) is connections[2]


def test_clients_with_equally_many_connections():
    """If several clients have the most connections, the longest idle one of all of them is closed."""
    connections = [Connection(3, network="a"), Connection(2, network="b"), Connection(4, network="c")]
    assert closed_by_one_more(*connections, network="d") is connections[1]


def test_closed_connections_do_not_count():
    """A connection that is removed, once or twice, makes room for one other."""
    limit = ConnectionLimit(1, ConnectionClosed.CONNECTION_LIMIT)
    limit.add(first := Connection(1))
    limit.discard(first)
    limit.discard(first)
    limit.add(second := Connection(2))
    assert not first.closed
    assert not second.closed
    limit.add(Connection(3))
    assert second.closed


def test_making_room_without_connections():
    """Without connections, there is none to close."""
    limit = ConnectionLimit(1, ConnectionClosed.CONNECTION_LIMIT)
    limit.make_room(ConnectionClosed.FILE_DESCRIPTORS)
    limit.add(connection := Connection(1))
    limit.make_room(ConnectionClosed.FILE_DESCRIPTORS)
    assert connection.closed is ConnectionClosed.FILE_DESCRIPTORS


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_client_network(address, network):
    """An IPv4 client is one address. An IPv6 client has 64 bits of addresses to itself."""
    assert client_network(address) == network


@pytest.mark.parametrize(
    ("address", "expected"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("::ffff:0:0:1", "::ffff:0:0:1"), ("", "")],
)
def test_client_address(address, expected):
    """An IPv4 client has its IPv4 address, also on a socket for IPv4 and IPv6."""
    assert client_address(address) == expected


@pytest.mark.parametrize(
    ("descriptors", "limit"), [(256, 128), (1024, 512), (65536, 512), (resource.RLIM_INFINITY, 512)]
)
def test_connection_limit(monkeypatch, descriptors, limit):
    """Connections use at most half of the file descriptors, so that the rest suffices for everything else."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert connection_limit() == limit
