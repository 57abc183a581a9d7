"""Reads the present status: the report and the table of connections."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exporter.build import DATE, REVISION, VERSION
from exporter.status.collectors import describe_collector, summarize, time_of
from exporter.status.report import AboutReport, AccountReport, Report, State
from exporter.status.scan.pause import pause
from exporter.status.scan.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.accounts.accounts import Accounts
    from exporter.collectors.index import PageIndex
    from exporter.status.changes import RecentChanges
    from exporter.status.query import Query
    from exporter.status.report import CollectorReport
    from exporter.status.table import ConnectionTable
    from exporter.telnyx.http.responses import RateLimit


@dataclass(frozen=True, slots=True)
class Status:
    """What the status page shows for a query."""

    report: Report
    connections: ConnectionTable
    accounts: Sequence[str] = ()
    """The names of all accounts of this shard. Empty if there is one account without a name."""
    missing: str = ""
    """Why the account in the query does not exist, in one sentence. Empty if it exists, or if there is none."""


class StatusReader:
    """Reads the status of the accounts that `accounts` has at this moment.

    `rate_limit` returns the rate limit of an account by its name. Times of the clock are Unix times in seconds.
    """

    def __init__(
        self,
        accounts: Accounts,
        rate_limit: Callable[[str], RateLimit],
        changes: RecentChanges,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._rate_limit = rate_limit
        self._changes = changes
        self._clock = clock
        self._started_at = datetime.fromtimestamp(int(clock()), UTC)

    async def read(self, query: Query, *, with_table: bool = True) -> Status:
        """Return the status that the query selects. Without the table, no page that is known is read."""
        accounts, now = self._accounts.current, self._clock()
        account = query.account or None
        missing = accounts.why_missing(query.account) if account else ""
        names = [name for name in accounts.groups if account in {None, name}]
        indexes: dict[str, list[PageIndex[Any]]] = defaultdict(list)
        collectors: list[CollectorReport] = []
        for name in names:
            for state in accounts.groups[name].states():
                indexes[name] += state.entry.value.indexes if state.entry.value else ()
                collectors.append(describe_collector(state, now))
            await pause()  # there can be hundreds of accounts
        problems, table = await scan(indexes, query if with_table else None)
        about = self._about()
        report = Report(
            about=about,
            ok=accounts.total_accounts > 0 and not any(each.state is State.FAILING for each in collectors),
            summary=missing or summarize(collectors, demo=about.demo, has_keys=accounts.total_accounts > 0),
            accounts=tuple(self._describe_account(name, now) for name in names),
            collectors=tuple(collectors),
            attention=problems,
            changes=tuple(self._changes.of(account)),
        )
        return Status(report, table, [name for name in accounts.groups if name], missing)

    def _about(self) -> AboutReport:
        configuration = self._accounts.configuration
        return AboutReport(
            version=VERSION,
            revision=REVISION,
            build_date=DATE,
            demo=configuration.scope.demo,
            base_url=configuration.scope.base_url,
            filters=configuration.scope.filters,
            shard=configuration.shard,
            total_shards=configuration.total_shards,
            started_at=self._started_at,
        )

    def _describe_account(self, name: str, now: float) -> AccountReport:
        limit = self._rate_limit(name)
        is_current = limit.reset is None or limit.reset > now
        return AccountReport(name, limit.limit, limit.remaining if is_current else None, time_of(limit.reset))
