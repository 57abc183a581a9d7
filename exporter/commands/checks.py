"""Commands that check the configuration and the API key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.commands.components import configure_accounts, open_accounts, reads_key_files
from exporter.commands.output import write_stdout
from exporter.commands.report import check_accounts, describe, describe_accounts, find_accounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.commands.components import ReadKeys
    from exporter.config.loading.sources import Given
    from exporter.config.settings import Settings
    from exporter.telemetry import Telemetry
    from exporter.web.web_config import WebConfigFile


async def check_config(
    settings: Settings,
    given: Sequence[Given],
    read_keys: ReadKeys,
    web_config: WebConfigFile | None,
    telemetry: Telemetry,
) -> int:
    """Check the settings and their files, print them and `ok`, and return the exit status. Raises `UsageError`."""
    if not settings.demo:  # a demo uses no proxy and no CAs, even if the environment sets them
        configure_accounts(settings, settings.base_url, read_keys, telemetry)
    _write_lines(describe(settings, given, () if web_config is None else web_config.files))
    if reads_key_files(settings):
        found = find_accounts(settings)
        _write_lines(describe_accounts(settings, found))
        check_accounts(settings, found)
    _write_lines(["ok"])
    return 0


async def check_access(settings: Settings, read_keys: ReadKeys, telemetry: Telemetry) -> int:
    """Print a table of what each API key may read, and return the exit status: 1 if anything is refused or fails."""
    async with open_accounts(settings, read_keys, telemetry) as opened:
        results = await opened.run(lambda account: account.check_access())
    rows = [
        (name, each.collector, f"GET {each.path}", "ok" if each.error is None else f"{each.error}. {each.error.advice}")
        for name, of_account in zip(opened.accounts, results, strict=True)
        for each in of_account
    ]
    _write_lines(_table(rows) if opened.accounts else describe_accounts(settings, find_accounts(settings)))
    return 0 if all(each.error is None for of_account in results for each in of_account) else 1


def _write_lines(lines: Iterable[str]) -> None:
    write_stdout([f"{line}\n".encode(errors="backslashreplace") for line in lines])


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return lines with aligned columns, without empty columns. The last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        *cells, last = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        yield "  ".join((*cells, last.rstrip()))
