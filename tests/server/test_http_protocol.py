import asyncio
import contextlib
import gc
import socket
import struct

import pytest
from raw_clients import REQUEST, Incidents, read_until_closed, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter.server import http_protocol as protocol
from exporter.server import serving
from exporter.server.incidents import ConnectionClosed, RequestRefused

SIZE = 50_000_000


async def small(_):
    return PlainTextResponse("hello")


async def large(_):
    return PlainTextResponse("x" * SIZE)


async def upload(request: Request):
    return PlainTextResponse(str(len(await request.body())))


APP = Starlette(routes=[Route("/", small), Route("/large", large), Route("/take", upload, methods=["POST"])])


async def request_status_line(connect, request=REQUEST):
    reader, writer = await connect()
    writer.write(request)
    return await reader.readuntil(b"\r\n")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhos"], ids=["silence", "half a request"])
async def test_a_slow_request_is_aborted(monkeypatch, sent):
    """A connection whose request doesn't arrive in time is closed. Meanwhile, other clients are served."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.2)
    incidents = Incidents()
    async with serve(APP, incidents=incidents) as connect:
        reader, writer = await connect()
        writer.write(sent)
        assert await request_status_line(connect) == b"HTTP/1.1 200 OK\r\n"
        await read_until_closed(reader)
    assert incidents == [(ConnectionClosed.REQUEST_TIMEOUT, "127.0.0.1", "")]


async def test_a_slow_second_request_is_aborted(monkeypatch):
    """The request timeout applies to every request of a connection."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.2)
    async with serve(APP) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
        writer.write(b"GET / HT")
        await read_until_closed(reader)


async def test_a_slow_pipelined_request_is_aborted(monkeypatch):
    """The request timeout applies even if the beginning of the request arrives together with the request before it."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.2)
    async with serve(APP) as connect:
        reader, writer = await connect()
        writer.write(REQUEST + b"GET / HT")
        assert (await read_until_closed(reader)).endswith(b"hello")


async def test_an_empty_line_does_not_begin_a_request(monkeypatch):
    """A client that sends an empty line after its request, as RFC 9112 allows, gets a response that takes long."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.2)
    started = asyncio.Event()

    async def app(scope, receive, send):
        started.set()
        await asyncio.sleep(0.5)
        await PlainTextResponse("hello")(scope, receive, send)

    async with serve(app) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await started.wait()
        writer.write(b"\r\n")
        await reader.readuntil(b"hello")


async def test_empty_lines_do_not_keep_a_connection_open(monkeypatch):
    """A client that sends empty lines instead of a request is disconnected."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.2)
    async with serve(APP) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
        writer.write(b"\r\n")
        assert await read_until_closed(reader) == b""


async def test_the_request_timeout_does_not_run_between_requests(monkeypatch):
    """A connection can be idle between requests for longer than the request timeout."""
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 0.1)
    async with serve(APP) as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(REQUEST)
            await reader.readuntil(b"hello")
            await asyncio.sleep(0.3)
        assert not reader.at_eof()


async def test_a_connection_is_closed_eventually_after_a_late_body(monkeypatch):
    """A connection is closed when it is idle, even if the body of its last request arrived after the response."""
    monkeypatch.setattr(serving, "KEEP_ALIVE", 0.1)
    async with serve(APP) as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nMethod Not Allowed")
        writer.write(b"hello")
        assert await read_until_closed(reader) == b""


async def test_an_idle_connection_is_closed_eventually(monkeypatch):
    """A connection that is idle for longer than the keep-alive timeout is closed."""
    monkeypatch.setattr(serving, "KEEP_ALIVE", 0.1)
    async with serve(APP) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await read_until_closed(reader)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000, id="header"),
        pytest.param(b"GET /" + b"x" * 70_000, id="URL"),
        pytest.param(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n" + b"x" * 70_000, id="body"),
    ],
)
async def test_an_oversized_request_is_rejected(request_):
    """A request that exceeds the size limit is rejected."""
    incidents = Incidents()
    async with serve(APP, incidents=incidents) as connect:
        assert await request_status_line(connect, request_) == b"HTTP/1.1 400 Bad Request\r\n"
    assert incidents == [(RequestRefused.TOO_LARGE, "127.0.0.1", "")]


async def test_the_size_limit_applies_to_each_request():
    """The size limit applies to each request, not to all requests of a connection together."""
    async with serve(APP) as connect:
        reader, writer = await connect()
        padded = REQUEST[:-2] + b"x: " + b"x" * 10_000 + b"\r\n\r\n"
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
        try:
            await send({"type": "http.response.body"})  # waits until the client has read most of it or is disconnected
        finally:
            app_finished.set()

    incidents = Incidents()
    async with serve(app, incidents=incidents) as connect:
        reader, writer = await connect()
        writer.write(REQUEST)
        await app_finished.wait()
        assert len(await read_until_closed(reader)) < SIZE
    assert incidents == [(ConnectionClosed.SEND_TIMEOUT, "127.0.0.1", "")]


PIECE = 2**20


def pieces(count, size=PIECE):
    """Return an application whose response has this many pieces of this size."""

    async def app(scope, receive, send):
        length = str(count * size).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for _ in range(count):
            await send({"type": "http.response.body", "body": bytes(size), "more_body": True})
        await send({"type": "http.response.body"})

    return app


async def test_the_send_timeout_applies_to_the_whole_response(monkeypatch):
    """A client that reads a response of many pieces too slowly is disconnected, however often it reads a little."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 1.0)
    async with serve(pieces(1000)) as connect:
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
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 2.0)
    request = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serve(APP) as connect:
        reader, writer = await connect()
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(SIZE)
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2.5)
        assert len(await read_until_closed(reader)) < SIZE


async def test_the_send_timeout_ends_with_the_response(monkeypatch):
    """A client that has read its response can be idle, and send further requests, for longer than the send timeout."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.5)
    async with serve(pieces(2)) as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2 * PIECE)
            await asyncio.sleep(0.6)


async def test_the_send_timeout_applies_to_the_last_bytes(monkeypatch):
    """A client that does not read the end of the last response is disconnected, although it fits into the buffers."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.2)
    incidents = Incidents()
    async with serve(pieces(1, size=120_000), incidents=incidents) as connect:
        _, writer = await connect()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(writer.get_extra_info("peername"))
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            await incidents.occurred.wait()
    assert incidents == [(ConnectionClosed.SEND_TIMEOUT, "127.0.0.1", "")]


async def test_a_client_that_reads_gets_the_whole_response(monkeypatch):
    """A large response arrives completely."""
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 10.0)
    async with serve(APP) as connect:
        reader, writer = await connect()
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        received = 0
        while piece := await reader.read(2**20):
            received += len(piece)
        assert received > SIZE


# Half-closed connections


@pytest.mark.parametrize("count", [1, 3])
async def test_a_half_closed_connection_gets_its_responses(count):
    """A client that ends its side after one request, or several pipelined ones, gets all responses completely."""
    async with serve(pieces(3)) as connect:
        reader, writer = await connect()
        writer.write(REQUEST * count)
        writer.write_eof()
        received = await read_until_closed(reader)
    assert received.count(b"HTTP/1.1 200 OK") == count
    assert len(received) > count * 3 * PIECE


@pytest.mark.parametrize("sent", [b"", b"GET / HT", REQUEST[:-2]], ids=["nothing", "half a line", "half a head"])
async def test_a_half_closed_connection_without_a_request_is_closed(sent):
    """A client that ends its side without a complete request is disconnected at once."""
    async with serve(APP) as connect:
        reader, writer = await connect()
        writer.write(sent)
        writer.write_eof()
        assert await read_until_closed(reader) == b""


async def test_a_half_closed_body_gets_its_response():
    """A client that ends its side within the body of a request gets the response, if the application sends one."""
    async with serve(pieces(1)) as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf")
        writer.write_eof()
        assert (await read_until_closed(reader)).startswith(b"HTTP/1.1 200 OK")


# Invalid requests


def with_hosts(*hosts, version="1.1"):
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    return f"GET / HTTP/{version}\r\n{lines}\r\n".encode("latin-1")


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(with_hosts(), id="none"),
        pytest.param(with_hosts("a", "a"), id="two"),
        pytest.param(with_hosts("a", "a", version="1.0"), id="two, HTTP/1.0"),
        *(
            pytest.param(with_hosts(host), id=host)
            for host in ("[", "[::1", "a b", "a/b", "u@a", "a:b", "a:1:2", "\xe9")
        ),
    ],
)
async def test_an_invalid_host_is_rejected(request_):
    """A request without exactly one valid Host header is invalid, see RFC 9112, section 3.2."""
    incidents = Incidents()
    async with serve(APP, incidents=incidents) as connect:
        reader, writer = await connect()
        writer.write(request_)
        received = await read_until_closed(reader)
    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\ndate: ")
    assert incidents == [(RequestRefused.INVALID, "127.0.0.1", "")]


@pytest.mark.parametrize(
    "host", ["", "a", "a.example:10142", "a:", "10.0.0.1:1", "[::1]:1", "[fe80::1%25eth0]", "a_b", "%41"]
)
async def test_a_valid_host_is_accepted(host):
    """A Host header can have a name, an IPv4 or IPv6 address, and a port, or be empty."""
    async with serve(APP) as connect:
        assert await request_status_line(connect, with_hosts(host)) == b"HTTP/1.1 200 OK\r\n"


async def test_http_1_0_needs_no_host():
    """A request with HTTP/1.0 needs no Host header."""
    async with serve(APP) as connect:
        assert await request_status_line(connect, with_hosts(version="1.0")) == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("invalid", [b"nonsense\r\n\r\n", with_hosts(), b"x" * 70_000], ids=["noise", "host", "size"])
async def test_an_invalid_request_waits_for_the_responses_before_it(invalid):
    """A client that sends an invalid request after valid ones gets their responses, then status 400."""
    async with serve(pieces(3)) as connect:
        reader, writer = await connect()
        writer.write(REQUEST * 2)
        await reader.readuntil(b"HTTP/1.1 ")
        writer.write(invalid)
        received = await read_until_closed(reader)
    assert [response[:3] for response in received.split(b"HTTP/1.1 ")] == [b"200", b"200", b"400"]
    assert len(received) > 6 * PIECE


async def test_nothing_is_read_after_an_invalid_request():
    """Data after an invalid request is ignored. The client still gets the responses to its previous requests."""
    async with serve(pieces(30)) as connect:
        reader, writer = await connect()
        for sent in (REQUEST, b"nonsense\r\n\r\n", REQUEST):
            writer.write(sent)
            await asyncio.sleep(0.1)
        received = await read_until_closed(reader)
    assert received.count(b"HTTP/1.1 ") == 2
    assert received.endswith(b"Invalid HTTP request received.\n")


async def test_an_invalid_body_gets_no_second_response():
    """A request whose body is invalid gets one response, and the connection is closed."""
    async with serve(pieces(3)) as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        assert (await read_until_closed(reader)).count(b"HTTP/1.1 ") == 1


async def test_headers_are_limited():
    """A request with too many headers is invalid, because each takes far more memory than its bytes."""
    async with serve(APP) as connect:
        for count, status in ((100, b"200"), (protocol.MAX_HEADERS + 1, b"400")):
            head = b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * (count - 1) + b"\r\n"
            assert (await request_status_line(connect, head))[9:12] == status


@pytest.mark.parametrize(("more", "incidents"), [(0, []), (1, [(RequestRefused.INVALID, "127.0.0.1", "")])])
async def test_pieces_of_a_body_are_limited(more, incidents):
    """A request with too many chunks in its body is invalid, because each takes time."""
    chunks = b"1\r\nx\r\n" * (protocol.MAX_BODY_PIECES + more) + b"0\r\n\r\n"
    recorded = Incidents()
    async with serve(APP, incidents=recorded) as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
        await reader.readuntil(b"Method Not Allowed")
    assert recorded == incidents


async def test_pipelined_requests_are_limited():
    """A client that pipelines too many requests gets status 400 after the responses to the first ones."""
    async with serve(APP) as connect:
        reader, writer = await connect()
        writer.write(REQUEST * (protocol.MAX_PIPELINED + 10))
        received = await read_until_closed(reader)
    assert received.count(b"HTTP/1.1 200 OK") == protocol.MAX_PIPELINED + 1
    assert received.count(b"HTTP/1.1 400 Bad Request") == 1


# Disconnected clients


def reset(writer):
    """Reset a connection. If a client only closes it, the server can't know that it does not wait for a response."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_response_ends_when_its_client_disconnects(caplog):
    """If a client disconnects, the application stops creating its response. Pipelined requests are dropped silently."""
    started, ended, sent = asyncio.Event(), asyncio.Event(), []

    async def app(scope, receive, send):
        length = str(1000 * PIECE).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        started.set()
        try:
            for _ in range(1000):
                await send({"type": "http.response.body", "body": bytes(PIECE), "more_body": True})
                sent.append(1)
        finally:
            ended.set()

    async with serve(app) as connect:
        _, writer = await connect()
        writer.write(REQUEST * 3)
        await started.wait()
        writer.transport.abort()
        await ended.wait()
    assert len(sent) < 1000
    assert not caplog.records


async def test_a_request_is_cancelled_when_its_client_disconnects(caplog):
    """If a client disconnects before the application answers, the application is cancelled."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def app(_scope, _receive, _send):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serve(app) as connect:
        _, writer = await connect()
        writer.write(REQUEST)
        await started.wait()
        reset(writer)
        await cancelled.wait()
    assert not caplog.records


async def test_a_connection_that_was_reset_is_freed():
    """Nothing of a connection stays in memory after the client has reset it."""
    async with serve(APP) as connect:
        for _ in range(10):
            reader, writer = await connect()
            writer.write(REQUEST)
            await reader.readuntil(b"hello")
            reset(writer)
        await request_status_line(connect)
        gc.collect()
        assert sum(isinstance(each, protocol.BoundedProtocol) for each in gc.get_objects()) <= 2


async def test_slow_readers_are_limited(monkeypatch):
    """If too many clients read slowly, the one that has done so for the longest time is disconnected."""
    monkeypatch.setattr("exporter.server.connections.MAX_UNREAD", 2)
    incidents = Incidents()
    async with serve(pieces(30), incidents=incidents) as connect:
        clients = []
        for _ in range(3):
            clients.append(await connect())
            clients[-1][1].write(REQUEST)
            await clients[-1][0].readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.1)
        first, second, third = [await read_at_most(30 * PIECE, reader) for reader, _ in clients]
    assert first < second == third == 30 * PIECE
    assert incidents == [(ConnectionClosed.UNREAD_LIMIT, "127.0.0.1", "")]


async def read_at_most(size, reader):
    """Read this many bytes, or until the connection is closed, and return the number."""
    received = 0
    with contextlib.suppress(ConnectionResetError):
        while received < size and (piece := await reader.read(2**20)):
            received += len(piece)
    return received
