"""Translation of httpx's errors: what failed, and whether it was the proxy or the API."""

from __future__ import annotations

import os
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any

import httpx

from exporter.telnyx.errors import (
    CertificateExpired,
    CertificateMismatch,
    CertificateUntrusted,
    ConnectionFailed,
    NameNotResolved,
    ProxyFailed,
    RequestTimeout,
    TelnyxError,
    TlsFailed,
    proxy_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UNTRUSTED = (CertificateUntrusted, "is not signed by a trusted CA")
_MISMATCH = (CertificateMismatch, "is for another host")
_CERTIFICATE_ERRORS: dict[int, tuple[type[TlsFailed], str]] = {
    2: _UNTRUSTED,  # unable to get issuer certificate
    18: _UNTRUSTED,  # self-signed certificate
    19: _UNTRUSTED,  # self-signed certificate in certificate chain
    20: _UNTRUSTED,  # unable to get local issuer certificate
    21: _UNTRUSTED,  # unable to verify the first certificate
    9: (CertificateExpired, "is not valid yet"),
    10: (CertificateExpired, "has expired"),
    62: _MISMATCH,  # the host name
    64: _MISMATCH,  # the IP address
}
"""What OpenSSL's verification errors (X509_V_ERR_*) mean."""


class PeerTrace:
    """Finds out whether a request talks to the proxy or to the API. httpx reports the steps of the request to it."""

    def __init__(self) -> None:
        self.is_at_proxy = False
        """Whether the connection goes to the proxy, and the proxy has not connected it to the API yet."""

    async def __call__(self, step: str, _details: Mapping[str, Any]) -> None:
        """Record a step."""
        if step == "connection.connect_tcp.started":
            self.is_at_proxy = True
        elif step == "proxy.start_tls.started":  # through the proxy, with the API
            self.is_at_proxy = False


def translate_error(error: httpx.HTTPError | ssl.SSLError, *, is_at_proxy: bool = False) -> TelnyxError:
    """Translate an error of httpx, or an error of TLS after the handshake, which httpx does not translate.

    `is_at_proxy` says that it is about the connection to the proxy.

    Of its causes, only static texts of the operating system and of OpenSSL are kept, because others can quote the peer.
    """
    if isinstance(error, httpx.ProxyError):
        status = re.match(r"[1-9]\d\d(?!\d)", str(error), re.ASCII)
        return proxy_error(int(status[0]) if status else None)
    if isinstance(error, ssl.SSLError):
        return _translate_tls_error(error, "connection", is_at_proxy=is_at_proxy)
    if isinstance(error, httpx.ConnectError):
        return _translate_connect_error(error, is_at_proxy=is_at_proxy)
    name = type(error).__name__
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout) and not is_at_proxy:
        return RequestTimeout(f"the API did not respond in time ({name})")
    failed, peer = _failure_of_peer(is_at_proxy=is_at_proxy)
    if isinstance(error, httpx.TimeoutException):
        what = "connection to" if isinstance(error, httpx.ConnectTimeout) else "response from"
        return failed(f"no {what} {peer} in time")
    return failed(f"the connection to {peer} failed ({', '.join((name, *_system_messages(error)))})")


def _failure_of_peer(*, is_at_proxy: bool) -> tuple[type[ConnectionFailed | ProxyFailed], str]:
    """Return the kind of error of a failed connection, and the peer in words."""
    return (ProxyFailed, "the proxy") if is_at_proxy else (ConnectionFailed, "the API")


def _translate_connect_error(error: httpx.ConnectError, *, is_at_proxy: bool) -> TelnyxError:
    failed, peer = _failure_of_peer(is_at_proxy=is_at_proxy)
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _translate_certificate_error(cause, peer)
        if isinstance(cause, socket.gaierror):
            unresolved = ProxyFailed if is_at_proxy else NameNotResolved
            return unresolved(f"can't resolve the host name of {peer}: {cause.strerror}")
        if isinstance(cause, ssl.SSLEOFError):
            return failed(f"the connection to {peer} was closed during the TLS handshake")
        if isinstance(cause, ssl.SSLError):
            return _translate_tls_error(cause, "handshake", is_at_proxy=is_at_proxy)
    messages = ", ".join(_system_messages(error))
    return failed(f"can't connect to {peer}" + (f": {messages}" if messages else ""))


def _translate_tls_error(error: ssl.SSLError, what: str, *, is_at_proxy: bool) -> TelnyxError:
    kind, peer = (ProxyFailed, "the proxy") if is_at_proxy else (TlsFailed, "the API")
    return kind(f"the TLS {what} with {peer} failed ({error.reason})")


def _translate_certificate_error(error: ssl.SSLCertVerificationError, peer: str) -> TlsFailed:
    # Python's message of a mismatch quotes the host. All others are OpenSSL's texts.
    kind, problem = _CERTIFICATE_ERRORS.get(error.verify_code) or (
        TlsFailed,
        f"is not accepted: {error.verify_message}",
    )
    return kind(f"the certificate of {peer} {problem}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    if error is None:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    yield from _causes(error.__cause__ or error.__context__)


def _system_messages(error: BaseException) -> list[str]:
    """Return the operating system's messages in the causes of an error, such as `Connection refused`.

    They come from the error numbers, because Python adds addresses to some messages.
    """
    numbers = {
        cause.errno for cause in _causes(error) if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError)
    }
    return sorted(os.strerror(number) for number in numbers if number)
