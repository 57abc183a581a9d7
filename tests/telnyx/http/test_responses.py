import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.telnyx.errors import Malformed
from exporter.telnyx.http.responses import RateLimit, error_code, rate_limit, read_body, retry_after

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("0.5", 0.5, id="fraction"),
        pytest.param("Mon, 21 Sep 2026 14:14:00 GMT", 40.0, id="future date"),
        pytest.param("Mon, 21 Sep 2026 14:14:00", 40.0, id="date without a zone"),
        pytest.param("Mon, 21 Sep 2015 14:14:00 GMT", 0.0, id="past date"),
        pytest.param("-1", None, id="negative"),
        pytest.param("soon", None, id="text"),
        pytest.param("", None, id="empty"),
    ],
)
def test_retry_after_is_seconds_from_now(value, seconds):
    """`Retry-After` contains seconds or an HTTP date. Any other value is ignored."""
    assert retry_after({"retry-after": value}, NOW) == seconds


def test_absent_retry_after_is_none():
    """Without the header, there is no delay."""
    assert retry_after({}, NOW) is None


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        pytest.param({}, None, id="no headers"),
        pytest.param({"x-ratelimit-limit": "100"}, RateLimit(limit=100.0), id="limit"),
        pytest.param({"x-ratelimit-remaining": "0"}, RateLimit(remaining=0.0), id="remaining"),
        pytest.param({"x-ratelimit-reset": "30"}, RateLimit(reset=NOW + 30), id="reset in seconds"),
        pytest.param({"x-ratelimit-reset": "1790000030"}, RateLimit(reset=NOW + 30), id="reset as a Unix time"),
        pytest.param({"x-ratelimit-limit": "many"}, None, id="not a number"),
    ],
)
def test_rate_limit_headers_are_parsed(headers, limit):
    """Each header whose value is a number is used."""
    assert rate_limit(headers, NOW) == limit


@given(st.text())
@example("0\x1f")
def test_any_header_value_is_tolerated(value):
    """Any header value is parsed as a number or ignored."""
    headers = dict.fromkeys(("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"), value)
    rate_limit(headers, NOW)
    assert (retry_after(headers, NOW) or 0.0) >= 0.0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b'{"errors":[{"code":"10009","title":"no"}]}', "10009", id="text"),
        pytest.param(b'{"errors":[{"code":10009}]}', "10009", id="number"),
        pytest.param(b'{"errors":[{"code":"KEY0123"}]}', None, id="not digits"),
        pytest.param(b'{"errors":[{"code":"1234567"}]}', None, id="too many digits"),
        pytest.param(b'{"errors":[]}', None, id="no errors"),
        pytest.param(b"<html>", None, id="HTML"),
        pytest.param(b"\xff", None, id="not UTF-8"),
        pytest.param(b"[" * 100_000, None, id="deeply nested"),
    ],
)
def test_only_a_numeric_code_of_an_error_is_kept(body, code):
    """Nothing of an error body is kept except Telnyx's numeric code."""
    assert error_code(body) == code


async def test_the_body_limit_is_exact():
    """A body of exactly the maximum size is read. A body with one more byte is rejected."""

    async def chunks():
        yield b"x" * 10

    assert await read_body(httpx.Response(200, content=chunks()), 10) == b"x" * 10
    with pytest.raises(Malformed, match="larger than 9 bytes"):
        await read_body(httpx.Response(200, content=chunks()), 9)
