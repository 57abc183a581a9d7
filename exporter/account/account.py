"""An account: reads Telnyx with one client, and caches the data of each collector."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from exporter.account.cached_collector import CachedCollector
from exporter.account.collector_group import CollectorGroup
from exporter.account.fan_out import FanOut
from exporter.account.known_connections import KnownConnections
from exporter.account.refresh import Refresher, requested_wait, wait_after_refusal
from exporter.account.status import AnyUp, CollectorStatus
from exporter.collectors.collector import FanOutEndpoint
from exporter.collectors.families import name_filter
from exporter.collectors.registry import COLLECTORS, PRIMARY, enabled_collectors
from exporter.exposition.renderer import Renderer
from exporter.telnyx.budget import RequestBudget
from exporter.telnyx.concurrency import UNLIMITED
from exporter.telnyx.errors import TelnyxError
from exporter.telnyx.http.client import Client
from exporter.telnyx.lists.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.account.refresh import RefreshObserver
    from exporter.collectors.changes import Changes
    from exporter.collectors.collector import Collector
    from exporter.config.settings import CollectorSettings, Settings
    from exporter.telemetry import AccountTelemetry
    from exporter.telnyx.concurrency import Slots
    from exporter.telnyx.http.transport import Route
    from exporter.telnyx.lists.progress import CreateProgress

TTL_TOLERANCE = 0.95
"""Fraction of the TTL after which a value is stale.

A scrape that comes one TTL after the last one, or slightly earlier, must find a stale value.
"""
MAX_WAIT = 1.0
"""Seconds that a scrape waits at most for a collector other than the primary one."""
RENDER_INTERVAL = 5.0
"""Seconds for which the rendered rows of a fan-out are reused."""
BACKGROUND_RENDER_INTERVAL = 30.0
"""The same if refreshes run in the background, whether there is a scrape or not."""
MIN_BACKGROUND_TTL = 5.0
"""Shortest TTL if refreshes run in the background, in seconds."""
MIN_STALE_TTLS = 3
"""A collector's data is kept for at least this many TTLs while refreshes fail."""


class Access(NamedTuple):
    """Whether the API key may read the endpoint of a collector."""

    collector: str
    path: str
    error: TelnyxError | None


class _Checkable(Protocol):
    async def check(self) -> None:
        """Send one request. Raises `TelnyxError`."""


class Account:
    """Reads the account at `base_url` with its own client and caches the results.

    An account with a name is one of several. All its series have its name as the label `account`. Its refreshes run in
    the background, each at its own time, so that no scrape waits for a slow account.

    `routes` and `slots` are shared with other accounts. By default, the environment decides how requests reach the API.
    `on_changes` is called with the account, the collector and the rows that changed.

    Raises `UsageError` if the collectors, or the CAs or the proxy of the environment, can't be used.
    """

    def __init__(
        self,
        settings: Settings,
        base_url: str,
        api_key: Callable[[], str],
        telemetry: AccountTelemetry,
        *,
        name: str = "",
        collectors: Sequence[Collector[Any]] = COLLECTORS,
        routes: Callable[[], Route] | None = None,
        slots: Slots = UNLIMITED,
        create_progress: CreateProgress = no_progress,
        on_changes: Callable[[str, str, Changes], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        telnyx = settings.telnyx
        self.name = name
        self._clock = clock
        self._settings = settings
        self._create_progress = create_progress
        self._on_changes = on_changes
        self._exposure = (base_url, telnyx.filter, settings.metrics)
        """The settings that determine what is exposed."""
        self._is_exposed = name_filter(settings.metrics.allow, settings.metrics.deny)
        self._telemetry = telemetry
        self._client = Client(
            base_url,
            api_key,
            telemetry,
            timeout=telnyx.timeout,
            concurrency=telnyx.concurrency,
            slots=slots,
            route=None if routes is None else routes(),
        )
        self._budget = RequestBudget(telnyx.max_requests_per_second, clock=clock)
        self._enabled = enabled_collectors(settings, collectors)
        self._statuses = {collector.name: CollectorStatus(collector.name, name) for collector, _ in self._enabled}
        # `telnyx_up` describes the primary collector, or all others if that is off.
        self._any_up = None if PRIMARY in self._statuses else AnyUp(self._statuses.values(), telemetry.record_up)
        if self._any_up:
            telemetry.record_cache_settings(None, None)
        self._readers: dict[str, tuple[str, _Checkable]] = {}
        """The path and the reader of each collector."""
        cached: dict[str, CachedCollector] = {}
        for collector, options in self._enabled:  # those that need connections come after those that read them
            connections = KnownConnections([cached[name].cache for name in collector.connections_of if name in cached])
            create = self._fan_out if isinstance(collector.endpoint, FanOutEndpoint) else self._cached
            cached[collector.name] = create(collector, options, connections)
        self.group = CollectorGroup(tuple(cached.values()), telemetry, in_background=bool(name), clock=clock)

    def _cached(
        self, collector: Collector[Any], options: CollectorSettings, connections: KnownConnections
    ) -> CachedCollector:
        """Create the parts that read one collector at scrapes."""
        name, ttl = collector.name, max(options.ttl or 0.0, MIN_BACKGROUND_TTL if self.name else 0.0)
        is_primary = name == PRIMARY
        max_stale = max(self._settings.cache.max_stale, MIN_STALE_TTLS * ttl)
        if is_primary:
            self._telemetry.record_cache_settings(ttl, max_stale)
        renderer = self._renderer(collector)
        progress = self._create_progress(name, "pages")
        reader = collector.reader(
            self._client,
            renderer,
            self._settings.telnyx,
            on_restart=self._telemetry.record_list_restart if is_primary else lambda: None,
            limiter=self._budget.limiter(name, limited=not is_primary),
            progress=progress,
        )
        self._readers[name] = collector.endpoint.path, reader
        return CachedCollector(
            Refresher(
                name,
                reader,
                renderer,
                *self._observers(name),
                connections=connections,
                log_rows=collector.log_rows,
                on_changes=partial(self._on_changes, self.name, name),
            ),
            self._statuses[name],
            ttl=ttl * TTL_TOLERANCE,
            first_ttl=self._first_ttl(name, ttl),
            max_stale=max_stale,
            max_wait=math.inf if is_primary and not self.name else MAX_WAIT,
            retry_after=requested_wait if is_primary else wait_after_refusal,
            is_exposed=self._is_exposed,
            progress=progress,
            clock=self._clock,
        )

    def _fan_out(
        self, collector: Collector[Any], options: CollectorSettings, connections: KnownConnections
    ) -> CachedCollector:
        """Create the parts that read one connection after the other in the background."""
        assert isinstance(collector.endpoint, FanOutEndpoint)  # noqa: S101 -- the caller has checked it
        name, interval = collector.name, BACKGROUND_RENDER_INTERVAL if self.name else RENDER_INTERVAL
        progress = self._create_progress(name, "connections")
        fan_out = FanOut(
            name,
            collector.endpoint,
            self._client,
            connections,
            self._renderer(collector),
            *self._observers(name),
            limiter=self._budget.limiter(name),
            ttl=options.ttl or 0.0,
            rate=options.rate or collector.endpoint.default_rate,
            progress=progress,
            on_changes=partial(self._on_changes, self.name, name),
            clock=self._clock,
        )
        self._readers[name] = collector.endpoint.path, fan_out
        return CachedCollector(
            fan_out,
            self._statuses[name],
            ttl=interval,
            first_ttl=self._first_ttl(name, interval),
            max_stale=max(options.ttl or 0.0, MIN_STALE_TTLS * interval),
            max_wait=MAX_WAIT,
            in_background=True,
            is_exposed=self._is_exposed,
            progress=progress,
            clock=self._clock,
        )

    def _first_ttl(self, collector: str, ttl: float) -> float | None:
        """Return a share of the TTL that depends on the names, to spread the refreshes that run in the background."""
        return ttl * zlib.crc32(f"{self.name} {collector}".encode()) / 2**32 if self.name else None

    def _renderer(self, collector: Collector[Any]) -> Renderer:
        return Renderer(collector.select(self._is_exposed, self._settings.metrics.sensitive_labels), self.name)

    def _observers(self, name: str) -> Sequence[RefreshObserver]:
        observer = self._telemetry if name == PRIMARY else self._any_up
        return [self._statuses[name], *([observer] if observer else [])]

    def adopt(self, previous: Account) -> None:
        """Continue with the previous account's data of each collector if both accounts expose the same data.

        Otherwise start with empty caches. Counters, the budget and waits after a rate limit continue either way.
        """
        is_same = self._exposure == previous._exposure
        if not is_same or (PRIMARY in self._statuses) != (PRIMARY in previous._statuses):
            self._telemetry.reset_refresh_metrics()
        self._budget.adopt(previous._budget)
        known = {collector.name: collector for collector, _ in previous._enabled}
        for collector, _ in self._enabled:
            name = collector.name
            if name in known:
                with_data = is_same and collector == known[name]
                self.group.collectors[name].adopt(previous.group.collectors[name], with_data=with_data)
        if self._any_up:
            self._any_up.update()

    async def check_access(self) -> Sequence[Access]:
        """Send one request for each collector, and return what the API key may read."""
        progress = self._create_progress("access", "collectors")
        progress.record_progress(0, len(self._readers))
        done = itertools.count(1)

        async def check(name: str) -> Access:
            result = await self._check(name)
            progress.record_progress(next(done), len(self._readers))
            return result

        try:
            return await asyncio.gather(*map(check, self._readers))
        finally:
            progress.record_end()

    async def _check(self, name: str) -> Access:
        path, reader = self._readers[name]
        try:
            await reader.check()
        except TelnyxError as error:
            return Access(name, path, error)
        return Access(name, path, None)

    async def close(self) -> None:
        """Cancel running refreshes and close the connections to Telnyx."""
        await self.group.close()
        await self._client.close()
