"""Slow, silent, numerous and hostile scrapers get a response or a clean rejection, and do not affect others."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys

import httpx
import pytest
from fake_api import connections, late, listing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.server.http_protocol import MAX_PIPELINED, REQUEST_TIMEOUT
from exporter.server.serving import GRACE_PERIOD

GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
PATHS = ("/metrics", "/", "/-/healthy", "/-/ready")
TIMEOUT = REQUEST_TIMEOUT - 1
"""Seconds that any exchange with the exporter may take. After one more, it ends all that wait for a request."""


@contextlib.asynccontextmanager
async def connect(address, *pieces, reading=True):
    """Connect, send these pieces, and yield the reader and the writer. Without `reading`, receive next to nothing."""
    raw = socket.socket()
    if not reading:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, address)
    reader, writer = await asyncio.open_connection(sock=raw, limit=2**20 if reading else 1)
    if not reading:
        writer.transport.pause_reading()
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def send(address, *pieces):
    """Send these pieces and return the status of every response until the exporter closes the connection."""
    try:
        async with asyncio.timeout(TIMEOUT), connect(address, *pieces) as (reader, _):
            responses = await reader.read()
    except ConnectionError:  # the exporter rejected the request while it was still being sent
        return []
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3}) ", responses, re.MULTILINE)]


async def is_served(exporter):
    """Return whether another scraper gets its response without a delay."""
    async with asyncio.timeout(TIMEOUT):
        return (await exporter.scrape()).up == 1


# Slow and silent scrapers


SILENT = {
    "nothing": b"",
    "half-a-line": b"GET /metr",
    "half-a-head": GET + b"Accept: tex",
    "half-a-body": b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf",
    "half-a-chunk": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
}


@pytest.mark.parametrize("sent", SILENT.values(), ids=SILENT)
async def test_two_hundred_silent_clients_do_not_delay_scrapes(sent, exporter):
    """Connections that send nothing, or half a request, do not delay other scrapes."""
    assert await is_served(exporter)
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(connect(exporter.address, sent)) for _ in range(200)))
        assert await is_served(exporter)
    assert await is_served(exporter)


@pytest.fixture
def short_timeouts(monkeypatch):
    """Shorten the timeouts of connections, so that tests need not wait for the real ones."""
    monkeypatch.setattr("exporter.server.http_protocol.REQUEST_TIMEOUT", 0.3)
    monkeypatch.setattr("exporter.server.http_protocol.SEND_TIMEOUT", 0.3)


@pytest.mark.parametrize("sent", SILENT.values(), ids=SILENT)
async def test_an_incomplete_first_request_times_out(sent, short_timeouts, exporter):
    """The exporter closes the connection."""
    async with asyncio.timeout(TIMEOUT), connect(exporter.address, sent) as (reader, _):
        with contextlib.suppress(ConnectionError):
            await reader.read()


UNFINISHED = {"blank-line": b"\r\n", **{name: sent for name, sent in SILENT.items() if sent}}


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
async def test_an_incomplete_later_request_times_out(sent, short_timeouts, exporter):
    """The exporter closes the connection, although it keeps an idle one open for the next scrape."""
    async with asyncio.timeout(TIMEOUT), connect(exporter.address, GET + b"\r\n") as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        with contextlib.suppress(ConnectionError):
            await reader.read()


@pytest.mark.parametrize("more", [b"", GET + b"\r\n", GET], ids=["nothing", "a-request", "half-a-request"])
async def test_an_unread_response_times_out(more, short_timeouts, api, shared_server, exporter):
    """The exporter drops the response and its connection, even if the client sends more requests on it."""
    api.rows = connections(5000)
    await exporter.http.get("/metrics", headers={"accept-encoding": "identity"})
    async with connect(exporter.address, GET + b"\r\n", reading=False) as (_, writer):
        async with asyncio.timeout(TIMEOUT):
            await shared_server.busy.wait()
            writer.write(more)
            await shared_server.idle.wait()


async def test_clients_that_never_read_do_not_delay_scrapes(api, exporter):
    """While twenty clients leave a large response unread, other scrapes and refreshes continue."""
    api.rows = connections(5000)
    async with contextlib.AsyncExitStack() as stack:
        await exporter.http.get("/metrics", headers={"accept-encoding": "identity"})
        for _ in range(20):
            await stack.enter_async_context(connect(exporter.address, GET + b"\r\n", reading=False))
        assert (await exporter.http.get("/-/healthy", timeout=TIMEOUT)).status_code == 200
        exporter.expire()
        api.rows = connections(3)
        assert (await exporter.scrape()).ids == ["1", "2", "3"]


async def test_a_slow_reader_gets_the_whole_response(api, exporter):
    """A response that is read slowly comes from one snapshot, even if a refresh replaces it during the response."""
    api.rows = connections(1000)
    whole = await exporter.http.get("/metrics", headers={"accept-encoding": "identity"})
    head = GET + b"Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    async with asyncio.timeout(TIMEOUT), connect(exporter.address, head) as (reader, _):
        received = await reader.readexactly(1)
        api.rows = connections(1)
        exporter.expire()
        assert (await exporter.scrape()).ids == ["1"]
        while piece := await reader.read(50_000):
            received += piece
            await asyncio.sleep(0)
    body = received.partition(b"\r\n\r\n")[2]
    assert body.count(b"\ntelnyx_connection_info{") == 1000
    assert abs(len(body) - len(whole.content)) < 1000


# Many scrapers at once


async def test_a_hundred_scrapes_share_one_refresh(api, exporter):
    """All scrapes during a refresh get its result, and the API gets one request."""
    api.answer(late(0.2, listing()))
    scrapes = await asyncio.gather(*(exporter.http.get("/metrics") for _ in range(100)))
    assert {scrape.status_code for scrape in scrapes} == {200}
    assert all("\ntelnyx_up 1.0\n" in scrape.text for scrape in scrapes)
    assert len(api.requests) == 1


async def test_disconnected_scrapers_keep_the_refresh_running(api, exporter):
    """If every scraper disconnects during a refresh, it continues, and the next scrape gets its result."""
    api.answer(late(0.2, listing()))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(connect(exporter.address, GET + b"\r\n"))
        await api.wait_for(1)
    assert (await exporter.scrape()).up == 1
    assert len(api.requests) == 1


async def test_pipelined_scrapes_are_answered_in_order(exporter):
    """As many requests in one write as the server accepts, one and those that may wait, get as many responses."""
    accepted = MAX_PIPELINED + 1
    assert await exporter.pipeline(accepted) == [200] * accepted


# Hostile scrapers


INVALID_REQUESTS = {
    "noise": b"\x00\x01\x02\x03\xff\xfe\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    "unknown-version": b"GET /metrics HTTP/9.9\r\n\r\n",
    "no-target": b"GET  HTTP/1.1\r\n\r\n",
    "no-slash": b"GET metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "invalid-url": b"GET http://[/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "non-ascii-target": "GET /métrics HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "invalid-escape": b"GET /%zz%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "parent-folders": b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "unknown-method": b"BREW /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "header-without-colon": GET + b"nonsense\r\n\r\n",
    "header-with-nul": GET + b"x: a\x00b\r\n\r\n",
    "two-lengths": GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length-and-chunks": GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative-length": GET + b"Content-Length: -1\r\n\r\n",
    "bad-chunk": b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no-host": b"GET /metrics HTTP/1.1\r\n\r\n",
    "two-hosts": GET + b"Host: x\r\n\r\n",
    "bad-host": b"GET /metrics HTTP/1.1\r\nHost: [\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", INVALID_REQUESTS.values(), ids=INVALID_REQUESTS)
async def test_an_invalid_request_is_rejected(sent, exporter):
    """An invalid request gets a 4xx, or the connection is closed without a response. Other scrapers are served."""
    statuses = await send(exporter.address, sent)
    assert all(400 <= status < 500 for status in statuses)
    assert await is_served(exporter)


UNUSUAL_REQUESTS = {
    "no-version": b"GET /metrics\r\n\r\n",
    "no-host-in-http-1.0": b"GET /metrics HTTP/1.0\r\n\r\n",
    "whole-url": b"GET http://elsewhere.example/metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "websocket": GET + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n",
    "h2c": GET + b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n",
    "expect": GET + b"Expect: 100-continue\r\nConnection: close\r\n\r\n",
    "body": GET + b"Content-Length: 5\r\nConnection: close\r\n\r\n12345",
}


@pytest.mark.parametrize("sent", UNUSUAL_REQUESTS.values(), ids=UNUSUAL_REQUESTS)
async def test_an_unusual_request_gets_a_response(sent, exporter):
    """An unusual but valid request gets the metrics."""
    assert (await send(exporter.address, sent))[-1:] == [200]
    assert await is_served(exporter)


@pytest.mark.parametrize("path", [*(f"{path.rstrip('/')}/x" for path in PATHS), "/metrics/", "/-/ready/"])
@pytest.mark.parametrize("host", ["localhost", "evil.example"], ids=["own-host", "foreign-host"])
async def test_an_unknown_path_is_not_found(path, host, exporter):
    """An unknown path gets a 404, and no redirect to the host in the request."""
    response = await exporter.http.get(path, headers={"host": host})
    assert response.status_code == 404
    assert "location" not in response.headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods_are_rejected(method, path, api, exporter):
    """Other methods get a 405 that lists the allowed ones, and do not start a refresh."""
    response = await exporter.http.request(method, path)
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]
    assert not api.requests


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_a_body(path, exporter):
    """HEAD returns the headers of GET, and the connection stays usable."""
    await exporter.scrape()
    get, head = await exporter.http.get(path), await exporter.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert abs(int(head.headers["content-length"]) - int(get.headers["content-length"])) < 200
    assert await is_served(exporter)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"GET /", *[b"x" * 2**16] * 16, b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (GET, b"x: ", *[b"x" * 2**16] * 16, b"\r\n\r\n"),
        (GET, *[b"x: " + b"y" * 1000 + b"\r\n"] * 1000, b"\r\n"),
        (GET, *[b"x:\r\n" * 2**14] * 16, b"\r\n"),
    ],
    ids=["url", "header", "headers", "tiny-headers"],
)
async def test_a_huge_head_is_rejected(pieces, exporter):
    """A head of one megabyte gets a 4xx, or the connection is closed without a response."""
    assert all(400 <= status < 500 for status in await send(exporter.address, *pieces))
    assert await is_served(exporter)


async def test_an_endless_header_is_cut_off(exporter):
    """The exporter disconnects a client with an endless header before it has received 16 MiB."""
    async with asyncio.timeout(TIMEOUT):
        assert await send(exporter.address, GET, b"x: ", *[b"x" * 2**16] * 256) in ([400], [431], [])


async def test_a_huge_body_is_not_kept(exporter):
    """A body of 16 MiB is not stored: the client gets its response, or the connection is closed."""
    body = [b"x" * 2**16] * 256
    statuses = await send(exporter.address, GET + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (2**24), *body)
    assert statuses in ([200], [])
    assert await is_served(exporter)


header = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60).map(str.strip)
accepts = st.lists(
    st.sampled_from(["text/plain", "application/openmetrics-text", "*/*", ";version=0.0.4", ";version=1.0.0", ";q=0.5"])
    | st.sampled_from([",", ";", "=", '"', ";q=", "1", "q", " ", "é", ";charset=utf-16", ";escaping=allow-utf-8"])
).map(lambda parts: "".join(parts).strip())
encodings = st.lists(st.sampled_from(["gzip", "identity", "*", "br", ";q=", "0", "0.5", ",", " ", "="])).map(
    lambda parts: "".join(parts).strip()
)
timeouts = st.floats().map(str) | st.integers().map(str) | st.sampled_from(["1e9", "-1", "nan", "inf", "²", "1_0", ""])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    accept=header | accepts,
    encoding=header | encodings,
    scrape_timeout=header | timeouts,
    query=st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=3),
)
async def test_any_headers_and_query_get_metrics(accept, encoding, scrape_timeout, query, exporter):
    """Any headers and any query get a response that the parser of its format can read."""
    headers = {"accept": accept, "accept-encoding": encoding, "x-prometheus-scrape-timeout-seconds": scrape_timeout}
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    response = await exporter.http.get("/metrics", headers=raw, params=query)
    assert response.status_code == 200
    parse = parse_openmetrics if "openmetrics" in response.headers["content-type"] else parse_text
    assert {"telnyx_up", "telnyx_connection_active"} <= {family.name for family in parse(response.text)}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(target=st.binary(max_size=20), field=st.binary(max_size=20), value=st.binary(max_size=20))
async def test_any_bytes_get_a_200_or_a_4xx(target, field, value, exporter):
    """Any bytes in the target and the headers get a 200, a 4xx or no response, and nothing else."""
    head = b"GET /%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b: %b\r\n\r\n" % (target, field, value)
    statuses = await send(exporter.address, head + b"\r\n\r\n")
    assert all(status == 200 or 400 <= status < 500 for status in statuses)


# Shutdown


async def test_connected_clients_do_not_delay_shutdown(api):
    """SIGTERM stops the process within the grace period, with status 0 and no traceback, despite open connections."""
    api.rows = connections(5000)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "--web.listen-address=127.0.0.1:0"),
        env=os.environ | {"TELNYX_API_KEY": "KEY-of-tests", "TELNYX_BASE_URL": api.url},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
            while not (port := re.search(rb"127\.0\.0\.1:(\d+)/metrics", await process.stderr.readline())):
                pass
            address = ("127.0.0.1", int(port[1]))
            await api.wait_for(1)
            for sent in (*SILENT.values(), GET + b"Accept-Encoding: identity\r\n\r\n"):
                await stack.enter_async_context(connect(address, sent, reading=False))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{int(port[1])}", trust_env=False) as http:
                assert "\ntelnyx_up 1.0\n" in (await http.get("/metrics", timeout=TIMEOUT)).text
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(GRACE_PERIOD + TIMEOUT):
                log = (await process.stderr.read()).decode()
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "Traceback" not in log
    assert "level=error" not in log
