"""The report: what the status page and `/api/v1/status` show. The names of the fields are those of the JSON.

Times are in UTC. A value that is absent is None, and so is one that is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

import msgspec


class State(Enum):
    """The state of a collector."""

    UP_TO_DATE = "up_to_date"
    STALE = "stale"
    """The data is older than its TTL. The next scrape refreshes it."""
    READING = "reading"
    """The first refresh is running."""
    WAITING = "waiting"
    """There is no data: it was never read, or it has expired."""
    FAILING = "failing"
    """The last refresh failed. The last data is shown until it expires."""


class AboutReport(msgspec.Struct, frozen=True):
    """What runs, and what it reads."""

    version: str
    revision: str
    build_date: str
    demo: bool
    """Whether the account is simulated."""
    base_url: str
    filters: Mapping[str, str]
    """The values of the filters that are set, by the name of the setting."""
    shard: int
    total_shards: int
    started_at: datetime


class AccountReport(msgspec.Struct, frozen=True):
    """The rate limit of an account, as Telnyx stated it last."""

    name: str
    """Empty if there is only one account."""
    requests_limit: float | None
    requests_left: float | None
    limit_resets_at: datetime | None


class CollectorReport(msgspec.Struct, frozen=True):
    """The state of a collector."""

    account: str
    collector: str
    title: str
    """What it reads, such as `Credential connections`."""
    state: State
    summary: str
    """The state in one sentence."""
    reason: str
    """Why the last refresh failed, as in the label `reason`. Empty if it did not fail."""
    advice: str
    """What to do about the failure, in one sentence. Empty without a failure."""
    rows: int | None
    rows_left_out: int | None
    """Rows that could not be decoded, or that no page of the list contained."""
    age_seconds: float | None
    """Age of the data that scrapes get."""
    last_success: datetime | None
    """When the last refresh that succeeded ended."""
    duration_seconds: float | None
    """Duration of the last refresh, whether it succeeded or not."""
    retry_seconds: float | None
    """Seconds until the next attempt can start, after a failure."""


class RowReport(msgspec.Struct, frozen=True):
    """A row of a list, such as a connection."""

    id: str
    name: str
    detail: str = ""
    """What changed, or how bad it is, such as `outbound 10 to 20`. Empty if there is nothing to add."""


class ProblemRow(RowReport, frozen=True, kw_only=True):
    """A row that needs attention."""

    account: str


class ProblemReport(msgspec.Struct, frozen=True):
    """A kind of problem, and the rows that have it."""

    kind: str
    title: str
    runbook: str
    """The name of the alert and of its runbook."""
    count: int
    rows: tuple[ProblemRow, ...]
    """The first rows."""


class ChangeReport(msgspec.Struct, frozen=True):
    """One kind of change that a refresh found."""

    time: datetime
    account: str
    collector: str
    change: str
    """The kind, such as `disabled`."""
    count: int
    rows: tuple[RowReport, ...]
    """The first rows that changed."""


class Report(msgspec.Struct, frozen=True):
    """The state of the exporter and of what it reads."""

    about: AboutReport
    ok: bool
    """Whether there is an account and no collector fails."""
    summary: str
    """The state in one sentence."""
    accounts: tuple[AccountReport, ...]
    collectors: tuple[CollectorReport, ...]
    attention: tuple[ProblemReport, ...]
    """The kinds of problems that some rows have, the most urgent first."""
    changes: tuple[ChangeReport, ...]
    """The last changes since the start, the newest first."""
