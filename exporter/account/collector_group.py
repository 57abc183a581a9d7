"""The enabled collectors of an account, as scrapes see them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from exporter.account.fan_out.fan_out import IDLE_AFTER
from exporter.exposition.response import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from exporter.account.cached_collector import CachedCollector, CollectorState
    from exporter.account.refresh import View
    from exporter.cache import Entry
    from exporter.exposition.own_metrics import AccountMetrics

STARTUP = 10.0
"""Seconds for which scrapes, or the exporter's readiness, wait for the first results of several accounts."""
_MAX_DOCUMENTS = 16
"""Maximum number of selections of collectors whose document is kept."""


class ScrapeObserver(Protocol):
    """Receives events about scrapes, and has the metrics that count them."""

    metrics: AccountMetrics
    """The exporter's own metrics about the account."""

    def record_scrape(self, entry: Entry[View]) -> None:
        """Record a scrape and the state of a collector's cache that it found."""


class CollectorGroup:
    """Refreshes collectors and joins their data to documents.

    Usually scrapes start the refreshes, and wait for them. With `in_background`, `refresh_in_background` starts them,
    and a scrape waits only if the group is new and has no results yet, or if no scrape came for `IDLE_AFTER` seconds.
    """

    def __init__(
        self,
        collectors: Sequence[CachedCollector],
        observer: ScrapeObserver,
        *,
        in_background: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.collectors = {collector.name: collector for collector in collectors}
        """The collectors by name, in the order of their data in a document."""
        self._observer = observer
        self._in_background = in_background
        self._clock = clock
        self._created_at = self._scraped_at = clock()
        self._documents: dict[frozenset[str], Document] = {}
        self._state: Sequence[tuple[View | None, int]] = ()
        """The state of the collectors from which the documents were made."""

    async def scrape(self, timeout: float, names: Collection[str] | None = None) -> Document:  # noqa: ASYNC109 -- as above
        """Return the data of these collectors, or of all, after waiting at most `timeout` seconds for refreshes.

        Unknown names have no data.
        """
        waits = self.waits
        self._scraped_at = self._clock()
        collectors = [collector for name, collector in self.collectors.items() if names is None or name in names]
        entries: Sequence[Entry[View]] = [collector.cache.peek() for collector in collectors]
        due = [collector for collector, entry in zip(collectors, entries, strict=True) if waits and not entry.hit]
        if due:
            waited = await asyncio.gather(*(collector.get(timeout) for collector in due))
            entries = [*(entry for entry in entries if entry.hit), *waited]
        for collector in collectors:
            await collector.render_again()
        for entry in entries:
            self._observer.record_scrape(entry)
        return self._document(collectors)

    @property
    def own_metrics(self) -> AccountMetrics:
        """The exporter's own metrics about the account."""
        return self._observer.metrics

    @property
    def waits(self) -> bool:
        """Whether a scrape starts the refreshes that are due, and waits for them."""
        return not self._in_background or self._is_idle or (self._is_new and not self.has_results)

    async def refresh_all(self) -> Document:
        """Wait until every collector has refreshed or failed, and return the data."""
        collectors = self.collectors.values()
        views = await asyncio.gather(*(collector.read_completely() for collector in collectors))
        return Document(*(collector.families(view) for collector, view in zip(collectors, views, strict=True)))

    def start_refreshes(self) -> None:
        """Start the refreshes that are due."""
        for collector in self.collectors.values():
            collector.cache.start_refresh()

    def expire(self) -> None:
        """Make all data stale. It is shown until the next refreshes, which can start without waiting for a TTL."""
        for collector in self.collectors.values():
            collector.cache.expire()

    def refresh_in_background(self) -> None:
        """Start the refreshes that are due, while scrapes arrive. Do nothing if scrapes start them."""
        if self._in_background and not self._is_idle:
            self.start_refreshes()

    @property
    def _is_new(self) -> bool:
        return self._clock() - self._created_at <= STARTUP

    @property
    def _is_idle(self) -> bool:
        return self._clock() - self._scraped_at > IDLE_AFTER

    @property
    def has_results(self) -> bool:
        """Whether every collector has refreshed or failed once."""
        return all(collector.has_result for collector in self.collectors.values())

    def states(self) -> Sequence[CollectorState]:
        """Return the state of each collector."""
        return [collector.state for collector in self.collectors.values()]

    async def close(self) -> None:
        """Cancel running refreshes."""
        await asyncio.gather(*(collector.close() for collector in self.collectors.values()))

    def _document(self, collectors: Collection[CachedCollector]) -> Document:
        """Return the document of collectors. It is created again only after one of them has refreshed or expired."""
        state = [(collector.cache.peek().value, collector.status.refreshes) for collector in self.collectors.values()]
        if state != self._state:
            self._documents, self._state = {}, state
        names = frozenset(collector.name for collector in collectors)
        if names not in self._documents:
            if len(self._documents) >= _MAX_DOCUMENTS:
                self._documents = {}
            self._documents[names] = Document(
                *(collector.families(collector.cache.peek().value) for collector in collectors)
            )
        return self._documents[names]
