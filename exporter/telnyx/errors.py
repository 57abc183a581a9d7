"""Errors of requests to the Telnyx API.

TelnyxError
├── ConnectionFailed         reason "connection"
├── RequestTimeout           reason "timeout"
├── Malformed                reason "malformed"
├── Internal                 reason "internal"
└── StatusError              (an HTTP error response; has its status)
    ├── BadRequest           reason "bad_request"
    │   └── NotFound         reason "not_found"
    ├── Unauthorized         reason "unauthorized"
    ├── Forbidden            reason "forbidden"
    ├── RateLimited          reason "rate_limited"
    └── ServerError          reason "server_error"

A message never quotes the peer, because an error body can repeat the key. It contains only the exporter's own words,
the HTTP status and Telnyx's numeric error code.
"""

from __future__ import annotations

from typing import ClassVar


class TelnyxError(Exception):
    """An error that makes a refresh fail."""

    reason: ClassVar[str]
    """The value of the label `reason`."""

    advice: ClassVar[str]
    """What an operator can do about it, in one sentence."""

    retry_after: float | None = None
    """Seconds that Telnyx asked to wait, or None if it did not ask."""


class ConnectionFailed(TelnyxError):
    """The connection could not be established, or it broke."""

    reason = "connection"
    advice = "Check DNS, firewall and proxy between this host and --telnyx.base-url."


class RequestTimeout(TelnyxError):
    """A request or the whole refresh took too long."""

    reason = "timeout"
    advice = "Telnyx is slow or unreachable; if the list is long, raise --telnyx.timeout."


class Malformed(TelnyxError):
    """The response is not what the endpoint documents."""

    reason = "malformed"
    advice = "Check that --telnyx.base-url points to the Telnyx API and that no proxy rewrites its responses."


class Internal(TelnyxError):
    """A bug in the exporter."""

    reason = "internal"
    advice = "This is a bug in the exporter; please report the log line that has this reason."


class StatusError(TelnyxError):
    """An HTTP error response."""

    def __init__(self, status: int, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP status {status}" + (f", Telnyx error {code}" if code else ""))
        self.status = status
        self.retry_after = retry_after


class BadRequest(StatusError):
    """Any other 4xx status: Telnyx rejects the request itself."""

    reason = "bad_request"
    advice = "Check --telnyx.base-url and the --telnyx.filter flags."


class NotFound(BadRequest):
    """404: the endpoint does not exist."""

    reason = "not_found"
    advice = "Telnyx does not have this for the account: switch the collector off. Or --telnyx.base-url is wrong."


class Unauthorized(StatusError):
    """401: the key is wrong, revoked, or belongs to another environment."""

    reason = "unauthorized"
    advice = "Check the API key in TELNYX_API_KEY or --telnyx.api-key-file; Telnyx does not accept it."


class Forbidden(StatusError):
    """403: the key is valid but may not read this resource."""

    reason = "forbidden"
    advice = "In the Telnyx portal, allow the user of the API key to read this, or switch the collector off."


class RateLimited(StatusError):
    """429: too many requests for this account."""

    reason = "rate_limited"
    advice = "Raise the TTL, lower --telnyx.max-requests-per-second, or find other clients of the same account."


class ServerError(StatusError):
    """5xx or 408: the server failed. A retry may succeed."""

    reason = "server_error"
    advice = "Telnyx or a proxy is failing; see status.telnyx.com. The exporter keeps retrying."


_BY_STATUS: dict[int, type[StatusError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: ServerError,
    429: RateLimited,
}

REASONS: tuple[str, ...] = (
    *(error.reason for error in (Unauthorized, Forbidden, NotFound, RateLimited)),
    *(error.reason for error in (RequestTimeout, ConnectionFailed, ServerError, BadRequest, Malformed, Internal)),
)
"""All values of the label `reason`."""


def status_error(status: int, code: str | None = None, retry_after: float | None = None) -> StatusError:
    """Return the error for an HTTP status of 400 or more."""
    kind = _BY_STATUS.get(status, BadRequest if status < 500 else ServerError)  # noqa: PLR2004 -- first 5xx status
    return kind(status, code, retry_after)
