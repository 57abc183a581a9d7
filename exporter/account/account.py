"""A Telnyx account: its client, its collector, and the cache of its last snapshot."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from exporter.account.refresh import Refresher, requested_wait
from exporter.cache import Cache
from exporter.collectors.families import name_filter
from exporter.collectors.registry import COLLECTORS
from exporter.exposition.renderer import Renderer
from exporter.telnyx.client import Client
from exporter.telnyx.lists.reader import ListReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.account.refresh import View
    from exporter.config.settings import Settings
    from exporter.telemetry import Telemetry

TTL_TOLERANCE = 0.95
"""Fraction of the TTL after which a value is stale.

A scrape that comes one TTL after the last one, or slightly earlier, must find a stale value.
"""


class Account:
    """Reads the account at `base_url` with its own client and caches the result."""

    def __init__(self, settings: Settings, base_url: str, api_key: Callable[[], str], telemetry: Telemetry) -> None:
        telnyx, metrics = settings.telnyx, settings.metrics
        self._exposure = (base_url, telnyx.filter, metrics)
        """The settings that determine what is exposed."""
        self._telemetry = telemetry
        self._client = Client(base_url, api_key, telemetry, timeout=telnyx.timeout, concurrency=telnyx.concurrency)
        (collector,) = COLLECTORS
        renderer = Renderer(collector.select(name_filter(metrics.allow, metrics.deny), metrics.sensitive_labels))
        query = collector.query(telnyx.filter, telnyx.page_size)
        reader = ListReader(self._client, query, renderer, telemetry)
        self.refresh = Refresher(reader, renderer, telemetry)
        self.cache: Cache[View] = Cache(
            self.refresh,
            ttl=settings.cache.ttl * TTL_TOLERANCE,
            max_stale=settings.cache.max_stale,
            retry_after=requested_wait,
        )
        telemetry.record_cache_settings(settings.cache.ttl, settings.cache.max_stale)

    def adopt_snapshot(self, previous: Account) -> None:
        """Adopt the cached snapshot of the previous account if both expose the same data.

        Otherwise start with an empty cache.
        """
        if self._exposure == previous._exposure:
            self.cache.adopt(previous.cache)
            self.refresh.adopt_pages(previous.refresh)
        else:
            self._telemetry.reset_refresh_metrics()

    async def close(self) -> None:
        """Cancel a running refresh and close the connections to Telnyx."""
        await self.cache.close()
        await self._client.close()


class CurrentAccount:
    """Holds the account in use. On reload, `rebuild` returns the account that replaces it."""

    def __init__(self, account: Account, rebuild: Callable[[], Account]) -> None:
        self._account = account
        self._rebuild = rebuild

    @property
    def cache(self) -> Cache[View]:
        """The cache of the account in use."""
        return self._account.cache

    async def reload(self) -> None:
        """Replace the account and start a refresh unless the adopted snapshot is fresh.

        Raises `ValueError` if `rebuild` does.
        """
        previous, account = self._account, await asyncio.to_thread(self._rebuild)
        account.adopt_snapshot(previous)
        self._account = account
        await account.cache.get(0.0)
        await previous.close()

    async def close(self) -> None:
        """Close the account in use."""
        await self._account.close()
