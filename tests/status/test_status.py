import asyncio
from datetime import UTC, datetime

import pytest
from collectors import collector_of, group_of, view_of
from status import NOW, connection, page_of

from exporter.accounts.account_set import AccountSet
from exporter.accounts.accounts import Configuration, Scope
from exporter.build import VERSION
from exporter.collectors.changes import ChangedRow
from exporter.status.changes import RecentChanges
from exporter.status.query import Query
from exporter.status.report import AboutReport, AccountReport
from exporter.status.status import StatusReader
from exporter.telnyx.errors import ServerError
from exporter.telnyx.http.responses import RateLimit

pytestmark = pytest.mark.anyio


class FakeAccounts:
    """Accounts with these groups of collectors."""

    def __init__(self, groups, elsewhere=None, **configuration):
        self.current = AccountSet(groups, ("credential-connections",), elsewhere)
        self.configuration = Configuration(dict, None, (), **configuration)


async def group_with(*records, account="", error=None):
    """Return the collectors of an account that has read these connections, or failed with this error."""

    async def refresh():
        if error:
            raise error
        return view_of(row_count=len(records), refreshed_at=NOW - 5, indexes=[page_of(*records)])

    group = group_of(collector_of(refresh, account=account))
    await group.scrape(5.0)
    return group


def reader_of(accounts, *, limit=RateLimit(), changes=None):  # noqa: B008 -- it is frozen
    """Return a reader of the status of these accounts."""
    return StatusReader(accounts, lambda _: limit, changes or RecentChanges(), clock=lambda: NOW)


@pytest.fixture
async def two():
    """Return two accounts. Account `a` has a disabled connection. Account `b` can't be read."""
    return FakeAccounts(
        {
            "a": await group_with(connection(1), connection(2, active=False), account="a"),
            "b": await group_with(account="b", error=ServerError(503)),
        },
        {"c": 1},
    )


async def test_a_single_account():
    """The report describes the only account, which has no name."""
    accounts = FakeAccounts({"": await group_with(connection(1))})
    status = await reader_of(accounts).read(Query())
    report = status.report
    assert (report.ok, report.summary) == (True, "Connected to Telnyx.")
    assert report.accounts == (AccountReport("", None, None, None),)
    assert [(each.account, each.rows, each.age_seconds) for each in report.collectors] == [("", 1, 5.0)]
    assert (report.attention, report.changes) == ((), ())
    assert (status.connections.total, status.accounts, status.missing) == (1, [], "")


async def test_several_accounts(two):
    """Without an account in the query, the report describes all."""
    status = await reader_of(two).read(Query())
    assert (status.report.ok, status.report.summary) == (False, "1 of 2 collectors can't read Telnyx.")
    assert [account.name for account in status.report.accounts] == ["a", "b"]
    assert [each.account for each in status.report.collectors] == ["a", "b"]
    assert [(each.kind, each.count) for each in status.report.attention] == [("disabled", 1)]
    assert (status.connections.total, status.accounts) == (2, ["a", "b"])


async def test_one_of_several_accounts(two):
    """An account in the query narrows everything to it, except the list of accounts."""
    changes = RecentChanges(clock=lambda: NOW)
    for account in ("a", "b"):
        changes.record(account, "some", {"added": [ChangedRow("1", "")]})
    status = await reader_of(two, changes=changes).read(Query(account="b"))
    assert status.report.summary == "Can't read Telnyx."
    assert [account.name for account in status.report.accounts] == ["b"]
    assert [each.account for each in status.report.collectors] == ["b"]
    assert status.report.attention == ()
    assert [change.account for change in status.report.changes] == ["b"]
    assert (status.connections.total, status.accounts, status.missing) == (0, ["a", "b"], "")


@pytest.mark.parametrize(
    ("account", "problem"),
    [
        ("c", "account 'c' belongs to shard 1: scrape the exporter with --shard=1"),
        ("d", "there is no account 'd': no API key file has this name"),
    ],
)
async def test_an_account_that_does_not_exist(two, account, problem):
    """The status says why, and is otherwise empty."""
    status = await reader_of(two).read(Query(account=account))
    assert (status.missing, status.report.summary) == (problem, problem)
    assert (status.report.accounts, status.report.collectors) == ((), ())


async def test_no_accounts():
    """Without an account of any shard, the exporter is not well. A shard without accounts is."""
    reports = [(await reader_of(FakeAccounts({}, elsewhere)).read(Query())).report for elsewhere in ({}, {"a": 1})]
    assert [(report.ok, report.summary) for report in reports] == [
        (False, "No API key file matches --telnyx.api-key-files."),
        (True, "This shard has no accounts."),
    ]


async def test_about():
    """The report says what runs and what it reads. After a reload, that is what is read now."""
    accounts = FakeAccounts({}, shard=2, total_shards=3, scope=Scope("https://a.test/v2", {"fqdn": "b.test"}))
    reader = reader_of(accounts)
    about = (await reader.read(Query())).report.about
    assert about == AboutReport(
        version=VERSION,
        revision="unknown",
        build_date="unknown",
        demo=False,
        base_url="https://a.test/v2",
        filters={"fqdn": "b.test"},
        shard=2,
        total_shards=3,
        started_at=datetime(2018, 2, 2, 22, 25, 27, tzinfo=UTC),
    )
    accounts.configuration = accounts.configuration._replace(scope=Scope("https://c.test/v2", demo=True))
    about = (await reader.read(Query())).report.about
    assert (about.base_url, about.filters, about.demo) == ("https://c.test/v2", {}, True)


@pytest.mark.parametrize(
    ("limit", "report"),
    [
        (
            RateLimit(600.0, 583.0, NOW + 30),
            AccountReport("", 600.0, 583.0, datetime(2018, 2, 2, 22, 25, 57, tzinfo=UTC)),
        ),
        (RateLimit(600.0, 0.0, NOW), AccountReport("", 600.0, None, datetime(2018, 2, 2, 22, 25, 27, tzinfo=UTC))),
        (RateLimit(600.0, 583.0), AccountReport("", 600.0, 583.0, None)),
        (RateLimit(reset=1e300), AccountReport("", None, None, None)),
    ],
    ids=["current", "over", "without-end", "nonsense"],
)
async def test_rate_limit(limit, report):
    """The rate limit is that of the last response. After its period, it is unknown how many requests are left."""
    accounts = FakeAccounts({"": await group_with()})
    assert (await reader_of(accounts, limit=limit).read(Query())).report.accounts == (report,)


async def test_without_the_table(two):
    """The JSON needs no table."""
    status = await reader_of(two).read(Query(), with_table=False)
    assert status.connections.total == 0
    assert [each.kind for each in status.report.attention] == ["disabled"]


async def test_an_account_that_disappears_meanwhile(two):
    """The status is that of the accounts which existed when it was requested."""
    reader = reader_of(two)
    reading = asyncio.create_task(reader.read(Query()))
    await asyncio.sleep(0)
    two.current = AccountSet({}, ())
    assert [account.name for account in (await reading).report.accounts] == ["a", "b"]
