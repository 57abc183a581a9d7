import asyncio
import math

import pytest
from collectors import collector_of, view_of
from connections import collector_with, render_families

from exporter.account.cached_collector import CachedCollector
from exporter.account.status import CollectorStatus
from exporter.collectors.credential_connections import Connection


class Refresh:
    """A refresher that returns an empty view and remembers whose work it continues."""

    def __init__(self):
        self.adopted = None

    def adopt(self, previous):
        """Continue another refresher."""
        self.adopted = previous

    async def __call__(self):
        """Return an empty view."""
        return view_of()


@pytest.mark.parametrize(("max_wait", "patience"), [(0.01, 60.0), (math.inf, 0.01)])
async def test_a_caller_waits_until_the_first_of_two_deadlines(max_wait, patience):
    """A caller waits until its own deadline or the collector's maximum, whichever comes first."""
    never = asyncio.Event()
    collector = collector_of(never.wait, max_wait=max_wait)
    async with asyncio.timeout(5):
        assert (await collector.get(patience)).value is None
    await collector.cache.close()


async def test_families():
    """The families are those of the data, then those of the status that are exposed."""
    rows = [Connection(id="1", active=True)]

    async def refresh():
        return view_of(render_families(rows, collector=collector_with()), 1)

    collector = collector_of(refresh, is_exposed=lambda name: name == "telnyx_collector_rows")
    assert [family.name for family, _ in collector.families()] == ["telnyx_collector_rows"]
    await collector.get(5.0)
    assert [family.name for family, _ in collector.families()] == ["telnyx_collector_rows"]
    assert collector.name == "credential-connections"


@pytest.mark.parametrize("with_data", [True, False])
async def test_adopt(with_data):
    """A collector continues another one's counters, and its data and last result if it exposes the same."""
    options = {"ttl": 60.0, "max_stale": 600.0}
    first = CachedCollector(Refresh(), CollectorStatus("a"), **options)
    await first.get(5.0)
    first.status.record_refresh_failure(1.0, "timeout")
    second = CachedCollector(Refresh(), CollectorStatus("a"), **options)
    second.adopt(first, with_data=with_data)
    assert second.status.failures["timeout"] == 1
    assert second.cache.peek().value is (first.cache.peek().value if with_data else None)
    assert second._refresh.adopted is (first._refresh if with_data else None)
