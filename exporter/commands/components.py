"""Creates the parts that several commands need."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any

import structlog

from exporter import sandbox
from exporter.account.account import Account
from exporter.collectors.families import name_filter
from exporter.collectors.registry import COLLECTORS, enabled_collectors
from exporter.commands.progress import show_progress
from exporter.config.api_keys import KeyFile, describe_problem
from exporter.config.flags import UsageError, load_settings
from exporter.server.listeners import listen, local_url
from exporter.server.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from exporter.collectors.collector import Collector
    from exporter.config.flags import Loaded
    from exporter.config.loading.sources import Given
    from exporter.config.settings import Settings
    from exporter.telemetry import AccountTelemetry, Telemetry

ONLY_FOR_TELNYX = frozenset({"api_key", "base_url", "telnyx.api_key_file", "telnyx.ca_file", "telnyx.proxy_url"})
"""Settings of the connection to Telnyx, which a demo does not use."""
_DEMO_KEY = secrets.token_urlsafe()

_log = structlog.get_logger()


def read_settings(arguments: Sequence[str]) -> Loaded:
    """Load the settings and check that they enable collectors. Raises `UsageError`."""
    loaded = load_settings(arguments, COLLECTORS)
    enabled_collectors(loaded.settings)
    return loaded


def open_api_key(settings: Settings, telemetry: Telemetry) -> Callable[[], str]:
    """Return a function for the API key. A file takes precedence over TELNYX_API_KEY, as only a file can be rotated."""
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
    raise UsageError("no API key: set TELNYX_API_KEY or --telnyx.api-key-file, or try --demo")


def warn_of_ignored(settings: Settings, given: Iterable[Given]) -> None:
    """Warn of settings that a demo ignores, because it reads no Telnyx account. The warning has no values.

    The variable TELNYX_API_KEY alone is no reason to warn: Telnyx's SDKs use it, too, and nothing is sent anywhere.
    """
    ignored = [each.where for each in given if settings.demo and each.option.dotted_path in ONLY_FOR_TELNYX]
    if set(ignored) - {"TELNYX_API_KEY"}:
        _log.warning("a demo reads no Telnyx account and ignores some settings", ignored=", ".join(ignored))


@contextlib.asynccontextmanager
async def api_server(settings: Settings) -> AsyncIterator[str]:
    """Provide the base URL of the API. In a demo, run a sandbox on loopback and provide its URL."""
    if not settings.demo:
        yield settings.base_url
        return
    listener = listen("127.0.0.1:0")
    async with serving(sandbox.create_app(sandbox.Account(), api_key=_DEMO_KEY), listener):
        yield f"{local_url(listener)}/v2"


@contextlib.asynccontextmanager
async def open_account(
    settings: Settings,
    api_key: Callable[[], str],
    telemetry: AccountTelemetry,
    collectors: Sequence[Collector[Any]] = COLLECTORS,
) -> AsyncIterator[Account]:
    """Provide the account to a command that reads it and ends. A terminal shows the progress. Raises `UsageError`."""
    with show_progress(settings.log) as create_progress:
        async with api_server(settings) as base_url:
            account = Account(
                settings, base_url, api_key, telemetry, collectors=collectors, create_progress=create_progress
            )
            try:
                yield account
            finally:
                await account.close()


def metric_filter(settings: Settings) -> Callable[[str], bool]:
    """Return a function that says whether a metric of this name is exposed."""
    return name_filter(settings.metrics.allow, settings.metrics.deny)
