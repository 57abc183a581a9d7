"""The whole exporter as the command builds it, but in this process and with a clock that tests can advance."""

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from types import SimpleNamespace

import httpx
import pytest
import stamina
import stamina.instrumentation
from collectors import single
from fake_api import PATIENCE, FakeApi, connections
from prometheus_client.parser import text_string_to_metric_families

from exporter.account.cached_collector import CachedCollector
from exporter.account.collector_group import CollectorGroup
from exporter.account.refresh import Refresher
from exporter.account.status import CollectorStatus
from exporter.accounts.accounts import Configuration
from exporter.cache import Cache
from exporter.collectors.credential_connections import COLLECTOR
from exporter.config.settings import FilterSettings
from exporter.exposition.renderer import Renderer
from exporter.server.listeners import listen, local_url
from exporter.server.serving import serving
from exporter.status.changes import RecentChanges
from exporter.status.status import StatusReader
from exporter.telemetry import Telemetry
from exporter.telnyx.http.client import Client
from exporter.telnyx.lists.reader import ListReader
from exporter.web.app import create_app

TTL, MAX_STALE, TIMEOUT = 30.0, 600.0, 5.0


class Clock:
    """The real time, plus the seconds that a test has advanced it by."""

    def __init__(self):
        self._ahead = 0.0

    def advance(self, seconds):
        """Advance the clock by this many seconds."""
        self._ahead += seconds

    def monotonic(self):
        """Return the monotonic time."""
        return time.monotonic() + self._ahead

    def time(self):
        """Return the Unix time."""
        return time.time() + self._ahead


class Scrape:
    """The successful response to a scrape."""

    def __init__(self, response):
        assert response.status_code == 200
        self.response = response
        self._samples = [
            sample for family in text_string_to_metric_families(response.text) for sample in family.samples
        ]

    def value(self, name, **labels):
        """Return the value of the sample with exactly these labels, or None."""
        found = [sample.value for sample in self._samples if sample.name == name and sample.labels == labels]
        assert len(found) < 2
        return found[0] if found else None

    @property
    def up(self):
        """The value of `telnyx_up`, 1 or 0."""
        return self.value("telnyx_up")

    @property
    def failures(self):
        """The number of failed refreshes by reason."""
        return {
            sample.labels["reason"]: sample.value
            for sample in self._samples
            if sample.name == "telnyx_refresh_failures_total" and sample.value
        }

    @property
    def ids(self):
        """The ids of the exposed connections, in order."""
        return [sample.labels["connection_id"] for sample in self._samples if sample.name == "telnyx_connection_info"]


@dataclass
class Exporter:
    """A running exporter."""

    http: httpx.AsyncClient
    address: tuple
    cache: Cache
    client: Client
    refresh: Refresher
    clock: Clock

    async def scrape(self, timeout=PATIENCE, **headers):  # noqa: ASYNC109 -- of the scraper, sent in a header
        """Scrape as Prometheus does, with this scrape timeout in seconds, but wait longer for the response."""
        headers = {"x-prometheus-scrape-timeout-seconds": str(timeout), **headers}
        return Scrape(await self.http.get("/metrics", headers=headers))

    async def pipeline(self, times):
        """Send this many scrapes in one write, and return the status of every response."""
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(*self.address)
            writer.write((request + b"\r\n") * (times - 1) + request + b"Connection: close\r\n\r\n")
            responses = await reader.read()
            writer.close()
            await writer.wait_closed()
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", responses)]

    def expire(self):
        """Advance the clock by the TTL, so that the snapshot is stale."""
        self.clock.advance(TTL)


class SharedServer:
    """A server that the tests of a module share. It serves the exporter that was built last.

    Stopping a server takes a quarter of a second, and each of many faults has its own test.
    """

    def __init__(self, address, http):
        self.address = address
        self.http = http
        self.app = None
        self.busy, self.idle = asyncio.Event(), asyncio.Event()
        """Set while requests are in progress, and while none are."""
        self._requests = 0

    async def __call__(self, scope, receive, send):
        """Serve one request."""
        self._add_requests(1)
        try:
            await self.app(scope, receive, send)
        finally:
            self._add_requests(-1)

    def _add_requests(self, number):
        self._requests += number
        current, other = (self.busy, self.idle) if self._requests else (self.idle, self.busy)
        current.set()
        other.clear()

    @contextlib.asynccontextmanager
    async def exporter(self, base_url, *, key="KEY-of-tests", timeout=TIMEOUT, page_size=250, sensitive=()):  # noqa: ASYNC109 -- a setting
        """Build an exporter as `exporter.cli` does, except for its clock, and serve it."""
        clock, own_metrics = Clock(), Telemetry(process=False)
        telemetry = own_metrics.account()
        client = Client(base_url, lambda: key, telemetry, timeout=timeout, clock=clock.time)
        collector = COLLECTOR.select(sensitive_labels=sensitive)
        renderer = Renderer(collector)
        query = collector.endpoint.query(collector.row_type, FilterSettings(), page_size)
        reader = ListReader(client, query, renderer, on_restart=telemetry.record_list_restart)
        status = CollectorStatus(collector.name)
        refresh = Refresher(collector.name, reader, renderer, status, telemetry, clock=clock.time)
        cached = CachedCollector(refresh, status, ttl=TTL, max_stale=MAX_STALE, clock=clock.monotonic)
        group = CollectorGroup([cached], telemetry)
        accounts = single(group)
        source = SimpleNamespace(current=accounts, configuration=Configuration(dict, None, ()))
        reader = StatusReader(source, lambda _: telemetry.rate_limit, RecentChanges())
        self.app = create_app(lambda: accounts, own_metrics, read_status=reader.read)
        try:
            yield Exporter(self.http, self.address, cached.cache, client, refresh, clock)
        finally:
            await group.close()
            await client.close()


@pytest.fixture(scope="module")
def anyio_backend():
    """Run the tests of a module and their server in one event loop. Like the command, use uvloop."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(scope="module")
async def shared_server():
    """Yield a server for exporters that try each request at most twice, without a delay."""
    stamina.instrumentation.set_on_retry_hooks(())  # as the command does
    listener = listen("127.0.0.1:0")
    # httpcore can close a connection that has just expired although a request has just got it. Tests that keep the
    # event loop busy for seconds would meet that.
    limits = httpx.Limits(keepalive_expiry=None)
    url = local_url(listener)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False, limits=limits) as http:
        shared_server = SharedServer(listener.getsockname(), http)
        with stamina.set_testing(True, attempts=2):
            async with serving(shared_server, listener):
                yield shared_server
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
async def api():
    """Yield a fake API with five connections."""
    async with FakeApi(connections(5)) as api:
        yield api


@pytest.fixture
async def exporter(api, shared_server):
    """Yield an exporter that reads the fake API."""
    async with shared_server.exporter(api.url) as exporter:
        yield exporter
