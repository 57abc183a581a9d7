"""The accounts in use: they come, go and change while the exporter runs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import structlog

from exporter.accounts.account_set import AccountSet
from exporter.accounts.shards import owner_of
from exporter.logs import join_some

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from exporter.account.account import Account
    from exporter.accounts.api_keys import ApiKey
    from exporter.telemetry import Telemetry

SOURCE = "keys"
"""The name of the API key files as a configuration source."""
POLL_INTERVAL = 5.0
"""Seconds between two readings of the API keys."""
TICK = 1.0
"""Seconds between two checks whether a refresh is due in the background."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Scope:
    """What the accounts read."""

    base_url: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    """The values of the filters that are set, by name."""
    demo: bool = False
    """Whether the account is simulated."""


class Configuration(NamedTuple):
    """The configuration of accounts. A reload replaces it."""

    read_keys: Callable[[], Mapping[str, ApiKey]]
    """Returns the key of each account of all shards, by its name. A single account has no name. Raises `OSError`."""
    create: Callable[[str, ApiKey], Account]
    """Creates the account with this name and key."""
    collectors: Collection[str]
    """The names of the enabled collectors."""
    shard: int = 0
    total_shards: int = 1
    scope: Scope = Scope()

    def owned(self, names: Iterable[str]) -> Sequence[str]:
        """Return the names of the accounts of this shard."""
        return [name for name in names if owner_of(name, self.total_shards) == self.shard]


class Accounts:
    """Creates an account for each API key of this shard, and replaces it when its key or the configuration changes.

    `load` returns the configuration after a reload, or raises `ValueError`.
    """

    def __init__(
        self,
        configuration: Configuration,
        load: Callable[[], Configuration],
        telemetry: Telemetry,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.configuration = configuration
        """The configuration in use."""
        self._load = load
        self._telemetry = telemetry
        self._clock = clock
        self._started_at = clock()
        self._keys: Mapping[str, ApiKey] = {}
        self._accounts: Mapping[str, Account] = {}
        self._turn = asyncio.Lock()
        self.current = AccountSet({}, configuration.collectors)
        """The accounts in use, as scrapes see them."""

    async def open(self) -> None:
        """Create the accounts. Their first refreshes start later. Raises `OSError`."""
        keys = await asyncio.to_thread(self.configuration.read_keys)
        await self._replace(keys, keys.keys())

    async def update(self) -> None:
        """Read the keys again. Accounts whose key did not change continue undisturbed. Raises `OSError`."""
        async with self._turn:
            before, keys = self._keys, await asyncio.to_thread(self.configuration.read_keys)
            if keys == before:
                return
            changed = {name for name, key in keys.items() if before.get(name) != key}
            self._log_changes(keys)
            _start_refreshes(await self._replace(keys, changed))

    async def reload(self) -> None:
        """Load the configuration and replace all accounts, which keep their data if possible. Raises `ValueError`."""
        async with self._turn:
            configuration = await asyncio.to_thread(self._load)
            try:
                keys = await asyncio.to_thread(configuration.read_keys)
            except OSError as error:
                raise ValueError(f"the API key files can't be read: {error.strerror}") from None
            self.configuration = configuration
            if "" not in keys:
                self._log_changes(keys)
            _start_refreshes(await self._replace(keys, keys.keys()))

    def _log_changes(self, keys: Mapping[str, ApiKey]) -> None:
        """Log which accounts of this shard are new, removed, or have another key."""
        own = self.configuration.owned(keys)
        names = {
            "added": [name for name in own if name not in self._accounts],
            "removed": [name for name in self._accounts if name not in keys],
            "changed": [name for name in own if name in self._accounts and self._keys[name] != keys[name]],
        }
        found = {kind: join_some(some) for kind, some in names.items() if some}
        if found:
            _log.info("API key files changed", **found, accounts=len(own))

    async def _replace(self, keys: Mapping[str, ApiKey], changed: Collection[str]) -> Iterable[Account]:
        """Create the accounts of this shard that changed, and close those that are no longer needed. Return the new."""
        configuration = self.configuration
        own = dict.fromkeys(configuration.owned(keys))
        created: dict[str, Account] = {}
        for name in own:
            if name in changed:
                created[name] = configuration.create(name, keys[name])
                await asyncio.sleep(0)  # so that scrapes don't wait until all are created
        closing = {name: account for name, account in self._accounts.items() if name in created or name not in own}
        for name, account in closing.items():
            await account.group.close()  # a refresh that ends later would overwrite the metrics of the new account
            if name in created:
                created[name].adopt(account)
                if name and keys[name] != self._keys[name]:  # the key can belong to another account of Telnyx
                    created[name].group.expire()
        self._accounts = {name: created.get(name) or self._accounts[name] for name in own}
        self._keys = keys
        self.current = AccountSet(
            {name: account.group for name, account in self._accounts.items()},
            configuration.collectors,
            {name: owner_of(name, configuration.total_shards) for name in keys if name not in own},
            started_at=self._started_at,
            clock=self._clock,
        )
        if "" not in keys:
            self._telemetry.record_key_files(len(keys), len(own))
        for name, account in closing.items():
            await account.close()
            if name not in own:
                self._telemetry.remove_account(name)
        return created.values()

    async def watch_keys(self) -> None:
        """Read the keys every few seconds. While that fails, all accounts continue with the keys that they have."""
        problem = None
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            previous, problem = problem, None
            try:
                await self.update()
            except OSError as error:
                problem = error.strerror or type(error).__name__
            if problem and problem != previous:
                self._telemetry.record_config_error(SOURCE)
                _log.warning("API key files can't be read, keeping the accounts", problem=problem)
            elif previous and not problem:
                self._telemetry.record_config_loaded(SOURCE, time.time())
                _log.info("API key files can be read again")

    async def refresh_in_background(self) -> None:
        """Start the refreshes of several accounts when they are due, as long as scrapes arrive."""
        while True:
            self.current.refresh_in_background()
            await asyncio.sleep(TICK)

    async def close(self) -> None:
        """Close all accounts."""
        await asyncio.gather(*(account.close() for account in self._accounts.values()))


def _start_refreshes(created: Iterable[Account]) -> None:
    """Start the refreshes of new accounts. Those of the others start when they are due, unless no scrapes arrive."""
    for account in created:
        account.group.start_refreshes()
