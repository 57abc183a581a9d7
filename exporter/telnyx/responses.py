"""What there is to know of an HTTP answer or its failure, without believing or repeating what the peer says."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx
import msgspec

from exporter.telnyx.errors import ConnectionFailed, Malformed, RequestTimeout, TelnyxError

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNIX_TIME = 1e9
"""From here on, a reset of the rate limit is a Unix time and not seconds from now."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What Telnyx says of its rate limit; `reset` is a Unix time in seconds. None where it says nothing."""

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


def rate_limit(headers: Mapping[str, str], now: float) -> RateLimit | None:
    """Return what the headers say of the rate limit at this Unix time, if anything."""
    reset = _number(headers.get("x-ratelimit-reset"))
    if reset is not None and reset < _UNIX_TIME:
        reset += now
    limit = RateLimit(_number(headers.get("x-ratelimit-limit")), _number(headers.get("x-ratelimit-remaining")), reset)
    return None if limit == RateLimit() else limit


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds from this Unix time that the peer wants to be left alone; it says those or an HTTP date."""
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is None:
        try:
            date = parsedate_to_datetime(value)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds)


def _number(text: str | None) -> float | None:
    """Return a number in plain decimals, as headers have it; None for anything else."""
    return float(text) if text is not None and re.fullmatch(r"\d{1,18}(\.\d{1,18})?", text.strip(), re.ASCII) else None


async def read_body(response: httpx.Response, limit: int) -> bytes:
    """Return the body, unpacked here rather than by httpx because only so can its size be bounded, in bytes.

    Raises `Malformed`, and what httpx raises.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding not in {"identity", "gzip"}:
        raise Malformed("the answer has an encoding that was not asked for")
    gzip = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += gzip.decompress(chunk, limit + 1 - len(body)) if gzip else chunk
            if len(body) > limit or (gzip and len(gzip.unused_data) > limit):
                raise Malformed(f"the answer is larger than {limit} bytes")
    except zlib.error:
        raise Malformed("the answer is no valid gzip") from None
    if gzip and not gzip.eof:
        raise Malformed("the answer ends in the middle of its gzip")
    return bytes(body)


class _Error(msgspec.Struct):
    code: str | int


class _Errors(msgspec.Struct):
    errors: list[_Error]


def error_code(body: bytes) -> str | None:
    """Return Telnyx's numeric code of the first error; only digits, as any other text could repeat a secret."""
    try:
        code = str(msgspec.json.decode(body, type=_Errors).errors[0].code)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        return None
    return code if re.fullmatch(r"\d{1,6}", code, re.ASCII) else None


def translate(error: httpx.HTTPError) -> TelnyxError:
    """Return our own error. Of its words only the operating system's are kept: others can quote the peer."""
    if isinstance(error, httpx.TimeoutException):
        return RequestTimeout(f"no answer in time ({type(error).__name__})")
    return ConnectionFailed(", ".join((type(error).__name__, *sorted(_system_words(error)))))


def _system_words(error: BaseException | None) -> set[str]:
    """Return what the operating system says in the causes of an error, such as `Connection refused`."""
    if error is None:
        return set()
    if isinstance(error, BaseExceptionGroup):
        return set().union(*map(_system_words, error.exceptions))
    words = {error.strerror} if isinstance(error, OSError) and error.strerror else set()
    return words | _system_words(error.__cause__ or error.__context__)
