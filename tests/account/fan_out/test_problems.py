import math

import pytest
from structlog.testing import capture_logs

from exporter.account.fan_out.problems import Problems
from exporter.account.refresh import REFUSED_WAIT
from exporter.cache import MAX_BACKOFF
from exporter.telnyx.errors import Forbidden, KeyUnusable, RateLimited, RequestTimeout, ServerError, Unauthorized

NOW = 1000.0


@pytest.fixture
def problems():
    """Return a record of requests without failures."""
    return Problems("active-calls")


@pytest.fixture(autouse=True)
def logs():
    """Yield the log entries."""
    with capture_logs() as logs:
        yield logs


def fail(problems, error, times=1, cycle_length=3):
    """Record failures and return the pause after the last one."""
    for _ in range(times):
        problems.record_failure(error, cycle_length, NOW, connection_id="1")
    return problems.pause_until - NOW


def test_no_pause_while_some_connections_can_be_read(problems):
    """A failure does not delay other connections, if one of them succeeded within the last cycle."""
    assert fail(problems, ServerError(500), times=2) == -math.inf
    problems.record_success(3)
    assert fail(problems, Forbidden(403), times=2) == -math.inf


def test_the_pause_doubles_when_all_connections_fail(problems):
    """When every connection has failed, the pause doubles with each failure, up to two minutes."""
    assert fail(problems, ServerError(500), times=3) == 1
    assert [fail(problems, ServerError(500)) for _ in range(8)] == [2, 4, 8, 16, 32, 64, MAX_BACKOFF, MAX_BACKOFF]


def test_a_refused_key_pauses_for_ten_minutes(problems):
    """When Telnyx refuses every connection, somebody must change something first."""
    assert fail(problems, Forbidden(403), times=3) == REFUSED_WAIT


@pytest.mark.parametrize(("retry_after", "pause"), [(120.0, 120.0), (None, 1.0), (0.0, 1.0), (1e6, 300.0)])
def test_a_rate_limit_pauses_at_once(problems, retry_after, pause):
    """If Telnyx requests a wait, one failure is enough to pause."""
    assert fail(problems, RateLimited(429, retry_after=retry_after)) == pause


def test_a_pause_does_not_become_shorter(problems):
    """Another failure does not shorten a pause."""
    fail(problems, RateLimited(429, retry_after=120.0))
    assert fail(problems, RateLimited(429)) == 120.0


def test_the_error_is_that_of_the_last_request(problems):
    """The error is there until the next success."""
    error = ServerError(500)
    fail(problems, error)
    assert (problems.error, problems.failures) == (error, 1)
    problems.record_success(3)
    assert (problems.error, problems.failures) == (None, 0)


def test_each_reason_is_logged_once(problems, logs):
    """A reason is a warning once, until each connection was read without a failure."""
    fail(problems, ServerError(500), times=2)
    fail(problems, RequestTimeout("late"))
    for _ in range(2):
        problems.record_success(3)
    fail(problems, ServerError(500))
    for _ in range(4):
        problems.record_success(3)
    fail(problems, ServerError(500))
    lines = [(line["log_level"], line["event"], line.get("reason") or line["last_reason"]) for line in logs]
    assert [line for line in lines if line[0] != "debug"] == [
        ("warning", "request failed", "server_error"),
        ("warning", "request failed", "timeout"),
        ("info", "requests succeed again", "server_error, timeout"),
        ("warning", "request failed", "server_error"),
    ]
    assert lines.count(("debug", "request failed", "server_error")) == 2


def test_a_log_line_says_what_to_do(problems, logs):
    """A warning names the collector, the connection, the reason and the advice."""
    fail(problems, ServerError(500))
    (line,) = logs
    assert line["collector"] == "active-calls"
    assert (line["connection_id"], line["error"]) == ("1", "HTTP status 500")
    assert line["advice"] == ServerError.advice


def test_an_unusable_key_is_not_logged_again(problems, logs):
    """A key file logs itself that it is unusable and usable again, so requests that fail because of it don't."""
    fail(problems, KeyUnusable("the API key file is unusable: is empty"), times=3)
    assert [entry["log_level"] for entry in logs] == ["debug"] * 3
    for _ in range(3):
        problems.record_success(3)
    assert len(logs) == 3
    fail(problems, KeyUnusable("the API key file is unusable: is empty"))
    fail(problems, Unauthorized(401))
    assert [entry["log_level"] for entry in logs[3:]] == ["debug", "warning"]
