"""The command `--once`: polls once and prints the metrics."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from exporter.commands.components import api_server, create_account
from exporter.commands.output import write_stdout
from exporter.exposition.formats import Format
from exporter.exposition.response import response_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config.settings import Settings
    from exporter.telemetry import Telemetry


async def poll_once(settings: Settings, api_key: Callable[[], str], telemetry: Telemetry) -> int:
    """Refresh every enabled collector once, print the metrics, and return the exit status: 1 if a refresh failed.

    Metrics about the process are left out, because a textfile collector exposes its own.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # end when the terminal is closed
    async with api_server(settings) as base_url:
        account = create_account(settings, base_url, api_key, telemetry)
        try:
            document = await account.group.refresh_all()
        finally:
            await account.close()
    write_stdout(response_body(document, Format.TEXT, telemetry.render(Format.TEXT), gzip=False).pieces)
    return 0 if all(state.entry.error is None for state in account.group.states()) else 1
