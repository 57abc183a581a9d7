"""Incidents that clients cause: closed connections, refused requests, failed TLS handshakes. Counts and logs them."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

SUMMARY_INTERVAL = 60.0
"""Seconds between two log lines about incidents of the same kind."""

_log = structlog.get_logger()


class ConnectionClosed(Enum):
    """Why the server closed a connection."""

    CONNECTION_LIMIT = "connection_limit"
    """Too many connections were open, and this client had the most."""
    UNREAD_LIMIT = "unread_limit"
    """Too many clients were reading slowly, and this one had the most such connections."""
    FILE_DESCRIPTORS = "file_descriptors"
    """The process had no file descriptor left for another connection, and this client had the most connections."""
    REQUEST_TIMEOUT = "request_timeout"
    """No complete request arrived in time."""
    SEND_TIMEOUT = "send_timeout"
    """The client did not read its response in time."""


class RequestRefused(Enum):
    """Why the server refused a request."""

    INVALID = "invalid"
    """The request was not valid HTTP, had no valid Host header, too many headers or chunks, or was one of too many."""
    TOO_LARGE = "too_large"
    """The request was too large."""
    CERTIFICATE_NAME = "certificate_name"
    """The client certificate has none of the allowed subject alternative names."""
    NO_CREDENTIALS = "no_credentials"
    """The request had no user and password."""
    WRONG_CREDENTIALS = "wrong_credentials"
    """The user or the password was wrong."""
    RATE_LIMIT = "rate_limit"
    """The rate limit of the web configuration was exceeded."""


class HandshakeFailed(Enum):
    """Why a TLS handshake failed."""

    PLAIN_HTTP = "plain_http"
    """The client sent an HTTP request without TLS."""
    PROTOCOL = "protocol"
    """The client sent something else than TLS, supports only other versions, or sent too many bytes or records."""
    NOTHING_SHARED = "nothing_shared"
    """Client and server have no cipher suite, curve or signature algorithm in common."""
    CLIENT_CERTIFICATE = "client_certificate"
    """The client had no certificate, or one that is not trusted."""
    REJECTED_BY_CLIENT = "rejected_by_client"
    """The client rejected the server, for example because it does not trust the server's certificate."""
    DISCONNECTED = "disconnected"
    """The client disconnected during the handshake."""
    OTHER = "other"
    """The detail in the log has the reason."""


Incident = ConnectionClosed | RequestRefused | HandshakeFailed

_EVENTS = {
    ConnectionClosed: "client connection closed",
    RequestRefused: "client request refused",
    HandshakeFailed: "client TLS handshake failed",
}


class IncidentObserver(Protocol):
    """Receives incidents."""

    def record_incident(self, incident: Incident, client: str, detail: str = "") -> None:
        """Record an incident that this client caused. `client` is an address, or empty for a Unix socket."""


class IncidentLog:
    """Counts incidents, and logs the first of each kind, then one summary a minute while they continue."""

    def __init__(self, count: Callable[[Incident], None] = lambda _: None) -> None:
        self._count = count
        self._unreported: dict[Incident, int] = {}
        """Incidents since the last log line, for each kind that has occurred in the last minute."""

    def record_incident(self, incident: Incident, client: str, detail: str = "") -> None:
        """Record an incident that this client caused. `client` is an address, or empty for a Unix socket."""
        self._count(incident)
        first = incident not in self._unreported
        log = _log.warning if first else _log.debug
        log(_EVENTS[type(incident)], reason=incident.value, client=client, **({"detail": detail} if detail else {}))
        if first:
            self._start_interval(incident)
        else:
            self._unreported[incident] += 1

    def _start_interval(self, incident: Incident) -> None:
        self._unreported[incident] = 0
        asyncio.get_running_loop().call_later(SUMMARY_INTERVAL, self._end_interval, incident)

    def _end_interval(self, incident: Incident) -> None:
        count = self._unreported.pop(incident)
        if count:
            _log.warning(_EVENTS[type(incident)], reason=incident.value, count=count, seconds=SUMMARY_INTERVAL)
            self._start_interval(incident)
