"""One account, as the settings say: what reads it, and what is on show of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from exporter.cache import Cache
from exporter.collectors.credential_connections import matching, select
from exporter.exposition.renderer import Renderer
from exporter.refresh import Refresher, holdoff
from exporter.telnyx.client import Client, Query

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config.settings import Settings
    from exporter.refresh import View
    from exporter.telemetry import Telemetry

PUNCTUALITY = 0.95
"""Of the TTL, when a value counts as stale: scrapes as regular as the TTL must not come a moment too early for it."""


class Account:
    """A client of its own that reads the account at `base_url`, and a cache of its own for what it read."""

    def __init__(self, settings: Settings, base_url: str, key: Callable[[], str], telemetry: Telemetry) -> None:
        telnyx, metrics = settings.telnyx, settings.metrics
        self._shows = (base_url, telnyx.filter, metrics)
        self._telemetry = telemetry
        self._client = Client(
            Query(base_url=base_url, page_size=telnyx.page_size, **telnyx.filter.model_dump()),
            key,
            telemetry,
            timeout=telnyx.timeout,
            concurrency=telnyx.concurrency,
        )
        renderer = Renderer(select(matching(metrics.allow, metrics.deny), metrics.sensitive_labels))
        self.refresh = Refresher(self._client, renderer, telemetry)
        ttl = settings.cache.ttl * PUNCTUALITY
        self.cache: Cache[View] = Cache(self.refresh, ttl=ttl, max_stale=settings.cache.max_stale, holdoff=holdoff)
        telemetry.cache_configured(settings.cache.ttl, settings.cache.max_stale)

    def succeed(self, before: Account) -> None:
        """Show what another account does, at its age, where that is what this one would show, too; else begin anew."""
        if self._shows == before._shows:
            self.cache.adopt(before.cache)
        else:
            self._telemetry.began()

    async def close(self) -> None:
        """Break off a refresh that is under way, and close the connections to Telnyx."""
        await self.cache.close()
        await self._client.close()


class CurrentAccount:
    """The account in use; `make` makes the one that takes its place when settings are read again."""

    def __init__(self, first: Account, make: Callable[[], Account]) -> None:
        self._account = first
        self._make = make

    @property
    def cache(self) -> Cache[View]:
        """What is on show now."""
        return self._account.cache

    async def reload(self) -> None:
        """Put another in its place. Raises `ValueError` where `make` does."""
        before, after = self._account, await asyncio.to_thread(self._make)
        after.succeed(before)
        self._account = after
        await after.cache.get(0.0)
        await before.close()

    async def close(self) -> None:
        """Close the account in use."""
        await self._account.close()
