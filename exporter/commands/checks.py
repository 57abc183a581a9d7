"""Commands that check the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.commands.components import create_account
from exporter.commands.output import write_stdout

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config.settings import Settings
    from exporter.telemetry import Telemetry


async def check_config(settings: Settings, api_key: Callable[[], str], telemetry: Telemetry) -> int:
    """Check what the settings refer to, print `ok`, and return the exit status. Raises `UsageError`."""
    await create_account(settings, settings.base_url, api_key, telemetry).close()
    write_stdout([b"ok\n"])
    return 0
