"""Errors of requests to the Telnyx API.

TelnyxError
├── ConnectionFailed         reason "connection"
│   └── NameNotResolved
├── TlsFailed                reason "tls"
│   ├── CertificateUntrusted
│   ├── CertificateExpired
│   └── CertificateMismatch
├── ProxyFailed              reason "proxy"
│   ├── ProxyUnauthorized
│   ├── ProxyForbidden
│   └── ProxyServerError
├── RequestTimeout           reason "timeout"
├── Malformed                reason "malformed"
├── KeyUnusable              reason "unauthorized"
├── Internal                 reason "internal"
└── StatusError              (an HTTP error response; has its status)
    ├── BadRequest           reason "bad_request"
    │   └── NotFound         reason "not_found"
    ├── Unauthorized         reason "unauthorized"
    ├── Forbidden            reason "forbidden"
    ├── RateLimited          reason "rate_limited"
    └── ServerError          reason "server_error"

A class without a reason has that of its base class. Only the advice differs, and whether the request is retried.

A message never quotes the peer, because an error body can repeat the key. It contains only the exporter's own words,
the HTTP status, Telnyx's numeric error code, and texts of the operating system and of OpenSSL.
"""

from __future__ import annotations

from typing import ClassVar


class TelnyxError(Exception):
    """An error that makes a refresh fail."""

    reason: ClassVar[str]
    """The value of the label `reason`."""

    advice: ClassVar[str]
    """The first step for an operator, in one sentence."""

    is_temporary: ClassVar[bool] = False
    """Whether the request is sent again within the same refresh."""

    is_logged_elsewhere: ClassVar[bool] = False
    """Whether another log line already reports the error, so that a failed refresh logs none."""

    retry_after: float | None = None
    """Seconds to wait before a retry, from `Retry-After`. None without that header."""


class ConnectionFailed(TelnyxError):
    """The connection could not be established, or it broke."""

    reason = "connection"
    advice = (
        "Check DNS and the firewall between this host and --telnyx.base-url; if this host needs a proxy, set "
        "--telnyx.proxy-url."
    )
    is_temporary = True


class NameNotResolved(ConnectionFailed):
    """DNS has no address of the API's host."""

    advice = (
        "Check the host in --telnyx.base-url and the DNS servers of this host; if this host needs a proxy, set "
        "--telnyx.proxy-url."
    )


class TlsFailed(TelnyxError):
    """TLS failed, mostly in the handshake. A retry would fail, too."""

    reason = "tls"
    advice = "Check that --telnyx.base-url is an HTTPS server, and that no firewall or proxy interferes with TLS."


class CertificateUntrusted(TlsFailed):
    """No trusted CA signed the certificate."""

    advice = (
        "If a proxy inspects TLS, or the API has a private CA, set --telnyx.ca-file to a PEM file that contains the CA."
    )


class CertificateExpired(TlsFailed):
    """The certificate, or that of its CA, has expired or is not valid yet."""

    advice = "Check the clock of this host; if it is right, have the certificate renewed."


class CertificateMismatch(TlsFailed):
    """The certificate is for another host."""

    advice = "Check the host in --telnyx.base-url, and that neither DNS nor a proxy leads to another server."


class ProxyFailed(TelnyxError):
    """The proxy can't be reached, or the connection to it broke."""

    reason = "proxy"
    advice = "Check scheme, host and port in --telnyx.proxy-url or HTTPS_PROXY, and that the proxy is running."
    is_temporary = True


class ProxyUnauthorized(ProxyFailed):
    """407: the proxy doesn't accept the user name and password."""

    advice = "Check the user name and password of the proxy in --telnyx.proxy-url or HTTPS_PROXY."
    is_temporary = False


class ProxyForbidden(ProxyFailed):
    """Any other status below 500: the proxy does not connect to the API."""

    advice = "Allow the host and port of --telnyx.base-url in the proxy, or exclude the host with NO_PROXY."
    is_temporary = False


class ProxyServerError(ProxyFailed):
    """5xx: the proxy failed to connect to the API. A retry may succeed."""

    advice = "Check whether the proxy can resolve and reach the host of --telnyx.base-url, and look at the proxy's log."


class RequestTimeout(TelnyxError):
    """A request or the whole refresh took too long."""

    is_temporary = True
    reason = "timeout"
    advice = "Check the network and status.telnyx.com; if the list is long, raise --telnyx.timeout."


class Malformed(TelnyxError):
    """The response is not what the endpoint documents."""

    reason = "malformed"
    advice = "Check that --telnyx.base-url points to the Telnyx API and that no proxy rewrites its responses."


class Internal(TelnyxError):
    """A bug in the exporter."""

    reason = "internal"
    advice = "Report this bug in the exporter, with the log line that has reason=internal."


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
    advice = (
        "Check that --telnyx.base-url ends in /v2; if it does, the account lacks this endpoint: disable the collector "
        "with --no-collector.NAME."
    )


class Unauthorized(StatusError):
    """401: the key is wrong, revoked, or belongs to another environment."""

    reason = "unauthorized"
    advice = (
        "Telnyx rejects the API key: replace it in TELNYX_API_KEY, --telnyx.api-key-file or --telnyx.api-key-files."
    )


class KeyUnusable(TelnyxError):
    """The file of the API key can't be used. No request is sent. The file's own log line says why."""

    reason = "unauthorized"
    is_logged_elsewhere = True
    advice = "Write the API key of the account to its file; the exporter reads it again within ten seconds."


class Forbidden(StatusError):
    """403: the key is valid but may not read this resource."""

    reason = "forbidden"
    advice = (
        "Allow the user of the API key to read this in the Telnyx portal, or disable the collector with "
        "--no-collector.NAME."
    )


class RateLimited(StatusError):
    """429: too many requests for this account."""

    reason = "rate_limited"
    advice = (
        "Raise the collector's TTL, lower --telnyx.max-requests-per-second, or reduce the requests of other clients."
    )
    is_temporary = True


class ServerError(StatusError):
    """5xx or 408: the server failed. A retry may succeed."""

    reason = "server_error"
    advice = "Telnyx or a proxy is failing; see status.telnyx.com. The exporter keeps retrying."
    is_temporary = True


_PROXY_AUTHENTICATION_REQUIRED = 407
_FIRST_SERVER_ERROR = 500

_BY_STATUS: dict[int, type[StatusError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: ServerError,
    429: RateLimited,
}

REASONS: tuple[str, ...] = (
    *(error.reason for error in (Unauthorized, Forbidden, NotFound, RateLimited)),
    *(error.reason for error in (RequestTimeout, ConnectionFailed, TlsFailed, ProxyFailed, ServerError, BadRequest)),
    *(error.reason for error in (Malformed, Internal)),
)
"""All values of the label `reason`."""


def status_error(status: int, code: str | None = None, retry_after: float | None = None) -> StatusError:
    """Return the error for an HTTP status of 400 or more."""
    kind = _BY_STATUS.get(status, BadRequest if status < _FIRST_SERVER_ERROR else ServerError)
    return kind(status, code, retry_after)


def proxy_error(status: int | None) -> ProxyFailed:
    """Return the error for the HTTP status of a proxy that does not connect to the API. None means unknown."""
    if status is None:
        return ProxyFailed("the proxy did not connect to the API")
    if status == _PROXY_AUTHENTICATION_REQUIRED:
        return ProxyUnauthorized("the proxy requires a valid user name and password (HTTP status 407)")
    if status < _FIRST_SERVER_ERROR:
        return ProxyForbidden(f"the proxy does not allow connections to the API (HTTP status {status})")
    return ProxyServerError(f"the proxy failed to connect to the API (HTTP status {status})")
