"""What the page shows of a status: which rows, in which order, and which links."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from exporter.status.problems import CONNECTION_PROBLEMS, PROBLEMS
from exporter.web.pages.status.words import STATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from exporter.status.report import AccountReport, CollectorReport
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

_ORDER = {state: number for number, state in enumerate(STATES)}
_RUNBOOKS = {"unauthorized": "TelnyxKeyRejected", "rate_limited": "TelnyxRateLimited"}


def sections(status: Status) -> Sequence[str]:
    """Return the sections to show. What is wrong with the exporter comes first. An unknown account has no data."""
    if status.missing:
        return ["about"]
    return list(SECTIONS) if status.report.ok else ["collectors", *(name for name in SECTIONS if name != "collectors")]


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
