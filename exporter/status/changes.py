"""The last changes since the start, of all accounts."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.status.report import ChangeReport, RowReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.collectors.changes import Changes

MAX_CHANGES = 100
_MAX_ROWS = 10
"""Rows of a change to keep. A refresh can find thousands."""


class RecentChanges:
    """Keeps the last changes. Each is one kind of change that one refresh found, with its first rows."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._changes: deque[ChangeReport] = deque(maxlen=MAX_CHANGES)

    def record(self, account: str, collector: str, changes: Changes) -> None:
        """Record the changes that a refresh found."""
        now = datetime.fromtimestamp(int(self._clock()), UTC)
        for kind, rows in changes.items():
            first = tuple(RowReport(*row) for row in rows[:_MAX_ROWS])
            self._changes.appendleft(ChangeReport(now, account, collector, kind, len(rows), first))

    def of(self, account: str | None = None) -> Sequence[ChangeReport]:
        """Return the changes of an account, or of all, the newest first."""
        return [change for change in self._changes if account is None or change.account == account]
