"""The command `--once`: polls once and prints the metrics."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import structlog

from exporter.collectors.registry import COLLECTORS, enabled_collectors
from exporter.commands.components import open_accounts
from exporter.commands.output import write_stdout
from exporter.exposition.formats import Format
from exporter.exposition.response import Document, response_body

if TYPE_CHECKING:
    from exporter.commands.components import ReadKeys
    from exporter.config.settings import Settings
    from exporter.telemetry import Telemetry

_log = structlog.get_logger()


async def poll_once(settings: Settings, read_keys: ReadKeys, telemetry: Telemetry) -> int:
    """Refresh each collector of each account once, print the metrics, and return the exit status: 1 if one failed.

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
    async with open_accounts(settings, read_keys, telemetry, collectors) as opened:
        documents = await opened.run(lambda account: account.group.refresh_all())
    body = response_body(Document(*documents), Format.TEXT, telemetry.render(Format.TEXT), gzip=False)
    write_stdout(body.pieces)
    groups = [account.group for account in opened.accounts.values()]
    return 1 if any(collector.has_failed for group in groups for collector in group.collectors.values()) else 0
