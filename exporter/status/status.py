"""Reads the present status: the report and the table of connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.status.report import Report
    from exporter.status.table import ConnectionTable


@dataclass(frozen=True, slots=True)
class Status:
    """What the status page shows for a query."""

    report: Report
    connections: ConnectionTable
    accounts: Sequence[str] = ()
    """The names of all accounts of this shard, whatever the query selects. Empty if there is one account without a name."""
    missing: str = ""
    """Why there is no account with the name in the query, in one sentence. Empty if there is one, or if it names none."""
