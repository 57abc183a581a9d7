"""Reads the list of connections from a mocked API."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from exporter.collectors.credential_connections import COLLECTOR
from exporter.config.settings import FilterSettings
from exporter.telnyx.budget import UNLIMITED
from exporter.telnyx.http.client import Client
from exporter.telnyx.http.responses import RateLimit
from exporter.telnyx.http.transport import Route, prepare_routes
from exporter.telnyx.lists.progress import NO_PROGRESS
from exporter.telnyx.lists.reader import ListReader

BASE_URL = "https://api.telnyx.test/v2"
URL = f"{BASE_URL}/credential_connections"
KEY = "KEY0123-secret"
NO_FILTER = FilterSettings()


@dataclass
class Recorder:
    """Observes requests and list reads, and records their events."""

    codes: list[str] = field(default_factory=list)
    limits: list[RateLimit] = field(default_factory=list)
    restarts: int = 0

    def record_request(self, code, seconds):
        """Record the status code of a request."""
        assert 0 <= seconds < 60
        self.codes.append(code)

    def record_rate_limit(self, limit):
        """Record the rate limit that a response stated."""
        self.limits.append(limit)

    def record_list_restart(self):
        """Count a restart."""
        self.restarts += 1


class Rows:
    """A page processor that keeps the rows."""

    def render_page(self, rows):
        """Return the rows."""
        return tuple(rows)

    def remove_rows(self, page, ids):
        """Return the rows that have other ids."""
        return tuple(row for row in page if row.id not in ids)


ROWS = Rows()


@asynccontextmanager
async def connected(
    recorder=None,
    base_url=BASE_URL,
    key=lambda: KEY,
    *,
    filters=NO_FILTER,
    page_size=250,
    processor=ROWS,
    transport=None,
    ca_file=None,
    proxy_url=None,
    limiter=UNLIMITED,
    progress=NO_PROGRESS,
    **options,
):
    """Yield a reader of the list of connections that has its own client."""
    recorder = recorder or Recorder()
    route = Route(transport) if transport else prepare_routes(base_url, ca_file, proxy_url)()
    client = Client(base_url, key, recorder, route=route, **options)
    try:
        query = COLLECTOR.endpoint.query(COLLECTOR.row_type, filters, page_size)
        restart = recorder.record_list_restart
        yield ListReader(client, query, processor, on_restart=restart, limiter=limiter, progress=progress)
    finally:
        await client.close()


async def fetch(recorder=None, **options):
    """Read the list with a new client and return the snapshot."""
    async with connected(recorder, **options) as reader:
        return await reader.fetch()


def rows_of(snapshot):
    """Return all rows of a snapshot, in order."""
    return [row for page in snapshot.pages for row in page]


def ids(snapshot):
    """Return the ids of a snapshot's connections."""
    return [connection.id for connection in rows_of(snapshot)]


def listing(*connection_ids, **meta):
    """Return a response that lists connections with these ids."""
    rows = [{"id": connection_id} for connection_id in connection_ids]
    return httpx.Response(200, json={"data": rows, "meta": {"total_results": len(rows), **meta}})
