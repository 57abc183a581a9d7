from datetime import UTC, datetime

import pytest
from status import NOW, page_of, state_of

from exporter.status.collectors import describe_collector, summarize, time_of
from exporter.status.report import State
from exporter.telnyx.errors import ConnectionFailed, Forbidden, Internal, ServerError, status_error

FAILED = ServerError(503, "10007")
ANSWER = "Telnyx answered with HTTP status 503, Telnyx error 10007."
OLD, NOTHING = "Scrapes get data that is 12 s old.", "Scrapes get no data from this collector."


@pytest.mark.parametrize(
    ("state", "kind", "summary"),
    [
        pytest.param(state_of(), State.UP_TO_DATE, "Up to date.", id="fresh"),
        pytest.param(state_of(is_refreshing=True), State.UP_TO_DATE, "Up to date.", id="fresh-and-refreshing"),
        pytest.param(
            state_of(stale=True), State.STALE, "Older than the TTL. The next scrape reads it again.", id="stale"
        ),
        pytest.param(state_of(view=False), State.WAITING, "No data yet. The next scrape reads it.", id="new"),
        pytest.param(
            state_of(view=False, is_refreshing=True), State.READING, "Reading it for the first time.", id="reading"
        ),
        pytest.param(state_of(age=NOW), State.READING, "Reading it for the first time.", id="no-row-yet"),
        pytest.param(
            state_of(error=FAILED, wait=11.6), State.FAILING, f"Retrying in 12 s: {ANSWER} {OLD}", id="failing"
        ),
        pytest.param(
            state_of(error=FAILED, wait=0.2), State.FAILING, f"Retrying in 1 s: {ANSWER} {OLD}", id="retry-soon"
        ),
        pytest.param(
            state_of(error=FAILED), State.FAILING, f"Retrying at the next scrape: {ANSWER} {OLD}", id="retry-due"
        ),
        pytest.param(
            state_of(error=FAILED, is_refreshing=True), State.FAILING, f"Retrying now: {ANSWER} {OLD}", id="retrying"
        ),
        pytest.param(
            state_of(view=False, last_success=NOW - 3600),
            State.WAITING,
            "The data has expired. The next scrape reads it again.",
            id="expired",
        ),
        pytest.param(
            state_of(view=False, last_success=NOW - 3600, is_refreshing=True),
            State.READING,
            "The data has expired. Reading it again.",
            id="expired-and-reading",
        ),
        pytest.param(
            state_of(stale=True, in_background=True, last_success=NOW), State.UP_TO_DATE, "Up to date.", id="fan-out"
        ),
        pytest.param(
            state_of(age=NOW, in_background=True, last_success=NOW),
            State.READING,
            "Reading one connection after the other. The next scrape gets what was read.",
            id="fan-out-begins",
        ),
        pytest.param(
            state_of(error=FAILED, in_background=True, last_success=NOW - 300),
            State.FAILING,
            f"Retrying now: {ANSWER} Scrapes get data that is 5 min old.",
            id="fan-out-fails",
        ),
        pytest.param(
            state_of(error=FAILED, account="a"), State.FAILING, f"Retrying now: {ANSWER} {OLD}", id="several-accounts"
        ),
        pytest.param(
            state_of(error=FAILED, wait=600.0), State.FAILING, f"Retrying in 10 min: {ANSWER} {OLD}", id="long-wait"
        ),
        pytest.param(
            state_of(error=FAILED, view=False, wait=5.0),
            State.FAILING,
            f"Retrying in 5 s: {ANSWER} {NOTHING}",
            id="failing-without-data",
        ),
        pytest.param(
            state_of(error=ConnectionFailed("can't connect: refused"), wait=5.0),
            State.FAILING,
            f"Retrying in 5 s: can't connect: refused. {OLD}",
            id="no-answer",
        ),
    ],
)
def test_a_state_in_words(state, kind, summary):
    """The state says what happens next and, after a failure, why, and what scrapes get."""
    report = describe_collector(state, NOW)
    assert (report.state, report.summary) == (kind, summary)


def test_the_path_of_an_error_is_named():
    """If a collector reads several lists, the sentence says which one failed."""
    error = status_error(403)
    error.args = (f"GET /ips: {error}",)
    summary = describe_collector(state_of(error=error, wait=5.0), NOW).summary
    assert summary.startswith("Retrying in 5 s: GET /ips: Telnyx answered with HTTP status 403. ")


def test_numbers():
    """The report has the numbers of the last refreshes, in milliseconds at most."""
    state = state_of(page_of(), account="a", last_success=NOW - 12, duration=0.2504)
    report = describe_collector(state, NOW)
    assert (report.account, report.collector, report.title) == ("a", "credential-connections", "Credential connections")
    assert (report.rows, report.rows_left_out, report.age_seconds, report.duration_seconds) == (0, 0, 12.5, 0.25)
    assert report.last_success == datetime(2018, 2, 2, 22, 25, 15, tzinfo=UTC)
    assert (report.reason, report.advice, report.retry_seconds) == ("", "", None)


def test_left_out_rows():
    """Rows that could not be decoded, and rows that no page contained, count together."""
    state = state_of(row_count=7, malformed=2, missing=3)
    assert describe_collector(state, NOW).rows_left_out == 5
    assert describe_collector(state, NOW).rows == 7


def test_without_data_there_are_no_numbers():
    """What is unknown is None, not zero."""
    report = describe_collector(state_of(view=False), NOW)
    assert (report.rows, report.rows_left_out, report.age_seconds) == (None, None, None)
    assert (report.last_success, report.duration_seconds) == (None, None)


def test_a_failure_has_a_reason_and_advice():
    """The reason is that of the metrics, and the advice that of the log."""
    report = describe_collector(state_of(error=Forbidden(403), wait=600.0), NOW)
    assert (report.reason, report.advice, report.retry_seconds) == ("forbidden", Forbidden.advice, 600.0)


def test_an_unexpected_error_shows_nothing_of_its_text():
    """The text of an error that is not ours can quote a response, so it is not shown."""
    report = describe_collector(state_of(error=ValueError("canary-4f2a")), NOW)
    assert report.reason == "internal"
    assert report.advice == Internal.advice
    assert "canary" not in repr(report)


def test_the_age_of_rows_that_are_read_one_after_the_other():
    """It is that of the newest row, whenever the rows were rendered last."""
    state = state_of(age=100.0, in_background=True, last_success=NOW - 2)
    assert describe_collector(state, NOW).age_seconds == 2.0


def test_age_is_never_negative():
    """If the clock was set back, the data is new."""
    assert describe_collector(state_of(age=-5.0), NOW).age_seconds == 0.0


@pytest.mark.parametrize(
    ("states", "options", "summary"),
    [
        ([state_of(), state_of()], {}, "Connected to Telnyx."),
        ([state_of()], {"demo": True}, "Connected to the simulated account."),
        ([state_of(), state_of(view=False)], {}, "Connected to Telnyx. 1 of 2 collectors has no data."),
        ([state_of(), *[state_of(view=False)] * 2], {}, "Connected to Telnyx. 2 of 3 collectors have no data."),
        ([state_of(view=False, last_success=NOW)], {}, "The data from Telnyx has expired."),
        ([state_of(error=FAILED)] * 2, {}, "Can't read Telnyx."),
        ([state_of(error=FAILED)], {"demo": True}, "Can't read the simulated account."),
        ([state_of(view=False)], {}, "No data from Telnyx yet."),
        ([state_of(), state_of(error=FAILED)], {}, "1 of 2 collectors can't read Telnyx."),
        ([], {}, "This shard has no accounts."),
        ([], {"has_keys": False}, "No API key file matches --telnyx.api-key-files."),
    ],
)
def test_the_state_of_all_in_one_sentence(states, options, summary):
    """The worst state decides."""
    reports = [describe_collector(state, NOW) for state in states]
    assert summarize(reports, **{"demo": False, "has_keys": True, **options}) == summary


@pytest.mark.parametrize("seconds", [None, float("nan"), float("inf"), 1e300, -1e300])
def test_what_is_no_time_is_unknown(seconds):
    """Telnyx's headers can have any number."""
    assert time_of(seconds) is None


def test_time_is_in_whole_seconds():
    """Times are in UTC."""
    assert time_of(NOW) == datetime(2018, 2, 2, 22, 25, 27, tzinfo=UTC)
