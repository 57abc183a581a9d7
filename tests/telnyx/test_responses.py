import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.telnyx.errors import ConnectionFailed, Malformed, RequestTimeout
from exporter.telnyx.responses import RateLimit, error_code, rate_limit, read_body, retry_after, translate_error

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("0.5", 0.5, id="a fraction"),
        pytest.param("Mon, 21 Sep 2026 14:14:00 GMT", 40.0, id="a date to come"),
        pytest.param("Mon, 21 Sep 2026 14:14:00", 40.0, id="a date without a zone"),
        pytest.param("Mon, 21 Sep 2015 14:14:00 GMT", 0.0, id="a date gone by"),
        pytest.param("-1", None, id="negative"),
        pytest.param("soon", None, id="text"),
        pytest.param("", None, id="empty"),
    ],
)
def test_retry_after_is_seconds_from_now(value, seconds):
    """The header holds seconds or an HTTP date, and anything else says nothing."""
    assert retry_after({"retry-after": value}, NOW) == seconds


def test_absent_retry_after_says_nothing():
    """Without the header nothing is known."""
    assert retry_after({}, NOW) is None


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"x-ratelimit-limit": "100"}, RateLimit(limit=100.0), id="limit"),
        pytest.param({"x-ratelimit-remaining": "0"}, RateLimit(remaining=0.0), id="remaining"),
        pytest.param({"x-ratelimit-reset": "30"}, RateLimit(reset=NOW + 30), id="reset in seconds"),
        pytest.param({"x-ratelimit-reset": "1790000030"}, RateLimit(reset=NOW + 30), id="reset at a Unix time"),
        pytest.param({"x-ratelimit-limit": "many"}, None, id="no number"),
    ],
)
def test_rate_limit_is_what_the_headers_say(headers, limit):
    """Each header is used where it is a number."""
    assert rate_limit(headers, NOW) == limit


@given(st.text())
def test_no_header_can_do_harm(value):
    """Whatever a header holds, it is a number or nothing."""
    headers = dict.fromkeys(("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"), value)
    rate_limit(headers, NOW)
    assert (retry_after(headers, NOW) or 0.0) >= 0.0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b'{"errors":[{"code":"10009","title":"no"}]}', "10009", id="text"),
        pytest.param(b'{"errors":[{"code":10009}]}', "10009", id="number"),
        pytest.param(b'{"errors":[{"code":"KEY0123"}]}', None, id="no digits"),
        pytest.param(b'{"errors":[{"code":"1234567"}]}', None, id="too many digits"),
        pytest.param(b'{"errors":[]}', None, id="none"),
        pytest.param(b"<html>", None, id="HTML"),
        pytest.param(b"\xff", None, id="no text"),
        pytest.param(b"[" * 100_000, None, id="nested"),
    ],
)
def test_only_the_digits_of_an_error_count(body, code):
    """Of an error's body, nothing but Telnyx's numeric code is kept."""
    assert error_code(body) == code


async def test_bounds_are_exact():
    """A body of as many bytes as are allowed is read, one byte more is refused."""

    async def chunks():
        yield b"x" * 10

    assert await read_body(httpx.Response(200, content=chunks()), 10) == b"x" * 10
    with pytest.raises(Malformed, match="larger than 9 bytes"):
        await read_body(httpx.Response(200, content=chunks()), 9)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(httpx.ReadTimeout("secret"), RequestTimeout("no response in time (ReadTimeout)"), id="timeout"),
        pytest.param(httpx.ReadError("secret"), ConnectionFailed("ReadError"), id="connection"),
    ],
)
def test_httpx_is_not_quoted(error, expected):
    """The words of an error can be the peer's; its type is not."""
    ours = translate_error(error)
    assert (type(ours), str(ours)) == (type(expected), str(expected))
