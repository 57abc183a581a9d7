import asyncio
import itertools
from dataclasses import dataclass

import pytest
from collectors import collector_of, group_of, view_of
from structlog.testing import capture_logs

from exporter.account.collector_group import STARTUP
from exporter.accounts import accounts as accounts_module
from exporter.accounts.accounts import Accounts, Configuration
from exporter.accounts.shards import owner_of
from exporter.exposition.formats import Format
from exporter.telemetry import Telemetry

NAMES = ("a", "b", "c")


def states_of(accounts):
    """Return the state of each collector of each account."""
    return [state for group in accounts.current.groups.values() for state in group.states()]


class FakeAccount:
    """An account that records what happens to it."""

    def __init__(self, name, key):
        self.name, self.key, self.events = name, key, []
        self.group = group_of(collector_of(self._refresh, account=name), in_background=True)

    async def _refresh(self):
        self.events.append("refresh")
        return view_of()

    def adopt(self, previous):
        """Record the previous account, and continue with its data. Its refreshes have ended before."""
        before, now = (account.group.collectors["credential-connections"] for account in (previous, self))
        assert before._source.events == ["close"]
        self.events.append(("adopt", previous))
        now.cache.adopt(before.cache)

    async def close(self):
        """Record the call."""
        self.events.append("close")
        await self.group.close()


@dataclass
class Keys:
    """API keys that a test changes, and the accounts that were created for them."""

    keys: dict
    created: list
    problem: OSError | None = None

    def read(self):
        """Return the keys, or fail."""
        if self.problem:
            raise self.problem
        return dict(self.keys)

    def create(self, name, key):
        """Create an account."""
        self.created.append(FakeAccount(name, key))
        return self.created[-1]


@pytest.fixture
def keys():
    """Return the keys of three accounts."""
    return Keys({name: f"key of {name}" for name in NAMES}, [])


@pytest.fixture
def telemetry():
    """Return the metrics of an exporter of several accounts."""
    return Telemetry(process=False, accounts=True)


def accounts_of(keys, telemetry, load=None, **shard):
    """Return the accounts of these keys."""

    def create(name, key):
        telemetry.account(name)
        return keys.create(name, key)

    configuration = Configuration(keys.read, create, ("credential-connections",), **shard)
    return Accounts(configuration, load or (lambda: configuration), telemetry)


def metrics(telemetry):
    """Return the lines of the metrics."""
    return telemetry.render(Format.TEXT).decode().splitlines()


async def test_each_key_is_an_account(keys, telemetry):
    """Each API key becomes an account. None is read before the first refreshes start."""
    accounts = accounts_of(keys, telemetry)
    await accounts.open()
    assert [(account.name, account.key) for account in keys.created] == [(name, f"key of {name}") for name in NAMES]
    assert accounts.current.groups == {account.name: account.group for account in keys.created}
    assert accounts.current.collectors == ("credential-connections",)
    assert [f'telnyx_up{{account="{name}"}} 0.0' in metrics(telemetry) for name in NAMES] == [True] * 3
    assert "telnyx_exporter_accounts 3.0" in metrics(telemetry)
    assert "telnyx_exporter_api_key_files 3.0" in metrics(telemetry)
    await asyncio.sleep(0.01)
    assert [account.events for account in keys.created] == [[], [], []]
    await accounts.close()
    assert [account.events for account in keys.created] == [["close"]] * 3


async def test_nothing_changes(keys, telemetry):
    """If no key changed, nothing happens, and nothing is logged."""
    accounts = accounts_of(keys, telemetry)
    await accounts.open()
    before = accounts.current
    with capture_logs() as logs:
        await accounts.update()
    assert accounts.current is before
    assert logs == []
    assert len(keys.created) == 3


async def test_changed_keys(keys, telemetry):
    """An account is added, removed, or replaced if its key changed. The others continue undisturbed."""
    accounts = accounts_of(keys, telemetry)
    await accounts.open()
    a, b, c = keys.created
    telemetry.account("b").record_list_restart()
    del keys.keys["a"]
    keys.keys |= {"b": "new", "d": "key of d"}
    with capture_logs() as logs:
        await accounts.update()
    await asyncio.sleep(0.01)
    new_b, d = keys.created[3:]
    changes = {"added": "d", "removed": "a", "changed": "b"}
    assert logs == [{"event": "API key files changed", "log_level": "info", **changes, "accounts": 3}]
    assert accounts.current.groups == {"b": new_b.group, "c": c.group, "d": d.group}
    assert (a.events, b.events) == (["close"], ["close"])
    assert new_b.events == [("adopt", b), "refresh"]
    assert d.events == ["refresh"]
    assert c.events == []
    text = "\n".join(metrics(telemetry))
    assert 'account="a"' not in text
    assert 'telnyx_up{account="d"} 0.0' in text
    assert 'telnyx_list_restarts_total{account="b"} 1.0' in text
    await accounts.close()


async def test_a_single_account(keys):
    """A single account has no name, and the metrics about several are not there."""
    telemetry, keys.keys = Telemetry(process=False), {"": "key"}
    accounts = accounts_of(keys, telemetry)
    await accounts.open()
    assert list(accounts.current.groups) == [""]
    assert "telnyx_up 0.0" in metrics(telemetry)
    assert "telnyx_exporter_accounts" not in "".join(metrics(telemetry))
    await accounts.close()


async def test_a_new_account_does_not_change_readiness(keys, telemetry):
    """The exporter stays ready when an account is added that can't be read yet."""
    now = 0.0
    configuration = Configuration(keys.read, keys.create, ("credential-connections",))
    accounts = Accounts(configuration, lambda: configuration, telemetry, clock=lambda: now)
    await accounts.open()
    assert not accounts.current.is_ready
    now = STARTUP + 1
    keys.keys["d"] = "key of d"
    await accounts.update()
    assert accounts.current.is_ready
    await accounts.close()


async def test_a_changed_key_reads_everything_again(keys, telemetry):
    """Data that was read with another key is shown until a refresh replaces it. No refresh waits until it is stale."""
    accounts = accounts_of(keys, telemetry)
    await accounts.open()
    accounts.current.start_refreshes()
    await asyncio.sleep(0.01)
    keys.keys["b"] = "new"
    await accounts.update()
    entries = {state.account: state.entry for state in states_of(accounts)}
    assert {name: (entry.value is not None, entry.stale) for name, entry in entries.items()} == {
        "a": (True, False),
        "b": (True, True),
        "c": (True, False),
    }
    await asyncio.sleep(0.01)
    assert [state.entry.stale for state in states_of(accounts)] == [False] * 3
    assert [account.events.count("refresh") for account in keys.created] == [1, 1, 1, 1]
    await accounts.reload()
    assert [state.entry.stale for state in states_of(accounts)] == [False] * 3
    await accounts.close()


async def test_all_files_are_gone(keys, telemetry):
    """Without a file there is no account. When files come back, their accounts do."""
    accounts = accounts_of(keys, telemetry)
    await accounts.open()
    before, keys.keys = keys.keys, {}
    await accounts.update()
    assert accounts.current.groups == {}
    assert "telnyx_exporter_api_key_files 0.0" in metrics(telemetry)
    assert "telnyx_exporter_accounts 0.0" in metrics(telemetry)
    assert "account=" not in "".join(metrics(telemetry))
    keys.keys = before
    await accounts.update()
    assert accounts.current.groups.keys() == set(NAMES)
    await accounts.close()


async def test_a_shard(keys, telemetry):
    """An exporter reads only the accounts of its shard, and knows where the others are."""
    names = [f"account-{number}" for number in range(20)]
    keys.keys = dict.fromkeys(names, "key")
    accounts = accounts_of(keys, telemetry, shard=1, total_shards=3)
    await accounts.open()
    own = [name for name in names if owner_of(name, 3) == 1]
    assert list(accounts.current.groups) == [account.name for account in keys.created] == own
    other = next(name for name in names if owner_of(name, 3) == 2)
    assert accounts.current.why_missing(other).endswith("--shard=2")
    assert f"telnyx_exporter_accounts {len(own)}.0" in metrics(telemetry)
    assert "telnyx_exporter_api_key_files 20.0" in metrics(telemetry)
    assert accounts.current.total_accounts == 20
    del keys.keys[other]
    with capture_logs() as logs:
        await accounts.update()
    assert logs == [], "the log of a shard has only its own accounts"
    assert accounts.current.why_missing(other).startswith("there is no account")
    assert len(keys.created) == len(own)
    await accounts.close()


async def test_a_reload_replaces_all_accounts(keys, telemetry):
    """A reload creates all accounts from the new configuration, and each continues the one with its name."""
    second = Keys({"b": "key of b", "d": "key of d"}, [])
    configuration = Configuration(second.read, second.create, ("balance",))
    accounts = accounts_of(keys, telemetry, lambda: configuration)
    await accounts.open()
    _, old_b, _ = keys.created
    with capture_logs() as logs:
        await accounts.reload()
    changes = {"added": "d", "removed": "a, c"}
    assert logs == [{"event": "API key files changed", "log_level": "info", **changes, "accounts": 2}]
    await asyncio.sleep(0.01)
    b, d = second.created
    assert accounts.current.groups == {"b": b.group, "d": d.group}
    assert accounts.current.collectors == ("balance",)
    assert (b.events, d.events) == ([("adopt", old_b), "refresh"], ["refresh"])
    assert [account.events for account in keys.created] == [["close"]] * 3
    assert 'account="a"' not in "".join(metrics(telemetry))
    await accounts.update()
    assert len(second.created) == 2
    await accounts.close()


@pytest.mark.parametrize("broken", ["settings", "keys"])
async def test_an_invalid_reload_changes_nothing(keys, telemetry, broken):
    """If the settings are invalid, or the keys can't be read, all accounts stay, and later changes are still found."""
    second = Keys({"b": "key of b"}, [], PermissionError(13, "Permission denied"))

    def load():
        if broken == "settings":
            raise ValueError("--cache.ttl: must be a duration")
        return Configuration(second.read, second.create, ())

    accounts = accounts_of(keys, telemetry, load)
    await accounts.open()
    before = accounts.current
    with pytest.raises(ValueError, match=r"must be a duration|can't be read: Permission denied"):
        await accounts.reload()
    assert accounts.current is before
    assert [account.events for account in keys.created] == [[]] * 3
    del keys.keys["a"]
    await accounts.update()
    assert accounts.current.groups.keys() == {"b", "c"}
    await accounts.close()


async def test_keys_are_watched(keys, telemetry, monkeypatch):
    """Keys are read again and again. While that fails, the accounts stay, and log and metrics say so once."""
    monkeypatch.setattr(accounts_module, "POLL_INTERVAL", 0.01)
    telemetry.record_config_loaded("settings", 1.0)
    accounts = accounts_of(keys, telemetry)
    await accounts.open()
    watching = asyncio.create_task(accounts.watch_keys())
    try:
        with capture_logs() as logs:
            keys.problem = PermissionError(13, "Permission denied")
            await asyncio.sleep(0.1)
            assert accounts.current.groups.keys() == set(NAMES)
            assert "telnyx_exporter_config_last_reload_successful 0.0" in metrics(telemetry)
            keys.problem = None
            del keys.keys["a"]
            async with asyncio.timeout(5):
                while "a" in accounts.current.groups:  # noqa: ASYNC110 -- there is no event for it
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.03)
        assert "telnyx_exporter_config_last_reload_successful 1.0" in metrics(telemetry)
    finally:
        watching.cancel()
        await accounts.close()
    assert [line["event"] for line in logs] == [
        "API key files can't be read, keeping the accounts",
        "API key files changed",
        "API key files can be read again",
    ]


async def test_refreshes_in_the_background(keys, telemetry, monkeypatch):
    """Refreshes start in the background, also for accounts that come later."""
    monkeypatch.setattr(accounts_module, "TICK", 0.01)
    accounts = accounts_of(keys, telemetry)
    await accounts.open()
    refreshing = asyncio.create_task(accounts.refresh_in_background())
    await asyncio.sleep(0.05)
    refreshing.cancel()
    assert list(itertools.chain(*(account.events for account in keys.created))) == ["refresh"] * 3
    await accounts.close()
