import asyncio
import gzip
import itertools
import os
import threading

import httpx
import pytest
from collectors import collector_of, group_of, single, view_of
from connections import render_families
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from statuses import status, table

from exporter.accounts.account_set import AccountSet
from exporter.collectors import credential_connections, ip_connections
from exporter.collectors.connection_rows import Connection
from exporter.config.web.paths import NO_PREFIX, WebPaths
from exporter.exposition import response as response_module
from exporter.exposition.blocks import decompress
from exporter.exposition.formats import Format
from exporter.exposition.renderer import Renderer
from exporter.telemetry import Telemetry
from exporter.telnyx.errors import Unauthorized
from exporter.telnyx.lists.snapshots import Snapshot
from exporter.web import app as app_module
from exporter.web.app import create_app, scrape_timeout

CONNECTIONS = (Connection(id="1", connection_name='a "name"', active=True), Connection(id="2", active=False))


async def refresh_ok():
    """Refresh successfully."""
    return view_of(render_families(CONNECTIONS), 2)


async def refresh_failed():
    """Fail to refresh."""
    raise Unauthorized(401, "10009")


def app_of(*collectors, own_metrics=None, **options):
    """Return the application with these collectors, by default one that refreshes successfully."""
    own_metrics = own_metrics or Telemetry(process=False)
    group = group_of(*(collectors or [collector_of(refresh_ok)]), observer=own_metrics.account())
    accounts = single(group)
    return create_app(lambda: accounts, own_metrics, **options)


def client_of_app(app):
    """Return a client of this application."""
    headers = {"accept-encoding": "identity"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter", headers=headers)


def client_of(*collectors, **options):
    return client_of_app(app_of(*collectors, **options))


def values(text, parse=parse_text):
    return {(sample.name, *sample.labels.values()): sample.value for family in parse(text) for sample in family.samples}


async def test_a_scrape_returns_connections_and_own_metrics():
    """A scrape returns one document: the connections, then the exporter's own metrics."""
    async with client_of() as client:
        response = await client.get("/metrics")
    samples = values(response.text)
    assert response.status_code == 200
    assert samples["telnyx_connection_active", "1", 'a "name"'] == 1
    assert samples["telnyx_connection_active", "2", ""] == 0
    assert samples["telnyx_exporter_cache_requests_total",] == 1
    assert response.headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize(
    ("accept", "form", "parse"),
    [
        pytest.param("", Format.TEXT, parse_text, id="default"),
        pytest.param("text/plain;version=1.0.0", Format.TEXT_1, parse_text, id="text 1.0.0"),
        pytest.param(
            "application/openmetrics-text;version=1.0.0", Format.OPENMETRICS, parse_openmetrics, id="OpenMetrics"
        ),
    ],
)
async def test_format_and_encoding_are_negotiated(accept, form, parse, encoding):
    """Format and encoding are those that the scraper accepts, on the first scrape and the next. The body has both."""
    async with client_of() as client:
        for _ in range(2):
            async with client.stream(
                "GET", "/metrics", headers={"accept": accept, "accept-encoding": encoding}
            ) as response:
                raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-type"] == form.value
    assert response.headers.get("content-encoding") == (None if encoding == "identity" else "gzip")
    assert response.headers["vary"] == "accept, accept-encoding"
    text = (gzip.decompress(raw) if encoding == "gzip" else raw).decode()
    assert values(text, parse)["telnyx_connection_active", "2", ""] == 0


LARGE = tuple(Connection(id=str(number), connection_name=os.urandom(30_000).hex()) for number in range(8))


async def refresh_large():
    """Refresh successfully, with connections whose text has many pieces."""
    return view_of(render_families(LARGE), len(LARGE))


async def refresh_medium():
    """Refresh successfully, with connections whose text has a few pieces."""
    return view_of(render_families(LARGE[:1]), 1)


class SlowClient:
    """A client that talks to the application without a server in between, and reads slowly."""

    def __init__(self, encoding, method="GET"):
        headers = [(b"accept-encoding", encoding.encode())]
        self.scope = {"type": "http", "method": method, "path": "/metrics", "headers": headers, "query_string": b""}
        self.pieces = []

    async def send(self, message):
        """Take a part of the response."""
        await asyncio.sleep(0.005)
        if message["type"] == "http.response.body":
            self.pieces.append(message["body"])
            assert message.get("more_body", False) is (len(message["body"]) > 0)

    async def request(self, collector):
        """Send the request and receive the response."""
        async with asyncio.timeout(20):
            await app_of(collector)(self.scope, None, self.send)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_large_response_is_sent_in_pieces(encoding):
    """A response of many pieces arrives completely and in order, at several clients at the same time."""
    collector = collector_of(refresh_large)
    clients = [SlowClient(encoding) for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.request(collector))
    for client in clients:
        data = b"".join(client.pieces)
        lines = (gzip.decompress(data) if encoding == "gzip" else data).decode().splitlines()
        infos = [line for line in lines if line.startswith("telnyx_connection_info{")]
        assert len(client.pieces) > 4
        assert [row.connection_name in line for row, line in zip(LARGE, infos, strict=True)] == [True] * len(LARGE)
        assert lines[-1].startswith("telnyx_exporter_build_info")


async def test_few_bodies_are_decompressed_at_the_same_time(monkeypatch):
    """Clients that don't read keep pieces of few bodies in memory. The others wait for their responses."""
    monkeypatch.setattr(app_module, "_MAX_DECOMPRESSIONS", 2)
    reading = asyncio.Event()
    app = app_of(collector_of(refresh_medium))

    class IdleClient(SlowClient):
        async def send(self, message):
            if message.get("body"):
                self.pieces.append(message["body"])
                await reading.wait()

    clients = [IdleClient("identity") for _ in range(5)]
    async with asyncio.TaskGroup() as group, asyncio.timeout(20):
        for client in clients:
            group.create_task(app(client.scope, None, client.send))
        while sum(len(client.pieces) for client in clients) < 2:  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert [len(client.pieces) for client in clients] == [1, 1, 0, 0, 0]
        reading.set()
    assert all(len(client.pieces) > 1 for client in clients)


async def test_fast_readers_do_not_delay_others():
    """Between the pieces of a large response, others have their turn, even if its client reads at once."""
    turns = []

    class FastClient(SlowClient):
        async def send(self, message):
            turns.append(self)

    clients = [FastClient("gzip") for _ in range(2)]
    collector = collector_of(refresh_large)
    await clients[0].request(collector)
    del turns[:]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.request(collector))
    assert sum(one is not other for one, other in itertools.pairwise(turns)) > len(turns) / 2


@pytest.mark.parametrize(
    ("encoding", "refresh", "in_thread"),
    [("identity", refresh_large, True), ("identity", refresh_ok, False), ("gzip", refresh_large, False)],
    ids=["large", "small", "gzip"],
)
async def test_a_large_response_is_decompressed_in_another_thread(monkeypatch, encoding, refresh, in_thread):
    """Decompression of a large response doesn't keep the event loop from serving others."""
    threads = set()

    def record(*arguments):
        threads.add(threading.get_ident())
        return decompress(*arguments)

    monkeypatch.setattr(response_module, "decompress", record)
    await SlowClient(encoding).request(collector_of(refresh))
    assert threads == set() if encoding == "gzip" else (threading.get_ident() in threads) is not in_thread


class CountedTexts(Telemetry):
    """The exporter's own metrics, whose text has the number of times that they were rendered."""

    rendered = 0

    def render(self, form, accounts=None):
        """Return the format, the labels of the accounts, and the number."""
        self.rendered += 1
        return f"{form.name} {[account.labels for account in accounts]} {self.rendered}".encode()


async def test_scrapes_of_the_same_moment_share_the_own_metrics():
    """Scrapes that arrive together share the text of the exporter's own metrics. Later ones get a new text."""
    own_metrics = CountedTexts(process=False)
    async with client_of(own_metrics=own_metrics) as client:

        async def scrape(form="text/plain"):
            return (await client.get("/metrics?collect[]=exporter", headers={"accept": form})).text

        assert await scrape() == "TEXT [{}] 1"
        assert await asyncio.gather(*(scrape() for _ in range(50))) == ["TEXT [{}] 2"] * 50
        openmetrics = "application/openmetrics-text;version=1.0.0"
        assert await asyncio.gather(scrape(), scrape(openmetrics)) == ["TEXT [{}] 3", "OPENMETRICS [{}] 4"]
        assert await scrape() == "TEXT [{}] 5"


async def test_a_head_request_gets_no_body():
    """The response to HEAD has the headers of GET, and no body is created for it."""
    client = SlowClient("identity", "HEAD")
    await client.request(collector_of(refresh_large))
    assert client.pieces == [b""]
    async with client_of() as http:
        head, get = await http.head("/metrics"), await http.get("/metrics")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert abs(int(head.headers["content-length"]) - len(get.content)) < 10  # counters can have other numbers


async def test_a_scrape_without_a_snapshot_succeeds():
    """If no refresh has succeeded yet, a scrape returns status 200 with `telnyx_up` 0 and without connections."""
    async with client_of(collector_of(refresh_failed)) as client:
        response = await client.get("/metrics")
    assert response.status_code == 200
    assert "telnyx_up 0.0" in response.text
    assert "telnyx_connection" not in response.text


async def test_a_scrape_returns_before_the_scrape_timeout():
    """If a refresh is slow, the scrape returns before Prometheus's scrape timeout."""
    never = asyncio.Event()
    collector = collector_of(never.wait)
    async with client_of(collector) as client, asyncio.timeout(20):
        response = await client.get("/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": "0.02"})
    await collector.cache.close()
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("10", 9.5, id="usual"),
        pytest.param("2.5", 2.0, id="fraction"),
        pytest.param("0.4", 0.2, id="shorter than the margin"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("", 10.0, id="absent"),
        pytest.param("-1", 10.0, id="negative"),
        pytest.param("nan", 10.0, id="nan"),
        pytest.param("inf", 10.0, id="infinite"),
        pytest.param("1e9", 10.0, id="exponent"),
        pytest.param("9" * 400, 10.0, id="too many digits"),
        pytest.param("soon", 10.0, id="text"),
        pytest.param("\u0661", 10.0, id="non-ASCII digit"),
    ],
)
def test_scrape_timeout_subtracts_a_margin(header, seconds):
    """The margin is half a second, or half of a timeout below one second. An invalid header counts as absent."""
    assert scrape_timeout(header) == seconds


async def test_health_does_not_depend_on_telnyx():
    """The exporter is healthy even if the Telnyx API can't be reached."""
    async with client_of(collector_of(refresh_failed)) as client:
        response = await client.get("/-/healthy")
    assert (response.status_code, response.text) == (200, "healthy\n")


async def test_readiness_probe_starts_the_first_refresh():
    """A readiness probe starts the first refresh, so the exporter becomes ready without a scrape."""
    started, release, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def refresh():
        started.set()
        await release.wait()
        asyncio.get_running_loop().call_soon(finished.set)
        return await refresh_ok()

    async with client_of(collector_of(refresh)) as client, asyncio.timeout(20):
        first = await client.get("/-/ready")
        await started.wait()
        release.set()
        await finished.wait()
        second = await client.get("/-/ready")
    assert (first.status_code, first.text) == (503, "not ready\n")
    assert (second.status_code, second.text) == (200, "ready\n")


async def test_readiness_does_not_depend_on_telnyx():
    """The exporter is ready when every collector has refreshed or failed once, so an outage blocks no rollout."""
    failing, hanging = collector_of(refresh_failed), collector_of(asyncio.Event().wait, "ip-connections")
    async with client_of(failing) as client:
        await failing.get(5.0)
        assert (await client.get("/-/ready")).status_code == 200
    async with client_of(failing, hanging) as client:
        assert (await client.get("/-/ready")).status_code == 503
    await hanging.cache.close()


async def test_readiness_probes_refresh_only_until_the_exporter_is_ready():
    """Later probes start no refresh, so that a list is not read more often than it is scraped."""
    now, refreshes = 0.0, []

    async def refresh():
        refreshes.append(now)
        return await refresh_ok()

    async with client_of(collector_of(refresh, clock=lambda: now)) as client:
        await client.get("/metrics")
        now = 1000.0
        assert (await client.get("/-/ready")).status_code == 200
    assert refreshes == [0.0]


# collect[]


async def refresh_other():
    """Refresh successfully, with one other connection."""
    rows = (ip_connections.IpConnection(id="3", active=True),)
    return view_of(render_families(rows, collector=ip_connections.COLLECTOR), 1)


BOTH = {"credential-connections", "ip-connections"}


def both():
    """Return two collectors."""
    return collector_of(refresh_ok), collector_of(refresh_other, "ip-connections")


@pytest.mark.parametrize(
    ("query", "ids", "collectors", "own"),
    [
        ("", "123", BOTH, True),
        ("?other=1", "123", BOTH, True),
        ("?collect[]=ip-connections", "3", {"ip-connections"}, False),
        ("?collect%5B%5D=ip-connections", "3", {"ip-connections"}, False),
        ("?collect[]=ip-connections&collect[]=exporter", "3", {"ip-connections"}, True),
        (
            "?collect[]=ip-connections&collect[]=credential-connections",
            "123",
            {"credential-connections", "ip-connections"},
            False,
        ),
        ("?collect[]=exporter", "", set(), True),
    ],
)
@pytest.mark.parametrize("form", ["text/plain", "application/openmetrics-text"])
async def test_collectors_can_be_selected(query, ids, collectors, own, form):
    """`collect[]` selects collectors, with their status, or the exporter's own metrics."""
    parse = parse_text if form == "text/plain" else parse_openmetrics
    async with client_of(*both()) as client:
        response = await client.get(f"/metrics{query}", headers={"accept": form})
    found = values(response.text, parse)
    assert response.status_code == 200
    assert {key[1] for key in found if key[0] == "telnyx_connection_active"} == set(ids)
    assert {key[1] for key in found if key[0] == "telnyx_collector_success"} == collectors
    assert (("telnyx_up",) in found) is own


@pytest.mark.parametrize("name", ["", "fax-applications", "IP-connections", "%0d%0aX: y", "<script>"])
async def test_an_unknown_collector_is_rejected(name):
    """`collect[]` with an unknown or disabled collector gets status 400 and the names that are possible."""
    collectors = both()
    async with client_of(*collectors) as client:
        response = await client.get(f"/metrics?collect[]=ip-connections&collect[]={name}")
    assert (response.status_code, response.text) == (
        400,
        "collect[] must be one of the enabled collectors: credential-connections, ip-connections, exporter\n",
    )
    assert all(collector.cache.peek().value is None for collector in collectors)


# account


def named(telemetry, name, *connections, ready=None):
    """Return the collectors of an account with a name and these connections, which are read when they may be."""

    async def refresh():
        if ready:
            await ready.wait()
        rows = tuple(Connection(id=each, active=True) for each in connections)
        renderer = Renderer(credential_connections.COLLECTOR, name)
        pages = (renderer.render_page(rows),)
        return view_of(renderer.render(Snapshot(pages, len(rows))), len(rows))

    return group_of(collector_of(refresh, account=name), observer=telemetry.account(name), in_background=True)


async def accounts_client():
    """Return a client of an exporter of two accounts, of which a third one is in another shard."""
    telemetry = Telemetry(process=False, accounts=True)
    groups = {name: named(telemetry, name, name.upper()) for name in ("x", "y")}
    for group in groups.values():
        await group.scrape(5.0)
    accounts = AccountSet(groups, ("credential-connections",), {"z": 1})
    return client_of_app(create_app(lambda: accounts, telemetry))


async def test_an_account_that_comes_or_goes_is_shown_completely_or_not_at_all():
    """A scrape shows the accounts of its beginning, even if others replace them before it ends."""
    telemetry, ready = Telemetry(process=False, accounts=True), asyncio.Event()
    groups = {name: named(telemetry, name, name.upper(), ready=ready) for name in ("old", "new")}
    accounts = AccountSet({"old": groups["old"]}, ("credential-connections",))

    async def shown():
        found = values((await client.get("/metrics")).text)
        return [{key[1] for key in found if key[0] == name} for name in ("telnyx_connection_active", "telnyx_up")]

    async with client_of_app(create_app(lambda: accounts, telemetry)) as client:
        scrape = asyncio.create_task(shown())
        await asyncio.sleep(0.01)
        accounts = AccountSet({"new": groups["new"]}, ("credential-connections",))
        telemetry.remove_account("old")
        ready.set()
        assert await scrape == [{"old"}, {"old"}]
        assert await shown() == [{"new"}, {"new"}]


@pytest.mark.parametrize(
    ("query", "collected", "own"),
    [
        ("", "xy", "xy"),
        ("?account=x", "x", "x"),
        ("?account=y&account=x", "xy", "xy"),
        ("?account=y&collect[]=credential-connections", "y", None),
        ("?account=y&collect[]=exporter", "", "y"),
        ("?collect[]=exporter", "", "xy"),
    ],
)
@pytest.mark.parametrize("form", ["text/plain", "application/openmetrics-text"])
async def test_accounts_can_be_selected(query, collected, own, form):
    """`account` selects accounts, with all their series. Other metrics of the exporter are not affected."""
    parse = parse_text if form == "text/plain" else parse_openmetrics
    async with await accounts_client() as client:
        response = await client.get(f"/metrics{query}", headers={"accept": form})
    found = values(response.text, parse)
    assert response.status_code == 200
    assert {key[1:3] for key in found if key[0] == "telnyx_connection_active"} == {(x, x.upper()) for x in collected}
    assert {key[1] for key in found if key[0] == "telnyx_collector_success"} == set(collected)
    assert {key[1] for key in found if key[0] == "telnyx_up"} == set(own or "")
    assert any(key[0] == "telnyx_exporter_build_info" for key in found) is (own is not None)


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("?account=w", 404, "there is no account 'w': no API key file has this name\n"),
        ("?account=x&account=", 404, "there is no account '': no API key file has this name\n"),
        ("?account=%0d%0aX:%20y", 404, "there is no account '\\r\\nX: y': no API key file has this name\n"),
        ("?account=z", 404, "account 'z' belongs to shard 1: scrape the exporter with --shard=1\n"),
        (
            "?account=x&collect[]=w",
            400,
            "collect[] must be one of the enabled collectors: credential-connections, exporter\n",
        ),
    ],
)
async def test_an_unknown_account_is_rejected(query, status, text):
    """An unknown account, or one of another shard, gets status 404, and the answer says which of both it is."""
    async with await accounts_client() as client:
        response = await client.get(f"/metrics{query}")
    assert (response.status_code, response.text) == (status, text)


async def test_a_single_account_has_no_name():
    """An exporter of one account says so to a scrape of an account by its name."""
    async with client_of() as client:
        response = await client.get("/metrics?account=x")
    assert (response.status_code, response.text) == (
        404,
        "there is no account 'x': accounts have names only with --telnyx.api-key-files\n",
    )


async def test_every_request_uses_the_current_accounts():
    """If the collectors are replaced between two requests, the second request uses the new ones."""
    groups = [group_of(collector_of(refresh_other)), group_of(collector_of(refresh_ok))]
    async with client_of_app(create_app(lambda: single(groups[-1]), Telemetry(process=False))) as client:
        assert 'connection_id="2"' in (await client.get("/metrics")).text
        groups.pop()
        assert (await client.get("/-/ready")).status_code in {200, 503}
        assert 'connection_id="3"' in (await client.get("/metrics")).text


async def test_reload():
    """`POST /-/reload` returns the result in one line."""
    reloads = []

    async def reload():
        reloads.append(len(reloads))
        if len(reloads) > 1:
            raise ValueError("web.yml: nonsense: unknown key")

    async with client_of(reload=reload) as client:
        responses = [await client.post("/-/reload") for _ in range(2)]
        assert (await client.get("/-/reload")).status_code == 405
    assert [(response.status_code, response.text) for response in responses] == [
        (200, "reloaded\n"),
        (500, "web.yml: nonsense: unknown key\n"),
    ]
    assert reloads == [0, 1]


async def test_reload_is_disabled_by_default():
    """If reloading over HTTP is disabled, the response says how to reload."""
    async with client_of() as client:
        response = await client.post("/-/reload")
    assert (response.status_code, response.text) == (
        403,
        "reloading over HTTP is disabled: set --web.enable-lifecycle, or send SIGHUP\n",
    )


PREFIXED = WebPaths("/telnyx", "/outside")


async def read_status(query, *, with_table=True):
    """Return a status without connections."""
    return status(table(0))


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("", "text/html; charset=utf-8"), ("/", "text/html; charset=utf-8"), ("/api/v1/status", "application/json")],
)
@pytest.mark.parametrize("paths", [NO_PREFIX, PREFIXED], ids=["root", "prefix"])
async def test_status(paths, path, content_type):
    """The status is a page at the root and JSON in the API. Neither may load or be cached."""
    async with client_of(read_status=read_status, paths=paths) as client:
        response = await client.get(f"{paths.route_prefix}{path}")
    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert response.headers["cache-control"] == "no-store"


async def test_metrics_path_can_be_changed():
    """The metrics path is a setting, and the landing page links to it."""
    async with client_of(paths=WebPaths(telemetry_path="/telnyx")) as client:
        assert (await client.get("/telnyx")).status_code == 200
        assert (await client.get("/metrics")).status_code == 404
        assert 'href="/telnyx"' in (await client.get("/")).text


@pytest.mark.parametrize("path", ["", "/"])
@pytest.mark.parametrize("paths", [NO_PREFIX, PREFIXED], ids=["root", "prefix"])
async def test_status_page_can_be_disabled(paths, path):
    """Without a function that reads the status, the page has links and no data, and there is no status as JSON."""
    async with client_of(collector_of(refresh_failed), paths=paths) as client:
        await client.get(paths.metrics)
        page = await client.get(f"{paths.route_prefix}{path}")
        as_json = await client.get(paths.route("/api/v1/status"))
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert f'href="{paths.link("/metrics")}"' in page.text
    assert "401" not in page.text
    assert (as_json.status_code, as_json.text) == (
        404,
        "the status page is turned off: remove --web.disable-status-page\n",
    )


@pytest.mark.parametrize(
    "path", ["/metrics", "/", "", "/-/healthy", "/-/ready", "/runbooks/", "/runbooks/TelnyxApiDown"]
)
async def test_all_routes_are_below_the_prefix(path):
    """With a prefix, each route is below it and nowhere else. The page is also served without the slash at the end."""
    async with client_of(collector_of(refresh_ok), paths=PREFIXED) as client:
        await client.get("/telnyx/metrics")
        assert (await client.get(f"/telnyx{path}")).status_code == 200
        assert (await client.get(path or "/outside")).status_code == (302 if path == "/" else 404)


async def test_a_reload_is_below_the_prefix():
    """With a prefix, a reload over HTTP is below it and nowhere else."""

    async def reload():
        """Succeed."""

    async with client_of(paths=PREFIXED, reload=reload) as client:
        assert (await client.post("/telnyx/-/reload")).text == "reloaded\n"
        assert (await client.post("/-/reload")).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_redirects_to_the_prefix(method):
    """With a prefix, `/` redirects to the page. The target is only a path, so the client's `Host` can't change it."""
    async with client_of(paths=PREFIXED) as client:
        response = await client.request(method, "/", headers={"host": "evil.example"})
    assert (response.status_code, response.headers["location"]) == (302, "/telnyx/")


async def test_the_root_redirects_to_any_prefix():
    """All characters that a prefix can have are in the target of the redirect as they are."""
    prefix = "/api/a.b_c~d-e/http:x:1/!$&'()*+,;=@"
    async with client_of(paths=WebPaths(prefix)) as client:
        location = (await client.get("/")).headers["location"]
        assert (await client.get(location)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/", "/api/v1/status", "/-/healthy", "/-/ready"),
        *("/runbooks", "/runbooks/", "/runbooks/TelnyxApiDown"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_get_and_head_are_allowed(path, method):
    """Methods that could change something are rejected."""
    async with client_of() as client:
        response = await client.request(method, path)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_cache_requests_hits_and_stale_responses_are_counted():
    """Cache requests, cache hits and stale responses are counted."""
    now = 0.0
    fail = False

    async def refresh():
        return await (refresh_failed() if fail else refresh_ok())

    own_metrics = Telemetry(process=False)
    async with client_of(collector_of(refresh, clock=lambda: now), own_metrics=own_metrics) as client:
        await client.get("/metrics")
        await client.get("/metrics")
        now, fail = 61.0, True
        response = await client.get("/metrics")
    samples = values(response.text)
    assert samples["telnyx_exporter_cache_requests_total",] == 3
    assert samples["telnyx_exporter_cache_hits_total",] == 1
    assert samples["telnyx_exporter_stale_responses_total",] == 1
    assert samples["telnyx_connection_active", "2", ""] == 0
