import errno
import os
import socket
import ssl

import httpx
import pytest

from exporter.telnyx.errors import (
    CertificateExpired,
    CertificateMismatch,
    CertificateUntrusted,
    ConnectionFailed,
    NameNotResolved,
    ProxyFailed,
    ProxyForbidden,
    ProxyServerError,
    ProxyUnauthorized,
    RequestTimeout,
    TlsFailed,
)
from exporter.telnyx.http.failures import PeerTrace, translate_error

CANARY = "canary-7f3a"
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed ('{CANARY}', 1)")
UNREACHABLE = OSError(errno.EHOSTUNREACH, "No route to host")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def caused_by(error, cause):
    """Return the error with this cause, below another error whose text must not be quoted."""
    between = OSError(CANARY)
    between.__context__ = cause
    error.__cause__ = between
    return error


def connect_error(cause=None):
    return caused_by(httpx.ConnectError(CANARY), cause)


def certificate_error(code, message=CANARY):
    """Return the error of a certificate that OpenSSL rejects with this code."""
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {message}")
    error.reason, error.verify_code, error.verify_message = "CERTIFICATE_VERIFY_FAILED", code, message
    return connect_error(error)


def tls_error(kind=ssl.SSLError, reason="WRONG_VERSION_NUMBER"):
    error = kind(1, f"[SSL: {reason}] {CANARY}")
    error.reason = reason
    return connect_error(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(connect_error(), ConnectionFailed("can't connect to the API"), id="no cause"),
        pytest.param(
            connect_error(REFUSED), ConnectionFailed("can't connect to the API: Connection refused"), id="refused"
        ),
        pytest.param(
            connect_error(ExceptionGroup(CANARY, [UNREACHABLE, REFUSED, REFUSED])),
            ConnectionFailed("can't connect to the API: Connection refused, No route to host"),
            id="several addresses",
        ),
        pytest.param(
            connect_error(UNKNOWN),
            NameNotResolved("can't resolve the host name of the API: Name or service not known"),
            id="unknown name",
        ),
        pytest.param(
            httpx.ConnectTimeout(CANARY), ConnectionFailed("no connection to the API in time"), id="connect timeout"
        ),
        pytest.param(
            httpx.ReadTimeout(CANARY),
            RequestTimeout("the API did not respond in time (ReadTimeout)"),
            id="read timeout",
        ),
        pytest.param(
            httpx.ReadError(CANARY), ConnectionFailed("the connection to the API failed (ReadError)"), id="broken"
        ),
        pytest.param(
            caused_by(httpx.WriteError(CANARY), ConnectionResetError(errno.ECONNRESET, CANARY)),
            ConnectionFailed("the connection to the API failed (WriteError, Connection reset by peer)"),
            id="reset",
        ),
        pytest.param(
            certificate_error(20),
            CertificateUntrusted("the certificate of the API is not signed by a trusted CA"),
            id="untrusted",
        ),
        pytest.param(certificate_error(10), CertificateExpired("the certificate of the API has expired"), id="expired"),
        pytest.param(
            certificate_error(9), CertificateExpired("the certificate of the API is not valid yet"), id="not yet valid"
        ),
        pytest.param(
            certificate_error(62), CertificateMismatch("the certificate of the API is for another host"), id="mismatch"
        ),
        pytest.param(
            certificate_error(85, "Missing Authority Key Identifier"),
            TlsFailed("the certificate of the API is not accepted: Missing Authority Key Identifier"),
            id="other certificate error",
        ),
        pytest.param(
            tls_error(), TlsFailed("the TLS handshake with the API failed (WRONG_VERSION_NUMBER)"), id="handshake"
        ),
        pytest.param(
            tls_error(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"),
            ConnectionFailed("the connection to the API was closed during the TLS handshake"),
            id="closed during the handshake",
        ),
        pytest.param(
            tls_error().__cause__.__context__,
            TlsFailed("the TLS connection with the API failed (WRONG_VERSION_NUMBER)"),
            id="after the handshake",
        ),
        pytest.param(
            httpx.ProxyError(f"407 {CANARY}"),
            ProxyUnauthorized("the proxy requires a valid user name and password (HTTP status 407)"),
            id="proxy 407",
        ),
        pytest.param(
            httpx.ProxyError(f"403 {CANARY}"),
            ProxyForbidden("the proxy does not allow connections to the API (HTTP status 403)"),
            id="proxy 403",
        ),
        pytest.param(
            httpx.ProxyError("502 "),
            ProxyServerError("the proxy failed to connect to the API (HTTP status 502)"),
            id="proxy 502",
        ),
        pytest.param(
            httpx.ProxyError(CANARY), ProxyFailed("the proxy did not connect to the API"), id="proxy without status"
        ),
        pytest.param(
            httpx.ProxyError("4071"), ProxyFailed("the proxy did not connect to the API"), id="proxy invalid status"
        ),
    ],
)
def test_errors_are_translated(error, expected):
    """Each cause that an operator can act on has its own error, in words that quote nothing of the peer."""
    translated = translate_error(error)
    assert (type(translated), str(translated)) == (type(expected), str(expected))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(connect_error(REFUSED), "can't connect to the proxy: Connection refused", id="refused"),
        pytest.param(
            connect_error(UNKNOWN),
            "can't resolve the host name of the proxy: Name or service not known",
            id="unknown name",
        ),
        pytest.param(httpx.ConnectTimeout(CANARY), "no connection to the proxy in time", id="connect timeout"),
        pytest.param(httpx.ReadTimeout(CANARY), "no response from the proxy in time", id="read timeout"),
        pytest.param(httpx.ReadError(CANARY), "the connection to the proxy failed (ReadError)", id="broken"),
        pytest.param(tls_error(), "the TLS handshake with the proxy failed (WRONG_VERSION_NUMBER)", id="handshake"),
    ],
)
def test_failures_at_the_proxy_are_the_proxys(error, expected):
    """If the connection to the proxy fails, the error says so, and it is temporary."""
    translated = translate_error(error, is_at_proxy=True)
    assert (type(translated), str(translated)) == (ProxyFailed, expected)
    assert translated.is_temporary


def test_the_certificate_of_a_proxy_has_the_same_advice():
    """A CA that is missing for an https proxy is added with the same flag as one for the API."""
    translated = translate_error(certificate_error(20), is_at_proxy=True)
    assert type(translated) is CertificateUntrusted
    assert str(translated) == "the certificate of the proxy is not signed by a trusted CA"


@pytest.mark.parametrize("code", [2, 9, 10, 18, 19, 20, 21, 62, 64])
def test_known_certificate_errors_are_not_quoted(code):
    """The errors that OpenSSL reports most often have their own words. Python's message can quote the host."""
    translated = translate_error(certificate_error(code))
    assert type(translated) is not TlsFailed
    assert CANARY not in str(translated)


@pytest.mark.parametrize(
    ("steps", "is_at_proxy"),
    [
        ([], False),
        (["connection.connect_tcp.started"], True),
        (["connection.connect_tcp.started", "connection.start_tls.started"], True),
        (["connection.connect_tcp.started", "http11.send_request_headers.started"], True),
        (["connection.connect_tcp.started", "proxy.start_tls.started"], False),
        (["http11.send_request_headers.started"], False),
    ],
)
async def test_the_peer_is_the_proxy_until_it_has_connected(steps, is_at_proxy):
    """Until the TLS handshake with the API, the peer of a new connection is the proxy."""
    trace = PeerTrace()
    for step in steps:
        await trace(step, {})
    assert trace.is_at_proxy is is_at_proxy


def test_system_messages_come_from_numbers():
    """Python adds the address to some messages, so the text of the error number is used."""
    assert os.strerror(errno.ECONNREFUSED) in str(translate_error(connect_error(REFUSED)))
    assert CANARY not in str(translate_error(connect_error(REFUSED)))
