import asyncio

import pytest
from certificates import authority, identity, server_context
from connect_proxy import ConnectProxy
from cryptography import x509
from fake_api import FakeApi, connections, counted, listing
from list_reader import KEY

from exporter.accounts.accounts import Scope
from exporter.commands.components import configure_accounts, open_keys
from exporter.config.flags import UsageError
from exporter.config.settings import CollectorSettings, FilterSettings, Settings, TelnyxSettings
from exporter.telemetry import Telemetry
from exporter.telnyx.http import tls

BASE_URL = "https://api.telnyx.test/v2"


def configuration_of(base_url, telemetry, **settings):
    """Return the configuration of accounts that these settings describe."""
    settings = Settings(_env_file=None, **settings)
    return configure_accounts(settings, base_url, dict, telemetry)


@pytest.fixture
def telemetry():
    """Return telemetry of named accounts."""
    return Telemetry(process=False, accounts=True)


def test_key_files_that_are_not_in_a_directory(tmp_path, telemetry):
    """If the directory of the key files can't be listed, the error names the flag and the directory."""
    (tmp_path / "keys").write_text("a file")
    settings = Settings(_env_file=None, telnyx=TelnyxSettings(api_key_files=f"{tmp_path}/keys/*"))
    with pytest.raises(UsageError, match=rf"^--telnyx.api-key-files='.*': {tmp_path}/keys can't be listed: Not a dir"):
        open_keys(settings, telemetry)


async def test_accounts_use_the_ca_file_and_the_proxy(tmp_path, telemetry):
    """The accounts trust the CA file of the settings, and send their requests through their proxy."""
    ca = authority("ca")
    (tmp_path / "ca.pem").write_text(ca.pem)
    context = server_context(identity("server", x509.DNSName("api.telnyx.test"), by=ca))
    async with FakeApi(connections(3), tls=context) as api, ConnectProxy(api.port, credentials="me:secret") as proxy:
        telnyx = TelnyxSettings(ca_file=tmp_path / "ca.pem", proxy_url=proxy.url_for("me:secret"))
        assert "secret" not in repr(telnyx)
        configuration = configuration_of(BASE_URL, telemetry, telnyx=telnyx)
        for name in ("emea", "apac"):
            account = configuration.create(name, lambda: KEY)
            assert (await account.check_access())[0].error is None
            await account.close()
    assert proxy.targets == ["api.telnyx.test:443"] * 2


async def test_a_demo_ignores_the_ca_file_and_the_proxy(telemetry):
    """The API of a demo is on this machine's loopback, without TLS, so the CA file and the proxy are not used."""
    telnyx = TelnyxSettings(ca_file="nowhere", proxy_url="http://proxy.test:3128")
    async with FakeApi(connections(3)) as api:
        account = configuration_of(api.url, telemetry, demo=True, telnyx=telnyx).create("", lambda: KEY)
        accesses = await account.check_access()
        await account.close()
    assert {each.collector: each.error for each in accesses}["credential-connections"] is None


async def test_accounts_share_what_they_trust(monkeypatch, telemetry):
    """The CAs are loaded once for all accounts, because that takes long and needs memory."""
    created = []
    create = tls.create_ssl_context
    monkeypatch.setattr(
        "exporter.telnyx.http.transport.create_ssl_context", lambda *args: created.append(args) or create(*args)
    )
    configuration = configuration_of(BASE_URL, telemetry)
    for name in "abc":
        await configuration.create(name, lambda: KEY).close()
    assert created == [(None,)]


def test_an_invalid_ca_file_is_an_error_of_the_configuration(telemetry):
    """The error is raised before any account is created."""
    with pytest.raises(UsageError, match=r"^--telnyx.ca-file='nowhere': No such file or directory$"):
        configuration_of(BASE_URL, telemetry, telnyx=TelnyxSettings(ca_file="nowhere"))


@pytest.mark.parametrize(("api_key_files", "most"), [("/keys/*", 3), (None, 8)], ids=["several", "one"])
async def test_accounts_share_the_maximum_of_requests_in_flight(telemetry, api_key_files, most):
    """`--telnyx.max-concurrency` limits the requests of all accounts together. It has no effect on a single account."""
    counts = []
    async with FakeApi(connections(3)) as api:
        api.answer(counted(counts, listing(), 0.05))
        configuration = configuration_of(
            api.url,
            telemetry,
            telnyx=TelnyxSettings(api_key_files=api_key_files, max_concurrency=3),
            collectors={
                name: CollectorSettings(enabled=True) for name in ("ip-connections", "balance", "fqdn-connections")
            },
        )
        accounts = [configuration.create(name, lambda: KEY) for name in ("emea", "apac")]
        results = await asyncio.gather(*(account.check_access() for account in accounts))
        for account in accounts:
            await account.close()
    assert [access.error for result in results for access in result] == [None] * 8
    assert max(counts) == most


def test_the_scope_of_the_accounts(telemetry):
    """The configuration says which URL the accounts read, with which filters, and whether that is a demo."""
    telnyx = TelnyxSettings(filter=FilterSettings(connection_name="sydney"))
    configuration = configuration_of(BASE_URL, telemetry, telnyx=telnyx)
    assert configuration.scope == Scope(BASE_URL, {"connection_name": "sydney"}, demo=False)
    assert configuration_of(BASE_URL, telemetry, demo=True).scope == Scope(BASE_URL, {}, demo=True)
