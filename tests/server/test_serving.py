import asyncio
import errno
import socket

import httpx
import pytest
import structlog
from raw_clients import HELLO, REQUEST, Incidents, read_until_closed, serve
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter.server import serving
from exporter.server.incidents import ConnectionClosed
from exporter.server.listeners import listen, local_url


async def test_shutdown_waits_for_requests_in_flight():
    """A graceful shutdown waits for the responses to requests in flight."""
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(_):
        started.set()
        await release.wait()
        return PlainTextResponse("done")

    listener = listen("127.0.0.1:0")
    url = local_url(listener)
    async with httpx.AsyncClient() as client, asyncio.timeout(20):
        async with serving.serving(Starlette(routes=[Route("/", slow)]), listener):
            response = asyncio.create_task(client.get(url))
            await started.wait()
            asyncio.get_running_loop().call_later(0.2, release.set)
        assert (await response).text == "done"
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


LOOPS = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)


@LOOPS
async def test_several_sockets_are_served(tmp_path):
    """One application is served on several sockets. They are all closed at shutdown."""
    path = tmp_path / "telnyx.sock"
    listeners = [listen("127.0.0.1:0"), listen("[::1]:0"), listen(f"unix://{path}")]
    urls = [local_url(listener) for listener in listeners[:2]]
    async with asyncio.timeout(20):
        async with (
            serving.serving(HELLO, *listeners),
            httpx.AsyncClient() as client,
            httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as local,
        ):
            assert [(await client.get(url)).text for url in urls] == ["hello over http"] * 2
            assert (await local.get("http://exporter/")).text == "hello over http"
        assert not path.exists()
        assert [listener.fileno() for listener in listeners] == [-1, -1, -1]


async def test_idle_connections_make_room(monkeypatch):
    """At the connection limit, the longest idle connection is closed for a new one, which is served."""
    monkeypatch.setattr(serving, "connection_limit", lambda: 4)
    incidents = Incidents()
    async with serve(incidents=incidents) as connect:
        clients = [await connect() for _ in range(4)]
        for reader, writer in clients:
            writer.write(REQUEST)
            await reader.readuntil(b"hello over http")
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello over http")
        assert await read_until_closed(clients[0][0]) == b""
        assert incidents == [(ConnectionClosed.CONNECTION_LIMIT, "127.0.0.1", "")]
        for reader, writer in clients[1:]:
            writer.write(REQUEST)
            await reader.readuntil(b"hello over http")


async def test_one_client_does_not_make_another_lose_its_connections(monkeypatch):
    """A client with many connections loses its own at the limit, not the idle one of another client."""
    monkeypatch.setattr(serving, "connection_limit", lambda: 4)
    async with serve() as connect:
        prometheus, prometheus_writer = await connect("127.0.0.2")
        prometheus_writer.write(REQUEST)
        await prometheus.readuntil(b"hello over http")
        for _ in range(20):
            reader, writer = await connect("127.0.0.3")
            writer.write(REQUEST)
            await reader.readuntil(b"hello over http")
        prometheus_writer.write(REQUEST)
        await prometheus.readuntil(b"hello over http")


async def test_missing_file_descriptors_make_room(monkeypatch):
    """Without a file descriptor for a new connection, the longest idle connection is closed, and the new one served."""
    original_accept, errors = socket.socket.accept, [OSError(errno.ECONNABORTED, "")]

    def accept(listener):
        if errors:
            raise errors.pop()
        return original_accept(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)
    incidents = Incidents()
    async with serve(incidents=incidents) as connect:
        silent, silent_writer = await connect()
        silent_writer.write(REQUEST)
        await silent.readuntil(b"hello over http")
        errors.append(OSError(errno.EMFILE, "Too many open files"))
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello over http")
        assert await read_until_closed(silent) == b""
    assert incidents == [(ConnectionClosed.FILE_DESCRIPTORS, "127.0.0.1", "")]


@LOOPS
async def test_many_connections_are_accepted(monkeypatch):
    """More connections than are accepted at once are all served."""
    monkeypatch.setattr(serving, "_MAX_ACCEPTS", 3)
    async with serve() as connect:
        for reader, writer in await asyncio.gather(*(connect() for _ in range(10))):
            writer.write(REQUEST)
            await reader.readuntil(b"hello over http")


@pytest.fixture
def intercept_connections(monkeypatch):
    """Return a function that wraps the coroutine with which the event loop of the next server accepts connections."""

    def intercept(wrap):
        loop = asyncio.get_running_loop()

        class Loop:
            connect_accepted_socket = staticmethod(wrap(loop.connect_accepted_socket))

            def __getattr__(self, name):
                return getattr(loop, name)

        monkeypatch.setattr(asyncio, "get_running_loop", Loop)
        return monkeypatch.undo

    return intercept


@LOOPS
async def test_a_connection_that_is_lost_while_it_is_accepted(intercept_connections):
    """A client that disconnects while its connection is accepted does not disturb the others."""
    errors = [ConnectionResetError()]

    def wrap(connect_accepted_socket):
        async def connect(*arguments):
            if errors:
                raise errors.pop()
            return await connect_accepted_socket(*arguments)

        return connect

    restore = intercept_connections(wrap)
    async with serve() as connect:
        restore()
        lost, _ = await connect()
        assert await read_until_closed(lost) == b""
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello over http")


@LOOPS
async def test_shutdown_waits_for_connections_that_are_being_accepted(intercept_connections):
    """A connection that is being accepted at shutdown is accepted before the server stops. Then it can be closed."""
    accepting, accepted = asyncio.Event(), asyncio.Event()

    def wrap(connect_accepted_socket):
        async def connect(*arguments):
            accepting.set()
            await asyncio.sleep(0.1)
            await connect_accepted_socket(*arguments)
            accepted.set()

        return connect

    restore = intercept_connections(wrap)
    async with serve() as connect:
        restore()
        await connect()
        await accepting.wait()
    assert accepted.is_set()


async def test_an_error_that_stays_does_not_block_the_server(monkeypatch):
    """While the system can't accept connections, the event loop stays free. The log shows the reason once."""
    original_accept, attempts, recovered = socket.socket.accept, [], asyncio.Event()

    def accept(listener):
        if not recovered.is_set() and len(attempts) < 10_000:
            attempts.append(1)
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return original_accept(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with structlog.testing.capture_logs() as logs:
        async with serve() as connect:
            asyncio.get_running_loop().call_later(0.1, recovered.set)
            reader, writer = await connect()
            writer.write(REQUEST)
            await reader.readuntil(b"hello over http")
    assert len(attempts) < 100
    assert [log["reason"] for log in logs] == ["[Errno 12] Cannot allocate memory"]


async def test_shutdown_waits_no_longer_than_the_grace_period(monkeypatch):
    """A client that never reads its response doesn't prevent the exporter from stopping."""
    monkeypatch.setattr(serving, "GRACE_PERIOD", 0.2)

    async def large(_):
        return PlainTextResponse("x" * 50_000_000)

    listener = listen("127.0.0.1:0")
    address = listener.getsockname()
    async with asyncio.timeout(20):
        async with serving.serving(Starlette(routes=[Route("/", large)]), listener):
            _, writer = await asyncio.open_connection(*address, limit=1)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.2)  # until the buffers of both sockets are full
    writer.transport.abort()
