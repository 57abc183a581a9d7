import asyncio
import math

import pytest
import structlog
from collectors import collector_of, view_of
from connections import collector_with, render_families, text_of
from progress_recorder import ProgressRecorder

from exporter.account.cached_collector import CollectorState
from exporter.collectors.credential_connections import Connection
from exporter.exposition.response import Document
from exporter.telnyx.errors import Internal


async def empty():
    """Return an empty view."""
    return view_of()


@pytest.mark.parametrize(("max_wait", "patience"), [(0.01, 60.0), (math.inf, 0.01)])
async def test_a_caller_waits_until_the_first_of_two_deadlines(max_wait, patience):
    """A caller waits until its own deadline or the collector's maximum, whichever comes first."""
    never = asyncio.Event()
    collector = collector_of(never.wait, max_wait=max_wait)
    async with asyncio.timeout(20):
        assert (await collector.get(patience)).value is None
    await collector.cache.close()


async def test_families():
    """The families are those of the data, then those of the status that are exposed."""
    rows = [Connection(id="1", active=True)]

    async def refresh():
        return view_of(render_families(rows, collector=collector_with()), 1)

    collector = collector_of(refresh, is_exposed=lambda name: name == "telnyx_collector_rows")
    assert [family.name for family, _ in collector.families(collector.cache.peek().value)] == ["telnyx_collector_rows"]
    await collector.get(5.0)
    assert [family.name for family, _ in collector.families(collector.cache.peek().value)] == ["telnyx_collector_rows"]
    assert collector.name == "credential-connections"


async def test_families_are_rendered_when_they_change():
    """The families are rendered again after a refresh or a failure, or for other data. A scrape alone costs nothing."""
    collector = collector_of(empty)
    await collector.get(5.0)
    view = collector.cache.peek().value
    before = collector.families(view)
    assert collector.families(view) is before
    collector.status.record_refresh_failure(1.0, "timeout")
    after = collector.families(view)
    assert b'success{collector="credential-connections"} 0' in text_of(Document(after))
    assert b"_rows{" not in text_of(Document(collector.families(None)))


@pytest.mark.parametrize("with_data", [True, False])
async def test_adopt(with_data):
    """A collector continues another one's counters, and its data and last result if it exposes the same."""
    first, second = collector_of(empty), collector_of(empty)
    await first.get(5.0)
    first.status.record_refresh_failure(1.0, "timeout")
    second.adopt(first, with_data=with_data)
    assert second.status.failures["timeout"] == 1
    assert second.cache.peek().value is (first.cache.peek().value if with_data else None)
    assert second._source.events == [(first._source, with_data)]


async def test_a_complete_read_prepares_the_source():
    """Before a read that must be complete, the source is prepared. Its end is recorded."""
    collector = collector_of(empty, progress=(progress := ProgressRecorder()))
    assert await collector.read_completely() is collector.cache.peek().value
    assert collector._source.events == ["read_all"]
    assert progress.events == ["end"]


async def test_a_complete_read_of_the_source_counts():
    """If the source can read everything at once, the cache is not used."""
    collector, view = collector_of(empty), view_of(row_count=7)

    async def read_all():
        return view

    collector._source.read_all = read_all
    assert await collector.read_completely() is view
    assert collector.cache.peek().value is None


async def test_a_complete_read_that_fails_has_no_data():
    """If the source can't read everything, there is no data. The end is recorded, too."""
    collector = collector_of(empty, progress=(progress := ProgressRecorder()))

    async def read_all():
        raise Internal("ValueError")

    collector._source.read_all = read_all
    assert await collector.read_completely() is None
    assert progress.events == ["end"]


async def test_render_again():
    """The source can change the current data between two refreshes."""
    collector, changed = collector_of(empty), view_of(row_count=7)

    async def render_again(view):
        return changed

    collector._source.render_again = render_again
    await collector.render_again()
    assert collector.cache.peek().value is None
    await collector.get(5.0)
    await collector.render_again()
    assert collector.cache.peek().value is changed


async def test_close_ends_the_source():
    """A collector that closes also ends what its source runs in the background."""
    collector = collector_of(empty)
    await collector.close()
    assert collector._source.events == ["close"]


async def test_the_state_has_the_error_of_the_background():
    """The state of a collector has the error of the last request in the background, and the pause after it."""
    collector = collector_of(empty)
    await collector.get(5.0)
    assert collector.state.entry.error is None
    assert 50 < collector.state.seconds_until_refresh <= 60
    collector._source.error, collector._source.pause = ValueError("refused"), 600.0
    assert collector.state.entry.error is collector._source.error
    assert collector.state.entry.value is collector.cache.peek().value
    assert (collector.state.name, collector.state.seconds_until_refresh) == ("credential-connections", 600.0)


@pytest.mark.parametrize("in_background", [False, True])
async def test_results(in_background):
    """A collector has a result when it has refreshed or failed once, or if it reads in the background."""
    collector = collector_of(empty, in_background=in_background)
    assert collector.has_result is in_background
    await collector.get(5.0)
    assert collector.has_result
    assert not collector.has_failed
    collector.status.record_refresh_failure(1.0, "timeout")
    assert collector.has_failed


@pytest.mark.parametrize(("account", "context"), [("", {}), ("a", {"account": "a"})])
async def test_the_log_names_the_account(account, context):
    """All that is logged during a refresh, or a complete read, names the account. Nothing else does."""
    found = []

    async def refresh():
        found.append(structlog.contextvars.get_contextvars())
        return view_of()

    collector = collector_of(refresh, account=account)
    collector._source.read_all = refresh
    await collector.get(5.0)
    await collector.read_completely()
    assert found == [context, context]
    assert structlog.contextvars.get_contextvars() == {}
    assert collector.state.account == account


async def test_the_state_has_the_results_of_refreshes():
    """The state says whether a refresh is running, how long the last one took, and when the last success was."""
    result = asyncio.Event()

    async def refresh():
        await result.wait()
        return view_of(refreshed_at=1.7e9)

    collector = collector_of(refresh)
    assert collector.state == CollectorState("credential-connections", collector.cache.peek(), 0.0)
    collector.cache.start_refresh()
    assert collector.state.is_refreshing
    result.set()
    await collector.get(5.0)
    assert (collector.state.is_refreshing, collector.state.duration, collector.state.last_success) == (
        False,
        0.1,
        1.7e9,
    )
