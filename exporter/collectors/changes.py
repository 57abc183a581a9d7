"""Finds what changed between two reads of a list."""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from exporter.collectors.index import IndexRecord, PageIndex

_MAX_NAME_LENGTH = 100
"""Maximum number of characters of a name to log and to keep."""


class ChangedRow(NamedTuple):
    """A row that was added, removed or changed."""

    id: str
    name: str
    """Only the beginning of a long name."""
    detail: str = ""
    """The values before and after. Empty if the kind of change says it all."""


Changes: TypeAlias = "Mapping[str, Sequence[ChangedRow]]"
"""The rows that changed, by kind of change."""


def find_changes(
    before: Sequence[PageIndex[Any]], after: Sequence[PageIndex[Any]], unknown: Collection[str | None] = ()
) -> Changes:
    """Return the rows that were added, removed or changed.

    Rows whose id is in `unknown` count as neither added nor removed. A page that did not change is the same object in
    both lists and costs nothing.
    """
    same = {id(index) for index in before} & {id(index) for index in after}
    changes: dict[str, list[ChangedRow]] = defaultdict(list)
    old: dict[str, IndexRecord] = {}
    new: dict[str, IndexRecord] = {}
    # A row that was on page n is usually still near it. Comparing page by page keeps few records in memory.
    for previous, current in zip_longest(_without(before, same), _without(after, same)):
        old.update((record.id, record) for record in (previous.records if previous else ()))
        new.update((record.id, record) for record in (current.records if current else ()))
        for row_id in [row_id for row_id in new if row_id in old]:
            was, now = old.pop(row_id), new.pop(row_id)
            for difference in now.changes_since(was):
                changes[difference.kind].append(_changed(now, difference.detail))
    changes["added"] = [_changed(record) for record in new.values() if record.id not in unknown]
    changes["removed"] = [_changed(record) for record in old.values() if record.id not in unknown]
    return {kind: rows for kind, rows in changes.items() if rows}


def of_kept_rows(changes: Changes) -> Changes:
    """Return the changes without the rows that were added or removed."""
    return {kind: rows for kind, rows in changes.items() if kind not in {"added", "removed"}}


def _without(indexes: Iterable[PageIndex[Any]], same: set[int]) -> Iterable[PageIndex[Any]]:
    return (index for index in indexes if id(index) not in same)


def _changed(record: IndexRecord, detail: str = "") -> ChangedRow:
    return ChangedRow(record.id, record.name[:_MAX_NAME_LENGTH], detail)
