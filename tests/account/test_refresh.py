import asyncio
import contextlib

import pytest
from connections import collector_with, text_of
from msgspec.structs import replace
from msgspec.structs import replace as record_with_id
from structlog.testing import capture_logs

from exporter.account.refresh import MAX_RETRY_AFTER, REFUSED_WAIT, Refresher, requested_wait, wait_after_refusal
from exporter.collectors.changes import ChangedRow
from exporter.collectors.connection_index import EXAMPLE, ConnectionRecord
from exporter.collectors.connection_rows import Connection, Inbound
from exporter.collectors.credential_connections import COLLECTOR
from exporter.collectors.families import ConnectionGauge, SnapshotGauge
from exporter.collectors.index import PageIndex
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Document
from exporter.telnyx.errors import (
    ConnectionFailed,
    Forbidden,
    Internal,
    KeyUnusable,
    Malformed,
    NotFound,
    RateLimited,
    RequestTimeout,
    TelnyxError,
    Unauthorized,
)
from exporter.telnyx.lists.pages import UnreadableRow
from exporter.telnyx.lists.snapshots import Snapshot

NOW = 1_517_610_327.5
RENDERER = Renderer(COLLECTOR)


def snapshot_of(*pages, renderer=RENDERER, **details):
    """Return the rendered snapshot of these pages of connections."""
    return Snapshot(tuple(map(renderer.render_page, pages)), sum(map(len, pages)), **details)


ZERO, ONE, TWO = (Connection(id=str(number), connection_name=f"pbx {number}", active=True) for number in range(3))
THREE = snapshot_of((ZERO, ONE), (TWO,))


class Fetcher:
    """A client that returns this snapshot or raises this error."""

    def __init__(self, result=THREE):
        self.result = result

    async def fetch(self):
        """Return the snapshot."""
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Recorder:
    """Records the results of refreshes."""

    def __init__(self):
        self.events = []
        self.seconds = []

    def record_refresh(self, seconds, at):
        """Record a success."""
        self.events.append(("refreshed", at))
        self.seconds.append(seconds)

    def record_refresh_failure(self, seconds, reason):
        """Record a failure."""
        self.events.append(("failed", reason))
        self.seconds.append(seconds)


@pytest.fixture
def fetcher():
    """Return a client that reads three connections."""
    return Fetcher()


@pytest.fixture
def recorder():
    """Return an observer that records the results of refreshes."""
    return Recorder()


@pytest.fixture
def refresher(fetcher, recorder):
    """Return a refresher that uses the client and a clock that stands still."""
    return Refresher("some", fetcher, RENDERER, recorder, clock=lambda: NOW)


@pytest.fixture(autouse=True)
def logs():
    """Yield the unfiltered log entries."""
    with capture_logs() as logs:
        yield logs


async def refresh(refresher, logs):
    """Refresh, ignore a `TelnyxError`, and return the level and event of each new log entry."""
    logs.clear()
    with contextlib.suppress(TelnyxError):
        await refresher()
    return [(line["log_level"], line["event"]) for line in logs]


REFRESHED = ("debug", "refreshed")
FIRST_REFRESHED = ("info", "refreshed")
CHANGED = ("info", "list changed")
FAILED = ("warning", "refresh failed")
STILL_FAILS = ("debug", "refresh still fails")
RECOVERED = ("info", "refreshes succeed again")
LEFT_OUT = ("warning", "row left out because it can't be decoded")
MORE_LEFT_OUT = ("warning", "more rows left out")


async def test_view(refresher):
    """A refresh returns the rendered list, the number of connections, and the time of the refresh."""
    view = await refresher()
    assert (view.row_count, view.refreshed_at) == (3, NOW)
    assert b'connection_id="2"' in text_of(Document(view.families))


async def test_default_clock_is_unix_time(fetcher, recorder):
    """By default, a view has the real Unix time."""
    assert (await Refresher("some", fetcher, RENDERER, recorder)()).refreshed_at > NOW


async def test_only_selected_families_are_rendered(fetcher, recorder):
    """Only the selected families are rendered."""
    renderer = Renderer(COLLECTOR.select(lambda name: name == "telnyx_connection_info"))
    fetcher.result = snapshot_of((ZERO,), renderer=renderer)
    text = text_of(Document((await Refresher("some", fetcher, renderer, recorder)()).families)).decode()
    assert [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")] == ["telnyx_connection_info"]


# Logs and metrics


async def test_success_is_logged_and_recorded(refresher, recorder, logs):
    """Each success logs one line with its results, of which only the first has the level info."""
    for expected in (FIRST_REFRESHED, REFRESHED):
        assert await refresh(refresher, logs) == [expected]
        (line,) = logs
        assert (line["rows"], line["pages"]) == (3, 2)
        assert line["seconds"] == round(recorder.seconds[-1], 3)
    assert recorder.events == [("refreshed", NOW)] * 2
    assert all(0.0 <= seconds < 60.0 for seconds in recorder.seconds)


async def test_failure_is_raised_and_recorded(fetcher, refresher, recorder, logs):
    """A failed refresh raises the original error without a context, and the observer records the reason."""
    fetcher.result = Unauthorized(401, "10009")
    with pytest.raises(Unauthorized) as caught:
        await refresher()
    assert caught.value is fetcher.result
    assert caught.value.__context__ is None
    assert recorder.events == [("failed", "unauthorized")]
    assert logs == [
        {
            "log_level": "warning",
            "event": "refresh failed",
            "collector": "some",
            "reason": "unauthorized",
            "error": "HTTP status 401, Telnyx error 10009",
            "advice": Unauthorized.advice,
        }
    ]


async def test_outage_is_logged_when_it_starts_changes_and_ends(fetcher, refresher, recorder, logs):
    """An outage logs one warning at its start, one at each change of its reason, and one line at its end."""
    expected = [
        (THREE, [FIRST_REFRESHED]),
        (ConnectionFailed("x"), [FAILED]),
        (ConnectionFailed("y"), [STILL_FAILS]),
        (RequestTimeout("x"), [FAILED]),
        (RequestTimeout("x"), [STILL_FAILS]),
        (ConnectionFailed("x"), [FAILED]),
        (THREE, [RECOVERED, REFRESHED]),
        (THREE, [REFRESHED]),
        (ConnectionFailed("x"), [FAILED]),
    ]
    for result, lines in expected:
        fetcher.result = result
        assert await refresh(refresher, logs) == lines
    assert recorder.events == [
        ("refreshed", NOW),
        *(("failed", reason) for reason in ("connection", "connection", "timeout", "timeout", "connection")),
        *[("refreshed", NOW)] * 2,
        ("failed", "connection"),
    ]


async def test_recovery_logs_the_last_reason(fetcher, refresher, logs):
    """The line at the end of an outage has the reason of the last failure."""
    fetcher.result = Malformed("x")
    await refresh(refresher, logs)
    fetcher.result = THREE
    await refresh(refresher, logs)
    assert (logs[0]["event"], logs[0]["last_reason"]) == ("refreshes succeed again", "malformed")


def broken_samples(_):
    """Raise an error, which a family should never do."""
    raise ValueError("KEY0123-secret")


@pytest.mark.parametrize(
    ("result", "selection", "location"),
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
async def test_unexpected_exception_is_internal(recorder, logs, result, selection, location):
    """An unexpected exception becomes an `Internal` error with its type and location, but without its message."""
    with pytest.raises(Internal) as caught:
        await Refresher("some", Fetcher(result), Renderer(selection), recorder)()
    assert str(caught.value).startswith(location)
    assert caught.value.__context__ is None
    assert recorder.events == [("failed", "internal")]
    assert [line["reason"] for line in logs] == ["internal"]
    assert "KEY0123" not in f"{caught.value} {logs}"


async def test_cancelled_refresh_is_not_recorded(refresher, fetcher, recorder, logs):
    """A cancelled refresh counts as neither failed nor successful."""

    async def fetch():
        await asyncio.Event().wait()

    fetcher.fetch = fetch
    task = asyncio.create_task(refresher())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (recorder.events, logs) == ([], [])


# Rows that are left out


async def test_missing_connections_are_logged(fetcher, refresher, logs):
    """If the pages have fewer connections than the list counts, one warning is logged, and one line when that ends."""
    missing = ("warning", "list is incomplete: its pages have fewer rows than its total")
    fetcher.result = Snapshot(THREE.pages, 3, missing=2)
    assert await refresh(refresher, logs) == [FIRST_REFRESHED, missing]
    assert logs[-1]["missing"] == 2
    assert await refresh(refresher, logs) == [REFRESHED]
    fetcher.result = THREE
    assert await refresh(refresher, logs) == [REFRESHED, ("info", "list is complete again")]
    assert logs[-1]["collector"] == "some"


def with_unreadable_rows(*ids):
    """Return a snapshot in which the rows with these ids are unreadable."""
    return snapshot_of(unreadable=tuple(UnreadableRow(row, f"problem of {row}") for row in ids))


def logged_ids(logs):
    """Return the ids of the rows that are logged as left out."""
    return [line["id"] for line in logs if (line["log_level"], line["event"]) == LEFT_OUT]


async def test_unreadable_row_is_logged(fetcher, refresher, logs):
    """An unreadable row is logged with its id and the problem."""
    fetcher.result = with_unreadable_rows("7")
    assert await refresh(refresher, logs) == [FIRST_REFRESHED, LEFT_OUT]
    assert (logs[-1]["id"], logs[-1]["problem"]) == ("7", "problem of 7")


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        pytest.param([["a"], ["a"], ["a"]], [["a"], [], []], id="same"),
        pytest.param([["a"], ["a", "b"], ["b"]], [["a"], ["b"], []], id="one-more"),
        pytest.param([["a"], [], ["a"]], [["a"], [], ["a"]], id="unreadable-again"),
        pytest.param([[None], [None], [None, "a"]], [[None], [], ["a"]], id="without-id"),
    ],
)
async def test_row_that_stays_unreadable_is_logged_once(fetcher, refresher, logs, snapshots, expected):
    """A row is logged when it becomes unreadable, and not again while it stays unreadable."""
    for ids, lines in zip(snapshots, expected, strict=True):
        fetcher.result = with_unreadable_rows(*ids)
        await refresh(refresher, logs)
        assert logged_ids(logs) == lines


@pytest.mark.parametrize(("count", "more"), [(10, []), (11, [1]), (250, [240])])
async def test_at_most_ten_rows_are_logged(fetcher, refresher, logs, count, more):
    """If many rows are unreadable, the log has a line for each of ten, and one line with the number of the others."""
    fetcher.result = with_unreadable_rows(*range(count))
    await refresh(refresher, logs)
    assert logged_ids(logs) == list(range(10))
    assert [line["more"] for line in logs if (line["log_level"], line["event"]) == MORE_LEFT_OUT] == more


async def test_newly_unreadable_row_is_logged(fetcher, refresher, logs):
    """A newly unreadable row is logged, however many rows were unreadable before."""
    fetcher.result = with_unreadable_rows(*range(12))
    await refresh(refresher, logs)
    fetcher.result = with_unreadable_rows(*range(13))
    assert await refresh(refresher, logs) == [REFRESHED, LEFT_OUT]
    assert logged_ids(logs) == [12]


# Changes


LIMITED = Connection(id="1", connection_name="pbx 1", active=True, inbound=Inbound(channel_limit=5))


@pytest.mark.parametrize(
    ("pages", "changes"),
    [
        pytest.param([(ZERO, ONE), (TWO, Connection(id="3"))], {"added": "3"}, id="added"),
        pytest.param([(ZERO, ONE)], {"removed": "2 pbx 2"}, id="removed"),
        pytest.param([(ZERO, replace(ONE, active=False)), (TWO,)], {"disabled": "1 pbx 1"}, id="disabled"),
        pytest.param([(ZERO, LIMITED), (TWO,)], {"limits_changed": "1 pbx 1"}, id="limits"),
        pytest.param([(ONE, TWO)], {"removed": "0 pbx 0"}, id="rows-move-to-other-pages"),
        pytest.param([], {"removed": "0 pbx 0, 1 pbx 1, 2 pbx 2"}, id="all"),
    ],
)
async def test_changes_are_logged(fetcher, refresher, logs, pages, changes):
    """If connections changed since the last success, one line has their ids and names by kind of change."""
    await refresh(refresher, logs)
    fetcher.result = snapshot_of(*pages)
    assert await refresh(refresher, logs) == [REFRESHED, CHANGED]
    assert logs[-1] == {"log_level": "info", "event": "list changed", "collector": "some", **changes}
    assert await refresh(refresher, logs) == [REFRESHED]


UNREADABLE_TWO = snapshot_of((ZERO, ONE), unreadable=(UnreadableRow("2", "x"),))


@pytest.mark.parametrize(
    "incomplete", [UNREADABLE_TWO, snapshot_of((ZERO, ONE), missing=1)], ids=["unreadable", "missing"]
)
async def test_a_row_that_is_left_out_is_not_removed(fetcher, refresher, logs, incomplete):
    """A row that is left out of a snapshot is logged as neither removed nor, when it is back, as added."""
    await refresh(refresher, logs)
    fetcher.result = incomplete
    assert CHANGED not in await refresh(refresher, logs)
    assert CHANGED not in await refresh(refresher, logs)
    fetcher.result = THREE
    assert CHANGED not in await refresh(refresher, logs)


async def test_other_changes_of_an_incomplete_list_are_logged(fetcher, refresher, logs):
    """If a list lacks rows, changes of the others are logged. So are added rows if others are only unreadable."""
    await refresh(refresher, logs)
    fetcher.result = snapshot_of((replace(ZERO, active=False), ONE), missing=1)
    assert CHANGED in await refresh(refresher, logs)
    assert logs[1] == {"log_level": "info", "event": "list changed", "collector": "some", "disabled": "0 pbx 0"}
    fetcher.result = THREE
    await refresh(refresher, logs)
    fetcher.result = snapshot_of((ZERO, ONE, Connection(id="3")), unreadable=(UnreadableRow("2", "x"),))
    assert CHANGED in await refresh(refresher, logs)
    assert logs[1] == {"log_level": "info", "event": "list changed", "collector": "some", "added": "3"}


async def test_changes_during_an_outage_are_logged_after_it(fetcher, refresher, logs):
    """After an outage, the changes since the last success are logged."""
    await refresh(refresher, logs)
    fetcher.result = ConnectionFailed("x")
    await refresh(refresher, logs)
    fetcher.result = snapshot_of((ZERO, ONE))
    assert await refresh(refresher, logs) == [RECOVERED, REFRESHED, CHANGED]


async def test_changes_since_the_last_success_of_a_previous_refresher_are_logged(fetcher, refresher, recorder, logs):
    """A refresher that adopts the pages of another one logs what changed since then."""
    await refresh(refresher, logs)
    fetcher.result = snapshot_of((ZERO, ONE))
    following = Refresher("some", fetcher, RENDERER, recorder)
    following.adopt(refresher, with_data=True)
    assert await refresh(following, logs) == [REFRESHED, CHANGED]


@pytest.mark.parametrize(("count", "end"), [(10, "9"), (11, "9 and 1 more"), (250, "9 and 240 more")])
async def test_at_most_ten_changes_of_a_kind_are_logged(fetcher, refresher, logs, count, end):
    """If there are many changes of the same kind, the line names ten, and has the number of the others."""
    fetcher.result = snapshot_of()
    await refresh(refresher, logs)
    fetcher.result = snapshot_of([Connection(id=str(number)) for number in range(count)])
    await refresh(refresher, logs)
    assert logs[-1]["added"] == f"0, 1, 2, 3, 4, 5, 6, 7, 8, {end}"


async def test_rows_can_be_kept_out_of_the_log(fetcher, recorder, logs):
    """Without `log_rows`, no line has the id of a row that was added, removed or left out. Other changes have it."""
    refresher = Refresher("some", fetcher, RENDERER, recorder, log_rows=False)
    await refresh(refresher, logs)
    fetcher.result = snapshot_of((ZERO, Connection(id="3")), unreadable=(UnreadableRow("4", "x"),))
    assert await refresh(refresher, logs) == [REFRESHED, LEFT_OUT]
    assert logs[-1] == {
        "log_level": "warning",
        "event": "row left out because it can't be decoded",
        "collector": "some",
        "id": None,
        "problem": "x",
    }
    assert await refresh(refresher, logs) == [REFRESHED]
    fetcher.result = snapshot_of((replace(ZERO, active=False),))
    assert await refresh(refresher, logs) == [REFRESHED, CHANGED]
    assert logs[-1] == {"log_level": "info", "event": "list changed", "collector": "some", "disabled": "0 pbx 0"}


async def test_changes_are_reported_as_they_are_logged(fetcher):
    """`on_changes` gets the rows that changed. It is not called at the first refresh, nor when nothing changed."""
    found = []
    refresher = Refresher("some", fetcher, RENDERER, on_changes=found.append)
    await refresher()
    await refresher()
    assert found == []
    fetcher.result = snapshot_of((replace(ZERO, active=False), Connection(id="3", connection_name="new")), (TWO,))
    await refresher()
    assert found == [
        {
            "disabled": [ChangedRow("0", "pbx 0")],
            "added": [ChangedRow("3", "new")],
            "removed": [ChangedRow("1", "pbx 1")],
        }
    ]


# Retry-After


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        pytest.param(RateLimited(429, "10011", 7.0), 7.0, id="requested"),
        pytest.param(RateLimited(429, None, 86400.0), MAX_RETRY_AFTER, id="absurd"),
        pytest.param(RateLimited(429, None, float("inf")), MAX_RETRY_AFTER, id="infinite"),
        pytest.param(RateLimited(429), 0.0, id="not-requested"),
        pytest.param(ConnectionFailed("x"), 0.0, id="no-response"),
        pytest.param(ValueError("x"), 0.0, id="other-error"),
    ],
)
def test_requested_wait(error, seconds):
    """`requested_wait` returns the seconds that the API requested to wait, up to a maximum, or 0."""
    assert requested_wait(error) == seconds
    assert wait_after_refusal(error) == seconds


@pytest.mark.parametrize("error", [Forbidden(403), NotFound(404)], ids=["403", "404"])
def test_wait_after_refusal(error):
    """If the key may not read a list, or the API does not have it, the exporter retries after ten minutes."""
    assert wait_after_refusal(error) == REFUSED_WAIT == 600
    assert requested_wait(error) == 0


class Known:
    """Connections that other collectors have read."""

    def __init__(self, *ids):
        self.refreshes = []
        self.set(*ids)

    def set(self, *ids):
        """Change the connections."""
        self.indexes = [PageIndex(ConnectionRecord, [record_with_id(EXAMPLE, id=row_id) for row_id in ids])]

    async def refresh(self):
        """Record the call."""
        self.refreshes.append("waited")

    def start_refreshes(self):
        """Record the call."""
        self.refreshes.append("started")


def ids_of(view):
    """Return the ids of the connections that a view shows."""
    text = text_of(Document(view.families)).decode()
    return [line.split('"')[1] for line in text.splitlines() if line.startswith("telnyx_connection_ips{")]


def refresher_of_connections(known):
    """Return a refresher of a list that shows a number for each of these connections."""
    names = ("connection_id", "connection_name")
    family = ConnectionGauge(
        "telnyx_connection_ips",
        "Help.",
        names,
        lambda _, connections: [((each.id, each.name), 1) for each in connections],
    )
    return Refresher("some", Fetcher(), Renderer(collector_with(snapshot_families=[family])), connections=known)


async def test_a_view_shows_the_connections_that_are_known_now():
    """When the connections change, the view is rendered again, without reading the list. The list keeps its age."""
    known = Known("1", "2")
    refresher = refresher_of_connections(known)
    view = await refresher()
    assert ids_of(view) == ["1", "2"]
    assert await refresher.render_again(view) is None
    known.set("2", "3")
    changed = await refresher.render_again(view)
    assert ids_of(changed) == ["2", "3"]
    assert changed.refreshed_at == view.refreshed_at
    assert await refresher.render_again(changed) is None
    assert known.refreshes == ["started"] * 3


async def test_a_list_without_connections_is_not_rendered_again(refresher):
    """A list that needs no connections is rendered only when it is read."""
    assert await refresher.render_again(await refresher()) is None


async def test_nothing_is_rendered_again_before_the_first_success():
    """There is nothing to render before the list was read."""
    assert await refresher_of_connections(Known()).render_again(None) is None


async def test_a_complete_read_waits_for_the_connections():
    """Before a read that must be complete, the connections are read."""
    known = Known()
    refresher = refresher_of_connections(known)
    assert await refresher.read_all() is None
    assert known.refreshes == ["waited"]
    assert await Refresher("some", Fetcher(), RENDERER).read_all() is None


async def test_adopt_without_data(refresher, logs):
    """A refresher of other data starts from scratch: its first success is logged."""
    await refresher()
    other = Refresher("some", Fetcher(), RENDERER)
    other.adopt(refresher, with_data=False)
    assert await refresh(other, logs) == [FIRST_REFRESHED]


async def test_an_adopted_view_is_rendered_again_only_after_a_change():
    """A refresher that continues another one knows what the view shows."""
    known = Known("1")
    first, second = refresher_of_connections(known), refresher_of_connections(known)
    view = await first()
    second.adopt(first, with_data=True)
    assert await second.render_again(view) is None
    known.set("2")
    assert ids_of(await second.render_again(view)) == ["2"]


def test_nothing_runs_in_the_background(refresher):
    """A refresher has no error in the background, and no pause."""
    assert (refresher.error, refresher.pause) == (None, 0.0)


async def test_a_view_has_the_indexes(refresher):
    """A view has the indexes of its pages, for collectors that need to know connections."""
    view = await refresher()
    assert [record.id for index in view.indexes for record in index.records] == ["0", "1", "2"]


async def test_an_unusable_key_is_not_logged_again(fetcher, refresher, recorder, logs):
    """A key file logs itself that it is unusable, so a refresh that fails because of it logs only at debug."""
    fetcher.result = KeyUnusable("unusable API key file: is empty")
    with pytest.raises(KeyUnusable):
        await refresher()
    assert recorder.events == [("failed", "unauthorized")]
    assert [(entry["log_level"], entry["reason"]) for entry in logs] == [("debug", "unauthorized")]
    logs.clear()
    fetcher.result = Unauthorized(401)
    with pytest.raises(Unauthorized):
        await refresher()
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("warning", "refresh failed")]


async def test_an_unusable_key_does_not_end_an_outage(fetcher, refresher, logs):
    """When refreshes succeed again, the log names the last reason that it has named before."""
    for fetcher.result in (RequestTimeout("x"), KeyUnusable("x"), RequestTimeout("x")):
        with pytest.raises(TelnyxError):
            await refresher()
    assert [entry["log_level"] for entry in logs] == ["warning", "debug", "debug"]
    logs.clear()
    fetcher.result = THREE
    await refresher()
    assert logs[0] == {
        "log_level": "info",
        "event": "refreshes succeed again",
        "collector": "some",
        "last_reason": "timeout",
    }
