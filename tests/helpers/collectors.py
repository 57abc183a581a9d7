"""Cached collectors for tests whose data comes from a function."""

from exporter.account.cached_collector import CachedCollector
from exporter.account.collector_group import CollectorGroup
from exporter.account.refresh import View
from exporter.account.status import CollectorStatus
from exporter.accounts.account_set import AccountSet
from exporter.exposition.own_metrics import AccountMetrics


def view_of(families=(), row_count=0, *, malformed=0, missing=0, refreshed_at=1.7e9, indexes=()):
    """Return the result of a refresh."""
    return View(families, row_count, malformed, missing, refreshed_at, indexes)


class FunctionSource:
    """A source whose data a function returns."""

    def __init__(self, refresh, status):
        self._refresh = refresh
        self._status = status
        self.events = []
        self.error = None
        self.pause = 0.0

    async def __call__(self):
        """Return what the function returns, and record the result."""
        try:
            view = await self._refresh()
        except Exception:
            self._status.record_refresh_failure(0.1, "internal")
            raise
        self._status.record_refresh(0.1, view.refreshed_at)
        return view

    async def read_all(self):
        """Record the call."""
        self.events.append("read_all")

    async def render_again(self, view):
        """Return nothing."""

    def adopt(self, previous, *, with_data):
        """Record the previous source."""
        self.events.append((previous, with_data))

    async def close(self):
        """Record the call."""
        self.events.append("close")


def collector_of(refresh, name="credential-connections", account="", **options):
    """Return a collector whose data this function returns. It has the options of `CachedCollector`."""
    status = CollectorStatus(name, account)
    return CachedCollector(FunctionSource(refresh, status), status, **{"ttl": 60.0, "max_stale": 600.0, **options})


class ScrapeRecorder:
    """Records the states of caches that scrapes found."""

    metrics = AccountMetrics("", ())

    def __init__(self):
        self.entries = []

    def record_scrape(self, entry):
        """Record a scrape."""
        self.entries.append(entry)


def group_of(*collectors, observer=None, **options):
    """Return a group of collectors. It has the options of `CollectorGroup`."""
    return CollectorGroup(collectors, observer or ScrapeRecorder(), **options)


def single(group):
    """Return the accounts of an exporter that reads only one, with these collectors."""
    return AccountSet({"": group}, tuple(group.collectors))
