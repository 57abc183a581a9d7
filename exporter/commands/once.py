"""The command `--once`: polls once and prints the metrics."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import structlog

from exporter.collectors.registry import COLLECTORS, enabled_collectors
from exporter.commands.components import open_account
from exporter.commands.output import write_stdout
from exporter.exposition.formats import Format
from exporter.exposition.response import response_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config.settings import Settings
    from exporter.telemetry import Telemetry

_log = structlog.get_logger()


async def poll_once(settings: Settings, api_key: Callable[[], str], telemetry: Telemetry) -> int:
    """Refresh every enabled collector once, print the metrics, and return the exit status: 1 if a refresh failed.

    Collectors that send one request for each connection are skipped, unless `--once.complete` is set. Metrics about the
    process are left out, because a textfile collector exposes its own.
    """
    collectors = COLLECTORS
    if not settings.once_complete:
        collectors = tuple(collector for collector in COLLECTORS if collector.default_rate is None)
        skipped = [each.name for each, _ in enabled_collectors(settings) if each.default_rate is not None]
        if skipped:
            _log.warning(
                "skipped collectors that send one request for each connection; set --once.complete to run them",
                collectors=", ".join(skipped),
            )
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # end when the terminal is closed
    async with open_account(settings, api_key, telemetry.account(), collectors) as account:
        document = await account.group.refresh_all()
    write_stdout(response_body(document, Format.TEXT, telemetry.render(Format.TEXT), gzip=False).pieces)
    return 1 if any(collector.has_failed for collector in account.group.collectors.values()) else 0
