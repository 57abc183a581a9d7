import asyncio
import contextlib

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter.web import http_protocol as protocol
from exporter.web import server

SIZE = 50_000_000
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def small(_):
    return PlainTextResponse("hello")


async def large(_):
    return PlainTextResponse("x" * SIZE)


async def upload(request: Request):
    return PlainTextResponse(str(len(await request.body())))


APP = Starlette(routes=[Route("/", small), Route("/large", large), Route("/take", upload, methods=["POST"])])


@contextlib.asynccontextmanager
async def serving(app=APP):
    """Serve an app and yield a function that opens connections."""
    listener = server.listen("127.0.0.1:0")
    address = listener.getsockname()
    writers = []

    async def connect():
        reader, writer = await asyncio.open_connection(*address, limit=2**18)
        writers.append(writer)
        return reader, writer

    async with asyncio.timeout(20), server.serving(app, listener):
        yield connect
        for writer in writers:
            writer.transport.abort()


async def read_until_closed(reader):
    """Read until the connection is closed or reset."""
    with contextlib.suppress(ConnectionResetError):
        while await reader.read(2**20):
            pass


async def request_status_line(connect, request=REQUEST):
    reader, writer = await connect()
    writer.write(request)
    return await reader.readuntil(b"\r\n")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhos"], ids=["silence", "half a request"])
async def test_a_slow_request_is_aborted(monkeypatch, sent):
    """A connection whose request doesn't arrive in time is closed. Meanwhile, other clients are served."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.2)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(sent)
        assert await request_status_line(connect) == b"HTTP/1.1 200 OK\r\n"
        await read_until_closed(reader)


async def test_a_slow_second_request_is_aborted(monkeypatch):
    """The request timeout applies to every request of a connection."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.2)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
        writer.write(b"GET / HT")
        await read_until_closed(reader)


async def test_the_request_timeout_does_not_run_between_requests(monkeypatch):
    """A connection can be idle between requests for longer than the request timeout."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.1)
    async with serving() as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(REQUEST)
            await reader.readuntil(b"hello")
            await asyncio.sleep(0.3)
        assert not reader.at_eof()


async def test_an_idle_connection_is_closed_eventually(monkeypatch):
    """A connection that is idle for longer than the keep-alive timeout is closed."""
    monkeypatch.setattr(server, "KEEP_ALIVE", 0.1)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await read_until_closed(reader)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000, id="header"),
        pytest.param(b"GET /" + b"x" * 70_000, id="URL"),
        pytest.param(b"POST /take HTTP/1.1\r\ncontent-length: 70000\r\n\r\n" + b"x" * 70_000, id="body"),
    ],
)
async def test_an_oversized_request_is_rejected(request_):
    """A request that exceeds the size limit is rejected."""
    async with serving() as connect:
        assert await request_status_line(connect, request_) == b"HTTP/1.1 400 Bad Request\r\n"


async def test_the_size_limit_applies_to_each_request():
    """The size limit applies to each request, not to all requests of a connection together."""
    async with serving() as connect:
        reader, writer = await connect()
        padded = REQUEST[:-2] + b"x: " + b"x" * 20_000 + b"\r\n\r\n"
        for _ in range(5):
            writer.write(padded)
            await reader.readuntil(b"hello")


async def test_a_client_that_does_not_read_is_disconnected(monkeypatch):
    """A client that doesn't read its response in time is disconnected, and the rest of the response is dropped."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.3)
    app_finished = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(SIZE), "more_body": True})
        await send({"type": "http.response.body"})  # waits until the client has read most of it or is disconnected
        app_finished.set()

    async with serving(app) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await app_finished.wait()
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(2**20):
                received += len(piece)
        assert received < SIZE


PIECE = 2**20


def pieces(count):
    """Return an application whose response has this many pieces."""

    async def app(scope, receive, send):
        length = str(count * PIECE).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for _ in range(count):
            await send({"type": "http.response.body", "body": bytes(PIECE), "more_body": True})
        await send({"type": "http.response.body"})

    return app


async def test_the_send_timeout_applies_to_the_whole_response(monkeypatch):
    """A client that reads a response of many pieces too slowly is disconnected, however often it reads a little."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.5)
    async with serving(pieces(1000)) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(2**18):
                received += len(piece)
                await asyncio.sleep(0.02)  # each piece is read in time
        assert 2**20 < received < 1000 * PIECE


async def test_the_send_timeout_applies_to_each_response(monkeypatch):
    """A client that read its first response but not the second is disconnected, although all of it was written."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.5)
    request = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(SIZE)
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(1.0)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(2**20):
                received += len(piece)
        assert received < SIZE


async def test_the_send_timeout_ends_with_the_response(monkeypatch):
    """A client that has read its response can be idle, and send further requests, for longer than the send timeout."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.5)
    async with serving(pieces(100)) as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(100 * PIECE)
            await asyncio.sleep(0.6)


async def test_a_client_that_reads_gets_the_whole_response(monkeypatch):
    """A large response arrives completely."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 10.0)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        received = 0
        while piece := await reader.read(2**20):
            received += len(piece)
        assert received > SIZE


async def test_the_number_of_connections_is_limited(monkeypatch):
    """A connection over the limit is closed at once. Existing connections are still served."""
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
        await connect()
        third, _ = await connect()
        await read_until_closed(third)
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
