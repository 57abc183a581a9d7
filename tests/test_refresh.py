import asyncio
import contextlib

import pytest
import structlog
from connections import collector_with
from structlog.testing import capture_logs

from exporter.collectors.credential_connections import COLLECTOR, Connection
from exporter.collectors.families import SnapshotGauge
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Format
from exporter.refresh import Refresher, retry_after
from exporter.telnyx.errors import (
    ConnectionFailed,
    Internal,
    Malformed,
    RateLimited,
    RequestTimeout,
    TelnyxError,
    Unauthorized,
)
from exporter.telnyx.pages import Snapshot, UnreadableRow

NOW = 1_517_610_327.5
THREE = Snapshot(((Connection(id="0"), Connection(id="1")), (Connection(id="2"),)))


class Fetcher:
    """A client that reads this snapshot, or fails with this error."""

    def __init__(self, answer=THREE):
        self.answer = answer

    async def fetch(self):
        """Return the list."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Recorder:
    """Remembers what it is told."""

    def __init__(self):
        self.told = []
        self.seconds = []

    def record_refresh(self, seconds, at):
        """Take a success."""
        self.told.append(("refreshed", at))
        self.seconds.append(seconds)

    def record_refresh_failure(self, seconds, reason):
        """Take a failure."""
        self.told.append(("failed", reason))
        self.seconds.append(seconds)


@pytest.fixture
def fetcher():
    """Return a client that reads three connections."""
    return Fetcher()


@pytest.fixture
def recorder():
    """Return what is told how refreshes end."""
    return Recorder()


@pytest.fixture
def refresher(fetcher, recorder):
    """Return what refreshes from the client, at a time that stands still."""
    return Refresher(fetcher, Renderer(COLLECTOR), recorder, clock=lambda: NOW)


@pytest.fixture(autouse=True)
def logs():
    """Return the log, with nothing filtered from it."""
    structlog.reset_defaults()
    with capture_logs() as logs:
        yield logs


async def refresh(refresher, logs):
    """Refresh, and return the log of that alone, as levels and events; errors are only logged."""
    logs.clear()
    with contextlib.suppress(TelnyxError):
        await refresher()
    return [(line["log_level"], line["event"]) for line in logs]


REFRESHED = ("info", "refreshed")
FAILS = ("warning", "Telnyx API request failed")
STILL_FAILS = ("debug", "Telnyx API request still fails")
BACK = ("info", "Telnyx API is reachable again")
LEFT_OUT = ("warning", "connection left out, it can't be decoded")
MORE_LEFT_OUT = ("warning", "more connections left out")


async def test_view(refresher):
    """A refresh gives the rendered list, how many connections it has, and when it was read."""
    view = await refresher()
    assert (view.connections, view.refreshed_at) == (3, NOW)
    assert b'connection_id="2"' in view.document.encode(Format.TEXT, gzip=False).data


async def test_time_is_unix_time_unless_given(fetcher, recorder):
    """Without a clock of its own a view carries real Unix time."""
    assert (await Refresher(fetcher, Renderer(COLLECTOR), recorder)()).refreshed_at > NOW


async def test_selection_is_obeyed(fetcher, recorder):
    """Only the families that are selected are rendered."""
    refresher = Refresher(fetcher, Renderer(COLLECTOR.select(lambda name: name == "telnyx_connection_info")), recorder)
    text = (await refresher()).document.encode(Format.TEXT, gzip=False).data.decode()
    assert [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")] == ["telnyx_connection_info"]


# The log and the metrics


async def test_success_is_logged_and_recorded(refresher, recorder, logs):
    """Each success is one line with what it brought, and the recorder is told when."""
    for _ in range(2):
        assert await refresh(refresher, logs) == [REFRESHED]
        (line,) = logs
        assert (line["connections"], line["pages"]) == (3, 2)
        assert line["seconds"] == round(recorder.seconds[-1], 3)
    assert recorder.told == [("refreshed", NOW)] * 2
    assert all(0.0 <= seconds < 60.0 for seconds in recorder.seconds)


async def test_failure_is_raised_and_recorded(fetcher, refresher, recorder, logs):
    """A refresh that fails raises the error as it is, with nothing behind it, and the recorder is told the reason."""
    fetcher.answer = Unauthorized(401, "10009")
    with pytest.raises(Unauthorized) as caught:
        await refresher()
    assert caught.value is fetcher.answer
    assert caught.value.__context__ is None
    assert recorder.told == [("failed", "unauthorized")]
    assert logs == [
        {
            "log_level": "warning",
            "event": "Telnyx API request failed",
            "reason": "unauthorized",
            "error": "HTTP status 401, Telnyx error 10009",
            "advice": Unauthorized.advice,
        }
    ]


async def test_outage_is_logged_when_it_begins_changes_and_ends(fetcher, refresher, recorder, logs):
    """An outage is one warning, one more for each change of its reason, and one line when it is over."""
    expected = [
        (ConnectionFailed("x"), [FAILS]),
        (ConnectionFailed("y"), [STILL_FAILS]),
        (RequestTimeout("x"), [FAILS]),
        (RequestTimeout("x"), [STILL_FAILS]),
        (ConnectionFailed("x"), [FAILS]),
        (THREE, [BACK, REFRESHED]),
        (THREE, [REFRESHED]),
        (ConnectionFailed("x"), [FAILS]),
    ]
    for answer, lines in expected:
        fetcher.answer = answer
        assert await refresh(refresher, logs) == lines
    assert recorder.told == [
        *(("failed", reason) for reason in ("connection", "connection", "timeout", "timeout", "connection")),
        *[("refreshed", NOW)] * 2,
        ("failed", "connection"),
    ]


async def test_return_names_what_was_wrong(fetcher, refresher, logs):
    """The line at the end of an outage says what its reason was."""
    fetcher.answer = Malformed("x")
    await refresh(refresher, logs)
    fetcher.answer = THREE
    await refresh(refresher, logs)
    assert logs[0] == {"log_level": "info", "event": "Telnyx API is reachable again", "last_reason": "malformed"}


def broken_samples(_):
    """Fail as no family should."""
    raise ValueError("KEY0123-secret")


@pytest.mark.parametrize(
    ("answer", "selection", "place"),
    [
        pytest.param(ValueError("KEY0123-secret"), COLLECTOR, "ValueError at fetch:", id="reading"),
        pytest.param(
            THREE,
            collector_with(snapshot_families=[SnapshotGauge("telnyx_broken", "Broken.", (), broken_samples)]),
            "ValueError at broken_samples:",
            id="rendering",
        ),
    ],
)
async def test_fault_of_ours_is_internal(recorder, logs, answer, selection, place):
    """An exception that is not one of ours becomes one, with its type and place but nothing of its text."""
    with pytest.raises(Internal) as caught:
        await Refresher(Fetcher(answer), Renderer(selection), recorder)()
    assert str(caught.value).startswith(place)
    assert caught.value.__context__ is None
    assert recorder.told == [("failed", "internal")]
    assert [line["reason"] for line in logs] == ["internal"]
    assert "KEY0123" not in f"{caught.value} {logs}"


async def test_cancelled_refresh_tells_nobody(refresher, fetcher, recorder, logs):
    """A refresh that is cancelled has neither failed nor succeeded."""

    async def fetch():
        await asyncio.Event().wait()

    fetcher.fetch = fetch
    task = asyncio.create_task(refresher())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (recorder.told, logs) == ([], [])


# Rows that are not shown


async def test_missing_connections_are_logged(fetcher, refresher, logs):
    """A list whose pages show fewer connections than it says it has is worth a warning, and one when that is over."""
    missing = ("warning", "pages lack connections that the list counts")
    fetcher.answer = Snapshot(THREE.pages, missing=2)
    assert await refresh(refresher, logs) == [REFRESHED, missing]
    assert logs[-1]["missing"] == 2
    assert await refresh(refresher, logs) == [REFRESHED]
    fetcher.answer = THREE
    assert await refresh(refresher, logs) == [REFRESHED, missing]
    assert logs[-1]["missing"] == 0


def without(*ids):
    """Return a snapshot that rows of these ids were left out of."""
    return Snapshot((), tuple(UnreadableRow(row, f"problem of {row}") for row in ids))


def named(logs):
    """Return the ids that the log names as left out."""
    return [line["connection_id"] for line in logs if (line["log_level"], line["event"]) == LEFT_OUT]


async def test_row_that_is_left_out_is_logged(fetcher, refresher, logs):
    """A row that can't be read is logged with its id and why."""
    fetcher.answer = without("7")
    assert await refresh(refresher, logs) == [REFRESHED, LEFT_OUT]
    assert (logs[-1]["connection_id"], logs[-1]["problem"]) == ("7", "problem of 7")


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        pytest.param([["a"], ["a"], ["a"]], [["a"], [], []], id="same"),
        pytest.param([["a"], ["a", "b"], ["b"]], [["a"], ["b"], []], id="one-more"),
        pytest.param([["a"], [], ["a"]], [["a"], [], ["a"]], id="again-after-it-could-be-read"),
        pytest.param([[None], [None], [None, "a"]], [[None], [], ["a"]], id="without-id"),
    ],
)
async def test_row_that_stays_left_out_is_logged_once(fetcher, refresher, logs, snapshots, expected):
    """A row is logged when it is left out, and not again as long as that lasts."""
    for ids, lines in zip(snapshots, expected, strict=True):
        fetcher.answer = without(*ids)
        await refresh(refresher, logs)
        assert named(logs) == lines


@pytest.mark.parametrize(("count", "more"), [(10, []), (11, [1]), (250, [240])])
async def test_at_most_ten_rows_are_named(fetcher, refresher, logs, count, more):
    """Of many rows that can't be read ten are named, and the others counted in one line."""
    fetcher.answer = without(*range(count))
    await refresh(refresher, logs)
    assert named(logs) == list(range(10))
    assert [line["more"] for line in logs if (line["log_level"], line["event"]) == MORE_LEFT_OUT] == more


async def test_new_row_is_named_behind_ten_old_ones(fetcher, refresher, logs):
    """A row that is newly left out is named, however many were before it."""
    fetcher.answer = without(*range(12))
    await refresh(refresher, logs)
    fetcher.answer = without(*range(13))
    assert await refresh(refresher, logs) == [REFRESHED, LEFT_OUT]
    assert named(logs) == [12]


# Rendering ahead


async def test_unchanged_list_is_the_same_document(refresher, fetcher):
    """What is put together for a list is kept while its pages stay what they were."""
    first = (await refresher()).document
    first.encode(Format.OPENMETRICS, gzip=True)
    fetcher.answer = Snapshot(THREE.pages)
    assert (await refresher()).document is first


async def test_formats_in_use_are_made_ahead(refresher, fetcher):
    """What scrapes asked of the last document is already made in the next, and nothing besides."""
    first = (await refresher()).document
    made = set(first.encodings)  # whatever the empty document was asked for
    first.encode(Format.OPENMETRICS, gzip=True)
    fetcher.answer = Snapshot((*THREE.pages, (Connection(id="3"),)))
    second = (await refresher()).document
    assert set(second.encodings) == made | {(Format.OPENMETRICS, True)}
    assert second.encode(Format.OPENMETRICS, gzip=True) is not first.encode(Format.OPENMETRICS, gzip=True)


async def test_failure_forgets_no_format(fetcher, refresher, logs):
    """After an outage the formats that scrapes asked for before it are made ahead again."""
    document = (await refresher()).document
    document.encode(Format.TEXT_1, gzip=True)
    fetcher.answer = ConnectionFailed("x")
    await refresh(refresher, logs)
    fetcher.answer = THREE
    assert (Format.TEXT_1, True) in (await refresher()).document.encodings


# Being left alone


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        pytest.param(RateLimited(429, "10011", 7.0), 7.0, id="asked"),
        pytest.param(RateLimited(429), 0.0, id="not-asked"),
        pytest.param(ConnectionFailed("x"), 0.0, id="no-answer"),
        pytest.param(ValueError("x"), 0.0, id="not-ours"),
    ],
)
def test_holdoff(error, seconds):
    """A failure asks for the seconds that the peer asked for with it."""
    assert retry_after(error) == seconds
