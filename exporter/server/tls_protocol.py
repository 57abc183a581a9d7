"""TLS for a connection, between its socket and its HTTP protocol.

asyncio's own TLS drops the alert that explains a failed handshake, and the responses to a client that has half-closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from exporter.server.http_protocol import MAX_REQUEST_BYTES
from exporter.server.incidents import HandshakeFailed, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.server.http_protocol import BoundedProtocol
    from exporter.server.incidents import IncidentObserver

_READ_SIZE = 2**16
_HEADER_SIZE = 5
"""Bytes of the header of a TLS record: type, version, and the length of the rest in two bytes."""
_MAX_RECORD_SIZE = _HEADER_SIZE + 2**14 + 2048
"""Maximum size of a TLS record in bytes: that of TLS 1.2, which is larger than that of TLS 1.3."""
_MAX_HANDSHAKE_BYTES = 32 * 2**10
"""Maximum size of a client's part of the handshake in bytes. Chains of client certificates have a few KiB."""
_MAX_RECORDS_AT_ONCE = 64
"""Maximum number of records to decrypt before other connections have their turn. A usual request is one record."""
_MAX_RECORDS_WITHOUT_DATA = 8
"""Records without application data that a connection may contain. Key updates are such records, and take much CPU."""
_FAILURES = {
    "HTTP_REQUEST": HandshakeFailed.PLAIN_HTTP,
    "NO_SHARED_CIPHER": HandshakeFailed.NOTHING_SHARED,
    "NO_SHARED_GROUPS": HandshakeFailed.NOTHING_SHARED,
    "NO_SUITABLE_GROUPS": HandshakeFailed.NOTHING_SHARED,
    "NO_SUITABLE_KEY_SHARE": HandshakeFailed.NOTHING_SHARED,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": HandshakeFailed.NOTHING_SHARED,
    "CERTIFICATE_VERIFY_FAILED": HandshakeFailed.CLIENT_CERTIFICATE,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": HandshakeFailed.CLIENT_CERTIFICATE,
    "UNSUPPORTED_PROTOCOL": HandshakeFailed.PROTOCOL,
    "WRONG_SSL_VERSION": HandshakeFailed.PROTOCOL,
    "WRONG_VERSION_NUMBER": HandshakeFailed.PROTOCOL,
}
"""OpenSSL's names of errors. The names of alerts that the client sent contain `_ALERT_`."""


class ServerTLS(NamedTuple):
    """How the server does TLS."""

    contexts: tuple[ssl.SSLContext, ...]
    """Contexts to try in turn for each connection, until client and server have parameters in common."""
    is_allowed: Callable[[Mapping[str, Any]], bool]
    """Return whether a client with this verified certificate, which is empty without one, may send requests."""


class TLSProtocol(asyncio.Protocol, asyncio.Transport):
    """The protocol of a TCP connection, and the transport of the HTTP connection inside it."""

    def __init__(self, http: BoundedProtocol, tls: ServerTLS, observer: IncidentObserver) -> None:
        super().__init__()
        self._http = http
        self._is_allowed = tls.is_allowed
        self._observer = observer
        self._tcp: asyncio.Transport
        self._contexts = iter(tls.contexts)
        self._first_flight: bytes | None = b""
        """What the client has sent before the first answer, for another context to try. None after that answer."""
        self._handshake_bytes = 0
        self._is_established = False
        self._has_ended = False
        """Whether the client has announced that it will send no more data."""
        self._received = bytearray()
        """What the client has sent since the last complete record. Not used before the handshake has ended."""
        self._records_without_data = 0
        self._use_context(next(self._contexts))

    def _use_context(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    # The protocol of the TCP connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the HTTP connection. Its timers and limits apply to the handshake, too."""
        self._tcp = transport
        self._http.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the HTTP connection, and free the memory of OpenSSL, which would wait for the garbage collector."""
        self._http.connection_lost(exc)
        del self._tls, self._incoming, self._outgoing

    def data_received(self, data: bytes) -> None:
        """Continue the handshake, or decrypt data and pass it on."""
        if not self._is_established:
            self._handshake_bytes += len(data)
            if self._first_flight is not None:
                self._first_flight += data
            # The first flight is kept twice.
            if self._handshake_bytes > (_MAX_HANDSHAKE_BYTES if self._first_flight is None else MAX_REQUEST_BYTES):
                self._fail(HandshakeFailed.PROTOCOL, "too many bytes in the handshake")
                return
            self._incoming.write(data)
            self._do_handshake()
            if not self._is_established:
                return
            data = self._incoming.read()  # the first records of the request may have arrived, too
        self._decrypt(data)

    def eof_received(self) -> bool:
        """Keep the connection open while there are responses to send."""
        if self._is_established:
            return self._http.eof_received()
        if self._first_flight != b"":  # a health check may connect without sending anything
            self._observer.record_incident(HandshakeFailed.DISCONNECTED, self._http.peer)
        return False

    def pause_writing(self) -> None:
        """Pause the HTTP responses."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Resume the HTTP responses."""
        self._http.resume_writing()

    # The transport of the HTTP connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about the TLS or the TCP connection."""
        return self._tls.context if name == "sslcontext" else self._tcp.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Return whether the connection is closed or is being closed."""
        return self._tcp.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send data."""
        rest = memoryview(data)
        try:
            while rest and not self.is_closing():
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError:  # OpenSSL needs the rest of the message first
            self._fail(HandshakeFailed.PROTOCOL, "an incomplete key update or other handshake message")
        self._flush()

    def close(self) -> None:
        """Close the connection after everything has been sent."""
        if self._is_established and not self.is_closing():
            with contextlib.suppress(ssl.SSLError):  # raised because the client has not closed its side yet
                self._tls.unwrap()
            self._flush()
        self._tcp.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._tcp.abort()

    def pause_reading(self) -> None:
        """Stop receiving."""
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._tcp.resume_reading()

    # TLS

    def _flush(self) -> None:
        if not self.is_closing() and (encrypted := self._outgoing.read()):
            self._first_flight = None
            self._tcp.write(encrypted)

    def _do_handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._retry_handshake(error)
        else:
            self._is_established = True
            self._flush()
            if not self._is_allowed(self._tls.getpeercert() or {}):
                message = "bad certificate: none of its subject alternative names is allowed"
                self._http.refuse_requests(RequestRefused.CERTIFICATE_NAME, message)

    def _retry_handshake(self, error: ssl.SSLError) -> None:
        """Try the next context, unless the client has had an answer from this one."""
        failure = _failure(error)
        context = None
        if failure is HandshakeFailed.NOTHING_SHARED and self._first_flight is not None:
            context = next(self._contexts, None)
        if context is None:
            self._fail(failure, error.reason or type(error).__name__)
        else:
            self._use_context(context)
            self._incoming.write(self._first_flight or b"")
            self._do_handshake()

    def _fail(self, failure: HandshakeFailed, detail: str) -> None:
        """Send the alert or the response that explains the failure, and close the connection."""
        self._observer.record_incident(failure, self._http.peer, detail)
        if failure is HandshakeFailed.PLAIN_HTTP:
            self._tcp.write(self._http.bad_request("Client sent an HTTP request to an HTTPS server."))
        else:
            self._flush()
        self.close()

    def _decrypt(self, data: bytes) -> None:
        """Decrypt the complete records one by one. OpenSSL would process any number of key updates at once."""
        self._received += data
        records = 0
        while not self._has_ended and not self.is_closing():
            size = _HEADER_SIZE + int.from_bytes(self._received[_HEADER_SIZE - 2 : _HEADER_SIZE], "big")
            if len(self._received) < size <= _MAX_RECORD_SIZE:
                return
            self._incoming.write(self._received[:size])  # OpenSSL rejects a larger record by its header
            del self._received[:size]
            records += 1
            if records > _MAX_RECORDS_AT_ONCE:
                self._fail(HandshakeFailed.PROTOCOL, "too many records at once")
            else:
                self._decrypt_record()
        self._received.clear()

    def _decrypt_record(self) -> None:
        try:
            data = self._tls.read(_READ_SIZE)
        except ssl.SSLWantReadError:
            self._flush()  # an answer to a message of the protocol itself
            self._records_without_data += 1
            if self._records_without_data > _MAX_RECORDS_WITHOUT_DATA:
                self._fail(HandshakeFailed.PROTOCOL, "too many key updates or other records without data")
        except ssl.SSLError:
            self._flush()
            self.abort()
        else:
            if data:
                self._http.data_received(data)
                return
            self._has_ended = True
            if not self._http.eof_received():
                self.close()


def _failure(error: ssl.SSLError) -> HandshakeFailed:
    if "_ALERT_" in (error.reason or ""):
        return HandshakeFailed.REJECTED_BY_CLIENT
    return _FAILURES.get(error.reason, HandshakeFailed.OTHER)
