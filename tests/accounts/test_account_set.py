import asyncio

import pytest
from collectors import ScrapeRecorder, collector_of, group_of, view_of
from connections import render_families, text_of

from exporter.account.collector_group import STARTUP
from exporter.accounts.account_set import AccountSet
from exporter.collectors.connection_rows import Connection
from exporter.exposition.own_metrics import AccountMetrics
from exporter.telnyx.errors import Forbidden

COLLECTORS = ("credential-connections", "ip-connections")


def source_of(*ids, error=None, ready=None):
    """Return a function that returns these connections, or fails, when it may."""

    async def refresh():
        if ready:
            await ready.wait()
        if error:
            raise error
        return view_of(render_families([Connection(id=row_id) for row_id in ids]), len(ids))

    return refresh


def group(name, refresh, **options):
    """Return the group of a named account, whose collectors all have the same data."""
    collectors = [collector_of(refresh, collector, name, max_wait=0.05) for collector in COLLECTORS]
    return group_of(*collectors, in_background=True, **options)


def infos(document):
    """Return the ids of the exposed connections."""
    lines = text_of(document).decode().splitlines()
    return [line.split('"')[1] for line in lines if line.startswith("telnyx_connection_info{")]


def statuses(document):
    """Return the account and the collector of each `telnyx_collector_success`."""
    lines = text_of(document).decode().splitlines()
    return [tuple(line.split('"')[1::2]) for line in lines if line.startswith("telnyx_collector_success{")]


async def test_a_scrape_joins_accounts():
    """A scrape has the data of all accounts, family by family, and of each account its own status."""
    accounts = AccountSet({"a": group("a", source_of("1")), "b": group("b", source_of("2"))}, COLLECTORS)
    document = await accounts.scrape(5.0)
    assert infos(document) == ["1", "1", "2", "2"]
    assert statuses(document) == [(name, collector) for name in "ab" for collector in COLLECTORS]
    assert text_of(document).count(b"# TYPE telnyx_connection_info ") == 1
    assert await accounts.scrape(5.0) is document


@pytest.mark.parametrize(
    ("accounts", "collectors", "expected"),
    [
        ({"a"}, None, [("a", "credential-connections"), ("a", "ip-connections")]),
        ({"a", "c"}, {"ip-connections"}, [("a", "ip-connections"), ("c", "ip-connections")]),
        (None, {"ip-connections"}, [(name, "ip-connections") for name in "abc"]),
        ({"b"}, {"exporter"}, []),
    ],
)
async def test_a_selection(accounts, collectors, expected):
    """A scrape can select accounts, collectors, or both. It reads no other account."""
    chosen = AccountSet({name: group(name, source_of(name)) for name in "abc"}, COLLECTORS)
    for _ in range(2):
        assert statuses(await chosen.scrape(5.0, accounts, collectors)) == expected
    read = {
        state.account for group in chosen.groups.values() for state in group.states() if state.entry.value is not None
    }
    assert read == {account for account, _ in expected}


def test_own_metrics():
    """The exporter's own metrics are those of the selected accounts, in the order of the accounts."""
    observers = {name: ScrapeRecorder() for name in "abc"}
    for name, observer in observers.items():
        observer.metrics = AccountMetrics(name, ())
    accounts = AccountSet({name: group_of(observer=observer) for name, observer in observers.items()}, COLLECTORS)
    assert accounts.own_metrics() == tuple(observers[name].metrics for name in "abc")
    assert accounts.own_metrics({"c", "a", "unknown"}) == (observers["a"].metrics, observers["c"].metrics)


async def test_no_account():
    """Without an account, a scrape has no data, whatever it selects, and the exporter is ready."""
    accounts = AccountSet({}, COLLECTORS)
    assert text_of(await accounts.scrape(5.0, None, {"ip-connections"})) == b""
    assert accounts.is_ready


async def test_a_slow_account_delays_only_its_own_data():
    """A scrape waits for an account without data for a moment, and then shows the data of the others."""
    never = asyncio.Event()
    slow = group("slow", source_of("2", ready=never))
    accounts = AccountSet({"fast": group("fast", source_of("1")), "slow": slow}, COLLECTORS)
    async with asyncio.timeout(5):
        assert infos(await accounts.scrape(60.0)) == ["1", "1"]
    await slow.close()


def test_why_missing():
    """The answer for another account says whether it is unknown, or in which shard it is."""
    accounts = AccountSet({"a": group("a", source_of())}, COLLECTORS, {"b": 2})
    assert accounts.why_missing("a") == ""
    assert accounts.why_missing("b") == "account 'b' belongs to shard 2: scrape the exporter with --shard=2"
    assert accounts.why_missing("c\n") == "there is no account 'c\\n': no API key file has this name"
    alone = AccountSet({"": group_of()}, ())
    assert alone.why_missing("") == ""
    assert alone.why_missing("a") == ("there is no account 'a': accounts have names only with --telnyx.api-key-files")


@pytest.mark.parametrize("name", ["", "a"])
async def test_ready(name):
    """The exporter is ready when each collector was read or failed. It waits for several accounts only for a while."""
    now, ready = 0.0, asyncio.Event()
    groups = {name: group(name, source_of("1", ready=ready)), "b": group("b", source_of(error=Forbidden(403)))}
    accounts = AccountSet(groups, COLLECTORS, started_at=0.0, clock=lambda: now)
    accounts.start_refreshes()
    await asyncio.sleep(0.01)
    assert not accounts.is_ready
    now = STARTUP + 1
    assert accounts.is_ready == bool(name)
    now = 0.0
    ready.set()
    await asyncio.sleep(0.01)
    assert accounts.is_ready
    for each in groups.values():
        await each.close()


async def test_refreshes_in_the_background():
    """Refreshes in the background are those of accounts with a name."""
    named, unnamed = group("a", source_of("1")), group_of(collector_of(source_of("2")))
    accounts = AccountSet({"a": named, "": unnamed}, COLLECTORS)
    accounts.refresh_in_background()
    await asyncio.sleep(0.01)
    assert named.has_results
    assert not unnamed.has_results
