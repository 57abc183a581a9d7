import asyncio

import pytest
from collectors import view_of
from msgspec.structs import replace

from exporter.account.known_connections import KnownConnections, records_of
from exporter.cache import Cache
from exporter.collectors.connection_index import EXAMPLE, ConnectionRecord
from exporter.collectors.index import PageIndex


def cache_of(*pages, reads=None, **options):
    """Return a cache of a list that has pages with these ids. Its reads are added to `reads`."""
    indexes = [PageIndex(ConnectionRecord, [replace(EXAMPLE, id=row_id) for row_id in page]) for page in pages]

    async def refresh():
        if reads is not None:
            reads.append(pages)
        return view_of(indexes=indexes)

    return Cache(refresh, **{"ttl": 60.0, "max_stale": 600.0, **options})


def ids(known):
    """Return the ids of the connections."""
    return [record.id for record in records_of(known.indexes)]


async def test_connections_of_all_lists():
    """The connections are those of all pages of all lists that were read."""
    known = KnownConnections([cache_of("ab", "c"), cache_of("d")])
    assert ids(known) == []
    await known.refresh()
    assert ids(known) == ["a", "b", "c", "d"]


async def test_only_stale_lists_are_read():
    """A refresh reads the lists that are due, and no others."""
    reads = []
    known = KnownConnections([cache_of("a", reads=reads), cache_of("b", reads=reads, ttl=0.0)])
    await known.refresh()
    await known.refresh()
    assert reads == [("a",), ("b",), ("b",)]


async def test_refreshes_start_without_a_wait():
    """Refreshes can start without waiting for them: not even for a turn of the event loop, which scrapes pay for."""
    reads = []
    known = KnownConnections([cache_of("a", reads=reads), cache_of("b", reads=reads, ttl=0.0)])
    await known.refresh()
    known.start_refreshes()
    assert reads == [("a",), ("b",)]
    await asyncio.sleep(0)
    assert reads == [("a",), ("b",), ("b",)]


async def test_a_list_that_is_too_old_has_no_connections():
    """Connections of a list whose data has expired are not known."""
    now = 0.0
    known = KnownConnections([cache_of("a", clock=lambda: now), cache_of("b")])
    await known.refresh()
    now = 601.0
    assert ids(known) == ["b"]


@pytest.mark.parametrize("caches", [[], [cache_of("a", ttl=60.0)]])
async def test_nothing_is_known_before_the_first_refresh(caches):
    """Without lists, or before they are read, there are no connections."""
    known = KnownConnections(caches)
    assert (list(known.indexes), ids(known)) == ([], [])


async def test_unchanged_indexes_are_the_same_objects():
    """The indexes of lists that did not change are the same objects, so that comparing them is cheap."""
    known = KnownConnections([cache_of("a", "b")])
    await known.refresh()
    assert list(map(id, known.indexes)) == list(map(id, known.indexes))
