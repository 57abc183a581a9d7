"""Cached collectors for tests whose data comes from a function."""

from exporter.account.cached_collector import CachedCollector
from exporter.account.collector_group import CollectorGroup
from exporter.account.refresh import View
from exporter.account.status import CollectorStatus


def view_of(families=(), row_count=0, *, malformed=0, missing=0, refreshed_at=1.7e9):
    """Return the result of a refresh."""
    return View(families, row_count, malformed, missing, refreshed_at)


def collector_of(refresh, name="credential-connections", **options):
    """Return a collector whose data this function returns. It has the options of `CachedCollector`."""
    status = CollectorStatus(name)

    async def refresh_and_record():
        try:
            view = await refresh()
        except Exception:
            status.record_refresh_failure(0.1, "internal")
            raise
        status.record_refresh(0.1, view.refreshed_at)
        return view

    return CachedCollector(refresh_and_record, status, **{"ttl": 60.0, "max_stale": 600.0, **options})


class ScrapeRecorder:
    """Records the states of caches that scrapes found."""

    def __init__(self):
        self.entries = []

    def record_scrape(self, entry):
        """Record a scrape."""
        self.entries.append(entry)


def group_of(*collectors, observer=None):
    """Return a group of collectors."""
    return CollectorGroup(collectors, observer or ScrapeRecorder())
