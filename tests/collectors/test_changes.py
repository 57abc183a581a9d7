from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.changes import ChangedRow, find_changes
from exporter.collectors.index import Difference, IndexRecord, PageIndex


class Numbered(IndexRecord, frozen=True, array_like=True):
    """A record with a number."""

    number: int

    def changes_since(self, previous):
        """Return whether the number grew or shrank."""
        if self.number != previous.number:
            yield Difference(
                "grew" if self.number > previous.number else "shrank", f"by {self.number - previous.number}"
            )


def pages_of(rows, sizes):
    """Return indexes of pages of these sizes, which have the rows in order. The last one has the rest."""
    rows, pages = list(rows), []
    for size in sizes:
        pages.append(PageIndex(Numbered, rows[:size]))
        rows = rows[size:]
    return [*pages, PageIndex(Numbered, rows)]


RECORDS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 2)).map(
    lambda numbers: [Numbered(row_id, f"name of {row_id}", number) for row_id, number in numbers.items()]
)
SIZES = st.lists(st.integers(0, 3), max_size=4)


@given(before=RECORDS, after=RECORDS, old_sizes=SIZES, new_sizes=SIZES)
def test_all_changes_are_found(before, after, old_sizes, new_sizes):
    """The changes do not depend on the pages of the rows."""
    old, new = ({row.id: row for row in rows} for rows in (before, after))
    differences = {row: new[row].number - old[row].number for row in new.keys() & old.keys()}
    expected = {
        "added": {ChangedRow(row, f"name of {row}") for row in new.keys() - old.keys()},
        "removed": {ChangedRow(row, f"name of {row}") for row in old.keys() - new.keys()},
        "grew": {ChangedRow(row, f"name of {row}", f"by {by}") for row, by in differences.items() if by > 0},
        "shrank": {ChangedRow(row, f"name of {row}", f"by {by}") for row, by in differences.items() if by < 0},
    }
    found = find_changes(pages_of(before, old_sizes), pages_of(after, new_sizes))
    assert {kind: set(rows) for kind, rows in found.items()} == {kind: rows for kind, rows in expected.items() if rows}
    assert all(len(rows) == len(set(rows)) for rows in found.values())


def test_unchanged_pages_are_not_read(monkeypatch):
    """A page that both lists have is not even decompressed, wherever it is."""
    same, other, first, last = (PageIndex(Numbered, [Numbered(row_id, "", 1)]) for row_id in "abcd")
    read = []
    records = PageIndex.records
    monkeypatch.setattr(PageIndex, "records", property(lambda index: read.append(index) or records.fget(index)))
    found = find_changes([same, first, other], [other, last, same])
    assert found == {"added": [ChangedRow("d", "")], "removed": [ChangedRow("c", "")]}
    assert read == [first, last]


def test_unknown_rows_are_neither_added_nor_removed():
    """A row whose state is unknown in one of the lists is not mentioned, but other changes of it are."""
    before, after = [Numbered("a", "", 0), Numbered("b", "", 0)], [Numbered("b", "", 1), Numbered("c", "", 0)]
    pages, grew, added = (
        (pages_of(before, []), pages_of(after, [])),
        [ChangedRow("b", "", "by 1")],
        [ChangedRow("c", "")],
    )
    assert find_changes(*pages, {"a", "b", "c", None}) == {"grew": grew}
    assert find_changes(*pages, {"a"}) == {"added": added, "grew": grew}


def test_long_names_are_cut():
    """The log has only the beginning of a long name."""
    found = find_changes([], [PageIndex(Numbered, [Numbered("a", "x" * 101, 0)])])
    assert found == {"added": [ChangedRow("a", "x" * 100)]}


def test_changes_are_in_the_order_of_the_list():
    """Rows of the same kind of change are in list order, with the new name."""
    before = [Numbered(row_id, "old", 0) for row_id in "abc"]
    after = [Numbered("c", "", 1), Numbered("b", "new", 1), Numbered("a", "new", 1)]
    found = find_changes(pages_of(before, []), pages_of(after, []))
    assert [row[:2] for row in found["grew"]] == [("c", ""), ("b", "new"), ("a", "new")]
