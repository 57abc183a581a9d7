"""The accounts at one moment, as scrapes see them."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from exporter.account.collector_group import STARTUP
from exporter.exposition.response import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from exporter.account.collector_group import CollectorGroup
    from exporter.exposition.own_metrics import AccountMetrics


class AccountSet:
    """Joins the data of accounts.

    `groups` are the collectors of each account by its name, which is empty if there is only one. `collectors` are the
    names of the collectors that each account has. `elsewhere` is the shard of each other account. `started_at` is the
    time of the clock at which the exporter started.
    """

    def __init__(
        self,
        groups: Mapping[str, CollectorGroup],
        collectors: Collection[str],
        elsewhere: Mapping[str, int] | None = None,
        *,
        started_at: float = -math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.groups = groups
        self.collectors = collectors
        self._elsewhere = elsewhere or {}
        self._started_at = started_at
        self._clock = clock
        self._documents: Sequence[Document] = ()
        self._joined = Document()
        """The joined document of the documents above."""

    async def scrape(
        self,
        timeout: float,  # noqa: ASYNC109 -- a deadline to return by, not an error
        accounts: Collection[str] | None = None,
        collectors: Collection[str] | None = None,
    ) -> Document:
        """Return the data of these accounts and collectors, or of all, after waiting at most `timeout` seconds."""
        groups = self._selected(accounts)
        if len(groups) == 1:
            return await groups[0].scrape(timeout, collectors)
        waiting = [group for group in groups if group.waits]
        waited = await asyncio.gather(*(group.scrape(timeout, collectors) for group in waiting))
        # The others don't wait. A task for each of hundreds of accounts would take longer than they do.
        found = dict(zip(waiting, waited, strict=True))
        documents = [found.get(group) or await group.scrape(timeout, collectors) for group in groups]
        if documents != self._documents:
            self._documents, self._joined = documents, Document(*documents)
        return self._joined

    def own_metrics(self, accounts: Collection[str] | None = None) -> Sequence[AccountMetrics]:
        """Return the exporter's own metrics about these accounts, or about all."""
        return tuple(group.own_metrics for group in self._selected(accounts))

    def _selected(self, accounts: Collection[str] | None) -> Sequence[CollectorGroup]:
        return [group for name, group in self.groups.items() if accounts is None or name in accounts]

    def why_missing(self, account: str) -> str:
        """Return why there is no account of this name, in one sentence, or an empty text if there is one."""
        if account in self.groups:
            return ""
        if account in self._elsewhere:
            shard = self._elsewhere[account]
            return f"account {account!r} belongs to shard {shard}: scrape the exporter with --shard={shard}"
        if "" in self.groups:
            return f"there is no account {account!r}: accounts have names only with --telnyx.api-key-files"
        return f"there is no account {account!r}: no API key file has this name"

    @property
    def total_accounts(self) -> int:
        """The number of accounts of all shards."""
        return len(self.groups) + len(self._elsewhere)

    @property
    def is_ready(self) -> bool:
        """Whether every collector has refreshed or failed once, or several accounts have had enough time for it."""
        has_had_time = "" not in self.groups and self._clock() - self._started_at > STARTUP
        return has_had_time or all(group.has_results for group in self.groups.values())

    def start_refreshes(self) -> None:
        """Start the refreshes that are due."""
        for group in self.groups.values():
            group.start_refreshes()

    def refresh_in_background(self) -> None:
        """Start the refreshes that are due, unless it is scrapes that start them."""
        for group in self.groups.values():
            group.refresh_in_background()
