import pytest

PATH = "/ip_connections"


def test_find(account, path):
    """A row is found by its id, also when others were added or removed. No other id finds a row."""
    rows = account[path]
    rows.add()
    rows.remove(rows.rows[1]["id"])
    assert all(rows.find(row["id"]) is row for row in rows.rows)
    first = int(rows.rows[0]["id"])
    assert [rows.find(row_id) for row_id in ("", "x", "9" * 19, str(first + 1), str(first - 1))] == [None] * 5


def test_given_ids(account, path):
    """A row with a given id, which is out of order, is found, updated and removed like others."""
    rows = account[path]
    rows.add(id="17")
    updated = rows.update("17", name="another name")
    assert (rows.find("17"), updated["name"]) == (updated, "another name")
    rows.remove("17")
    assert rows.find("17") is None


def test_unknown_ids(account):
    """An unknown row can't be changed or removed. The error has its id."""
    for change in (account[PATH].remove, account[PATH].update):
        with pytest.raises(ValueError, match="there is no row 123"):
            change("123")


def test_find_login(account):
    """A row is found by its current user name only."""
    rows = account["/credential_connections"]
    row = rows.rows[2]
    assert rows.find_login(row["user_name"]) is row
    renamed = rows.update(row["id"], user_name="acme99")
    assert (rows.find_login("acme99"), rows.find_login(row["user_name"])) == (renamed, None)
    rows.remove(row["id"])
    assert rows.find_login("acme99") is None
    assert account[PATH].find_login("acme99") is None


def test_results_are_derived_once(account):
    """Values that are derived from rows are computed again only after a row is added, updated or removed."""
    rows, calls = account[PATH], []

    def count(seen):
        calls.append(seen)
        return len(seen)

    assert [rows.derive(count), rows.derive(count), len(calls)] == [11, 11, 1]
    row = rows.add()
    assert [rows.derive(count), rows.derive(count), len(calls)] == [12, 12, 2]
    rows.update(row["id"], active=None)
    assert [rows.derive(count), len(calls)] == [12, 3]
    rows.remove(row["id"])
    assert [rows.derive(count), len(calls)] == [11, 4]


def test_a_list_is_sorted_once(account):
    """A sorted list is kept until a row changes. Filters are applied each time."""
    rows = account[PATH]
    first = rows.encoded_rows("connection_name")
    assert rows.encoded_rows("connection_name") is first
    row = rows.update(rows.rows[3]["id"], connection_name="!")
    second = rows.encoded_rows("connection_name")
    assert second != first
    found = rows.encoded_rows("connection_name", {"filter[connection_name][contains]": "!"})
    assert found == second[:1]
    assert row["id"].encode() in found[0]


def test_first_ids(account):
    """The ids of the first rows stay the same, whatever happens to the rows."""
    rows = account[PATH]
    before = [row["id"] for row in rows.rows]
    rows.remove(before[0])
    rows.add()
    assert rows.first_ids == before
