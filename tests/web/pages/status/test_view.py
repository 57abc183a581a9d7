"""Which rows the status page shows, and in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statuses import COLLECTORS, collector, failing, waiting

from exporter.collectors.registry import COLLECTORS as REAL
from exporter.status.problems import CONNECTION_PROBLEMS
from exporter.status.query import SORTS
from exporter.status.report import AccountReport, State
from exporter.web.pages.status import view


def test_urgent_collectors_come_first():
    """Failing collectors come first, then those without data. The others keep their order."""
    names = list(COLLECTORS)[:6]
    collectors = [
        collector(names[0]),
        collector(names[1], state=State.STALE),
        waiting(names[2], state=State.READING),
        waiting(names[3]),
        failing(names[4]),
        collector(names[5]),
    ]
    rows, left_out, counts = view.collector_list(collectors)
    assert [row.collector for row in rows] == [names[i] for i in (4, 3, 1, 2, 0, 5)]
    assert left_out == 0
    assert counts == [
        ("Failing", "bad", 1),
        ("No data", "warn", 1),
        ("Stale", "quiet", 1),
        ("Reading", "quiet", 1),
        ("Up to date", "good", 2),
    ]


def test_many_collectors_are_left_out():
    """Of many collectors, the most urgent ones are shown, and all are counted."""
    collectors = [*[collector(account=str(number)) for number in range(500)], failing(account="500")]
    rows, left_out, counts = view.collector_list(collectors)
    assert (len(rows), left_out) == (50, 451)
    assert rows[0].state is State.FAILING
    assert counts == [("Failing", "bad", 1), ("Up to date", "good", 500)]


@pytest.mark.parametrize(
    ("reason", "runbook"),
    [
        ("unauthorized", "TelnyxKeyRejected"),
        ("rate_limited", "TelnyxRateLimited"),
        ("server_error", "TelnyxCollectorFailing"),
    ],
)
def test_failure_runbook(reason, runbook):
    """Some failures have their own runbook."""
    assert view.failure_runbook(reason) == runbook


def test_rate_limits():
    """The accounts with the fewest requests left come first. Unknown limits are left out."""
    accounts = [AccountReport(str(left), 600.0, left, None) for left in (5.0, None, 0.0, *map(float, range(100, 120)))]
    rows, left_out = view.limit_list(accounts)
    assert [account.requests_left for account in rows] == [0, 5, *range(100, 108)]
    assert left_out == 12


@pytest.mark.parametrize(
    ("page", "pages", "numbers"),
    [
        (1, 1, [1]),
        (1, 2, [1, 2]),
        (1, 9, [1, 2, 3, None, 9]),
        (5, 9, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (5, 10, [1, 2, 3, 4, 5, 6, 7, None, 10]),
        (50, 99, [1, None, 48, 49, 50, 51, 52, None, 99]),
        (99, 99, [1, None, 97, 98, 99]),
    ],
)
def test_page_numbers(page, pages, numbers):
    """The first and the last page have a number, and so have those near the present one. A gap hides at least two."""
    assert list(view.page_numbers(page, pages)) == numbers


@given(st.data())
def test_page_numbers_are_few(data):
    """However many pages there are, few numbers are shown, in order, with the present page."""
    pages = data.draw(st.integers(1, 10**9))
    page = data.draw(st.integers(1, pages))
    numbers = [number for number in view.page_numbers(page, pages) if number]
    assert page in numbers
    assert numbers == sorted(set(numbers))
    assert len(numbers) <= 9


def test_all_columns_can_be_sorted():
    """The columns are those by which the table can be sorted."""
    assert tuple(view.COLUMNS) == tuple(view.ORDERS) == SORTS


def test_all_problems_of_connections_filter_the_table():
    """Each problem of connections can filter the table."""
    assert view.TABLE_PROBLEMS.keys() == CONNECTION_PROBLEMS.keys()


def test_the_example_has_the_real_collectors():
    """The example of a status has all collectors, with their titles."""
    assert {each.name: each.title for each in REAL} == COLLECTORS
