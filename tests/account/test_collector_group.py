import asyncio

import pytest
from collectors import ScrapeRecorder, collector_of, group_of, view_of
from connections import render_families, text_of

from exporter.account.collector_group import STARTUP
from exporter.account.fan_out.fan_out import IDLE_AFTER
from exporter.collectors.credential_connections import Connection
from exporter.telnyx.errors import Forbidden


class Source:
    """A source of connections that counts how often it is read. It waits until `ready` is set."""

    def __init__(self, *ids, error=None):
        self.ids = ids
        self.error = error
        self.reads = 0
        self.ready = asyncio.Event()
        self.ready.set()

    async def __call__(self):
        """Return the connections."""
        self.reads += 1
        await self.ready.wait()
        if self.error:
            raise self.error
        rows = [Connection(id=row_id) for row_id in self.ids]
        return view_of(render_families(rows), len(rows))


def infos(document):
    """Return the ids of the exposed connections."""
    lines = text_of(document).decode().splitlines()
    return [line.split('"')[1] for line in lines if line.startswith("telnyx_connection_info{")]


def statuses(document):
    """Return `telnyx_collector_success` by collector."""
    lines = text_of(document).decode().splitlines()
    return {line.split('"')[1]: line[-1] for line in lines if line.startswith("telnyx_collector_success{")}


@pytest.fixture
def sources():
    """Return the sources of two collectors."""
    return {"ip-connections": Source("1", "2"), "fax-applications": Source("3")}


@pytest.fixture
def observer():
    """Return an observer that records scrapes."""
    return ScrapeRecorder()


@pytest.fixture
async def group(sources, observer):
    """Yield a group of two collectors."""
    group = group_of(*(collector_of(source, name) for name, source in sources.items()), observer=observer)
    yield group
    await group.close()


async def test_a_scrape_joins_all_collectors(group, observer):
    """A document has the data of all collectors under one header for each family, and their status."""
    document = await group.scrape(5.0)
    assert infos(document) == ["1", "2", "3"]
    assert statuses(document) == {"ip-connections": "1", "fax-applications": "1"}
    assert text_of(document).count(b"# TYPE telnyx_connection_info ") == 1
    assert [entry.hit for entry in observer.entries] == [False, False]


async def test_a_fresh_scrape_reads_nothing(group, sources, observer):
    """If all data is fresh, a scrape gets the same document, and each query of a cache is a hit."""
    first = await group.scrape(5.0)
    assert await group.scrape(5.0) is first
    assert [source.reads for source in sources.values()] == [1, 1]
    assert [entry.hit for entry in observer.entries] == [False, False, True, True]


@pytest.mark.parametrize(
    ("names", "ids"), [(["ip-connections"], ["1", "2"]), (["fax-applications", "exporter"], ["3"]), (["exporter"], [])]
)
async def test_a_selection(group, sources, names, ids):
    """A scrape of some collectors has their data and status, and refreshes no other collector."""
    for _ in range(2):
        document = await group.scrape(5.0, names)
        assert infos(document) == ids
        assert statuses(document).keys() == set(names) - {"exporter"}
    assert {name for name, source in sources.items() if source.reads} == set(names) - {"exporter"}


async def test_one_collector_that_fails_costs_the_others_nothing(group, sources):
    """The data of the other collectors is there, and the status says which one failed."""
    sources["ip-connections"].error = Forbidden(403)
    document = await group.scrape(5.0)
    assert infos(document) == ["3"]
    assert statuses(document) == {"ip-connections": "0", "fax-applications": "1"}


async def test_a_slow_collector_delays_a_scrape_only_for_its_own_maximum(sources, observer):
    """A scrape waits for each collector no longer than its maximum. Its data comes with a later scrape."""
    sources["fax-applications"].ready.clear()
    slow = collector_of(sources["fax-applications"], "fax-applications", max_wait=0.01)
    group = group_of(collector_of(sources["ip-connections"], "ip-connections"), slow, observer=observer)
    async with asyncio.timeout(20):
        assert infos(await group.scrape(60.0)) == ["1", "2"]
        sources["fax-applications"].ready.set()
        await slow.cache.get(None)
        assert infos(await group.scrape(60.0)) == ["1", "2", "3"]
    await group.close()


async def test_documents_follow_the_data(sources, observer):
    """A document shows a refresh, a failure and the end of the data's life at the next scrape."""
    now = 0.0
    source = sources["ip-connections"]
    group = group_of(collector_of(source, "ip-connections", clock=lambda: now), observer=observer)
    assert infos(await group.scrape(5.0)) == ["1", "2"]
    now, source.ids = 61.0, ("1",)
    assert infos(await group.scrape(5.0)) == ["1"]
    now, source.error = 130.0, Forbidden(403)
    document = await group.scrape(5.0)
    assert (infos(document), statuses(document)) == (["1"], {"ip-connections": "0"})
    now = 1000.0
    assert infos(await group.scrape(5.0)) == []


async def test_a_scrape_shows_what_other_collectors_have_read(group, sources):
    """Data that depends on other collectors follows them at the next scrape, without a refresh."""
    document = await group.scrape(5.0)
    collector = group.collectors["fax-applications"]

    async def render_again(view):
        return view_of(render_families([Connection(id="4")]), 1)

    collector._source.render_again = render_again
    assert infos(document) == ["1", "2", "3"]
    assert infos(await group.scrape(5.0)) == ["1", "2", "4"]
    assert sources["fax-applications"].reads == 1


async def test_few_documents_are_kept(group, monkeypatch):
    """Documents of many selections don't accumulate."""
    monkeypatch.setattr("exporter.account.collector_group._MAX_DOCUMENTS", 2)
    first = await group.scrape(5.0)
    for names in (["ip-connections"], ["fax-applications"], ["exporter"]):
        await group.scrape(5.0, names)
    assert len(group._documents) <= 2
    assert await group.scrape(5.0) is not first


async def test_results(group, sources):
    """A group has results when every collector has refreshed or failed once."""
    sources["ip-connections"].ready.clear()
    sources["fax-applications"].error = Forbidden(403)
    group.start_refreshes()
    await asyncio.sleep(0)
    assert not group.has_results
    sources["ip-connections"].ready.set()
    await group.collectors["ip-connections"].cache.get(None)
    assert group.has_results


async def test_refresh_all_waits_for_every_collector(group, sources):
    """`refresh_all` returns when all refreshes have ended, whether they succeeded or failed."""
    sources["fax-applications"].error = Forbidden(403)
    assert infos(await group.refresh_all()) == ["1", "2"]
    assert [state.entry.error for state in group.states()] == [None, sources["fax-applications"].error]
    assert [state.name for state in group.states()] == list(sources)
    assert [state.seconds_until_refresh > 0 for state in group.states()] == [True, True]


async def test_close_cancels_refreshes(group, sources):
    """When a group closes, running refreshes end."""
    sources["ip-connections"].ready.clear()
    group.start_refreshes()
    async with asyncio.timeout(20):
        await group.close()
    assert not group.has_results


async def test_in_the_background_a_scrape_waits_only_for_the_first_result(sources, observer):
    """If refreshes run in the background, a scrape neither starts one nor waits for it, once there is a result."""
    now = 0.0
    source = sources["ip-connections"]
    collector = collector_of(source, "ip-connections", clock=lambda: now)
    group = group_of(collector, observer=observer, in_background=True, clock=lambda: now)
    assert infos(await group.scrape(5.0)) == ["1", "2"]
    now, source.ids = 100.0, ("3",)
    source.ready.clear()
    assert infos(await group.scrape(5.0)) == ["1", "2"]
    await asyncio.sleep(0)
    assert source.reads == 1
    group.refresh_in_background()
    async with asyncio.timeout(20):
        assert infos(await group.scrape(60.0)) == ["1", "2"]
    source.ready.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert infos(await group.scrape(5.0)) == ["3"]
    assert [entry.stale for entry in observer.entries] == [False, True, True, False]


async def test_in_the_background_scrapes_wait_for_a_first_result_only_at_the_start(sources):
    """Scrapes don't wait for the first result of a group for longer than a while after it was created."""
    now = 0.0
    sources["ip-connections"].ready.clear()
    collector = collector_of(sources["ip-connections"], "ip-connections", max_wait=0.01, clock=lambda: now)
    group = group_of(collector, in_background=True, clock=lambda: now)
    await group.scrape(5.0)
    assert group.waits
    now = STARTUP + 1
    assert not group.waits
    await group.scrape(5.0)
    assert sources["ip-connections"].reads == 1
    await group.close()


async def test_refreshes_in_the_background_end_without_scrapes(sources):
    """When no scrape came for a while, no more requests are sent. The next scrape waits for new data."""
    now = 0.0
    source = sources["ip-connections"]
    collector = collector_of(source, "ip-connections", clock=lambda: now)
    group = group_of(collector, in_background=True, clock=lambda: now)
    for now in (0.0, IDLE_AFTER - 1, IDLE_AFTER + 1, 2 * IDLE_AFTER):  # noqa: B007 -- the clock
        group.refresh_in_background()
        await asyncio.sleep(0.01)
    assert source.reads == 2
    source.ids = ("3",)
    assert infos(await group.scrape(5.0)) == ["3"]
    now += 100
    group.refresh_in_background()
    await asyncio.sleep(0.01)
    assert source.reads == 4


async def test_scrapes_start_refreshes_unless_they_run_in_the_background(group, sources):
    """Without the option, nothing runs in the background."""
    group.refresh_in_background()
    await asyncio.sleep(0.01)
    assert [source.reads for source in sources.values()] == [0, 0]
