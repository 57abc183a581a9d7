"""Reads the indexes of the pages of all lists: finds problems, and fills the table of connections.

It runs on the event loop in steps of a page, which take a millisecond or two, and pauses after each. Scrapes wait no
longer than that. In a worker thread, they would wait until a library releases the interpreter's lock.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from exporter.collectors.connection_index import ConnectionRecord
from exporter.collectors.registrations import RegistrationRecord
from exporter.status.problems import PROBLEMS
from exporter.status.report import ProblemReport, ProblemRow
from exporter.status.scan.page_summary import MAX_PROBLEM_ROWS, RECORD_TYPES, AccountPage, known_summary, summarize
from exporter.status.scan.pause import pause
from exporter.status.scan.table_builder import TableBuilder
from exporter.status.table import ConnectionTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporter.collectors.index import IndexRecord, PageIndex
    from exporter.status.problems import Problem
    from exporter.status.query import Query
    from exporter.status.scan.page_summary import AffectedRows, PageSummary
    from exporter.status.scan.table_builder import Registrations


class Scan(NamedTuple):
    """What was found."""

    problems: tuple[ProblemReport, ...]
    table: ConnectionTable


async def scan(indexes: Mapping[str, Iterable[PageIndex[Any]]], query: Query | None) -> Scan:
    """Read the indexes of each account. Without a query, the table is empty, and pages that are known are not read."""
    pages = [
        AccountPage(account, index)
        for account, some in indexes.items()
        for index in some
        if index.record_type in RECORD_TYPES
    ]
    table = None if query is None else TableBuilder(query, await _registrations(pages))
    summaries = []
    for page in pages:
        index = page.index
        summary, records = known_summary(index), ()
        is_in_table = table is not None and index.record_type is ConnectionRecord
        if summary is None or is_in_table:
            records = index.records
            await pause()
        if summary is None:
            summary = summarize(index, records)
        if table is not None and is_in_table:
            table.add(page, records, summary)
        summaries.append(summary)
    problems = await _find_problems(list(zip(pages, summaries, strict=True)))
    return Scan(problems, ConnectionTable() if table is None else await table.build())


async def _registrations(pages: Iterable[AccountPage]) -> Registrations:
    """Return whether connections are registered, as the collector `registrations` has read it."""
    registrations: dict[str, dict[str, bool | None]] = defaultdict(dict)
    for page in pages:
        if page.index.record_type is RegistrationRecord:
            registrations[page.account].update({record.id: record.registered for record in page.index.records})
            await pause()
    return registrations


async def _find_problems(pages: Sequence[tuple[AccountPage, PageSummary]]) -> tuple[ProblemReport, ...]:
    """Return the kinds of problems that rows of these pages have."""
    reports = []
    for problem in PROBLEMS:
        affected = [
            (page, summary.problems[problem.kind]) for page, summary in pages if problem.kind in summary.problems
        ]
        if affected:
            count = sum(found.total for _, found in affected)
            rows = await _first_rows(problem, affected)
            reports.append(ProblemReport(problem.kind, problem.title, problem.runbook, count, rows))
    return tuple(reports)


async def _first_rows(problem: Problem, pages: Iterable[tuple[AccountPage, AffectedRows]]) -> tuple[ProblemRow, ...]:
    rows: list[ProblemRow] = []
    for page, found in pages:
        records = page.index.records
        rows += [_problem_row(problem, page.account, records[position]) for position in found.positions]
        if len(rows) >= MAX_PROBLEM_ROWS:
            break
        await pause()
    return tuple(rows[:MAX_PROBLEM_ROWS])


def _problem_row(problem: Problem, account: str, record: IndexRecord) -> ProblemRow:
    return ProblemRow(id=record.id, name=record.name, detail=problem.detail(record), account=account)
