"""What the page shows of a status: which rows, in which order, and which links."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from exporter.collectors.connection_index import ConnectionRecord
from exporter.collectors.registry import COLLECTORS
from exporter.status.problems import CONNECTION_PROBLEMS, PROBLEMS
from exporter.web.pages.status.words import STATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from exporter.status.report import AccountReport, CollectorReport, Report
    from exporter.status.status import Status

MAX_COLLECTORS = 50
"""Collectors to show. Hundreds of accounts have thousands."""
MAX_LIMITS = 10
"""Accounts whose rate limit to show."""

TABLE_PROBLEMS: Mapping[str, str] = {
    problem.kind: problem.title for problem in PROBLEMS if problem.kind in CONNECTION_PROBLEMS
}
"""The problems that can filter the table."""

SECTIONS: Mapping[str, str] = {
    "attention": "Needs attention",
    "connections": "Connections",
    "changes": "Changes",
    "collectors": "Collectors",
    "about": "About",
}
"""The sections of the page in order, by the names of their templates."""

COLUMNS: Mapping[str, str] = {
    "name": "Name",
    "account": "Account",
    "type": "Type",
    "state": "State",
    "registration": "Registration",
    "site": "Site",
    "encryption": "Encryption",
    "inbound_limit": "Inbound limit",
    "outbound_limit": "Outbound limit",
    "updated": "Updated (UTC)",
}
"""The columns of the table of connections, by the value of `sort`."""

_ALPHABETICAL = ("A to Z", "Z to A")
_NUMERICAL = ("lowest first", "highest first")
ORDERS: Mapping[str, tuple[str, str]] = {
    "name": _ALPHABETICAL,
    "account": _ALPHABETICAL,
    "type": _ALPHABETICAL,
    "state": ("disabled first", "active first"),
    "registration": ("not registered first", "no registration first"),
    "site": _ALPHABETICAL,
    "encryption": ("no setting first", "unencrypted first"),
    "inbound_limit": _NUMERICAL,
    "outbound_limit": _NUMERICAL,
    "updated": ("oldest first", "newest first"),
}
"""What comes first, for each value of `sort` and for its reverse."""

CONNECTION_LISTS = {collector.name for collector in COLLECTORS if issubclass(collector.index_type, ConnectionRecord)}
"""The collectors whose rows are in the table of connections."""
LINKED_CHANGES = {*CONNECTION_LISTS, "registrations"}
"""The collectors whose changes concern connections in the table."""

_ORDER = {state: number for number, state in enumerate(STATES)}
_RUNBOOKS = {"unauthorized": "TelnyxKeyRejected", "rate_limited": "TelnyxRateLimited"}


def sections(status: Status) -> Sequence[str]:
    """Return the sections to show. What is wrong with the exporter comes first. An unknown account has no data."""
    if status.missing:
        return ["about"]
    return list(SECTIONS) if status.report.ok else ["collectors", *(name for name in SECTIONS if name != "collectors")]


class Knowledge(NamedTuple):
    """How much the exporter knows at this moment. What it does not know is not the same as nothing."""

    without_data: int
    """The number of collectors without data."""
    has_data: bool
    """Whether a collector has data."""
    has_read: bool
    """Whether a collector has ever had data."""
    has_connections: bool
    """Whether all lists of connections have data."""

    @property
    def why_nothing(self) -> str:
        """Why no collector has data, in words."""
        return "all data has expired" if self.has_read else "nothing has been read yet"


def knowledge(report: Report) -> Knowledge:
    """Return how much the exporter knows."""
    collectors = report.collectors
    lists = [collector for collector in collectors if collector.collector in CONNECTION_LISTS]
    return Knowledge(
        without_data=sum(collector.rows is None for collector in collectors),
        has_data=any(collector.rows is not None for collector in collectors),
        has_read=any(collector.last_success is not None for collector in collectors),
        has_connections=bool(lists) and all(collector.rows is not None for collector in lists),
    )


class CollectorList(NamedTuple):
    """The collectors that the page shows."""

    rows: Sequence[CollectorReport]
    left_out: int
    counts: Sequence[tuple[str, str, int]]
    """The name, the tone and the number of collectors of each state that some have."""


def collector_list(collectors: Sequence[CollectorReport]) -> CollectorList:
    """Return the most urgent collectors, in their order. Those in the same state keep it."""
    rows = sorted(collectors, key=lambda collector: _ORDER[collector.state])[:MAX_COLLECTORS]
    states = [collector.state for collector in collectors]
    counts = [(*text, states.count(state)) for state, text in STATES.items() if state in states]
    return CollectorList(rows, len(collectors) - len(rows), counts)


def failure_runbook(reason: str) -> str:
    """Return the name of the runbook about a failing collector."""
    return _RUNBOOKS.get(reason, "TelnyxCollectorFailing")


class LimitList(NamedTuple):
    """The accounts whose rate limit the page shows."""

    rows: Sequence[AccountReport]
    left_out: int


def limit_list(accounts: Sequence[AccountReport]) -> LimitList:
    """Return the accounts with a known rate limit, first those with the fewest requests left."""
    known = [account for account in accounts if account.requests_left is not None]
    rows = sorted(known, key=lambda account: account.requests_left or 0)[:MAX_LIMITS]
    return LimitList(rows, len(known) - len(rows))


def page_numbers(page: int, pages: int) -> Iterator[int | None]:
    """Yield the first and the last page and those beside the present one. None is a gap."""
    numbers = sorted({1, pages, *range(max(1, page - 2), min(pages, page + 2) + 1)})
    yield numbers[0]
    for previous, number in pairwise(numbers):
        if number == previous + 2:
            yield previous + 1
        elif number > previous + 1:
            yield None
        yield number
