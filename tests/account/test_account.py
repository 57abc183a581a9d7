import asyncio

import pytest
from connections import text_of
from fake_api import FakeApi, connections, silence
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from exporter.account.account import Account, CurrentAccount
from exporter.config.flags import OPTIONS
from exporter.config.settings import (
    CacheSettings,
    FilterSettings,
    LogSettings,
    MetricsSettings,
    Settings,
    TelnyxSettings,
)
from exporter.exposition.formats import Format
from exporter.telemetry import Telemetry

KEY = "KEY-of-tests"
TELEMETRY = Telemetry(process=False)


@pytest.fixture
async def api():
    """Yield a fake API with three connections."""
    async with FakeApi(connections(3)) as api:
        yield api


def account_of(api, **settings):
    settings = Settings(_env_file=None, **settings)
    return Account(settings, api.url, lambda: KEY, TELEMETRY)


def exposed_families(cache):
    """Return the names of the families in the cached snapshot, or an empty set without a snapshot."""
    view = cache.peek().value
    if view is None:
        return set()
    text = text_of(view.document).decode()
    return {family.name for family in text_string_to_metric_families(text)}


async def test_account_uses_its_settings(api):
    """The account uses the page size, filters, metrics and sensitive labels of the settings."""
    account = account_of(
        api,
        telnyx=TelnyxSettings(page_size=2, filter=FilterSettings(fqdn="sip.example")),
        metrics=MetricsSettings(
            allow="telnyx_connection_(active|info)", deny=".*_active", sensitive_labels=("user_name",)
        ),
    )
    await account.cache.get(10.0)
    assert exposed_families(account.cache) == {"telnyx_connection_info"}
    data = text_of(account.cache.peek().value.document)
    assert data.count(b"user_name=") == 3
    assert {request.query["page[size]"] for request in api.requests} == {"2"}
    assert {request.query["filter[fqdn]"] for request in api.requests} == {"sip.example"}
    await account.close()


async def test_ttl_has_a_tolerance(api):
    """A value is stale slightly before its TTL ends, so that scrapes exactly one TTL apart each refresh it."""
    account = account_of(api, cache=CacheSettings(ttl=1000.0, max_stale=2000.0))
    await account.cache.get(10.0)
    assert account.cache.seconds_until_refresh == pytest.approx(950.0, abs=5.0)
    await account.close()


SAME = {
    "cache.ttl": {"cache": CacheSettings(ttl=1.0)},
    "cache.max_stale": {"cache": CacheSettings(max_stale=9000.0)},
    "telnyx.timeout": {"telnyx": TelnyxSettings(timeout=1.0)},
    "telnyx.page_size": {"telnyx": TelnyxSettings(page_size=7)},
    "telnyx.concurrency": {"telnyx": TelnyxSettings(concurrency=1)},
    "telnyx.api_key_file": {"telnyx": TelnyxSettings(api_key_file="another")},
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
    await first.cache.get(10.0)
    view = first.cache.peek().value
    current = CurrentAccount(first, lambda: account_of(api, **changed))
    api.answer(silence)
    await current.reload()
    assert current.cache is not first.cache
    assert current.cache.peek().value is (view if kept else None)
    up = f"telnyx_up {float(kept)}".encode()
    assert up in TELEMETRY.render(Format.TEXT)
    await current.close()


async def test_reload_does_not_hide_changes(api):
    """The first refresh after a reload logs which connections changed since the last refresh before it."""
    first, second = account_of(api), account_of(api, telnyx=TelnyxSettings(page_size=2))
    await first.cache.get(10.0)
    second.adopt_snapshot(first)
    api.rows[1]["active"] = False
    with capture_logs() as logs:
        await second.refresh()
    (line,) = [line for line in logs if line["event"] == "connections changed"]
    assert line["disabled"] == "2 connection 2"
    await first.close()
    await second.close()


async def test_metrics_expose_the_current_cache_settings(api):
    """A reload updates the metrics about the cache settings, because alerts use them."""
    first = account_of(api, cache=CacheSettings(ttl=30.0, max_stale=600.0))
    assert b"telnyx_exporter_cache_max_stale_seconds 600.0" in TELEMETRY.render(Format.TEXT)
    current = CurrentAccount(first, lambda: account_of(api, cache=CacheSettings(ttl=60.0, max_stale=1800.0)))
    await current.reload()
    assert b"telnyx_exporter_cache_ttl_seconds 60.0" in TELEMETRY.render(Format.TEXT)
    assert b"telnyx_exporter_cache_max_stale_seconds 1800.0" in TELEMETRY.render(Format.TEXT)
    await current.close()


async def test_reload_without_a_snapshot_starts_a_refresh(api):
    """If a reload can't keep the snapshot, it reads the list before the next scrape."""
    first = account_of(api)
    current = CurrentAccount(first, lambda: account_of(api, metrics=MetricsSettings(deny=".*_active")))
    await current.reload()
    await api.wait_for(1)
    assert (await current.cache.get(10.0)).value.connection_count == 3
    assert len(api.requests) == 1
    await current.close()


async def test_invalid_settings_keep_the_account(api):
    """If the new settings are invalid, the previous account stays in use and keeps working."""
    first = account_of(api)

    def fail():
        raise ValueError("--cache.ttl: must be a duration")

    current = CurrentAccount(first, fail)
    with pytest.raises(ValueError, match="must be a duration"):
        await current.reload()
    assert current.cache is first.cache
    assert (await current.cache.get(10.0)).value.connection_count == 3
    await current.close()


async def test_reload_releases_waiting_scrapes(api):
    """A scrape that waits for the replaced account gets the current state at once."""
    api.answer(silence)
    first = account_of(api)
    scrape = asyncio.create_task(first.cache.get(100.0))
    await api.wait_for(1)
    current = CurrentAccount(first, lambda: account_of(api))
    await current.reload()
    async with asyncio.timeout(5):
        assert (await scrape).value is None
    await current.close()
