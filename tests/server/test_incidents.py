import asyncio

import pytest
import structlog
from virtual_time import VirtualLoop

from exporter.server.incidents import SUMMARY_INTERVAL as INTERVAL
from exporter.server.incidents import ConnectionClosed, HandshakeFailed, IncidentLog, RequestRefused


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests in virtual time."""
    return ("asyncio", {"loop_factory": VirtualLoop})


@pytest.fixture
def logs():
    """Yield the log."""
    with structlog.testing.capture_logs() as logs:
        yield logs


def warnings(logs):
    return [
        {name: value for name, value in log.items() if name != "log_level"}
        for log in logs
        if log["log_level"] == "warning"
    ]


@pytest.mark.parametrize(
    ("incident", "event"),
    [
        (ConnectionClosed.CONNECTION_LIMIT, "client connection closed"),
        (RequestRefused.WRONG_CREDENTIALS, "client request refused"),
        (HandshakeFailed.PLAIN_HTTP, "client TLS handshake failed"),
    ],
)
async def test_the_first_incident_is_logged(logs, incident, event):
    """The first incident is logged with its reason and the address of the client."""
    IncidentLog().record_incident(incident, "192.0.2.1")
    assert warnings(logs) == [{"event": event, "reason": incident.value, "client": "192.0.2.1"}]


async def test_the_detail_is_logged(logs):
    """The detail is logged if there is one."""
    IncidentLog().record_incident(HandshakeFailed.OTHER, "192.0.2.1", "BAD_THING")
    assert warnings(logs)[0]["detail"] == "BAD_THING"


async def test_further_incidents_are_summarized(logs):
    """While incidents of a kind continue, each interval gets one line with their number. Every one is counted."""
    counted = []
    log = IncidentLog(counted.append)
    for _ in range(1000):
        log.record_incident(RequestRefused.INVALID, "192.0.2.1")
    log.record_incident(HandshakeFailed.OTHER, "192.0.2.1")
    assert [line["reason"] for line in warnings(logs)] == ["invalid", "other"]
    await asyncio.sleep(INTERVAL * 1.5)
    assert warnings(logs)[2:] == [
        {"event": "client request refused", "reason": "invalid", "count": 999, "seconds": INTERVAL}
    ]
    log.record_incident(RequestRefused.INVALID, "192.0.2.1")
    await asyncio.sleep(INTERVAL)
    assert warnings(logs)[3:] == [
        {"event": "client request refused", "reason": "invalid", "count": 1, "seconds": INTERVAL}
    ]
    assert (len(counted), counted.count(RequestRefused.INVALID)) == (1002, 1001)


async def test_an_incident_after_a_pause_is_logged(logs):
    """After an interval without incidents, the next one is logged at once."""
    log = IncidentLog()
    log.record_incident(RequestRefused.INVALID, "192.0.2.1")
    await asyncio.sleep(INTERVAL * 1.5)
    log.record_incident(RequestRefused.INVALID, "192.0.2.2")
    assert [line["client"] for line in warnings(logs)] == ["192.0.2.1", "192.0.2.2"]


async def test_each_incident_is_logged_at_debug_level(logs):
    """At debug level, the log has every incident."""
    log = IncidentLog()
    for _ in range(3):
        log.record_incident(RequestRefused.INVALID, "192.0.2.1")
    assert [line["log_level"] for line in logs] == ["warning", "debug", "debug"]


def test_no_two_kinds_share_a_reason():
    """Reasons are unique, because the alert about refused clients joins the counters of all kinds by reason."""
    reasons = [incident.value for kind in (ConnectionClosed, RequestRefused, HandshakeFailed) for incident in kind]
    assert len(set(reasons)) == len(reasons)
