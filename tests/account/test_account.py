import asyncio
from collections import defaultdict

import certifi
import pytest
from collectors import FunctionSource, view_of
from connections import text_of
from fake_api import FakeApi, connection, connections, late, listing, respond, silence, telnyx_error
from progress_recorder import ProgressRecorder
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from exporter.account.account import BACKGROUND_RENDER_INTERVAL, MAX_WAIT, Account
from exporter.accounts.accounts import Accounts, Configuration
from exporter.collectors.collector import Collector, FanOutEndpoint, ListEndpoint, ObjectEndpoint
from exporter.collectors.families import gauge, whole_row
from exporter.collectors.registry import COLLECTORS, PRIMARY
from exporter.config.options import OPTIONS
from exporter.config.settings import (
    CacheSettings,
    CollectorSettings,
    FilterSettings,
    LogSettings,
    MetricsSettings,
    Settings,
    TelnyxSettings,
)
from exporter.exposition.formats import Format
from exporter.telemetry import Telemetry
from exporter.telnyx.errors import KeyUnusable
from exporter.telnyx.lists.progress import no_progress
from exporter.telnyx.structs import ApiObject

KEY = "KEY-of-tests"
TELEMETRY = Telemetry(process=False)


@pytest.fixture
async def api():
    """Yield a fake API with three connections."""
    async with FakeApi(connections(3)) as api:
        yield api


PATHS = {
    each.name: each.endpoint.path for each in COLLECTORS if isinstance(each.endpoint, ListEndpoint | ObjectEndpoint)
}
"""The paths of the collectors that read one list or object."""
ALL = tuple(PATHS)


def account_of(api, *, on=(), off=(), telemetry=TELEMETRY, ttl=None, create_progress=no_progress, **settings):
    """Return an account with these collectors switched on, besides the default one, and these switched off."""
    chosen = {name: CollectorSettings(enabled=True, ttl=ttl) for name in on}
    chosen |= {name: CollectorSettings(enabled=False) for name in off}
    settings = Settings(_env_file=None, collectors=chosen, **settings)
    return Account(settings, api.url, lambda: KEY, telemetry.account(), create_progress=create_progress)


class Reloadable:
    """Accounts of which there is only one, until a reload replaces it by the one that `rebuild` returns."""

    def __init__(self, first, rebuild, telemetry):
        self._accounts = Accounts(configuration_of(first), lambda: configuration_of(rebuild()), telemetry)
        self.reload, self.close = self._accounts.reload, self._accounts.close

    @property
    def group(self):
        """The collectors of the account in use."""
        return self._accounts.current.groups[""]

    async def open(self):
        """Open the first account."""
        await self._accounts.open()
        return self


def configuration_of(account):
    """Return a configuration that creates this account."""
    return Configuration(lambda: {"": KEY}, lambda *_: account, ())


async def reloadable(first, rebuild, telemetry=TELEMETRY):
    """Return an account that is replaced at a reload."""
    return await Reloadable(first, rebuild, telemetry).open()


def single_connections():
    """Send lists, and what Telnyx sends for single connections."""
    bodies = {
        "sip_registration_status": b'{"registered": true, "sip_registration_status": "registered"}',
        "active_calls": b'{"data": [], "meta": {"total_items": 3}}',
    }

    async def answer(exchange):
        body = bodies.get(exchange.request.path.rpartition("/")[2])
        await (listing() if body is None else respond(body=body))(exchange)

    return answer


def only(path, answer=listing()):  # noqa: B008 -- it has no state
    """Answer requests for this list only. Others get status 403."""

    async def answer_or_refuse(exchange):
        allowed = exchange.request.path == f"/v2{path}"
        await (answer if allowed else telnyx_error(403, "10010"))(exchange)

    return answer_or_refuse


def values(account, document, telemetry=TELEMETRY):
    """Return the values of a scrape by sample name and label values."""
    text = text_of(document) + telemetry.render(Format.TEXT)
    samples = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    found = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def primary(account):
    """Return the credential connections of an account."""
    return account.group.collectors[PRIMARY]


def exposed_families(collector):
    """Return the names of the families of the cached data, or an empty set without data."""
    view = collector.cache.peek().value
    return {family.name for family, _ in view.families} if view else set()


async def test_account_uses_its_settings(api):
    """The account uses the page size, filters, metrics and sensitive labels of the settings."""
    account = account_of(
        api,
        telnyx=TelnyxSettings(page_size=2, filter=FilterSettings(fqdn="sip.example")),
        metrics=MetricsSettings(
            allow="telnyx_connection_(active|info)", deny=".*_active", sensitive_labels=("user_name",)
        ),
    )
    document = await account.group.scrape(10.0)
    assert exposed_families(primary(account)) == {"telnyx_connection_info"}
    assert text_of(document).count(b"user_name=") == 3
    assert b"telnyx_collector" not in text_of(document)
    assert {request.query["page[size]"] for request in api.requests} == {"2"}
    assert {request.query["filter[fqdn]"] for request in api.requests} == {"sip.example"}
    await account.close()


async def test_each_collector_reads_its_list(api):
    """Each collector that is switched on reads its own list or object, in the order that the list has."""
    api.rows = [{"id": row["id"]} for row in api.rows]
    account = account_of(api, on=ALL)
    document = await account.group.refresh_all()
    requests = {request.path: request.query for request in api.requests}
    assert requests.keys() == {f"/v2{path}" for path in PATHS.values()}
    assert "sort" not in requests["/v2/external_connections"]
    assert requests["/v2/ip_connections"]["sort"] == "created_at"
    assert requests["/v2/spend_limits"] == requests["/v2/balance"] == {}
    found = values(account, document)
    objects = {"balance": 1, "connection-counts": 1}
    assert {name: found["telnyx_collector_rows", name] for name in ALL} == dict.fromkeys(ALL, 3) | objects
    await account.close()


async def test_a_refused_collector(api):
    """A collector that the key may not use costs the others nothing. It is logged once, and retried in ten minutes."""
    api.answer(only("/credential_connections"))
    telemetry = Telemetry(process=False)
    account = account_of(api, on=ALL, telemetry=telemetry, ttl=0)
    with capture_logs() as logs:
        for _ in range(2):
            found = values(account, await account.group.scrape(10.0), telemetry)
    assert found["telnyx_up",] == 1
    success = {name: found["telnyx_collector_success", name] for name in ALL}
    assert success == dict.fromkeys(ALL, 0) | {PRIMARY: 1}
    assert found["telnyx_collector_failures_total", "fax-applications", "forbidden"] == 1
    assert found["telnyx_refresh_failures_total", "forbidden"] == 0
    warnings = [line["collector"] for line in logs if line["event"] == "refresh failed"]
    assert sorted(warnings) == sorted(set(ALL) - {PRIMARY})
    waits = [state.seconds_until_refresh for state in account.group.states() if state.name != PRIMARY]
    assert waits == pytest.approx([600] * len(waits), abs=30)
    await account.close()


async def test_credential_connections_are_waited_for(api):
    """A scrape waits for credential connections until its own deadline, not only for the maximum of the others."""
    api.answer(late(MAX_WAIT + 0.2, listing()))
    account = account_of(api)
    found = values(account, await account.group.scrape(10.0))
    assert found["telnyx_collector_rows", PRIMARY] == 3
    await account.close()


async def test_credential_connections_are_retried_soon(api):
    """If the key may not read credential connections, they are retried after the TTL, not only after ten minutes."""
    api.answer(only("/nothing"))
    account = account_of(api)
    await account.group.scrape(10.0)
    (state,) = account.group.states()
    assert state.seconds_until_refresh == pytest.approx(30, abs=5)
    await account.close()


@pytest.mark.parametrize(("name", "restarts"), [(PRIMARY, 2), ("ip-connections", 0)])
async def test_only_restarts_of_credential_connections_are_counted(api, name, restarts):
    """`telnyx_list_restarts_total` counts credential connections only."""
    telemetry = Telemetry(process=False)
    api.answer(listing(total_results=4))
    account = account_of(api, on=[name], off={PRIMARY} - {name}, telemetry=telemetry)
    found = values(account, await account.group.refresh_all(), telemetry)
    assert found["telnyx_collector_missing_rows", name] == 1
    assert found["telnyx_list_restarts_total",] == restarts
    await account.close()


async def test_a_reload_continues_waits_and_the_budget(api):
    """After a reload, a collector still waits as long as Telnyx requested, and the request budget is not refilled."""
    api.answer(telnyx_error(429, "10011", retry_after="120"))
    settings = {"on": ["ip-connections"], "telnyx": TelnyxSettings(timeout=1.0, max_requests_per_second=0.1)}
    account = account_of(api, **settings)
    await account.group.refresh_all()
    sent = len(api.requests)
    current = await reloadable(account, lambda: account_of(api, **settings))
    for _ in range(3):
        await current.reload()
        await current.group.refresh_all()
    assert len(api.requests) == sent
    assert all(state.seconds_until_refresh > 100 for state in current.group.states())
    await current.close()


async def test_a_reload_retries_other_errors_at_once(api):
    """After a reload, a collector that the key could not read is read at once, because the key may be another one."""
    api.answer(only("/credential_connections"))
    account = account_of(api, on=["ip-connections"])
    await account.group.refresh_all()
    current = await reloadable(account, lambda: account_of(api, on=["ip-connections"]))
    api.answer(listing())
    await current.reload()
    found = values(current, await current.group.refresh_all())
    assert found["telnyx_collector_success", "ip-connections"] == 1
    await current.close()


async def test_a_refresh_of_the_previous_account_changes_nothing(api):
    """A refresh that runs during a reload is cancelled before the new account shows its own state."""
    telemetry = Telemetry(process=False)
    release = asyncio.Event()

    async def answer(exchange):
        await release.wait()
        await listing()(exchange)

    api.answer(answer)
    first = account_of(api, on=["ip-connections"], telemetry=telemetry)
    first.group.start_refreshes()
    await api.wait_for(2)
    current = await reloadable(
        first, lambda: account_of(api, on=["ip-connections"], off=[PRIMARY], telemetry=telemetry), telemetry
    )
    api.answer(silence)
    reload = asyncio.create_task(current.reload())
    await asyncio.wait([reload], timeout=5)  # less than a request may take: it succeeds unless it is cancelled
    release.set()
    await reload
    await asyncio.sleep(0.1)
    assert "telnyx_up 0.0" in telemetry.render(Format.TEXT).decode()
    assert "telnyx_last_success_timestamp_seconds " not in telemetry.render(Format.TEXT).decode().replace("# ", "")
    await current.close()


@pytest.mark.parametrize("off", [[], [PRIMARY]], ids=["with", "without"])
async def test_a_reload_keeps_the_rate_limit(api, off):
    """A reload of the same collectors keeps the metrics of the rate limit, with credential connections or without."""
    telemetry = Telemetry(process=False)
    settings = {"on": ["ip-connections"], "off": off, "telemetry": telemetry}
    api.answer(respond(body=b'{"data":[]}', x_ratelimit_limit="600"))
    first = account_of(api, **settings)
    await first.group.refresh_all()
    current = await reloadable(first, lambda: account_of(api, **settings))
    await current.reload()
    assert b"telnyx_api_rate_limit 600.0" in telemetry.render(Format.TEXT)
    await current.close()


async def test_up_without_the_primary_collector(api):
    """Without credential connections, `telnyx_up` is 1 while the last refresh of any collector succeeded."""
    telemetry = Telemetry(process=False)
    names = ("ip-connections", "fax-applications")
    account = account_of(api, on=names, off=[PRIMARY], telemetry=telemetry, ttl=0)
    api.answer(only("/ip_connections"))
    assert values(account, await account.group.scrape(10.0), telemetry)["telnyx_up",] == 1
    api.answer(only("/nothing"))
    found = values(account, await account.group.scrape(10.0), telemetry)
    assert found["telnyx_up",] == 0
    assert ("telnyx_last_success_timestamp_seconds",) not in found
    await account.close()


async def test_a_reload_switches_the_primary_collector_off(api):
    """When a reload switches credential connections off, `telnyx_up` describes the other collectors at once."""
    telemetry = Telemetry(process=False)
    first = account_of(api, on=["ip-connections"], telemetry=telemetry)
    await first.group.scrape(10.0)
    second = account_of(api, on=["ip-connections"], off=[PRIMARY], telemetry=telemetry)
    second.adopt(first)
    found = values(second, await second.group.scrape(10.0), telemetry)
    assert found["telnyx_up",] == 1
    assert not {("telnyx_last_success_timestamp_seconds",), ("telnyx_exporter_cache_max_stale_seconds",)} & found.keys()
    third = account_of(api, on=["ip-connections"], telemetry=telemetry)
    third.adopt(second)
    assert b"telnyx_up 0.0" in telemetry.render(Format.TEXT)
    for account in (first, second, third):
        await account.close()


async def test_data_is_kept_for_three_ttls(api):
    """Data expires after `--cache.max-stale`, or after three TTLs if that is longer."""
    telemetry = Telemetry(process=False)
    account = account_of(api, telemetry=telemetry, cache=CacheSettings(ttl=300.0, max_stale=600.0))
    assert b"telnyx_exporter_cache_max_stale_seconds 900.0" in telemetry.render(Format.TEXT)
    await account.close()


async def test_only_other_collectors_are_limited(api):
    """The request budget limits all collectors but credential connections, and a scrape waits for them for 1 s."""
    api.rows.extend(connections(30)[3:])
    settings = {"telnyx": TelnyxSettings(page_size=1, max_requests_per_second=0.1)}
    account = account_of(api, on=["ip-connections"], **settings)
    async with asyncio.timeout(20):
        found = values(account, await account.group.scrape(60.0))
    assert found["telnyx_collector_rows", PRIMARY] == 30
    assert ("telnyx_collector_rows", "ip-connections") not in found
    await api.wait_for(30 + 20)
    assert sum(request.path == "/v2/ip_connections" for request in api.requests) == 20
    await account.close()


class Balance(ApiObject, frozen=True, gc=False):
    """A single object."""

    balance: str | None = None


BALANCE = Collector(
    name="balance",
    title="Balance",
    endpoint=ObjectEndpoint("/balance"),
    row_type=Balance,
    identity_labels={},
    row_families=(gauge("telnyx_balance_usd", "Balance.", whole_row, lambda row: float(row.balance)),),
    on_by_default=True,
)


async def test_a_collector_can_read_an_object(api):
    """A collector of an object reads it with one request, and exposes it like a list of one row."""
    api.answer(respond(body=b'{"data": {"balance": "12.5", "credit_limit": "100"}}'))
    telemetry = Telemetry(process=False)
    account = Account(Settings(_env_file=None), api.url, lambda: KEY, telemetry.account(), collectors=[BALANCE])
    found = values(account, await account.group.scrape(10.0), telemetry)
    assert found["telnyx_balance_usd",] == 12.5
    assert found["telnyx_collector_rows", "balance"] == 1
    assert found["telnyx_up",] == 1
    assert await account.check_access() == [("balance", "/balance", None)]
    assert [(request.path, request.query) for request in api.requests] == [("/v2/balance", {})] * 2
    await account.close()


async def test_access_to_something_else_than_an_object(api):
    """The access check of an object reports a response that is not one."""
    api.answer(respond(body=b'{"data": []}'))
    account = Account(
        Settings(_env_file=None), api.url, lambda: KEY, Telemetry(process=False).account(), collectors=[BALANCE]
    )
    (access,) = await account.check_access()
    assert str(access.error).startswith("the response can't be decoded")
    await account.close()


async def test_access(api):
    """The access check sends one request for each collector, without retries."""
    api.answer(only("/credential_connections"))
    account = account_of(api, on=["ip-connections"])
    first, second = await account.check_access()
    assert first == (PRIMARY, "/credential_connections", None)
    assert (second.collector, second.path, str(second.error)) == (
        "ip-connections",
        "/ip_connections",
        "HTTP status 403, Telnyx error 10010",
    )
    assert {request.query["page[size]"] for request in api.requests} == {"1"}
    assert {request.query["sort"] for request in api.requests} == {"created_at"}
    assert len(api.requests) == 2
    await account.close()


class ProgressRecorders(dict):
    """Creates a recorder for each name and unit."""

    def __call__(self, name, unit):
        """Return a new recorder."""
        return self.setdefault((name, unit), ProgressRecorder())


async def test_progress_of_the_access_check(api):
    """The access check shows how many of the collectors it has checked."""
    created = ProgressRecorders()
    account = account_of(api, on=["ip-connections"], create_progress=created)
    await account.check_access()
    assert created.pop(("access", "collectors")).events == [(0, 2), (1, 2), (2, 2), "end"]
    assert {recorder for recorder in created.values() if recorder.events} == set()
    await account.close()


async def test_progress_of_a_complete_read(api):
    """Each collector has a progress, of pages or, if it sends one request for each connection, of connections."""
    api.answer(single_connections())
    created = ProgressRecorders()
    names = ["ip-connections", "balance", "registrations"]
    account = account_of(api, on=names, create_progress=created)
    await account.group.refresh_all()
    assert created.keys() == {
        (PRIMARY, "pages"),
        ("ip-connections", "pages"),
        ("balance", "pages"),
        ("registrations", "connections"),
    }
    assert {recorder.events[-1] for recorder in created.values()} == {"end"}
    assert created[PRIMARY, "pages"].events[:-1] == [(0, None), (1, None), (1, 1)]
    await account.close()


async def test_access_to_something_else(api):
    """The access check reports a response that is not a list."""
    api.answer(respond(body=b"<html>", kind="text/html"))
    account = account_of(api)
    (access,) = await account.check_access()
    assert str(access.error).startswith("page 1 can't be decoded")
    await account.close()


async def test_ttl_has_a_tolerance(api):
    """A value is stale slightly before its TTL ends, so that scrapes exactly one TTL apart each refresh it."""
    account = account_of(api, cache=CacheSettings(ttl=1000.0, max_stale=2000.0))
    await account.group.scrape(10.0)
    assert primary(account).cache.seconds_until_refresh == pytest.approx(950.0, abs=5.0)
    await account.close()


FAST = {name: CollectorSettings(enabled=True, rate=100) for name in ("registrations", "active-calls")}
"""Collectors that read single connections quickly."""


def account_with_fan_outs(api, collectors=FAST, **settings):
    """Return an account that reads single connections quickly."""
    settings = Settings(_env_file=None, collectors=collectors, cache=CacheSettings(ttl=0), **settings)
    return Account(settings, api.url, lambda: KEY, TELEMETRY.account())


async def test_single_connections_are_read_in_the_background(api):
    """Later scrapes have the registrations and calls. The registrations of the list are not exposed then."""
    api.rows = [row | {"user_name": "a", "webhook_event_url": "https://a.example"} for row in api.rows]
    api.rows[0] |= {"registration_status": "Failed"}
    api.answer(single_connections())
    account = account_with_fan_outs(api)
    async with asyncio.timeout(20):
        found = {}
        while sum(name[0] in {"telnyx_connection_registered", "telnyx_connection_active_calls"} for name in found) < 6:
            await asyncio.sleep(0.05)
            found = values(account, await account.group.scrape(10.0))
    assert found["telnyx_connection_registered", "1", "connection 1"] == 1
    assert found["telnyx_connection_active_calls", "1", "connection 1"] == 3
    assert found["telnyx_collector_rows", "registrations"] == 3
    await account.close()


async def test_a_scrape_does_not_wait_for_single_connections(api):
    """A scrape is answered although requests for single connections hang, and the account is ready."""
    api.rows = [row | {"user_name": "a", "webhook_event_url": "https://a.example"} for row in api.rows]

    async def hang(exchange):
        is_list = exchange.request.path.endswith("connections")
        await (listing() if is_list else silence)(exchange)

    api.answer(hang)
    account = account_with_fan_outs(api)
    async with asyncio.timeout(20):
        for _ in range(3):
            found = values(account, await account.group.scrape(10.0))
            await asyncio.sleep(0.1)
    assert found["telnyx_collector_rows", PRIMARY] == 3
    assert account.group.has_results
    async with asyncio.timeout(20):
        await account.close()


async def test_a_reload_with_fan_outs_keeps_the_data(api):
    """A reload keeps the connections and what was read for each, also if Telnyx can't be reached then."""
    api.rows = [row | {"user_name": "a"} for row in api.rows]
    api.answer(single_connections())
    first = account_with_fan_outs(api)
    await first.group.scrape(10.0)
    source = first.group.collectors["registrations"]._source
    async with asyncio.timeout(20):
        while len(source._values) < 3:  # noqa: ASYNC110 -- the fan-out has no event for it
            await asyncio.sleep(0.05)
    current = await reloadable(first, lambda: account_with_fan_outs(api))
    api.answer(silence)
    await current.reload()
    assert primary(current).cache.peek().value is not None
    view = await current.group.collectors["registrations"]._source()
    assert view.row_count == 3
    await current.close()


async def test_a_reload_that_switches_registrations_on(api):
    """If a reload changes what the list shows, the old data is dropped, so that no series is there twice."""
    api.rows = [row | {"user_name": "a", "registration_status": "Registered"} for row in api.rows]
    api.answer(single_connections())
    first = account_with_fan_outs(api, {})
    await first.group.scrape(10.0)
    assert "telnyx_connection_registered" in exposed_families(primary(first))
    current = await reloadable(first, lambda: account_with_fan_outs(api))
    await current.reload()
    values(current, await current.group.scrape(10.0))
    assert "telnyx_connection_registered" not in exposed_families(primary(current))
    await current.close()


# Several accounts


def named(api, name, now, **settings):
    """Return one of several accounts. Its clock shows the first element of `now`."""
    return Account(
        Settings(_env_file=None, **settings),
        api.url,
        lambda: KEY,
        Telemetry(process=False, accounts=True).account(name),
        name=name,
        clock=lambda: now[0],
    )


async def test_every_series_of_an_account_has_its_name(api):
    """The name of an account is the first label of all its series, in each family."""
    account = named(api, "emea", [0.0])
    lines = text_of(await account.group.scrape(10.0)).decode().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) > 50
    assert [line for line in samples if '{account="emea"' not in line] == []
    await account.close()


async def test_refreshes_of_several_accounts_are_spread(api):
    """All accounts are read at the start. After that, each is read once in each TTL, at its own time."""
    now = [0.0]
    accounts = [named(api, f"account-{number}", now) for number in range(20)]
    for account in accounts:
        await account.group.scrape(10.0)
    counts = []
    for second in range(1, 59):
        now[0], before = float(second), len(api.requests)
        for account in accounts:
            account.group.refresh_in_background()
        await asyncio.gather(*(primary(account).cache.get(None) for account in accounts))
        counts.append(len(api.requests) - before)
    assert 38 <= sum(counts) <= 44
    assert max(counts) <= 4
    for account in accounts:
        await account.close()


async def test_fan_outs_of_several_accounts_are_rendered_now_and_then(api):
    """The rows of a fan-out are rendered every 30 s, for each account at its own time."""
    now, rendered = [0.0], defaultdict(list)
    collectors = {"registrations": CollectorSettings(enabled=True)}
    accounts = [named(api, f"account-{number}", now, collectors=collectors) for number in range(5)]
    for account in accounts:
        collector = account.group.collectors["registrations"]

        async def render(name=account.name):
            rendered[name].append(now[0])
            return view_of()

        collector._source = FunctionSource(render, collector.status)
    for second in range(91):
        now[0] = float(second)
        for account in accounts:
            account.group.refresh_in_background()
            await account.group.collectors["registrations"].cache.get(None)
    assert {times[0] for times in rendered.values()} == {0}
    assert len({times[1] for times in rendered.values()}) == 5
    assert {times[2] - times[1] for times in rendered.values()} == {BACKGROUND_RENDER_INTERVAL}
    for account in accounts:
        await account.close()


async def test_several_accounts_have_a_minimum_ttl(api):
    """A short TTL does not make the refreshes in the background one request after the other."""
    now = [0.0]
    account = named(api, "emea", now, cache=CacheSettings(ttl=0.0))
    await account.group.scrape(10.0)
    for _ in range(100):
        now[0] += 1.0
        account.group.refresh_in_background()
        await primary(account).cache.get(None)
    assert 15 <= len(api.requests) <= 22
    await account.close()


async def test_a_scrape_waits_for_one_of_several_accounts_for_a_moment(api):
    """A scrape waits for the first data of an account for 1 s, and for no other."""
    api.answer(silence)
    account = named(api, "emea", [0.0])
    async with asyncio.timeout(5 * MAX_WAIT):
        assert "telnyx_connection_active{" not in text_of(await account.group.scrape(60.0)).decode()
    await account.close()


SAME = {
    "cache.ttl": {"cache": CacheSettings(ttl=1.0)},
    "cache.max_stale": {"cache": CacheSettings(max_stale=9000.0)},
    "telnyx.ca_file": {"telnyx": TelnyxSettings(ca_file=certifi.where())},
    "telnyx.proxy_url": {"telnyx": TelnyxSettings(proxy_url="http://127.0.0.1:9")},
    "telnyx.timeout": {"telnyx": TelnyxSettings(timeout=1.0)},
    "telnyx.page_size": {"telnyx": TelnyxSettings(page_size=7)},
    "telnyx.concurrency": {"telnyx": TelnyxSettings(concurrency=1)},
    "telnyx.max_requests_per_second": {"telnyx": TelnyxSettings(max_requests_per_second=1.0)},
    "telnyx.api_key_file": {"telnyx": TelnyxSettings(api_key_file="another")},
    "telnyx.api_key_files": {"telnyx": TelnyxSettings(api_key_files="/others/*")},
    "telnyx.max_concurrency": {"telnyx": TelnyxSettings(max_concurrency=1)},
    "log.level": {"log": LogSettings(level="debug")},
    "log.format": {"log": LogSettings(format="json")},
}
"""Settings that don't change what is exposed."""
OTHER = {
    "telnyx.filter.connection_name": {"telnyx": TelnyxSettings(filter=FilterSettings(connection_name="abc"))},
    "telnyx.filter.fqdn": {"telnyx": TelnyxSettings(filter=FilterSettings(fqdn="sip.example"))},
    "telnyx.filter.outbound_voice_profile_id": {
        "telnyx": TelnyxSettings(filter=FilterSettings(outbound_voice_profile_id="1"))
    },
    "metrics.allow": {"metrics": MetricsSettings(allow=".*_active")},
    "metrics.deny": {"metrics": MetricsSettings(deny=".*_active")},
    "metrics.sensitive_labels": {"metrics": MetricsSettings(sensitive_labels=("user_name",))},
}
"""Settings that change what is exposed."""


def test_each_setting_is_the_same_or_another():
    """Each setting that a reload can change is in one of the tables above."""
    groups = {path.partition(".")[0] for path in SAME | OTHER}
    settings = {".".join(option.path) for option in OPTIONS if option.path[0] in groups}
    missing = settings - (SAME | OTHER).keys()
    assert not missing, f"add {missing} to SAME, or to OTHER and Account._exposure if it changes what is exposed"


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        *(pytest.param(changed, True, id=name) for name, changed in SAME.items()),
        *(pytest.param(changed, False, id=name) for name, changed in OTHER.items()),
    ],
)
async def test_reload_keeps_the_snapshot_if_the_exposed_data_is_the_same(api, changed, kept):
    """A reload keeps the cached snapshot unless the new settings change which data is exposed."""
    first = account_of(api)
    await first.group.scrape(10.0)
    view = primary(first).cache.peek().value
    current = await reloadable(first, lambda: account_of(api, **changed))
    api.answer(silence)
    await current.reload()
    assert current.group is not first.group
    assert primary(current).cache.peek().value is (view if kept else None)
    up = f"telnyx_up {float(kept)}".encode()
    assert up in TELEMETRY.render(Format.TEXT)
    await current.close()


async def test_reload_does_not_hide_changes(api):
    """The first refresh after a reload logs which connections changed since the last refresh before it."""
    first, second = account_of(api), account_of(api, telnyx=TelnyxSettings(page_size=2), cache=CacheSettings(ttl=0))
    await first.group.scrape(10.0)
    second.adopt(first)
    api.rows[1]["active"] = False
    with capture_logs() as logs:
        await second.group.refresh_all()
    (line,) = [line for line in logs if line["event"] == "list changed"]
    assert line["disabled"] == "2 connection 2"
    await first.close()
    await second.close()


async def test_metrics_expose_the_current_cache_settings(api):
    """A reload updates the metrics about the cache settings, because alerts use them."""
    first = account_of(api, cache=CacheSettings(ttl=30.0, max_stale=600.0))
    assert b"telnyx_exporter_cache_max_stale_seconds 600.0" in TELEMETRY.render(Format.TEXT)
    current = await reloadable(first, lambda: account_of(api, cache=CacheSettings(ttl=60.0, max_stale=1800.0)))
    await current.reload()
    assert b"telnyx_exporter_cache_ttl_seconds 60.0" in TELEMETRY.render(Format.TEXT)
    assert b"telnyx_exporter_cache_max_stale_seconds 1800.0" in TELEMETRY.render(Format.TEXT)
    await current.close()


async def test_reload_without_a_snapshot_starts_a_refresh(api):
    """If a reload can't keep the snapshot, it reads the list before the next scrape."""
    first = account_of(api)
    current = await reloadable(first, lambda: account_of(api, metrics=MetricsSettings(deny=".*_active")))
    await current.reload()
    await api.wait_for(1)
    assert (await primary(current).get(10.0)).value.row_count == 3
    assert len(api.requests) == 1
    await current.close()


async def test_invalid_settings_keep_the_account(api):
    """If the new settings are invalid, the previous account stays in use and keeps working."""
    first = account_of(api)

    def fail():
        raise ValueError("--cache.ttl: must be a duration")

    current = await reloadable(first, fail)
    with pytest.raises(ValueError, match="must be a duration"):
        await current.reload()
    assert current.group is first.group
    assert (await primary(current).get(10.0)).value.row_count == 3
    await current.close()


async def test_reload_releases_waiting_scrapes(api):
    """A scrape that waits for the replaced account gets the current state at once."""
    api.answer(silence)
    first = account_of(api)
    scrape = asyncio.create_task(primary(first).get(100.0))
    await api.wait_for(1)
    current = await reloadable(first, lambda: account_of(api))
    await current.reload()
    async with asyncio.timeout(20):
        assert (await scrape).value is None
    await current.close()


async def test_an_unusable_key_is_a_failure_of_each_collector(api):
    """If the key can't be used, every collector fails with the reason `unauthorized`, and no request is sent."""
    telemetry = Telemetry(process=False)

    def api_key():
        raise KeyUnusable("unusable API key file: is empty")

    chosen = {each.name: CollectorSettings(enabled=True) for each in COLLECTORS}
    settings = Settings(_env_file=None, collectors=chosen)
    account = Account(settings, api.url, api_key, telemetry.account())
    with capture_logs() as logs:
        document = await account.group.refresh_all()
        found = values(account, document, telemetry)
        accesses = await account.check_access()
    assert all(str(access.error).endswith("unusable API key file: is empty") for access in accesses)
    assert len(accesses) == len(COLLECTORS)
    in_background = {each.name for each in COLLECTORS if isinstance(each.endpoint, FanOutEndpoint)}
    failed = {name for name in chosen if found["telnyx_collector_failures_total", name, "unauthorized"]}
    assert failed == chosen.keys() - in_background  # these have no connections to read
    assert found["telnyx_up",] == 0
    assert not api.requests
    assert {entry["log_level"] for entry in logs} == {"debug"}
    await account.close()


async def test_a_key_that_becomes_unusable_keeps_the_data():
    """If the key can't be used any more, the data expires as in any other outage, also that of single connections."""
    keys = [KEY]

    def api_key():
        if not keys:
            raise KeyUnusable("unusable API key file: is empty")
        return keys[0]

    names = ("registrations", "active-calls")
    chosen = {name: CollectorSettings(enabled=True, rate=100.0) for name in names}
    settings = Settings(_env_file=None, collectors=chosen, cache=CacheSettings(ttl=0.0))
    telemetry = Telemetry(process=False)
    rows = [connection(number, user_name=f"user{number}", webhook_event_url="https://a.test") for number in range(3)]
    async with FakeApi(rows) as api:
        account = Account(settings, api.url, api_key, telemetry.account())
        api.answer(single_connections())
        before = values(account, await account.group.refresh_all(), telemetry)
        keys.clear()
        after = values(account, await account.group.refresh_all(), telemetry)
        await account.close()
    failures = [after["telnyx_collector_failures_total", name, "unauthorized"] for name in names]
    assert failures == [3, 3]
    assert (before["telnyx_up",], after["telnyx_up",]) == (1, 0)
    shown = {name: before[name] for name in before if name[0].startswith("telnyx_connection_")}
    assert {name for name, *_ in shown} >= {"telnyx_connection_registered", "telnyx_connection_active_calls"}
    assert shown == {name: after.get(name) for name in shown}


async def test_changes_name_the_account_and_the_collector(api):
    """`on_changes` gets the name of the account, that of the collector, and the rows that changed."""
    found, now = [], 0.0
    account = Account(
        Settings(_env_file=None),
        api.url,
        lambda: KEY,
        TELEMETRY.account("a"),
        name="a",
        on_changes=lambda *change: found.append(change),
        clock=lambda: now,
    )
    await account.group.refresh_all()
    del api.rows[1:]
    now = 60.0
    await account.group.collectors[PRIMARY].read_completely()
    await account.close()
    ((name, collector, changes),) = found
    assert (name, collector, list(changes)) == ("a", PRIMARY, ["removed"])
