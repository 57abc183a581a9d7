from datetime import UTC, datetime

import pytest

from exporter.collectors.changes import ChangedRow
from exporter.status.changes import MAX_CHANGES, RecentChanges
from exporter.status.report import ChangeReport, RowReport

ROW = ChangedRow("1", "pbx")


@pytest.fixture
def changes():
    """Return changes that are recorded at the same time."""
    return RecentChanges(clock=lambda: 1_517_610_327.9)


def test_a_change_has_a_time_and_its_rows(changes):
    """Each kind of change of a refresh is one entry, with the time in whole seconds."""
    changes.record("a", "some", {"limits_changed": [ChangedRow("1", "pbx", "inbound 5 to 6")], "removed": [ROW]})
    time = datetime(2018, 2, 2, 22, 25, 27, tzinfo=UTC)
    assert changes.of() == [
        ChangeReport(time, "a", "some", "removed", 1, (RowReport("1", "pbx"),)),
        ChangeReport(time, "a", "some", "limits_changed", 1, (RowReport("1", "pbx", "inbound 5 to 6"),)),
    ]


def test_the_last_changes_are_kept(changes):
    """The newest change comes first, and old ones are forgotten."""
    for number in range(MAX_CHANGES + 5):
        changes.record("", f"collector {number}", {"added": [ROW]})
    names = [change.collector for change in changes.of()]
    assert len(names) == 100
    assert (names[0], names[-1]) == ("collector 104", "collector 5")


def test_a_change_of_many_rows_keeps_the_first(changes):
    """All rows are counted, but only the first ten are kept."""
    changes.record("", "some", {"added": [ChangedRow(str(number), "") for number in range(1000)]})
    (change,) = changes.of()
    assert change.count == 1000
    assert [row.id for row in change.rows] == [str(number) for number in range(10)]


def test_changes_of_an_account(changes):
    """The changes of one account can be selected. An account without a name is one, too."""
    for account in ("a", "", "b"):
        changes.record(account, "some", {"added": [ROW]})
    assert [change.account for change in changes.of("a")] == ["a"]
    assert [change.account for change in changes.of("")] == [""]
    assert [change.account for change in changes.of()] == ["b", "", "a"]


def test_the_default_clock_is_unix_time():
    """By default, changes have the real time."""
    changes = RecentChanges()
    changes.record("", "some", {"added": [ROW]})
    assert abs(changes.of()[0].time - datetime.now(UTC)).total_seconds() < 60
