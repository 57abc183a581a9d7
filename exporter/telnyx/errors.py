"""What can go wrong between the exporter and Telnyx.

TelnyxError
├── ConnectionFailed         reason "connection"
├── RequestTimeout           reason "timeout"
├── Malformed                reason "malformed"
├── Internal                 reason "internal"
└── StatusError              (an answer that is no list; carries the HTTP status)
    ├── BadRequest           reason "bad_request"
    ├── Unauthorized         reason "unauthorized"
    ├── Forbidden            reason "forbidden"
    ├── RateLimited          reason "rate_limited"
    └── ServerError          reason "server_error"

A message never quotes what the peer sent, because an error body can repeat the key: it is made of our own words, the
HTTP status and Telnyx's numeric error code.
"""

from __future__ import annotations

from typing import ClassVar


class TelnyxError(Exception):
    """Anything that keeps a refresh from getting the list."""

    reason: ClassVar[str]
    """The value of the label `reason`."""

    advice: ClassVar[str]
    """What an operator can do about it, in one sentence."""

    retry_after: float | None = None
    """Seconds the peer asked to be left alone, where it said so."""


class ConnectionFailed(TelnyxError):
    """No connection could be made, or it broke."""

    reason = "connection"
    advice = "Check DNS, firewall and proxy between this host and --telnyx.base-url."


class RequestTimeout(TelnyxError):
    """The peer, or the whole refresh, took too long."""

    reason = "timeout"
    advice = "Telnyx is slow or unreachable; if the list is long, raise --telnyx.timeout."


class Malformed(TelnyxError):
    """The answer is not what the list endpoint answers."""

    reason = "malformed"
    advice = "Check that --telnyx.base-url leads to the Telnyx API and that no proxy rewrites its answers."


class Internal(TelnyxError):
    """A fault of the exporter itself."""

    reason = "internal"
    advice = "This is a bug in the exporter; please report the log line that has this reason."


class StatusError(TelnyxError):
    """The peer answered with an error."""

    def __init__(self, status: int, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP status {status}" + (f", Telnyx error {code}" if code else ""))
        self.status = status
        self.retry_after = retry_after


class BadRequest(StatusError):
    """A 4xx that is none of those below: the request itself is refused."""

    reason = "bad_request"
    advice = "Check --telnyx.base-url and the --telnyx.filter flags."


class Unauthorized(StatusError):
    """401: the key is wrong, revoked or of another environment."""

    reason = "unauthorized"
    advice = "Check the API key in TELNYX_API_KEY or --telnyx.api-key-file; Telnyx does not accept it."


class Forbidden(StatusError):
    """403: the key is good but may not read connections."""

    reason = "forbidden"
    advice = "Give the API key's user the right to read connections in the Telnyx portal."


class RateLimited(StatusError):
    """429: too many requests for this account."""

    reason = "rate_limited"
    advice = "Raise --cache.ttl, lower --telnyx.concurrency, or look for others who use the same account."


class ServerError(StatusError):
    """5xx (or 408): the peer failed, and may not next time."""

    reason = "server_error"
    advice = "Telnyx or a proxy is failing; see status.telnyx.com. The exporter keeps trying."


_BY_STATUS: dict[int, type[StatusError]] = {
    401: Unauthorized,
    403: Forbidden,
    408: ServerError,
    429: RateLimited,
}

REASONS: tuple[str, ...] = (
    *(error.reason for error in (Unauthorized, Forbidden, RateLimited)),
    *(error.reason for error in (RequestTimeout, ConnectionFailed, ServerError, BadRequest, Malformed, Internal)),
)
"""Every value of the label `reason`."""


def from_status(status: int, code: str | None = None, retry_after: float | None = None) -> StatusError:
    """Return the error for an answer with this HTTP status (400 or more)."""
    kind = _BY_STATUS.get(status, BadRequest if status < 500 else ServerError)  # noqa: PLR2004 -- HTTP's own border
    return kind(status, code, retry_after)
