import asyncio

import pytest
from fake_api import FakeApi, connections, silence
from prometheus_client.parser import text_string_to_metric_families

from exporter.account import Account, CurrentAccount
from exporter.config.settings import Cache, Filter, Metrics, Settings, Telnyx
from exporter.exposition.response import Format
from exporter.telemetry import Telemetry

KEY = "KEY-of-tests"
TELEMETRY = Telemetry(process=False)


@pytest.fixture
async def peer():
    """Return a peer with three connections."""
    async with FakeApi(connections(3)) as peer:
        yield peer


def account_of(peer, **settings):
    settings = Settings(_env_file=None, **settings)
    return Account(settings, peer.url, lambda: KEY, TELEMETRY)


def names(cache):
    """Return the families that a cache shows; none while it has no value."""
    view = cache.peek().value
    if view is None:
        return set()
    text = view.document.encode(Format.TEXT, gzip=False).data.decode()
    return {family.name for family in text_string_to_metric_families(text)}


async def test_an_account_is_read_as_its_settings_say(peer):
    """Page size, filters, the choice of metrics and sensitive labels are those of the settings."""
    account = account_of(
        peer,
        telnyx=Telnyx(page_size=2, filter=Filter(fqdn="sip.example")),
        metrics=Metrics(allow="telnyx_connection_(active|info)", deny=".*_active", sensitive_labels=("user_name",)),
    )
    await account.cache.get(10.0)
    assert names(account.cache) == {"telnyx_connection_info"}
    data = account.cache.peek().value.document.encode(Format.TEXT, gzip=False).data
    assert data.count(b"user_name=") == 3
    assert {request.query["page[size]"] for request in peer.requests} == {"2"}
    assert {request.query["filter[fqdn]"] for request in peer.requests} == {"sip.example"}
    await account.close()


async def test_the_ttl_leaves_room_for_punctual_scrapes(peer):
    """A scrape that comes a moment before the TTL is over finds the value stale, as it would wait for another one."""
    account = account_of(peer, cache=Cache(ttl=1000.0, max_stale=2000.0))
    await account.cache.get(10.0)
    assert account.cache.backoff == pytest.approx(950.0, abs=5.0)
    await account.close()


SAME = {
    "nothing": {},
    "ttl": {"cache": Cache(ttl=1.0)},
    "max_stale": {"cache": Cache(max_stale=9000.0)},
    "timeout": {"telnyx": Telnyx(timeout=1.0)},
    "page size": {"telnyx": Telnyx(page_size=7)},
}
OTHER = {
    "filter": {"telnyx": Telnyx(filter=Filter(fqdn="sip.example"))},
    "allow": {"metrics": Metrics(allow=".*_active")},
    "deny": {"metrics": Metrics(deny=".*_active")},
    "sensitive labels": {"metrics": Metrics(sensitive_labels=("user_name",))},
}


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        *(pytest.param(changed, True, id=name) for name, changed in SAME.items()),
        *(pytest.param(changed, False, id=name) for name, changed in OTHER.items()),
    ],
)
async def test_what_is_shown_stays_while_it_is_what_was_asked_for(peer, changed, kept):
    """New settings keep the snapshot on show, unless they say that something else is to be shown."""
    first = account_of(peer)
    await first.cache.get(10.0)
    view = first.cache.peek().value
    current = CurrentAccount(first, lambda: account_of(peer, **changed))
    peer.answer(silence)
    await current.reload()
    assert current.cache is not first.cache
    assert current.cache.peek().value is (view if kept else None)
    up = f"telnyx_up {float(kept)}".encode()
    assert up in TELEMETRY.render(Format.TEXT)
    await current.close()


async def test_the_metrics_show_the_cache_settings_in_use(peer):
    """New settings of the cache show in the metrics, because alerts compare with them."""
    first = account_of(peer, cache=Cache(ttl=30.0, max_stale=600.0))
    assert b"telnyx_exporter_cache_max_stale_seconds 600.0" in TELEMETRY.render(Format.TEXT)
    current = CurrentAccount(first, lambda: account_of(peer, cache=Cache(ttl=60.0, max_stale=1800.0)))
    await current.reload()
    assert b"telnyx_exporter_cache_ttl_seconds 60.0" in TELEMETRY.render(Format.TEXT)
    assert b"telnyx_exporter_cache_max_stale_seconds 1800.0" in TELEMETRY.render(Format.TEXT)
    await current.close()


async def test_another_account_is_read_at_once(peer):
    """Where nothing can stay on show, the list is read before anyone scrapes."""
    first = account_of(peer)
    current = CurrentAccount(first, lambda: account_of(peer, metrics=Metrics(deny=".*_active")))
    await current.reload()
    await peer.wait_for(1)
    assert (await current.cache.get(10.0)).value.connections == 3
    assert len(peer.requests) == 1
    await current.close()


async def test_what_cannot_be_made_changes_nothing(peer):
    """Where the settings can't be used, the account stays, and goes on."""
    first = account_of(peer)

    def refuse():
        raise ValueError("--cache.ttl: must be a duration")

    current = CurrentAccount(first, refuse)
    with pytest.raises(ValueError, match="must be a duration"):
        await current.reload()
    assert current.cache is first.cache
    assert (await current.cache.get(10.0)).value.connections == 3
    await current.close()


async def test_a_scrape_that_waits_is_answered(peer):
    """Who waits for the account that is replaced is answered with what there is, at once."""
    peer.answer(silence)
    first = account_of(peer)
    scrape = asyncio.create_task(first.cache.get(100.0))
    await peer.wait_for(1)
    current = CurrentAccount(first, lambda: account_of(peer))
    await current.reload()
    async with asyncio.timeout(5):
        assert (await scrape).value is None
    await current.close()
