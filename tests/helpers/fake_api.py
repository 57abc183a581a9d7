"""A fake Telnyx API, which can also break HTTP in the ways that tests need.

It uses plain sockets, because no web framework sends malformed responses. By default it serves the list of connections
correctly. Tests replace that with other answers, such as those in `FAULTS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from exporter.collectors.collector import ObjectEndpoint
from exporter.collectors.registry import COLLECTORS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

ECHO = b"{authorization}"
"""A placeholder for the `Authorization` header of the request, which hostile proxies repeat in their responses."""

PATIENCE = 20.0
"""Seconds that an exchange may take on a busy machine."""

PATH = "/v2/credential_connections"
OBJECTS = {f"/v2{each.endpoint.path}" for each in COLLECTORS if isinstance(each.endpoint, ObjectEndpoint)}
"""The paths of objects."""


def connection(number: int, **fields: Any) -> dict[str, Any]:
    """Return a small row of the list of connections."""
    return {
        "id": f"{number}",
        "record_type": "credential_connection",
        "active": True,
        "connection_name": f"connection {number}",
        "password": "never-shown",
        "created_at": "2026-01-01T00:00:00.000Z",
        "inbound": {"channel_limit": 10, "codecs": ["G722", "G711U"]},
        **fields,
    }


def connections(size: int) -> list[dict[str, Any]]:
    """Return a list of this many rows."""
    return [connection(number) for number in range(1, size + 1)]


@dataclass(frozen=True)
class Request:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def page(self) -> int:
        """The requested page number."""
        return int(self.query.get("page[number]", "1"))

    @property
    def size(self) -> int:
        """The requested number of rows per page."""
        return int(self.query.get("page[size]", "250"))


class Exchange:
    """One request, and the connection that it arrived on."""

    def __init__(self, api: FakeApi, request: Request, writer: asyncio.StreamWriter) -> None:
        self.api = api
        self.request = request
        self._writer = writer

    def echo(self, data: bytes) -> bytes:
        """Return the data with `ECHO` replaced by the `Authorization` header."""
        return data.replace(ECHO, self.request.headers.get("authorization", "").encode())

    async def send(self, data: bytes) -> None:
        """Send bytes, with `ECHO` replaced. Raises `ConnectionError` if the client has disconnected."""
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(self.echo(data))
        await self._writer.drain()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    def reset(self) -> None:
        """Reset the connection: the client gets an RST."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Answer: TypeAlias = Callable[[Exchange], Awaitable[None]]
"""Handles a request: sends a response, or breaks the connection. The functions below are answers or return one."""


def respond(
    status: int = 200, body: bytes = b"", kind: str = "application/json", *, reason: str = "Some Reason", **headers: str
) -> Answer:
    """Send this response, with `ECHO` replaced.

    `content_length` defaults to the length of the body. An empty value omits a header.
    """

    async def answer(exchange: Exchange) -> None:
        sent = exchange.echo(body)
        lines = {"content_type": kind, "content_length": str(len(sent)), **headers}
        head = [f"HTTP/1.1 {status} {reason}", *(f"{name.replace('_', '-')}: {lines[name]}" for name in lines)]
        await exchange.send("\r\n".join(line for line in head if not line.endswith(": ")).encode() + b"\r\n\r\n")
        await exchange.send(sent)

    return answer


def listing(**overrides: Any) -> Answer:
    """Send the requested page, or the object that is requested.

    `overrides` replace fields of the page's meta with a value or a function of the exchange.
    """

    async def answer(exchange: Exchange) -> None:
        rows, request = exchange.api.rows, exchange.request
        meta = {
            "total_pages": -(-len(rows) // request.size),
            "total_results": len(rows),
            "page_number": request.page,
            "page_size": request.size,
            **{name: value(exchange) if callable(value) else value for name, value in overrides.items()},
        }
        page = rows[(request.page - 1) * request.size : request.page * request.size]
        if request.path != PATH:
            page = [_as_row_of(request.path, row) for row in page]
        body = {"data": next(iter(page), {})} if request.path in OBJECTS else {"data": page, "meta": meta}
        await respond(body=json.dumps(body).encode())(exchange)

    return answer


def _as_row_of(path: str, row: Any) -> Any:
    """Return a row of credential connections as one of another list. Ids are unique over all lists."""
    if not isinstance(row, dict) or not row.get("id"):
        return row
    kind = path.rpartition("/")[2].removesuffix("s")
    spend = {"product": f"product {row['id']}", "period": "daily"} if kind == "spend_limit" else {}
    return row | {"id": f"{row['id']}-{kind}", "record_type": kind} | spend


def always_first_page(**overrides: Any) -> Answer:
    """Send the first page, whichever page is requested."""

    async def answer(exchange: Exchange) -> None:
        rows, request = exchange.api.rows, exchange.request
        meta = {"total_results": len(rows), "page_number": request.page, **overrides}
        await respond(body=json.dumps({"data": rows[: request.size], "meta": meta}).encode())(exchange)

    return answer


def then(answer: Answer, change: Callable[[Exchange], None]) -> Answer:
    """Answer, and then change something, such as the list of connections."""

    async def answer_and_change(exchange: Exchange) -> None:
        await answer(exchange)
        change(exchange)

    return answer_and_change


def late(seconds: float, answer: Answer) -> Answer:
    """Answer after a delay."""

    async def wait_and_answer(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await answer(exchange)

    return wait_and_answer


def counted(counts: list[int], answer: Answer, seconds: float = 0.01) -> Answer:
    """Answer after a delay, and append to `counts` how many requests are waiting for this answer."""
    waiting: set[Exchange] = set()

    async def wait_and_answer(exchange: Exchange) -> None:
        waiting.add(exchange)
        counts.append(len(waiting))
        await asyncio.sleep(seconds)
        waiting.discard(exchange)
        await answer(exchange)

    return wait_and_answer


def telnyx_error(status: int, code: str, **headers: str) -> Answer:
    """Send an error in Telnyx's format, which repeats the API key in its detail."""
    body = b'{"errors":[{"code":"%b","title":"No","detail":"%b"}]}' % (code.encode(), ECHO)
    return respond(status, body, **headers)


def html(status: int, **headers: str) -> Answer:
    """Send the error page of a proxy, which repeats the API key."""
    return respond(
        status, b"<html><h1>Sorry</h1><pre>Authorization: " + ECHO + b"</pre></html>", "text/html", **headers
    )


def retry_after_date(seconds: float, clock: Callable[[], float] = time.time) -> Answer:
    """Send a 429 whose `Retry-After` is a date, this many seconds from now."""

    async def answer(exchange: Exchange) -> None:
        await telnyx_error(429, "10011", retry_after=formatdate(clock() + seconds, usegmt=True))(exchange)

    return answer


async def silence(_: Exchange) -> None:
    """Never respond."""
    await asyncio.Event().wait()


async def hang_up(exchange: Exchange) -> None:
    """Close the connection instead of responding."""
    exchange.close()


async def refuse(exchange: Exchange) -> None:
    """Close the connection. A new connection is closed before its first request is read."""
    exchange.close()


async def reset_halfway(exchange: Exchange) -> None:
    """Reset the connection in the middle of the body."""
    await exchange.send(b'HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{"data":[')
    exchange.reset()


async def trickle_body(exchange: Exchange) -> None:
    """Send a body one byte at a time, for 100 seconds. The connection is never idle."""
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n")
    for _ in range(5000):
        await exchange.send(b" ")
        await asyncio.sleep(0.02)


async def trickle_head(exchange: Exchange) -> None:
    """Send a header one byte at a time, for 100 seconds."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nx-slow: ")
    for _ in range(5000):
        await exchange.send(b"s")
        await asyncio.sleep(0.02)


async def endless_head(exchange: Exchange) -> None:
    """Send 16 MiB of headers."""
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    for _ in range(256):
        await exchange.send(b"x-echo: " + ECHO + b"s" * 2**16 + b"\r\n")
    exchange.close()


async def endless_body(exchange: Exchange) -> None:
    """Send a chunked body of 256 MiB."""
    await exchange.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(256):
        await exchange.send(b"100000\r\n" + b" " * 2**20 + b"\r\n")
    await exchange.send(b"0\r\n\r\n")


async def gzip_bomb(exchange: Exchange) -> None:
    """Send 500 MB of blanks, compressed to 500 kB."""
    await respond(body=_gzip_bomb(), content_encoding="gzip")(exchange)


def _gzip_bomb() -> bytes:
    deflate, block = zlib.compressobj(wbits=31), b" " * 10**6
    first, more = (deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + more * 499  # not terminated: no client should read to the end


def raw(data: bytes) -> Answer:
    """Send bytes, which need not be valid HTTP, and close the connection."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.close()

    return answer


def closing(answer: Answer) -> Answer:
    """Answer and close the connection."""
    return then(answer, lambda exchange: exchange.close())


class Fault(NamedTuple):
    """An unusable answer, and the `reason` label of the failed refresh."""

    answer: Answer
    reason: str


_ROW = b'{"id":"1","password":"' + ECHO + b'"}'

FAULTS = {
    # Timeouts.
    "silence": Fault(silence, "timeout"),
    "late": Fault(late(30, listing()), "timeout"),
    "trickled-body": Fault(trickle_body, "timeout"),
    "trickled-head": Fault(trickle_head, "timeout"),
    "body-shorter-than-its-length": Fault(respond(body=b'{"data":[]}', content_length="500"), "timeout"),
    # Rejected requests.
    "400": Fault(telnyx_error(400, "10015"), "bad_request"),
    "401": Fault(telnyx_error(401, "10009"), "unauthorized"),
    "401-html": Fault(html(401), "unauthorized"),
    "403": Fault(telnyx_error(403, "10010"), "forbidden"),
    "404": Fault(telnyx_error(404, "10005"), "not_found"),
    "404-html": Fault(html(404), "not_found"),
    "error-code-is-the-key": Fault(telnyx_error(400, ECHO.decode()), "bad_request"),
    "error-nested": Fault(respond(400, b"[" * 100_000), "bad_request"),
    "error-endless": Fault(respond(400, ECHO * 10**5), "bad_request"),
    "429": Fault(telnyx_error(429, "10011"), "rate_limited"),
    "429-for-two-seconds": Fault(telnyx_error(429, "10011", retry_after="2"), "rate_limited"),
    "429-until-a-date": Fault(retry_after_date(60), "rate_limited"),
    "429-until-a-past-date": Fault(retry_after_date(-(10**6)), "rate_limited"),
    "429-for-ages": Fault(telnyx_error(429, "10011", retry_after="9" * 17), "rate_limited"),
    "429-retry-after-is-text": Fault(telnyx_error(429, "10011", retry_after=ECHO.decode()), "rate_limited"),
    # Server errors, and a 408, which counts as one.
    "408": Fault(telnyx_error(408, "10007"), "server_error"),
    "500": Fault(telnyx_error(500, "10007"), "server_error"),
    "500-html": Fault(html(500), "server_error"),
    "502-html": Fault(html(502), "server_error"),
    "503-html": Fault(html(503, retry_after="1"), "server_error"),
    "reason-phrase-is-the-key": Fault(respond(500, b"", reason=ECHO.decode()), "server_error"),
    # Broken connections and invalid HTTP.
    "hang-up": Fault(hang_up, "connection"),
    "refuse": Fault(refuse, "connection"),
    "reset": Fault(reset_halfway, "connection"),
    "closed-before-its-length": Fault(closing(respond(body=b'{"data":[]}', content_length="500")), "connection"),
    "not-http": Fault(raw(b"220 " + ECHO + b" ESMTP\r\n"), "connection"),
    "bad-header": Fault(raw(b"HTTP/1.1 200 OK\r\n" + ECHO + b"\r\n\r\n{}"), "connection"),
    "bad-length": Fault(raw(b"HTTP/1.1 200 OK\r\ncontent-length: " + ECHO + b"\r\n\r\n{}"), "connection"),
    "bad-chunk": Fault(raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + ECHO + b"\r\n"), "connection"),
    "endless-head": Fault(endless_head, "connection"),
    # Valid HTTP, but not a page of the list.
    "204": Fault(raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "malformed"),
    "304": Fault(raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "malformed"),
    "redirect": Fault(respond(307, b"", location="http://127.0.0.1:9/?" + ECHO.decode()), "malformed"),
    "redirect-nowhere": Fault(respond(302, b"", location="http://[" + ECHO.decode()), "malformed"),
    "200-html": Fault(html(200), "malformed"),
    "empty": Fault(respond(), "malformed"),
    "blank": Fault(respond(body=b" "), "malformed"),
    "null": Fault(respond(body=b"null"), "malformed"),
    "list": Fault(respond(body=b"[" + _ROW + b"]"), "malformed"),
    "text": Fault(respond(body=b'"' + ECHO + b'"'), "malformed"),
    "data-null": Fault(respond(body=b'{"data":null,"meta":{}}'), "malformed"),
    "data-missing": Fault(respond(body=b'{"meta":{"total_results":1}}'), "malformed"),
    "data-is-an-object": Fault(respond(body=b'{"data":' + _ROW + b"}"), "malformed"),
    "meta-is-text": Fault(respond(body=b'{"data":[],"meta":"' + ECHO + b'"}'), "malformed"),
    "total-is-text": Fault(respond(body=b'{"data":[],"meta":{"total_results":"' + ECHO + b'"}}'), "malformed"),
    "truncated": Fault(respond(body=b'{"data":[' + _ROW + b',{"id":"2","password":"' + ECHO), "malformed"),
    "body-longer-than-its-length": Fault(
        closing(respond(body=b'{"data":[' + _ROW + b"]}", content_length="9")), "malformed"
    ),
    "nested-lists": Fault(respond(body=b"[" * 100_000), "malformed"),
    "nested-data": Fault(respond(body=b'{"data":' * 100_000), "malformed"),
    "nested-meta": Fault(respond(body=b'{"data":[],"meta":{"x":' + b'{"x":' * 100_000), "malformed"),
    "not-utf-8": Fault(respond(body=b'\xff\xfe{"data":[]}'), "malformed"),
    "too-many-pages": Fault(listing(total_pages=10**9, total_results=None), "malformed"),
    "too-many-results": Fault(listing(total_results=10**9), "malformed"),
    "gzip-bomb": Fault(gzip_bomb, "malformed"),
    "endless-body": Fault(endless_body, "malformed"),
    "not-gzip": Fault(respond(body=ECHO, content_encoding="gzip"), "malformed"),
    "truncated-gzip": Fault(
        respond(body=zlib.compress(b" " * 999, wbits=31)[:12], content_encoding="gzip"), "malformed"
    ),
    "unknown-encoding": Fault(respond(body=b"{}", content_encoding=ECHO.decode()), "malformed"),
}


class FakeApi:
    """An HTTP server on loopback, as an asynchronous context manager. With a TLS context, it is an HTTPS server."""

    def __init__(self, rows: Iterable[dict[str, Any]] = (), *, tls: ssl.SSLContext | None = None) -> None:
        self.rows = list(rows)
        self._tls = tls
        self.requests: list[Request] = []
        self.accepted = 0
        """Number of connections so far."""
        self.request_received = asyncio.Condition()
        """Notified on each request."""
        self._default_answer = listing()
        self._script: deque[Answer] = deque()
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/v2"

    @property
    def contacts(self) -> int:
        """Number of requests and connections so far: the load that clients cause, even while the API is down."""
        return len(self.requests) + self.accepted

    def answer(self, answer: Answer) -> None:
        """Answer all requests like this from now on."""
        self._default_answer = answer
        self._script.clear()

    def script(self, answers: Iterable[Answer]) -> None:
        """Answer the next requests with these, one each. Later requests are answered as before."""
        self._script.extend(answers)

    async def wait_for(self, requests: int) -> None:
        """Wait until there have been this many requests. Raises `TimeoutError` after `PATIENCE` seconds."""
        async with asyncio.timeout(PATIENCE), self.request_received:
            await self.request_received.wait_for(lambda: len(self.requests) >= requests)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._handle_connection, "127.0.0.1", 0, limit=2**20, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _next_answer(self) -> Answer:
        return self._script.popleft() if self._script else self._default_answer

    async def _handle_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self.accepted += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if (self._script[0] if self._script else self._default_answer) is refuse:
                    self._next_answer()
                    return
                while not writer.is_closing():
                    request = _parse(await reader.readuntil(b"\r\n\r\n"))
                    self.requests.append(request)
                    async with self.request_received:
                        self.request_received.notify_all()
                    await self._next_answer()(Exchange(self, request, writer))
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    parts = urlsplit(target)
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Request(method, parts.path, dict(parse_qsl(parts.query)), headers)
