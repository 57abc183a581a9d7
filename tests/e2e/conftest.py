"""The whole exporter as the command builds it, but in this process and with a clock that can be put forward."""

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass

import httpx
import pytest
import stamina
import stamina.instrumentation
from fake_api import FakeApi, connections
from prometheus_client.parser import text_string_to_metric_families

from exporter.cache import Cache
from exporter.collectors.credential_connections import COLLECTOR
from exporter.config.settings import Filter
from exporter.exposition.renderer import Renderer
from exporter.refresh import Refresher, retry_after
from exporter.telemetry import Telemetry
from exporter.telnyx.client import Client
from exporter.telnyx.lists import ListReader
from exporter.web import server
from exporter.web.app import create_app

TTL, MAX_STALE, TIMEOUT = 30.0, 600.0, 2.0


class Clock:
    """Time as it is, and ahead of it by what was skipped."""

    def __init__(self):
        self._ahead = 0.0

    def skip(self, seconds):
        """Put it forward."""
        self._ahead += seconds

    def monotonic(self):
        """Return seconds since whenever."""
        return time.monotonic() + self._ahead

    def time(self):
        """Return the Unix time."""
        return time.time() + self._ahead


class Scrape:
    """What a scrape was answered with, and after how many seconds."""

    def __init__(self, response, seconds):
        assert response.status_code == 200
        self.response = response
        self.seconds = seconds
        self._samples = [
            sample for family in text_string_to_metric_families(response.text) for sample in family.samples
        ]

    def value(self, name, **labels):
        """Return the value of the one sample with these labels; None if there is none."""
        found = [sample.value for sample in self._samples if sample.name == name and sample.labels == labels]
        assert len(found) < 2
        return found[0] if found else None

    @property
    def up(self):
        """1 or 0."""
        return self.value("telnyx_up")

    @property
    def failures(self):
        """The reasons that refreshes failed for, with how many did."""
        return {
            sample.labels["reason"]: sample.value
            for sample in self._samples
            if sample.name == "telnyx_refresh_failures_total" and sample.value
        }

    @property
    def ids(self):
        """The connections on show, in order."""
        return [sample.labels["connection_id"] for sample in self._samples if sample.name == "telnyx_connection_info"]


@dataclass
class Exporter:
    """An exporter that serves."""

    http: httpx.AsyncClient
    address: tuple
    cache: Cache
    client: Client
    refresh: Refresher
    clock: Clock

    async def scrape(self, timeout=10.0, **headers):  # noqa: ASYNC109 -- the scraper's, told in a header
        """Scrape as Prometheus does, with this scrape timeout in seconds."""
        headers = {"x-prometheus-scrape-timeout-seconds": str(timeout), **headers}
        started = time.perf_counter()
        response = await self.http.get("/metrics", headers=headers, timeout=timeout)
        return Scrape(response, time.perf_counter() - started)

    async def hammer(self, times):
        """Scrape this many times in one breath, on one connection, and return the statuses."""
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(*self.address)
            writer.write((request + b"\r\n") * (times - 1) + request + b"Connection: close\r\n\r\n")
            answers = await reader.read()
            writer.close()
            await writer.wait_closed()
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) OK\r\n", answers)]

    def expire(self):
        """Let the snapshot outlive its TTL."""
        self.clock.skip(TTL)


class Site:
    """A server that stays up for the tests of a module, and serves whichever exporter is built last.

    To end a server takes a quarter of a second, and there is a test for each of many faults.
    """

    def __init__(self, address, http):
        self.address = address
        self.http = http
        self.app = None
        self.busy, self.idle = asyncio.Event(), asyncio.Event()
        """Set while a request is being answered, and while none is."""
        self._requests = 0

    async def __call__(self, scope, receive, send):
        """Serve one request."""
        self._count(1)
        try:
            await self.app(scope, receive, send)
        finally:
            self._count(-1)

    def _count(self, number):
        self._requests += number
        now, before = (self.busy, self.idle) if self._requests else (self.idle, self.busy)
        now.set()
        before.clear()

    @contextlib.asynccontextmanager
    async def exporter(self, base_url, *, key="KEY-of-tests", timeout=TIMEOUT, page_size=250, sensitive=()):  # noqa: ASYNC109 -- a setting
        """Build an exporter as `exporter.cli` does, but for the clock, and serve it."""
        clock, telemetry = Clock(), Telemetry(process=False)
        client = Client(base_url, lambda: key, telemetry, timeout=timeout, clock=clock.time)
        collector = COLLECTOR.select(sensitive_labels=sensitive)
        reader = ListReader(client, collector.query(Filter(), page_size), telemetry, timeout=timeout)
        refresh = Refresher(reader, Renderer(collector), telemetry, clock=clock.time)
        cache = Cache(refresh, ttl=TTL, max_stale=MAX_STALE, retry_after=retry_after, clock=clock.monotonic)
        self.app = create_app(lambda: cache, telemetry)
        try:
            yield Exporter(self.http, self.address, cache, client, refresh, clock)
        finally:
            await cache.close()
            await client.close()


@pytest.fixture(scope="module")
def anyio_backend():
    """Run the tests of a module in one loop, which its server shares; the loop is the command's."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(scope="module")
async def site():
    """Return what serves exporters; they try a request twice, one right after the other."""
    stamina.instrumentation.set_on_retry_hooks(())  # as the command does
    listener = server.listen("127.0.0.1:0")
    async with httpx.AsyncClient(base_url=server.url(listener), trust_env=False) as http:
        site = Site(listener.getsockname(), http)
        with stamina.set_testing(True, attempts=2):
            async with server.serving(site, listener):
                yield site
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
async def peer():
    """Return a peer with five connections."""
    async with FakeApi(connections(5)) as peer:
        yield peer


@pytest.fixture
async def exporter(peer, site):
    """Return an exporter that reads the peer."""
    async with site.exporter(peer.url) as exporter:
        yield exporter
