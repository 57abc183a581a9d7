"""Reading of HTTP responses. Nothing that the peer sends is trusted or repeated."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import msgspec

from exporter.telnyx.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

MIN_UNIX_TIME = 1e9
"""A time below this is a number of seconds from another time. From this on, it is a Unix time."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Telnyx's rate limit headers. `reset` is a Unix time in seconds. A missing header is None."""

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


def rate_limit(headers: Mapping[str, str], now: float) -> RateLimit | None:
    """Parse the rate limit headers and return None if there are none. `now` is the Unix time."""
    reset = _parse_number(headers.get("x-ratelimit-reset"))
    if reset is not None and reset < MIN_UNIX_TIME:
        reset += now
    limit = RateLimit(
        _parse_number(headers.get("x-ratelimit-limit")), _parse_number(headers.get("x-ratelimit-remaining")), reset
    )
    return None if limit == RateLimit() else limit


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Parse `Retry-After`, which is seconds or an HTTP date, and return seconds from `now`, a Unix time."""
    value = headers.get("retry-after", "")
    seconds = _parse_number(value)
    if seconds is None:
        try:
            date = parsedate_to_datetime(value)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds)


def _parse_number(text: str | None) -> float | None:
    """Parse a plain decimal number, as headers use it. Return None for anything else."""
    number = (text or "").strip(" \t")
    return float(number) if re.fullmatch(r"\d{1,18}(\.\d{1,18})?", number, re.ASCII) else None


async def read_body(response: httpx.Response, limit: int) -> bytes:
    """Read the body, of at most `limit` bytes after decompression.

    It is decompressed here, because httpx can't bound the decompressed size. Raises `Malformed` and httpx's errors.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding not in {"identity", "gzip"}:
        raise Malformed("the response has an encoding that was not requested")
    gzip = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += gzip.decompress(chunk, limit + 1 - len(body)) if gzip else chunk
            if len(body) > limit or (gzip and len(gzip.unused_data) > limit):
                raise Malformed(f"the response is larger than {limit} bytes")
    except zlib.error:
        raise Malformed("the response is not valid gzip") from None
    if gzip and not gzip.eof:
        raise Malformed("the response ends in the middle of its gzip data")
    return bytes(body)


class _Error(msgspec.Struct):
    code: str | int


class _Errors(msgspec.Struct):
    errors: list[_Error]


def error_code(body: bytes) -> str | None:
    """Return Telnyx's code of the first error if it is 1 to 6 digits, or None. Other text could repeat a secret."""
    try:
        code = str(msgspec.json.decode(body, type=_Errors).errors[0].code)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        return None
    return code if re.fullmatch(r"\d{1,6}", code, re.ASCII) else None
