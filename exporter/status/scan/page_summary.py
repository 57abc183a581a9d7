"""What the status page needs to know of a page of a list without reading its rows again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from exporter.collectors.connection_index import ConnectionRecord
from exporter.status.problems import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.collectors.index import IndexRecord, PageIndex

MAX_PROBLEM_ROWS = 20
"""Rows of a kind of problem to name."""

RECORD_TYPES = frozenset({ConnectionRecord, *(record_type for problem in PROBLEMS for record_type in problem.tests)})
"""The types of the records that the status page reads."""


@dataclass(frozen=True, slots=True)
class AccountPage:
    """A page of a list of an account."""

    account: str
    index: PageIndex[Any]


class AffectedRows(NamedTuple):
    """The rows of a page that have a problem."""

    total: int
    positions: tuple[int, ...]
    """The places of the first ones on the page."""


class PageSummary(NamedTuple):
    """A page: its problems by kind, and the values that one can filter by."""

    problems: Mapping[str, AffectedRows]
    types: frozenset[str] = frozenset()
    sites: frozenset[str] = frozenset()
    encryptions: frozenset[str] = frozenset()


_summaries: WeakKeyDictionary[PageIndex[Any], PageSummary] = WeakKeyDictionary()
"""The summaries of pages, as long as these exist. A page that did not change is the same object after a refresh."""


def known_summary(index: PageIndex[Any]) -> PageSummary | None:
    """Return the summary of a page, or None if it was not made yet."""
    return _summaries.get(index)


def summarize(index: PageIndex[Any], records: Sequence[Any]) -> PageSummary:
    """Make the summary of a page that has these records, and keep it."""
    summary = PageSummary(_problems(index.record_type, records))
    if index.record_type is ConnectionRecord:
        summary = summary._replace(
            types=frozenset([record.record_type for record in records]),
            sites=frozenset([record.anchorsite for record in records]),
            encryptions=frozenset([record.media_encryption for record in records]),
        )
    _summaries[index] = summary
    return summary


def _problems(record_type: type[IndexRecord], records: Sequence[IndexRecord]) -> Mapping[str, AffectedRows]:
    found = {}
    for problem in PROBLEMS:
        if test := problem.tests.get(record_type):
            positions = [position for position, record in enumerate(records) if test(record)]
            if positions:
                found[problem.kind] = AffectedRows(len(positions), tuple(positions[:MAX_PROBLEM_ROWS]))
    return found
