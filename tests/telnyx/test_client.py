import asyncio
import gzip
import inspect
import logging
import time
import tracemalloc
import zlib
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate

import httpx
import pytest
import stamina
import structlog
from hypothesis import given
from hypothesis import strategies as st
from list_reader import KEY, fetch, ids, listing
from stamina.instrumentation import set_on_retry_hooks

from exporter import __version__
from exporter.telnyx.client import MAX_BODY_BYTES
from exporter.telnyx.errors import (
    BadRequest,
    ConnectionFailed,
    Forbidden,
    Malformed,
    RateLimited,
    RequestTimeout,
    ServerError,
    TelnyxError,
    Unauthorized,
)
from exporter.telnyx.responses import RateLimit

CANARY = "canary-7f3a"
NOW = 1_790_000_000.0
ATTEMPTS = 4


class Waits(Exception):
    """Ends a fetch where it would wait."""


def answering(*chunks, status=200, headers=None):
    """Return a transport that answers with a body in these chunks, and the list of those that were taken."""
    taken = []

    async def body():
        for chunk in chunks:
            taken.append(len(chunk))
            yield chunk

    return httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, content=body())), taken


async def test_the_request_is_as_documented(api):
    """The list is asked for in a defined order, by the largest page, in JSON or gzip of it, with the key."""
    api.return_value = listing("1", "2")

    assert ids(await fetch()) == ["1", "2"]
    (call,) = api.calls
    assert call.request.method == "GET"
    assert dict(call.request.url.params) == {"page[number]": "1", "page[size]": "250", "sort": "created_at"}
    assert call.request.headers["authorization"] == f"Bearer {KEY}"
    assert call.request.headers["accept"] == "application/json"
    assert call.request.headers["accept-encoding"] == "gzip"
    assert call.request.headers["user-agent"] == f"telnyx-exporter/{__version__}"


@pytest.mark.parametrize(
    ("whole", "expected"), [(60.0, (5.0, 20.0)), (7.0, (5.0, 7.0)), (0.5, (0.5, 0.5))], ids=["long", "mid", "short"]
)
async def test_no_step_may_take_longer_than_the_whole(api, whole, expected):
    """Connecting and reading have bounds of their own, never above that of the whole fetch."""
    api.return_value = listing("1")
    await fetch(timeout=whole)

    bounds = api.calls.last.request.extensions["timeout"]
    assert (bounds["connect"], bounds["read"]) == expected


@pytest.mark.parametrize(
    ("status", "kind", "requests"),
    [
        (400, BadRequest, 1),
        (401, Unauthorized, 1),
        (403, Forbidden, 1),
        (404, BadRequest, 1),
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
async def test_a_status_is_an_error(api, recorder, status, kind, requests):
    """Each error status is an error of ours; what can pass is tried four times, anything else once."""
    api.return_value = httpx.Response(status, json={"errors": [{"code": "10009", "title": CANARY, "detail": KEY}]})
    with pytest.raises(TelnyxError) as caught:
        await fetch(recorder)

    assert type(caught.value) is kind
    assert caught.value.status == status
    assert str(caught.value) == f"HTTP status {status}, Telnyx error 10009"
    assert recorder.codes == [str(status)] * requests


@pytest.mark.parametrize("failure", [httpx.Response(503), httpx.Response(429), httpx.ConnectError, httpx.ReadTimeout])
async def test_what_passes_does_no_harm(api, recorder, failure):
    """A request that fails and then succeeds is a success."""
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
async def test_another_success_is_malformed(api, recorder, status, message):
    """Only 200 is a list, and a redirect is not followed, because the key would travel with it."""
    api.return_value = httpx.Response(status, headers={"location": f"https://{CANARY}.test/"}, json={"data": []})
    with pytest.raises(Malformed) as caught:
        await fetch(recorder)

    assert str(caught.value) == f"HTTP status {status}: {message}"
    assert recorder.codes == [str(status)]


@pytest.mark.parametrize(
    "location",
    ["http://xn--/", "https://😇/", "http://[::1", "\0", "x" * 70_000],
    ids=["no punycode", "no name", "no address", "no text", "no end"],
)
async def test_a_redirect_that_leads_nowhere_is_malformed(recorder, location):
    """Where a redirect leads to is never looked at."""
    transport, _ = answering(status=302, headers=[(b"location", location.encode())])
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
async def test_only_digits_of_an_error_are_shown(api, body, code):
    """Of an error's body nothing is shown but Telnyx's code, and that only where it is a number of some digits."""
    api.return_value = httpx.Response(400, json=body)
    with pytest.raises(BadRequest) as caught:
        await fetch()

    assert str(caught.value) == "HTTP status 400" + (f", Telnyx error {code}" if code else "")


@pytest.mark.parametrize(
    "body", [b"", b"<html>canary-7f3a", b"\xff\xfe", b'{"errors":[{"code":"\xff"}]}', b'{"errors":' + b"[" * 60_000]
)
async def test_an_error_needs_no_body(api, body):
    """An error whose body can't be read is still the error of its status."""
    api.return_value = httpx.Response(403, content=body)
    with pytest.raises(Forbidden, match=r"^HTTP status 403$"):
        await fetch()


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
async def test_the_body_of_an_error_is_bounded(encoding):
    """An endless error body is read for a little while, and then given up for the status."""
    block = gzip.compress(b" " * 2**20) if encoding == "gzip" else b" " * 2**14
    transport, taken = answering(*[block] * 100, status=401, headers={"content-encoding": encoding})
    with pytest.raises(Unauthorized, match=r"^HTTP status 401$"):
        await fetch(transport=transport)

    assert sum(taken) <= 2**17


@pytest.mark.parametrize(
    "kind",
    [kind for _, kind in inspect.getmembers(httpx, inspect.isclass) if issubclass(kind, httpx.RequestError)],
)
async def test_an_exception_of_httpx_is_one_of_ours(recorder, kind):
    """Whatever httpx can raise is a timeout or a failed connection, tried four times, without its text or cause."""

    def fail(_):
        raise kind(f"{CANARY} {KEY}")

    with pytest.raises(TelnyxError) as caught:
        await fetch(recorder, transport=httpx.MockTransport(fail))

    timed_out = issubclass(kind, httpx.TimeoutException)
    assert type(caught.value) is (RequestTimeout if timed_out else ConnectionFailed)
    assert str(caught.value) == (f"no response in time ({kind.__name__})" if timed_out else kind.__name__)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert recorder.codes == ["none"] * ATTEMPTS


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (OSError(111, "Connection refused"), ", Connection refused"),
        (OSError(CANARY), ""),
        (ValueError(CANARY), ""),
        (
            ExceptionGroup(CANARY, [OSError(113, "No route to host"), OSError(111, "Connection refused")]),
            ", Connection refused, No route to host",
        ),
    ],
    ids=["error", "no words", "not the system's", "several"],
)
async def test_a_failed_connection_says_why(cause, words):
    """Of what led to a failed connection the operating system's own words are shown, each once."""
    between = OSError(CANARY)
    between.__context__ = cause

    def fail(_):
        raise httpx.ConnectError(CANARY) from between

    with pytest.raises(ConnectionFailed) as caught:
        await fetch(transport=httpx.MockTransport(fail))
    assert str(caught.value) == f"ConnectError{words}"


async def test_a_connection_that_breaks_in_the_body_is_tried_again(recorder):
    """A body that ends in the middle is a failed connection, told with the status that it began with."""

    async def body():
        yield b'{"data":['
        raise httpx.ReadError(CANARY)

    with pytest.raises(ConnectionFailed, match=r"^ReadError$"):
        await fetch(recorder, transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body())))
    assert recorder.codes == ["200"] * ATTEMPTS


async def wait_of(api, answer, **options):
    """Return after how many seconds the answer's request would be tried again, or the error where it would not."""

    def wait(details):
        raise Waits(details.wait_for)

    api.return_value = answer
    set_on_retry_hooks([wait])
    stamina.set_testing(False)
    try:
        await fetch(clock=lambda: NOW, **options)
    except Waits as waits:
        return waits.args[0]
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
    ids=["none", "seconds", "blanks", "fraction", "nearly all", "date", "now", "past", "far"],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_peer_says_how_long_to_wait(api, status, header, seconds):
    """A request that can pass is tried again after the time that the peer asks for, in seconds or as a date."""
    waits = await wait_of(api, httpx.Response(status, headers={"retry-after": header}))

    if seconds is None:
        assert waits.retry_after > 60
    else:
        assert waits == pytest.approx(seconds)


@pytest.mark.parametrize(
    "header", ["", "-5", "soon", "1e3", "nan", "inf", "\uff17", "9" * 19, "Wed, 99 Oct 2026", "\x7f"]
)
async def test_garbage_is_no_time(api, header):
    """A time to wait that is none is as good as none: the wait is our own."""
    answer = httpx.Response(429, headers=[(b"retry-after", header.encode())])

    assert 0.5 <= await wait_of(api, answer) <= 1.5


async def test_the_wait_is_our_own_where_the_peer_names_none(api):
    """Without a word from the peer the first wait is half a second, and up to one more at random."""
    assert 0.5 <= await wait_of(api, httpx.Response(503)) <= 1.5


@pytest.mark.parametrize(("header", "seconds"), [("10", 10), ("3600", 3600), ("9" * 18, 1e18)])
async def test_a_wait_past_the_deadline_is_not_begun(api, recorder, header, seconds):
    """When the peer asks for more time than there is, the request is not tried again, and the error says the time."""
    api.return_value = httpx.Response(429, headers={"retry-after": header})
    with pytest.raises(RateLimited) as caught:
        await fetch(recorder, timeout=10)

    assert caught.value.retry_after == pytest.approx(seconds)
    assert recorder.codes == ["429"]


async def test_the_time_to_wait_outlives_the_retries(api):
    """The last of four attempts leaves the time that the peer asked for on the error."""
    api.return_value = httpx.Response(429, headers={"retry-after": "2"})
    with pytest.raises(RateLimited) as caught:
        await fetch()

    assert caught.value.retry_after == 2
    assert api.call_count == ATTEMPTS


@pytest.mark.parametrize(
    "date", ["Sun Nov  6 08:49:37 2094", "Sat, 06 Nov 2094 08:49:37 -0000"], ids=["asctime", "zone unknown"]
)
async def test_a_date_without_a_zone_is_utc(api, monkeypatch, date):
    """An HTTP date is in UTC, also where it doesn't say so and this host lives elsewhere."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        error = await wait_of(api, httpx.Response(429, headers={"retry-after": date}))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert error.retry_after == 3_939_871_777 - NOW


@given(value=st.text(st.characters(codec="latin-1"), max_size=30) | st.datetimes().map(lambda at: at.ctime()))
async def test_any_header_is_survived(value):
    """Whatever a peer puts into its headers, an answer is what its status says."""
    names = ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
    headers = [(name.encode(), value.encode("latin-1")) for name in names]
    transport, _ = answering(status=403, headers=headers)
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
        "some",
        "floats",
        "empty",
        "none",
    ],
)
@pytest.mark.parametrize("status", [200, 403])
async def test_the_rate_limit_is_told(api, recorder, *, status, limit, remaining, reset, expected):
    """What an answer says of the rate limit is told, its reset as a Unix time; what is no number is not said."""
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
    """An answer is read as it is or as gzip, in whatever pieces it comes."""
    body = gzip.compress(BODY) if encoding and "gzip" in encoding.lower() else BODY
    headers = {} if encoding is None else {"content-encoding": encoding}
    transport, _ = answering(*(body[at : at + size] for at in range(0, len(body), size)), headers=headers)

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
    ids=["no end", "half", "empty", "plain", "zlib", "wrong CRC", "br", "deflate", "twice", "unknown"],
)
async def test_a_broken_encoding_is_malformed(recorder, encoding, body, message):
    """A body that is not encoded as it says, or as it was asked for, is malformed."""
    transport, _ = answering(body, headers={"content-encoding": encoding})
    with pytest.raises(Malformed, match=f"^{message}$"):
        await fetch(recorder, transport=transport)

    assert recorder.codes == ["200"]


def bomb(size):
    """Return gzip that unpacks to so many MiB of blanks and more, a thousandth as large."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * size


async def test_a_gzip_bomb_is_harmless():
    """Half a gigabyte packed into half a megabyte is malformed, and never in memory."""
    packed = bomb(500)
    assert len(packed) < 10**6
    transport, _ = answering(packed, headers={"content-encoding": "gzip"})
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match=f"^the response is larger than {MAX_BODY_BYTES} bytes$"):
            await fetch(transport=transport)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 * MAX_BODY_BYTES


async def test_what_comes_behind_gzip_is_not_kept():
    """What a peer sends behind the end of its gzip is bounded too."""
    chunks = [b"x" * 2**20] * (2 * MAX_BODY_BYTES // 2**20)
    transport, taken = answering(gzip.compress(BODY), *chunks, headers={"content-encoding": "gzip"})
    with suppress(Malformed):
        assert ids(await fetch(transport=transport)) == ["1"]

    assert sum(taken) < MAX_BODY_BYTES + 2**21


async def test_an_endless_body_is_refused():
    """A body beyond all reason is malformed as soon as it gets there, and no further read."""
    chunks = [b" " * 2**20] * (2 * MAX_BODY_BYTES // 2**20)
    transport, taken = answering(*chunks)
    with pytest.raises(Malformed, match=f"^the response is larger than {MAX_BODY_BYTES} bytes$"):
        await fetch(transport=transport)

    assert sum(taken) == MAX_BODY_BYTES + 2**20


async def test_the_largest_body_is_read():
    """A body as large as is allowed is read."""
    transport, _ = answering(BODY.ljust(MAX_BODY_BYTES))

    assert ids(await fetch(transport=transport)) == ["1"]


@asynccontextmanager
async def serving(answer):
    """Serve these bytes to any request on loopback, and give the base URL."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"


async def test_no_log_line_holds_the_key(caplog, recorder):
    """Each request is a line of the debug log, and neither that nor what the libraries log holds the key."""
    caplog.set_level(logging.DEBUG)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
    with structlog.testing.capture_logs() as logs:
        async with serving(answer) as base_url:
            await fetch(recorder, base_url=base_url)

    (line,) = logs
    assert (line["event"], line["log_level"], line["code"]) == ("request", "debug", "200")
    assert (line["path"], line["page"]) == ("/credential_connections", 1)
    assert line.keys() == {"event", "log_level", "path", "page", "code", "seconds"}
    assert "HTTP" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in str(logs)


async def test_loopback_needs_no_proxy(monkeypatch):
    """A proxy of the environment is not asked for what is on this host."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
    async with serving(answer) as base_url:
        assert ids(await fetch(base_url=base_url)) == ["1"]


async def test_a_port_where_nobody_listens_is_a_failed_connection(recorder):
    """A refused connection is told as one, without an answer."""
    async with serving(b"") as base_url:
        pass
    with pytest.raises(ConnectionFailed, match=r"^ConnectError, .*([Rr]efused|Connect call failed)"):
        await fetch(recorder, base_url=base_url)

    assert recorder.codes == ["none"] * ATTEMPTS


async def test_a_peer_that_speaks_no_http_is_not_quoted():
    """Whoever answers with something else than HTTP is a failed connection, in our own words."""
    async with serving(CANARY.encode()) as base_url:
        with pytest.raises(ConnectionFailed, match=r"^RemoteProtocolError$"):
            await fetch(base_url=base_url)
