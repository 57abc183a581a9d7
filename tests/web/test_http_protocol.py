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


async def take(request: Request):
    return PlainTextResponse(str(len(await request.body())))


APP = Starlette(routes=[Route("/", small), Route("/large", large), Route("/take", take, methods=["POST"])])


@contextlib.asynccontextmanager
async def serving(app=APP):
    """Serve, and give a function that opens connections."""
    listener = server.listen("127.0.0.1:0")
    where = listener.getsockname()
    writers = []

    async def connect():
        reader, writer = await asyncio.open_connection(*where, limit=2**18)
        writers.append(writer)
        return reader, writer

    async with asyncio.timeout(20), server.serving(app, listener):
        yield connect
        for writer in writers:
            writer.transport.abort()


async def ended(reader):
    """Read to the end, however it comes."""
    with contextlib.suppress(ConnectionResetError):
        while await reader.read(2**20):
            pass


async def ask(connect, request=REQUEST):
    reader, writer = await connect()
    writer.write(request)
    return await reader.readuntil(b"\r\n")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhos"], ids=["silence", "half a request"])
async def test_a_request_has_to_arrive_in_time(monkeypatch, sent):
    """A connection whose request does not come is ended, and others are served meanwhile."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.2)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(sent)
        assert await ask(connect) == b"HTTP/1.1 200 OK\r\n"
        await ended(reader)


async def test_a_second_half_request_has_no_more_time(monkeypatch):
    """The bound on a request holds for each of a connection."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.2)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
        writer.write(b"GET / HT")
        await ended(reader)


async def test_an_idle_connection_is_kept_between_requests(monkeypatch):
    """The time for a request does not run between two of them."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.1)
    async with serving() as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(REQUEST)
            await reader.readuntil(b"hello")
            await asyncio.sleep(0.3)
        assert not reader.at_eof()


async def test_an_idle_connection_ends(monkeypatch):
    """Nobody keeps a connection for ever."""
    monkeypatch.setattr(server, "KEEP_ALIVE", 0.1)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await ended(reader)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000, id="header"),
        pytest.param(b"GET /" + b"x" * 70_000, id="URL"),
        pytest.param(b"POST /take HTTP/1.1\r\ncontent-length: 70000\r\n\r\n" + b"x" * 70_000, id="body"),
    ],
)
async def test_a_request_has_a_bounded_size(request_):
    """A request over the bound is refused."""
    async with serving() as connect:
        assert await ask(connect, request_) == b"HTTP/1.1 400 Bad Request\r\n"


async def test_the_bound_is_for_each_request():
    """Any number of requests can follow each other on one connection."""
    async with serving() as connect:
        reader, writer = await connect()
        padded = REQUEST[:-2] + b"x: " + b"x" * 20_000 + b"\r\n\r\n"
        for _ in range(5):
            writer.write(padded)
            await reader.readuntil(b"hello")


async def test_an_answer_has_to_be_taken_in_time(monkeypatch):
    """A client that does not read is ended; what waits for it does not stay in memory."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.3)
    let_go = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(SIZE), "more_body": True})
        await send({"type": "http.response.body"})  # which waits until the client has taken most, or is gone
        let_go.set()

    async with serving(app) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await let_go.wait()
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(2**20):
                received += len(piece)
        assert received < SIZE


async def test_a_client_that_reads_gets_all(monkeypatch):
    """A large answer arrives whole."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 10.0)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        received = 0
        while piece := await reader.read(2**20):
            received += len(piece)
        assert received > SIZE


async def test_connections_are_bounded(monkeypatch):
    """One connection too many is ended at once, and those that are there are served."""
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
        await connect()
        third, _ = await connect()
        await ended(third)
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
