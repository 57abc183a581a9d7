"""Creates the parts that several commands need."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import structlog

from exporter import sandbox
from exporter.account.account import Account
from exporter.accounts.accounts import Configuration, Scope
from exporter.accounts.api_keys import KeyOfFile
from exporter.accounts.shards import owner_of
from exporter.collectors.families import name_filter
from exporter.collectors.registry import COLLECTORS, enabled_collectors
from exporter.commands.progress import show_progress
from exporter.config.flags import UsageError, load_settings
from exporter.config.keys.key_file import KeyFile, describe_problem
from exporter.config.keys.key_files import KeyFiles
from exporter.server.listeners import listen, local_url
from exporter.server.serving import serving
from exporter.telemetry import Telemetry
from exporter.telnyx.concurrency import UNLIMITED, RequestSlots
from exporter.telnyx.http.transport import prepare_routes
from exporter.telnyx.lists.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from exporter.accounts.api_keys import ApiKey
    from exporter.collectors.changes import Changes
    from exporter.collectors.collector import Collector
    from exporter.config.flags import Loaded
    from exporter.config.loading.sources import Given
    from exporter.config.settings import Settings
    from exporter.telnyx.http.transport import Route
    from exporter.telnyx.lists.progress import CreateProgress, Progress

ReadKeys: TypeAlias = "Callable[[], Mapping[str, ApiKey]]"
"""Returns the API key of each account of all shards, by its name. A single account has no name. Raises `OSError`."""
ResultT = TypeVar("ResultT")

ONLY_FOR_TELNYX = frozenset(
    {
        *("api_key", "base_url", "telnyx.api_key_file", "telnyx.ca_file", "telnyx.proxy_url"),
        *("telnyx.api_key_files", "telnyx.max_concurrency", "shard", "total_shards"),
    }
)
"""Settings of the connection to Telnyx and of several accounts, which a demo does not use."""
_DEMO_KEY = secrets.token_urlsafe()

_log = structlog.get_logger()


def read_settings(arguments: Sequence[str]) -> Loaded:
    """Load the settings and check that they enable collectors. Raises `UsageError`."""
    loaded = load_settings(arguments, COLLECTORS)
    enabled_collectors(loaded.settings)
    return loaded


def reads_key_files(settings: Settings) -> bool:
    """Return whether the accounts have names, which come from the names of their API key files."""
    return settings.telnyx.api_key_files is not None and not settings.demo


def create_telemetry(settings: Settings, *, process: bool) -> Telemetry:
    """Return the exporter's metrics about itself, with those about the process or without."""
    has_names = reads_key_files(settings)
    telemetry = Telemetry(is_exposed=metric_filter(settings), process=process, accounts=has_names)
    if has_names:
        telemetry.record_shard(settings.shard, settings.total_shards)
    return telemetry


def is_owned(settings: Settings, account: str) -> bool:
    """Return whether an account belongs to this shard."""
    return owner_of(account, settings.total_shards) == settings.shard


def open_keys(settings: Settings, telemetry: Telemetry) -> ReadKeys:
    """Return a function for the API key of each account by its name. Raises `UsageError` if there is none."""
    pattern = settings.telnyx.api_key_files
    if pattern is None or not reads_key_files(settings):
        keys = {"": _open_key(settings, telemetry)}
        return lambda: keys
    files = KeyFiles(pattern, is_owned=lambda account: is_owned(settings, account))
    with naming_key_files(pattern):
        found = files.read()
    if not found:
        raise UsageError(
            f"--telnyx.api-key-files={pattern!r}: no file with a valid name matches: create one for each account"
        )
    return lambda: {name: KeyOfFile(key) for name, key in files.read().items()}


@contextlib.contextmanager
def naming_key_files(pattern: str) -> Iterator[None]:
    """Raise `UsageError`, with the setting and this value, if the directory of the key files can't be listed."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"--telnyx.api-key-files={pattern!r}: {describe_problem(error)}") from None


def _open_key(settings: Settings, telemetry: Telemetry) -> ApiKey:
    """Return a function for the only API key. Raises `UsageError`."""
    path = settings.telnyx.api_key_file
    if settings.demo:
        return lambda: _DEMO_KEY
    if path is not None:
        try:
            return KeyFile(path, telemetry)
        except (OSError, ValueError) as error:
            raise UsageError(f"--telnyx.api-key-file={str(path)!r}: {describe_problem(error)}") from None
    if settings.api_key is not None:
        return settings.api_key.get_secret_value
    raise UsageError("no API key: set TELNYX_API_KEY, --telnyx.api-key-file or --telnyx.api-key-files, or try --demo")


def warn_of_ignored(settings: Settings, given: Iterable[Given]) -> None:
    """Warn of settings that a demo ignores, because it reads no Telnyx account. The warning has no values.

    The variable TELNYX_API_KEY alone is no reason to warn: Telnyx's SDKs use it, too, and nothing is sent anywhere.
    """
    ignored = [each.where for each in given if settings.demo and each.option.dotted_path in ONLY_FOR_TELNYX]
    if set(ignored) - {"TELNYX_API_KEY"}:
        _log.warning("demo ignores settings that are only for Telnyx accounts", ignored=", ".join(ignored))


@contextlib.asynccontextmanager
async def api_server(settings: Settings) -> AsyncIterator[str]:
    """Provide the base URL of the API. In a demo, run a sandbox on loopback and provide its URL."""
    if not settings.demo:
        yield settings.base_url
        return
    listener = listen("127.0.0.1:0")
    async with serving(sandbox.create_app(sandbox.Account(), api_key=_DEMO_KEY), listener):
        yield f"{local_url(listener)}/v2"


def configure_accounts(
    settings: Settings,
    base_url: str,
    read_keys: ReadKeys,
    telemetry: Telemetry,
    *,
    collectors: Sequence[Collector[Any]] = COLLECTORS,
    create_progress: CreateProgress = no_progress,
    on_changes: Callable[[str, str, Changes], None] = lambda *_: None,
) -> Configuration:
    """Return the configuration of accounts. They share the TLS context and the request slots. Raises `UsageError`."""
    routes = _prepare_routes(settings, base_url)
    slots = RequestSlots(settings.telnyx.max_concurrency) if reads_key_files(settings) else None

    def create(name: str, api_key: ApiKey) -> Account:
        return Account(
            settings,
            base_url,
            api_key,
            telemetry.account(name),
            name=name,
            collectors=collectors,
            routes=routes,
            slots=UNLIMITED if slots is None else slots.share(),
            create_progress=create_progress,
            on_changes=on_changes,
        )

    names = tuple(collector.name for collector, _ in enabled_collectors(settings, collectors))
    filters = {name: value for name, value in settings.telnyx.filter if value}
    scope = Scope(base_url, filters, settings.demo)
    return Configuration(read_keys, create, names, settings.shard, settings.total_shards, scope)


def _prepare_routes(settings: Settings, base_url: str) -> Callable[[], Route]:
    """Prepare the route to the API. In a demo, the API is on this machine's loopback, without TLS."""
    telnyx = settings.telnyx
    if settings.demo:
        return prepare_routes(base_url)
    proxy_url = None if telnyx.proxy_url is None else telnyx.proxy_url.get_secret_value()
    return prepare_routes(base_url, telnyx.ca_file, proxy_url)


class OpenAccounts(NamedTuple):
    """The accounts that a command reads, and the progress of the command if there are several."""

    accounts: Mapping[str, Account]
    progress: Progress

    async def run(self, work: Callable[[Account], Awaitable[ResultT]]) -> Sequence[ResultT]:
        """Call `work` for all accounts at the same time, and return the results in the order of the accounts."""
        done = itertools.count(1)

        async def run_one(account: Account) -> ResultT:
            result = await work(account)
            self.progress.record_progress(next(done), len(self.accounts))
            return result

        self.progress.record_progress(0, len(self.accounts))
        try:
            return await asyncio.gather(*map(run_one, self.accounts.values()))
        finally:
            self.progress.record_end()


@contextlib.asynccontextmanager
async def open_accounts(
    settings: Settings,
    read_keys: ReadKeys,
    telemetry: Telemetry,
    collectors: Sequence[Collector[Any]] = COLLECTORS,
) -> AsyncIterator[OpenAccounts]:
    """Provide the accounts to a command that reads them and ends. A terminal shows the progress. Raises `UsageError`.

    For a single account, the progress of its collectors is shown.
    """
    with show_progress(settings.log) as create_progress:
        is_single = not reads_key_files(settings)
        of_accounts = no_progress if is_single else create_progress
        async with api_server(settings) as base_url:
            configuration = configure_accounts(
                settings,
                base_url,
                read_keys,
                telemetry,
                collectors=collectors,
                create_progress=create_progress if is_single else no_progress,
            )
            keys = read_keys()
            accounts = {name: configuration.create(name, keys[name]) for name in configuration.owned(keys)}
            if not is_single:
                telemetry.record_key_files(len(keys), len(accounts))
            try:
                yield OpenAccounts(accounts, of_accounts("accounts", "accounts"))
            finally:
                await asyncio.gather(*(account.close() for account in accounts.values()))


def metric_filter(settings: Settings) -> Callable[[str], bool]:
    """Return a function that returns whether a metric of this name is exposed."""
    return name_filter(settings.metrics.allow, settings.metrics.deny)
