import asyncio

import pytest
from status import connection, page_of, pages_of, registration, spend

from exporter.collectors.index import IndexRecord, PageIndex
from exporter.status.query import Query
from exporter.status.report import ProblemReport, ProblemRow
from exporter.status.scan.page_summary import MAX_PROBLEM_ROWS
from exporter.status.scan.scan import scan
from exporter.status.table import ConnectionTable

pytestmark = pytest.mark.anyio


def names_of(table):
    """Return the names of the rows."""
    return [row.name for row in table.rows]


async def test_problems_of_all_accounts():
    """A kind of problem has the rows of all accounts, in the order of the accounts and their lists."""
    result = await scan(
        {
            "a": [page_of(connection(1), connection(2, active=False)), page_of(spend(blocked=True))],
            "b": [page_of(connection(3, active=False))],
        },
        None,
    )
    assert result.problems == (
        ProblemReport(
            "disabled",
            "Disabled connections",
            "TelnyxConnectionDisabled",
            2,
            (ProblemRow(account="a", id="2", name="pbx 2"), ProblemRow(account="b", id="3", name="pbx 3")),
        ),
        ProblemReport(
            "spend_blocked",
            "Products that Telnyx blocks because of their spend limits",
            "TelnyxSpendBlocked",
            1,
            (ProblemRow(account="a", id="voice daily", name="", detail="1.00 of 10.00 USD"),),
        ),
    )


async def test_problems_of_several_pages():
    """The rows of the first pages are named, and all are counted."""
    pages = pages_of([connection(number, active=False) for number in range(45)], 15)
    (problem,) = (await scan({"": pages}, None)).problems
    assert problem.count == 45
    assert [row.id for row in problem.rows] == [str(number) for number in range(MAX_PROBLEM_ROWS)]


async def test_without_a_query_there_is_no_table():
    """The JSON has no table, so pages that are known are read only to name rows."""
    pages = [page_of(connection()), page_of(connection(2, active=False))]
    first = await scan({"": pages}, None)
    assert first.table == ConnectionTable()
    reads = []
    records = PageIndex.records
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PageIndex, "records", property(lambda index: reads.append(index) or records.fget(index)))
        assert await scan({"": pages}, None) == first
    assert reads == pages[1:]


async def test_lists_that_are_not_shown_are_not_read(monkeypatch):
    """Lists without connections and problems, such as phone numbers, cost nothing."""
    index = PageIndex(IndexRecord, [IndexRecord("1", "a")])
    monkeypatch.setattr(PageIndex, "records", property(lambda _: pytest.fail("it was read")))
    assert await scan({"": [index]}, Query()) == ((), ConnectionTable())


async def test_registrations_that_are_read_one_by_one():
    """The table shows the registrations of the collector `registrations`, whose list comes after the connections."""
    pages = [
        page_of(*(connection(number, registered=None) for number in range(3))),
        page_of(registration(0, True), registration(1, False)),
    ]
    result = await scan({"a": pages, "b": pages[:1]}, Query(sort="account"))
    states = {(row.account, row.id): row.registered for row in result.table.rows}
    assert states == {
        ("a", "0"): True,
        ("a", "1"): False,
        ("a", "2"): None,
        **dict.fromkeys([("b", "0"), ("b", "1"), ("b", "2")]),
    }
    assert [(problem.kind, problem.count) for problem in result.problems] == [("not_registered", 1)]
    for query in (Query(problem="not_registered"), Query(registration="not_registered")):
        assert names_of((await scan({"a": pages, "b": pages[:1]}, query)).table) == ["pbx 1"]


async def test_scrapes_are_served_between_two_pages():
    """Other tasks run after each page."""
    pages = pages_of([connection(number) for number in range(1000)], 10)
    turns = 0

    async def serve():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(serve())
    await scan({"": pages}, Query(page=20))
    other.cancel()
    assert turns >= len(pages)
