"""Commands that check the configuration and the API key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.account.account import Account
from exporter.commands.components import open_account
from exporter.commands.output import write_stdout
from exporter.commands.report import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.config.loading.sources import Given
    from exporter.config.settings import Settings
    from exporter.telemetry import Telemetry
    from exporter.web.web_config import WebConfigFile


async def check_config(
    settings: Settings,
    given: Sequence[Given],
    api_key: Callable[[], str],
    web_config: WebConfigFile | None,
    telemetry: Telemetry,
) -> int:
    """Check what the settings refer to, print it and `ok`, and return the exit status. Raises `UsageError`."""
    if not settings.demo:  # a demo uses neither proxy nor CAs, not even those of the environment
        await Account(settings, settings.base_url, api_key, telemetry.account()).close()
    lines = describe(settings, given, () if web_config is None else web_config.files)
    write_stdout([f"{line}\n".encode(errors="backslashreplace") for line in (*lines, "ok")])
    return 0


async def check_access(settings: Settings, api_key: Callable[[], str], telemetry: Telemetry) -> int:
    """Print a table of what the API key may read, and return the exit status: 1 if anything is refused or fails."""
    async with open_account(settings, api_key, telemetry.account()) as account:
        results = await account.check_access()
    width = max(len(result.collector) for result in results)
    path_width = max(len(result.path) for result in results)
    lines = [
        f"{name:{width}}  GET {path:{path_width}}  {'ok' if error is None else f'{error}. {error.advice}'}\n"
        for name, path, error in results
    ]
    write_stdout([line.encode() for line in lines])
    return 0 if all(result.error is None for result in results) else 1
