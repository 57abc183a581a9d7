"""The connections that some collectors of an account have read, for the collectors that need to know them."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exporter.cache import Cache
    from exporter.collectors.index import PageIndex


class KnownConnections:
    """The connections in the current data of these caches, whose values are of the type `View`."""

    def __init__(self, caches: Sequence[Cache[Any]]) -> None:
        self._caches = caches

    async def refresh(self) -> None:
        """Refresh the data that is due, and wait until that has ended."""
        await asyncio.gather(*(cache.get(None) for cache in self._caches))

    def start_refreshes(self) -> None:
        """Start the refreshes that are due."""
        for cache in self._caches:
            cache.start_refresh()

    @property
    def indexes(self) -> Sequence[PageIndex[Any]]:
        """The indexes of the current data. An index that did not change is the same object as before."""
        views = [cache.peek().value for cache in self._caches]
        return [index for view in views if view for index in view.indexes]


NO_CONNECTIONS = KnownConnections(())
"""For collectors that need to know no connections."""


def are_same(indexes: Sequence[PageIndex[Any]], others: Sequence[PageIndex[Any]]) -> bool:
    """Return whether these are the same objects, so that neither contains a change."""
    return list(map(id, indexes)) == list(map(id, others))


def records_of(indexes: Sequence[PageIndex[Any]]) -> Iterable[Any]:
    """Return the index record of each connection, which has the type `ConnectionRecord`. That takes time."""
    return chain.from_iterable(index.records for index in indexes)
