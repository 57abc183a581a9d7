import asyncio
import gzip
import inspect
import logging
import tracemalloc
import zlib
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate

import httpx
import pytest
import stamina
import structlog
from fake_api import FakeApi, connections, counted, hang_up, late, silence
from fake_api import listing as serve_page
from hypothesis import given
from hypothesis import strategies as st
from list_reader import BASE_URL, KEY, Recorder, connected, fetch, ids, listing
from stamina.instrumentation import set_on_retry_hooks
from virtual_time import in_virtual_time

from exporter.build import VERSION
from exporter.telnyx.budget import RequestBudget
from exporter.telnyx.concurrency import UNLIMITED, RequestSlots
from exporter.telnyx.errors import (
    BadRequest,
    ConnectionFailed,
    Forbidden,
    Malformed,
    NotFound,
    ProxyFailed,
    RateLimited,
    RequestTimeout,
    ServerError,
    TelnyxError,
    Unauthorized,
)
from exporter.telnyx.http.client import MAX_BODY_BYTES, Client
from exporter.telnyx.http.responses import RateLimit
from exporter.telnyx.http.transport import Route

CANARY = "canary-7f3a"
NOW = 1_790_000_000.0
ATTEMPTS = 4


class WouldWait(Exception):
    """Ends a fetch when it is about to wait."""


def streaming(*chunks, status=200, headers=None):
    """Return a transport whose response streams these chunks, and a list of the sizes of the chunks that were read."""
    read_sizes = []

    async def body():
        for chunk in chunks:
            read_sizes.append(len(chunk))
            yield chunk

    return httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, content=body())), read_sizes


async def test_the_request_is_as_documented(api):
    """The client requests the list with a sort order, the largest page size, JSON or gzip, and the API key."""
    api.return_value = listing("1", "2")

    assert ids(await fetch()) == ["1", "2"]
    (call,) = api.calls
    assert call.request.method == "GET"
    assert dict(call.request.url.params) == {"page[number]": "1", "page[size]": "250", "sort": "created_at"}
    assert call.request.headers["authorization"] == f"Bearer {KEY}"
    assert call.request.headers["accept"] == "application/json"
    assert call.request.headers["accept-encoding"] == "gzip"
    assert call.request.headers["user-agent"] == f"telnyx-exporter/{VERSION}"


@pytest.mark.parametrize(
    ("limit", "expected"), [(60.0, (5.0, 20.0)), (7.0, (5.0, 7.0)), (0.5, (0.5, 0.5))], ids=["long", "mid", "short"]
)
async def test_no_timeout_exceeds_the_fetch_timeout(api, limit, expected):
    """Connecting and reading have their own timeouts, which never exceed the timeout of the whole fetch."""
    api.return_value = listing("1")
    await fetch(timeout=limit)

    timeouts = api.calls.last.request.extensions["timeout"]
    assert (timeouts["connect"], timeouts["read"]) == expected


@pytest.mark.parametrize(
    ("status", "kind", "requests"),
    [
        (400, BadRequest, 1),
        (401, Unauthorized, 1),
        (403, Forbidden, 1),
        (404, NotFound, 1),
        (408, ServerError, ATTEMPTS),
        (409, BadRequest, 1),
        (422, BadRequest, 1),
        (429, RateLimited, ATTEMPTS),
        (500, ServerError, ATTEMPTS),
        (502, ServerError, ATTEMPTS),
        (503, ServerError, ATTEMPTS),
        (599, ServerError, ATTEMPTS),
    ],
)
async def test_each_error_status_raises_its_error(api, recorder, status, kind, requests):
    """Each error status raises a `TelnyxError`. Requests with temporary errors are sent four times, all others once."""
    api.return_value = httpx.Response(status, json={"errors": [{"code": "10009", "title": CANARY, "detail": KEY}]})
    with pytest.raises(TelnyxError) as caught:
        await fetch(recorder)

    assert type(caught.value) is kind
    assert caught.value.status == status
    assert str(caught.value) == f"HTTP status {status}, Telnyx error 10009"
    assert recorder.codes == [str(status)] * requests


@pytest.mark.parametrize("failure", [httpx.Response(503), httpx.Response(429), httpx.ConnectError, httpx.ReadTimeout])
async def test_a_retry_can_succeed(api, recorder, failure):
    """A fetch succeeds if a request fails three times and then succeeds."""
    api.side_effect = [failure, failure, failure, listing("1")]

    assert ids(await fetch(recorder)) == ["1"]
    assert recorder.codes[-1] == "200"
    assert len(recorder.codes) == ATTEMPTS


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (201, "expected 200"),
        (204, "expected 200"),
        (206, "expected 200"),
        (301, "redirects are not followed"),
        (302, "redirects are not followed"),
        (304, "redirects are not followed"),
        (307, "redirects are not followed"),
        (308, "redirects are not followed"),
    ],
)
async def test_a_status_below_400_other_than_200_is_malformed(api, recorder, status, message):
    """Only status 200 is a list. Redirects are not followed, because that would send the key to another host."""
    api.return_value = httpx.Response(status, headers={"location": f"https://{CANARY}.test/"}, json={"data": []})
    with pytest.raises(Malformed) as caught:
        await fetch(recorder)

    assert str(caught.value) == f"HTTP status {status}: {message}"
    assert recorder.codes == [str(status)]


@pytest.mark.parametrize(
    "location",
    ["http://xn--/", "https://😇/", "http://[::1", "\0", "x" * 70_000],
    ids=["invalid punycode", "invalid name", "invalid address", "control character", "too long"],
)
async def test_a_redirect_with_an_invalid_location_is_malformed(recorder, location):
    """The `Location` header of a redirect is never parsed."""
    transport, _ = streaming(status=302, headers=[(b"location", location.encode())])
    with pytest.raises(Malformed, match="redirect"):
        await fetch(recorder, transport=transport)

    assert recorder.codes == ["302"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"errors": [{"code": "10015"}, {"code": "10016"}]}, "10015"),
        ({"errors": [{"code": 10015}]}, "10015"),
        ({"errors": [{"code": "999999"}]}, "999999"),
        ({"errors": [{"code": "1000000"}]}, None),
        ({"errors": [{"code": CANARY}]}, None),
        ({"errors": [{"code": "10015\n"}]}, None),
        ({"errors": [{"code": "१२३"}]}, None),
        ({"errors": [{"code": -5}]}, None),
        ({"errors": [{"code": None}]}, None),
        ({"errors": [{"title": CANARY}]}, None),
        ({"errors": []}, None),
        ({"errors": None}, None),
        ({"error": CANARY}, None),
        ([CANARY], None),
        (None, None),
    ],
    ids=repr,
)
async def test_an_error_quotes_only_a_numeric_code(api, body, code):
    """The message quotes nothing of an error body except Telnyx's code, and only if that has one to six digits."""
    api.return_value = httpx.Response(400, json=body)
    with pytest.raises(BadRequest) as caught:
        await fetch()

    assert str(caught.value) == "HTTP status 400" + (f", Telnyx error {code}" if code else "")


@pytest.mark.parametrize(
    "body", [b"", b"<html>canary-7f3a", b"\xff\xfe", b'{"errors":[{"code":"\xff"}]}', b'{"errors":' + b"[" * 60_000]
)
async def test_an_invalid_error_body_is_ignored(api, body):
    """An error response whose body can't be decoded still raises the error of its status."""
    api.return_value = httpx.Response(403, content=body)
    with pytest.raises(Forbidden, match=r"^HTTP status 403$"):
        await fetch()


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
async def test_the_size_of_an_error_body_is_limited(encoding):
    """The client reads only the beginning of an endless error body, and then raises the error of the status."""
    block = gzip.compress(b" " * 2**20) if encoding == "gzip" else b" " * 2**14
    transport, read_sizes = streaming(*[block] * 100, status=401, headers={"content-encoding": encoding})
    with pytest.raises(Unauthorized, match=r"^HTTP status 401$"):
        await fetch(transport=transport)

    assert sum(read_sizes) <= 2**17


@pytest.mark.parametrize(
    "kind",
    [kind for _, kind in inspect.getmembers(httpx, inspect.isclass) if issubclass(kind, httpx.RequestError)],
)
async def test_httpx_exceptions_are_translated(recorder, kind):
    """After four attempts, any httpx exception becomes a `TelnyxError`, without its text or cause."""

    def fail(_):
        raise kind(f"{CANARY} {KEY}")

    with pytest.raises(TelnyxError) as caught:
        await fetch(recorder, transport=httpx.MockTransport(fail))

    assert isinstance(caught.value, ConnectionFailed | RequestTimeout | ProxyFailed)
    assert not [secret for secret in (CANARY, KEY) if secret in str(caught.value)]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert recorder.codes == ["none"] * ATTEMPTS


async def test_a_connection_that_breaks_during_the_body_is_retried(recorder):
    """A connection that breaks during the body is a failed connection, recorded with the status of the response."""

    async def body():
        yield b'{"data":['
        raise httpx.ReadError(CANARY)

    with pytest.raises(ConnectionFailed, match=r"^the connection to the API failed \(ReadError\)$"):
        await fetch(recorder, transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body())))
    assert recorder.codes == ["200"] * ATTEMPTS


async def retry_delay(api, response, **options):
    """Return the seconds to wait before a retry after this response, or the error if there is no retry."""

    def on_retry(details):
        raise WouldWait(details.wait_for)

    api.return_value = response
    set_on_retry_hooks([on_retry])
    stamina.set_testing(False)
    try:
        await fetch(clock=lambda: NOW, **options)
    except WouldWait as wait:
        return wait.args[0]
    except TelnyxError as error:
        return error


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("59", 59),
        (formatdate(NOW + 30, usegmt=True), 30),
        (formatdate(NOW, usegmt=True), 0),
        (formatdate(NOW - 3600, usegmt=True), 0),
        ("Thursday, 01-Oct-26 00:00:00 GMT", None),
    ],
    ids=["zero", "seconds", "spaces", "fraction", "near the deadline", "date", "now", "past", "after the deadline"],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_sets_the_delay(api, status, header, seconds):
    """After a temporary error, the client waits as long as `Retry-After` states, in seconds or as a date."""
    delay = await retry_delay(api, httpx.Response(status, headers={"retry-after": header}))

    if seconds is None:
        assert delay.retry_after > 60
    else:
        assert delay == pytest.approx(seconds)


@pytest.mark.parametrize(
    "header", ["", "-5", "soon", "1e3", "nan", "inf", "\uff17", "9" * 19, "Wed, 99 Oct 2026", "\x7f"]
)
async def test_an_invalid_retry_after_is_ignored(api, header):
    """If `Retry-After` is invalid, the client uses its own delay."""
    response = httpx.Response(429, headers=[(b"retry-after", header.encode())])

    assert 0.5 <= await retry_delay(api, response) <= 1.5


async def test_the_default_delay_has_jitter(api):
    """Without `Retry-After`, the first delay is half a second plus up to one second of jitter."""
    assert 0.5 <= await retry_delay(api, httpx.Response(503)) <= 1.5


@pytest.mark.parametrize(("header", "seconds"), [("10", 10), ("3600", 3600), ("9" * 18, 1e18)])
async def test_no_retry_if_the_delay_exceeds_the_deadline(api, recorder, header, seconds):
    """If `Retry-After` exceeds the time that is left, the request is not retried, and the error states the delay."""
    api.return_value = httpx.Response(429, headers={"retry-after": header})
    with pytest.raises(RateLimited) as caught:
        await fetch(recorder, timeout=10)

    assert caught.value.retry_after == pytest.approx(seconds)
    assert recorder.codes == ["429"]


@in_virtual_time
async def test_the_last_error_keeps_retry_after(api):
    """The error of the last of four attempts has the `Retry-After` delay of its response."""
    api.return_value = httpx.Response(429, headers={"retry-after": "2"})
    with pytest.raises(RateLimited) as caught:
        await fetch()

    assert caught.value.retry_after == 2
    assert api.call_count == ATTEMPTS


@pytest.mark.parametrize(
    "date", ["Sun Nov  6 08:49:37 2094", "Sat, 06 Nov 2094 08:49:37 -0000"], ids=["asctime", "unknown zone"]
)
async def test_a_date_without_a_zone_is_utc(api, other_time_zone, date):
    """An HTTP date is in UTC, even if it states no zone and the host has another time zone."""
    error = await retry_delay(api, httpx.Response(429, headers={"retry-after": date}))

    assert error.retry_after == 3_939_871_777 - NOW


@given(value=st.text(st.characters(codec="latin-1"), max_size=30) | st.datetimes().map(lambda at: at.ctime()))
async def test_any_header_value_is_tolerated(value):
    """For any content of these headers, the response raises the error of its status."""
    names = ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
    headers = [(name.encode(), value.encode("latin-1")) for name in names]
    transport, _ = streaming(status=403, headers=headers)
    with pytest.raises(Forbidden):
        await fetch(transport=transport, clock=lambda: NOW)


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "expected"),
    [
        ("600", "599", "30", RateLimit(600, 599, NOW + 30)),
        ("600", "599", "1790000060", RateLimit(600, 599, 1_790_000_060)),
        ("600", "0", "0", RateLimit(600, 0, NOW)),
        ("600", "0.5", "1.5", RateLimit(600, 0.5, NOW + 1.5)),
        ("600", None, None, RateLimit(limit=600)),
        (None, "7", None, RateLimit(remaining=7)),
        (None, None, "7", RateLimit(reset=NOW + 7)),
        ("many", "-1", "30", RateLimit(reset=NOW + 30)),
        ("1e3", "nan", "inf", None),
        ("", " ", "soon", None),
        (None, None, None, None),
    ],
    ids=[
        "seconds",
        "Unix time",
        "zeros",
        "fractions",
        "limit",
        "remaining",
        "reset",
        "partly invalid",
        "unsupported notation",
        "empty",
        "none",
    ],
)
@pytest.mark.parametrize("status", [200, 403])
async def test_the_rate_limit_is_recorded(api, recorder, *, status, limit, remaining, reset, expected):
    """The rate limit of a response is recorded, with its reset as a Unix time. Non-numeric values are ignored."""
    values = {"x-ratelimit-limit": limit, "x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset}
    headers = {name: value for name, value in values.items() if value is not None}
    api.return_value = httpx.Response(status, json={"data": []}, headers=headers)
    with suppress(Forbidden):
        await fetch(recorder, clock=lambda: NOW)

    assert recorder.limits == ([expected] if expected else [])


BODY = b'{"data":[{"id":"1"}],"meta":{"total_results":1}}'


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " gzip ", "identity", "", None])
async def test_a_body_can_be_gzip(encoding, size):
    """A response is read uncompressed or as gzip, in chunks of any size."""
    body = gzip.compress(BODY) if encoding and "gzip" in encoding.lower() else BODY
    headers = {} if encoding is None else {"content-encoding": encoding}
    transport, _ = streaming(*(body[at : at + size] for at in range(0, len(body), size)), headers=headers)

    assert ids(await fetch(transport=transport)) == ["1"]


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("gzip", gzip.compress(BODY)[:-1], "the response ends in the middle of its gzip data"),
        ("gzip", gzip.compress(BODY)[:20], "the response ends in the middle of its gzip data"),
        ("gzip", b"", "the response ends in the middle of its gzip data"),
        ("gzip", BODY, "the response is not valid gzip"),
        ("gzip", zlib.compress(BODY), "the response is not valid gzip"),
        ("gzip", gzip.compress(BODY)[:-8] + bytes(8), "the response is not valid gzip"),
        ("br", BODY, "the response has an encoding that was not requested"),
        ("deflate", zlib.compress(BODY), "the response has an encoding that was not requested"),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY)), "the response has an encoding that was not requested"),
        (CANARY, BODY, "the response has an encoding that was not requested"),
    ],
    ids=[
        "last byte missing",
        "cut off",
        "empty",
        "plain",
        "zlib",
        "wrong CRC",
        "br",
        "deflate",
        "gzip twice",
        "unknown",
    ],
)
async def test_an_invalid_encoding_is_malformed(recorder, encoding, body, message):
    """A body is malformed if it doesn't match its `Content-Encoding`, or if that encoding was not requested."""
    transport, _ = streaming(body, headers={"content-encoding": encoding})
    with pytest.raises(Malformed, match=f"^{message}$"):
        await fetch(recorder, transport=transport)

    assert recorder.codes == ["200"]


def bomb(size):
    """Return gzip data of about `size` KiB that decompresses to `size` MiB of spaces and has no end."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * size


async def test_a_gzip_bomb_is_harmless():
    """Half a megabyte of gzip that decompresses to half a gigabyte is malformed, and never completely in memory."""
    packed = bomb(500)
    assert len(packed) < 10**6
    transport, _ = streaming(packed, headers={"content-encoding": "gzip"})
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match=f"^the response is larger than {MAX_BODY_BYTES} bytes$"):
            await fetch(transport=transport)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 * MAX_BODY_BYTES


async def test_data_after_the_end_of_gzip_is_limited():
    """The client limits the data after the end of the gzip stream, too."""
    chunks = [b"x" * 2**20] * (2 * MAX_BODY_BYTES // 2**20)
    transport, read_sizes = streaming(gzip.compress(BODY), *chunks, headers={"content-encoding": "gzip"})
    with suppress(Malformed):
        assert ids(await fetch(transport=transport)) == ["1"]

    assert sum(read_sizes) < MAX_BODY_BYTES + 2**21


async def test_an_endless_body_is_rejected():
    """A body is malformed as soon as it exceeds the maximum size. The client doesn't read the rest."""
    chunks = [b" " * 2**20] * (2 * MAX_BODY_BYTES // 2**20)
    transport, read_sizes = streaming(*chunks)
    with pytest.raises(Malformed, match=f"^the response is larger than {MAX_BODY_BYTES} bytes$"):
        await fetch(transport=transport)

    assert sum(read_sizes) == MAX_BODY_BYTES + 2**20


async def test_a_body_of_the_maximum_size_is_read():
    """A body of exactly the maximum size is read."""
    transport, _ = streaming(BODY.ljust(MAX_BODY_BYTES))

    assert ids(await fetch(transport=transport)) == ["1"]


@asynccontextmanager
async def serving(response):
    """Serve these bytes for any request on loopback, and yield the base URL."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"


async def test_no_log_line_contains_the_key(caplog, recorder):
    """Each request is one line in the debug log. Neither this line nor the log of the libraries contains the key."""
    caplog.set_level(logging.DEBUG)
    response = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
    with structlog.testing.capture_logs() as logs:
        async with serving(response) as base_url:
            await fetch(recorder, base_url=base_url)

    (line,) = logs
    assert (line["event"], line["log_level"], line["code"]) == ("request", "debug", "200")
    assert (line["path"], line["page"]) == ("/credential_connections", 1)
    assert line.keys() == {"event", "log_level", "path", "page", "code", "seconds"}
    assert "HTTP" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in str(logs)


async def test_a_refused_connection_is_a_failed_connection(recorder):
    """A refused connection is reported as refused, and recorded as a request without a response."""
    async with serving(b"") as base_url:
        pass
    with pytest.raises(ConnectionFailed, match=r"^can't connect to the API: Connection refused$"):
        await fetch(recorder, base_url=base_url)

    assert recorder.codes == ["none"] * ATTEMPTS


async def test_a_response_that_is_not_http_is_not_quoted():
    """A response that is not HTTP is a failed connection. The error doesn't quote the response."""
    async with serving(CANARY.encode()) as base_url:
        with pytest.raises(ConnectionFailed, match=r"^the connection to the API failed \(RemoteProtocolError\)$"):
            await fetch(base_url=base_url)


@pytest.mark.parametrize(("configured", "seconds"), [(60, 60), (5, 25)])
@in_virtual_time
async def test_a_single_request_ends(recorder, configured, seconds):
    """A request without a session ends at the timeout, too, even if parts of a response never stop arriving."""

    async def parts():
        while True:
            await asyncio.sleep(1)
            yield b" "

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=parts()))
    client = Client(BASE_URL, lambda: KEY, recorder, timeout=configured, route=Route(transport))
    started = asyncio.get_running_loop().time()
    with pytest.raises(RequestTimeout, match=rf"^the request took longer than {seconds} s$"):
        await client.send_once("/balance", {})
    assert asyncio.get_running_loop().time() - started == pytest.approx(seconds)


async def test_a_request_that_hangs_delays_no_other_list():
    """The number of connections is not limited, so another list is read while the requests of one hang."""
    async with FakeApi([{"id": "1"}]) as api, connected(base_url=api.url, concurrency=1, timeout=5) as reader:
        api.script([silence])
        hanging = asyncio.create_task(reader.fetch())
        await api.wait_for(requests=1)

        assert ids(await reader.fetch()) == ["1"]
        assert not hanging.done()
        hanging.cancel()


class RecordingLimiter:
    """A limiter that records its calls."""

    def __init__(self):
        self.calls = []

    async def acquire(self):
        """Record that a request may be sent."""
        self.calls.append("acquire")

    def record_rejection(self):
        """Record a 429 response."""
        self.calls.append("429")


async def test_each_attempt_uses_the_budget(api):
    """Each attempt of a request acquires from the limiter first, and a 429 response is reported to it."""
    limiter = RecordingLimiter()
    api.side_effect = [httpx.Response(429), httpx.Response(503), httpx.ConnectError, listing("1")]
    await fetch(limiter=limiter)

    assert limiter.calls == ["acquire", "429", "acquire", "acquire", "acquire"]


@asynccontextmanager
async def session(respond, *, tokens, seconds, slots=UNLIMITED):
    """Yield a session with this timeout, and a list of the seconds at which its requests are sent.

    Its budget is one request per second, and has this many tokens left.
    """
    loop = asyncio.get_running_loop()
    start, times = loop.time(), []

    async def handle(_):
        times.append(loop.time() - start)
        return await respond(len(times))

    budget = RequestBudget(1.0, burst=1, clock=loop.time)
    if not tokens:
        await budget.acquire()
    transport = httpx.MockTransport(handle)
    client = Client(BASE_URL, lambda: KEY, Recorder(), timeout=seconds, slots=slots, route=Route(transport))
    yield client.session(budget.limiter("test")), times
    await client.close()


def response(status=200, **headers):
    """Return a response that the client can stream."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(b"ok"))


@in_virtual_time
async def test_waits_for_the_budget_move_the_deadline():
    """A session whose requests wait for the budget longer than the timeout still succeeds."""

    async def respond(_):
        await asyncio.sleep(0.0625)
        return response()

    async with session(respond, tokens=0, seconds=2.5) as (requests, times):

        async def refresh():
            return [await requests.get("/x", {}) for _ in range(20)]

        assert await requests.run(refresh()) == [b"ok"] * 20
    assert times == list(range(1, 21))


@in_virtual_time
async def test_overlapping_waits_for_the_budget_count_once():
    """While several requests wait for the budget at the same time, the deadline moves by the time that passes."""
    loop = asyncio.get_running_loop()

    async def respond(_):
        await asyncio.Event().wait()

    async with session(respond, tokens=1, seconds=2) as (requests, times):
        start = loop.time()
        with pytest.raises(RequestTimeout, match=r"^the refresh took longer than 2 s$"):
            await requests.run(asyncio.gather(*(requests.get("/x", {}) for _ in range(5))))

    assert times == [0, 1, 2, 3, 4]
    assert loop.time() - start == 4 + 2


@in_virtual_time
async def test_a_retry_may_end_before_the_moved_deadline():
    """Waits for the budget move the deadline. A requested wait is compared with the moved deadline."""

    async def respond(number):
        return response(429, retry_after="4") if number == 1 else response()

    async with session(respond, tokens=0, seconds=4.5) as (requests, times):
        assert await requests.run(requests.get("/x", {})) == b"ok"
    assert times == [1, 5]


@in_virtual_time
async def test_a_request_that_got_its_token_still_waits_for_telnyx():
    """If Telnyx requests a wait, another request that waits for the budget gets its token after that wait."""

    async def respond(number):
        return response(429, retry_after="10") if number == 1 else response()

    async with session(respond, tokens=1, seconds=60) as (requests, times):
        await requests.run(asyncio.gather(requests.get("/x", {}), requests.get("/y", {})))
    assert times == [0, 10, 11]


@in_virtual_time
async def test_waits_for_a_slot_move_the_deadline():
    """A session whose request waits for a slot longer than the timeout still succeeds."""

    async def respond(_):
        return response()

    slots = RequestSlots(1)
    slot = await slots.share().acquire()
    asyncio.get_running_loop().call_later(100.0, slot.release)
    async with session(respond, tokens=1, seconds=2.5, slots=slots.share()) as (requests, times):
        assert await requests.run(requests.get("/x", {})) == b"ok"
    assert times == [100]


@in_virtual_time
async def test_a_request_that_got_its_slot_still_waits_for_telnyx():
    """If Telnyx requests a wait, another request that waits for a slot does not hold the slot until then."""
    slots = RequestSlots(1)

    async def respond(number):
        return response(429, retry_after="10") if number == 1 else response()

    async with session(respond, tokens=1, seconds=60, slots=slots.share()) as (requests, times):
        sent = asyncio.create_task(requests.run(asyncio.gather(requests.get("/x", {}), requests.get("/y", {}))))
        await asyncio.sleep(5)
        (await asyncio.wait_for(slots.share().acquire(), 0.001)).release()
        await sent
    assert times == [0, 10, 11]


async def send_once(client, path):
    """Send a request without a session."""
    return await client.send_once(path, {})


async def send_in_session(client, path):
    """Send a request in its own session, without retries."""
    session = client.session()
    return await session.run(session.send(path, {}))


async def test_all_clients_share_the_slots():
    """No more requests of all clients are in flight than there are slots, and a request that fails frees its slot."""
    slots, recorder = RequestSlots(2), Recorder()
    counts = []

    async def serve_or_hang_up(exchange):
        await (hang_up if len(counts) % 5 == 0 else serve_page())(exchange)

    async with FakeApi(connections(3)) as api:
        api.answer(counted(counts, serve_or_hang_up))
        clients = [Client(api.url, lambda: KEY, recorder, slots=slots.share()) for _ in range(4)]
        results = await asyncio.gather(
            *(send_in_session(client, "/credential_connections") for client in clients for _ in range(5)),
            *(client.send_once("/credential_connections", {}) for client in clients),
            return_exceptions=True,
        )
        for client in clients:
            await client.close()
    assert max(counts) == 2
    assert len(counts) == len(results) == 24
    assert 0 < sum(isinstance(result, TelnyxError) for result in results) < 10
    assert await asyncio.wait_for(slots.share().acquire(), 0.1)


@pytest.mark.parametrize(
    "send", [lambda client, path: client.send_once(path, {}), send_in_session], ids=["once", "session"]
)
async def test_a_client_that_hangs_leaves_slots_to_the_others(send, monkeypatch):
    """Requests of a client that never gets a response take at most half of the slots once one of them was slow."""
    monkeypatch.setattr("exporter.telnyx.concurrency.SLOW", 0.5)
    slots = RequestSlots(4)
    async with FakeApi() as hanging, FakeApi(connections(1)) as api:
        hanging.answer(silence)
        hanging.script([late(0.6, hang_up)])
        bad = Client(hanging.url, lambda: KEY, Recorder(), slots=slots.share())
        good = Client(api.url, lambda: KEY, Recorder(), slots=slots.share())
        with pytest.raises(TelnyxError):
            await send(bad, "/x")
        tasks = [asyncio.create_task(send(bad, "/x")) for _ in range(10)]
        await hanging.wait_for(requests=3)
        for _ in range(4):
            async with asyncio.timeout(20):
                await asyncio.gather(*(good.send_once("/credential_connections", {}) for _ in range(4)))
        assert len(hanging.requests) == 3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bad.close()
        await good.close()


@in_virtual_time
async def test_the_wait_for_a_slot_is_not_part_of_the_duration():
    """The duration of a request, as metrics have it, begins when it has its slot."""
    slots, durations = RequestSlots(1), []
    slot = await slots.share().acquire()
    asyncio.get_running_loop().call_later(100.0, slot.release)

    class Durations(Recorder):
        def record_request(self, code, seconds):
            durations.append((code, seconds, asyncio.get_running_loop().time() - start))

    start = asyncio.get_running_loop().time()
    transport = httpx.MockTransport(lambda _: response())
    client = Client(BASE_URL, lambda: KEY, Durations(), slots=slots.share(), route=Route(transport))
    await client.send_once("/x", {})
    await client.close()
    ((code, seconds, at),) = durations
    assert (code, at) == ("200", 100.0)
    assert seconds < 10
