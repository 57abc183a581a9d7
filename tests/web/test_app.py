import asyncio
import gzip

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.cache import Cache
from exporter.collectors.credential_connections import COLLECTOR, Connection
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Format
from exporter.refresh import View
from exporter.telemetry import Telemetry
from exporter.telnyx.errors import Unauthorized
from exporter.telnyx.pages import Snapshot
from exporter.web.app import create_app, scrape_timeout

SNAPSHOT = Snapshot(((Connection(id="1", connection_name='a "name"', active=True), Connection(id="2", active=False)),))


async def show():
    """Refresh with success."""
    return View(Renderer(COLLECTOR)(SNAPSHOT), SNAPSHOT.row_count, 1.7e9)


async def refuse():
    """Refresh with failure."""
    raise Unauthorized(401, "10009")


def cache_of(refresh=show, **options):
    return Cache(refresh, **{"ttl": 60.0, "max_stale": 600.0, **options})


def client_of(cache, live=None, **options):
    transport = httpx.ASGITransport(create_app(lambda: cache, live or Telemetry(process=False), **options))
    return httpx.AsyncClient(transport=transport, base_url="http://exporter", headers={"accept-encoding": "identity"})


def values(text, parse=parse_text):
    return {(sample.name, *sample.labels.values()): sample.value for family in parse(text) for sample in family.samples}


async def test_a_scrape_shows_connections_and_the_exporter():
    """A scrape is one document: the connections, and behind them the exporter's own metrics."""
    async with client_of(cache_of()) as client:
        answer = await client.get("/metrics")
    shown = values(answer.text)
    assert answer.status_code == 200
    assert shown["telnyx_connection_active", "1", 'a "name"'] == 1
    assert shown["telnyx_connection_active", "2", ""] == 0
    assert shown["telnyx_exporter_cache_requests_total",] == 1
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize(
    ("accept", "form", "parse"),
    [
        pytest.param("", Format.TEXT, parse_text, id="no wish"),
        pytest.param("text/plain;version=1.0.0", Format.TEXT_1, parse_text, id="text 1.0.0"),
        pytest.param("application/openmetrics-text;version=1.0.0", Format.OPENMETRICS, parse_openmetrics, id="om"),
    ],
)
async def test_format_and_encoding_are_the_scrapers_choice(accept, form, parse, encoding):
    """Content type and encoding say what was sent, and it can be read as that, at the first scrape and at the next."""
    async with client_of(cache_of()) as client:
        for _ in range(2):
            async with client.stream(
                "GET", "/metrics", headers={"accept": accept, "accept-encoding": encoding}
            ) as answer:
                raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-type"] == form.value
    assert answer.headers.get("content-encoding") == (None if encoding == "identity" else "gzip")
    assert answer.headers["vary"] == "accept, accept-encoding"
    text = (gzip.decompress(raw) if encoding == "gzip" else raw).decode()
    assert values(text, parse)["telnyx_connection_active", "2", ""] == 0


async def test_without_a_snapshot_a_scrape_still_answers():
    """While Telnyx can't be read and never was, a scrape is 200 with telnyx_up and no connection."""
    async with client_of(cache_of(refuse)) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert "telnyx_up 0.0" in answer.text
    assert "telnyx_connection" not in answer.text


async def test_a_scrape_waits_no_longer_than_the_scraper():
    """A scrape that a refresh keeps waiting is answered before Prometheus gives up."""
    never = asyncio.Event()
    cache = cache_of(never.wait)
    async with client_of(cache) as client, asyncio.timeout(5):
        answer = await client.get("/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": "0.02"})
    await cache.close()
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("10", 9.5, id="the usual"),
        pytest.param("2.5", 2.0, id="fraction"),
        pytest.param("0.4", 0.2, id="shorter than the margin"),
        pytest.param("0", 0.0, id="none"),
        pytest.param("", 10.0, id="absent"),
        pytest.param("-1", 10.0, id="negative"),
        pytest.param("nan", 10.0, id="nan"),
        pytest.param("inf", 10.0, id="infinite"),
        pytest.param("1e9", 10.0, id="exponent"),
        pytest.param("9" * 400, 10.0, id="absurd"),
        pytest.param("soon", 10.0, id="text"),
        pytest.param("\u0661", 10.0, id="other digits"),
    ],
)
def test_patience_is_the_scrapers_timeout_less_a_margin(header, seconds):
    """The margin is half a second, or half of what there is; nonsense counts as nothing said."""
    assert scrape_timeout(header) == seconds


async def test_health_does_not_depend_on_telnyx():
    """The exporter is healthy whether or not Telnyx can be read."""
    async with client_of(cache_of(refuse)) as client:
        answer = await client.get("/-/healthy")
    assert (answer.status_code, answer.text) == (200, "healthy\n")


async def test_ready_brings_the_first_refresh_about():
    """A probe is enough to become ready: nobody has to scrape first."""
    begun, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def refresh():
        begun.set()
        await go.wait()
        asyncio.get_running_loop().call_soon(done.set)
        return await show()

    async with client_of(cache_of(refresh)) as client, asyncio.timeout(5):
        first = await client.get("/-/ready")
        await begun.wait()
        go.set()
        await done.wait()
        second = await client.get("/-/ready")
    assert (first.status_code, first.text) == (503, "not ready\n")
    assert (second.status_code, second.text) == (200, "ready\n")


async def test_every_request_asks_the_cache_of_its_time():
    """The cache can be replaced by another between two requests."""
    other = Snapshot(((Connection(id="3", active=True),),))

    async def show_other():
        return View(Renderer(COLLECTOR)(other), other.row_count, 1.8e9)

    caches = [cache_of(show_other), cache_of()]
    transport = httpx.ASGITransport(create_app(lambda: caches[-1], Telemetry(process=False)))
    async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as client:
        assert 'connection_id="2"' in (await client.get("/metrics")).text
        caches.pop()
        assert "<dd>unknown</dd>" in (await client.get("/")).text
        assert (await client.get("/-/ready")).status_code in {200, 503}
        assert 'connection_id="3"' in (await client.get("/metrics")).text
        assert "<dd>1</dd>" in (await client.get("/")).text


async def test_reload():
    """Whoever may reload is told how that went, in one line."""
    reloads = []

    async def reload():
        reloads.append(len(reloads))
        if len(reloads) > 1:
            raise ValueError("web.yml: nonsense: unknown key")

    async with client_of(cache_of(), reload=reload) as client:
        answers = [await client.post("/-/reload") for _ in range(2)]
        assert (await client.get("/-/reload")).status_code == 405
    assert [(answer.status_code, answer.text) for answer in answers] == [
        (200, "reloaded\n"),
        (500, "web.yml: nonsense: unknown key\n"),
    ]
    assert reloads == [0, 1]


async def test_reload_is_off_unless_it_is_on():
    """Where nobody may reload over HTTP, the answer says how to."""
    async with client_of(cache_of()) as client:
        answer = await client.post("/-/reload")
    assert (answer.status_code, answer.text) == (
        403,
        "disabled: set --web.enable-lifecycle, or send SIGHUP, which always works\n",
    )


async def test_landing_page_asks_nothing_of_telnyx():
    """Opening the page does not refresh."""
    cache = cache_of()
    async with client_of(cache) as client:
        answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert cache.peek().value is None


async def test_metrics_path_can_be_moved():
    """The path of the metrics is a setting, and the page links to it."""
    async with client_of(cache_of(), metrics_path="/telnyx") as client:
        assert (await client.get("/telnyx")).status_code == 200
        assert (await client.get("/metrics")).status_code == 404
        assert 'href="/telnyx"' in (await client.get("/")).text


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_reading_is_allowed(path, method):
    """Nothing can be changed over HTTP."""
    async with client_of(cache_of()) as client:
        answer = await client.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_scrapes_are_counted_by_what_the_cache_had():
    """Requests, hits and stale answers of the cache are counted."""
    now = 0.0
    fail = False

    async def refresh():
        return await (refuse() if fail else show())

    live = Telemetry(process=False)
    async with client_of(cache_of(refresh, clock=lambda: now), live) as client:
        await client.get("/metrics")
        await client.get("/metrics")
        now, fail = 61.0, True
        answer = await client.get("/metrics")
    shown = values(answer.text)
    assert shown["telnyx_exporter_cache_requests_total",] == 3
    assert shown["telnyx_exporter_cache_hits_total",] == 1
    assert shown["telnyx_exporter_stale_responses_total",] == 1
    assert shown["telnyx_connection_active", "2", ""] == 0
