from collections import defaultdict

import pytest
from connections import decode_page
from sandbox_client import Clock, get, ids

from exporter.sandbox import Account
from exporter.sandbox.resources import CONNECTIONS, RESOURCES
from exporter.sandbox.rows import iso_time


async def test_rows_match_the_models_of_the_exporter(account):
    """The exporter's strict models decode every row, and every field that they know occurs in the rows."""
    page = decode_page((await get(account)).content)
    assert [connection.id for connection in page.rows] == [row["id"] for row in account.rows]
    rarely_set = {"ios_push_credential_id", "android_push_credential_id", "webhook_event_failover_url"}
    of_other_types = {"microsoft_teams_sbc", "transport_protocol"}
    for name in set(type(page.rows[0]).__struct_fields__) - rarely_set - of_other_types:
        found = any(getattr(connection, name) is not None for connection in page.rows)
        assert found, f"add {name} to CREDENTIAL in exporter/sandbox/fields/connections.py"
    assert all(row["password"] for row in account.rows)


async def test_add_appends_a_connection(account, clock):
    """A new connection has the given fields, is created now, and is the last one of the list."""
    row = account.add(connection_name="new", inbound={"channel_limit": 7}, fqdn=None)
    assert (row["connection_name"], row["inbound"]["channel_limit"], row["fqdn"]) == ("new", 7, None)
    assert row["inbound"]["codecs"]
    assert row["created_at"] == row["updated_at"] == "2026-09-21T14:13:20.000Z"
    assert account.rows[-1] is row
    assert (await get(account)).json()["data"][-1] == row
    clock.now = 0.0
    assert account.add()["created_at"] == "2026-09-21T14:13:20.001Z"


async def test_update_merges_fields_and_sets_the_time(account):
    """An update merges fields, including nested ones, and sets `updated_at`. It doesn't modify rows returned before."""
    before = account.rows[3]
    kept = dict(before["inbound"])
    after = account.update(before["id"], active=None, tags=["x"], inbound={"channel_limit": 99}, outbound=None)
    assert after["inbound"] == {**kept, "channel_limit": 99}
    assert (after["active"], after["tags"], after["outbound"]) == (None, ["x"], None)
    assert after["updated_at"] == "2026-09-21T14:13:20.000Z"
    assert before["inbound"] == kept
    assert account.rows[3] is after
    assert (await get(account)).json()["data"][3] == after
    assert account.update(before["id"], outbound={"channel_limit": 1})["outbound"] == {"channel_limit": 1}


async def test_every_list_can_be_changed(account, path):
    """Rows of every list can be added, updated and removed. Its responses contain the changes."""
    added = account[path].add(note="x")
    updated = account[path].update(account[path].rows[0]["id"], note=None)
    account[path].remove(account[path].rows[1]["id"])
    rows = account[path].rows
    assert (rows[0], rows[-1]) == (updated, added)
    assert (updated["note"], updated["updated_at"], added["note"]) == (None, "2026-09-21T14:13:20.000Z", "x")
    data = (await get(account, f"/v2{path}", **{"page[size]": 250})).json()["data"]
    assert sorted(data, key=lambda row: row["created_at"]) == rows
    assert all(len(account[other].rows) == RESOURCES[other].count(55) for other in RESOURCES)


async def test_remove_deletes_a_connection(account):
    """A removed connection is neither in the rows nor in the response."""
    removed_id = account.rows[5]["id"]
    account.remove(removed_id)
    assert len(account.rows) == 54
    assert ids(await get(account)) == [row["id"] for row in account.rows]
    with pytest.raises(ValueError, match=removed_id):
        account.remove(removed_id)


def test_a_row_is_encoded_only_when_it_changes(account):
    """The list in order of creation consists of the stored bytes. A change replaces only the bytes of its row."""
    before = list(account.encoded_rows())
    account.update(account.rows[2]["id"], active=None)
    after = account.encoded_rows()
    assert after is account.encoded_rows()
    assert [index for index in range(55) if after[index] is not before[index]] == [2]


def all_rows(account, paths=RESOURCES):
    """Return the rows of these lists by their path and id."""
    return {(path, row["id"]): row for path in paths for row in account[path].rows}


def connections(account):
    """Return the rows of all lists of connections by their path and id."""
    return all_rows(account, CONNECTIONS)


def differences(before, after):
    """Return the rows that were changed or added, by their path and id."""
    return {key: row for key, row in after.items() if before.get(key) != row}


def test_one_step_changes_one_connection():
    """Each step adds a connection or changes one field of one, at the time of the step.

    In all lists, all changes occur. A list changes in proportion to its size. A new registration status has its own
    time.
    """
    clock = Clock()
    account = Account(clock=clock, step=10)
    fields = {path: account[path].rows[0].keys() for path in CONNECTIONS}
    seen = defaultdict(list)
    before = connections(account)
    for _ in range(3000):
        clock.now += 10
        after = connections(account)
        (((path, row_id), row),) = differences(before, after).items()
        old, before = before.get((path, row_id)), after
        now = iso_time(int(clock.now * 1000))
        if old is None:
            assert row["created_at"] == now
            seen[path].append("added")
            continue
        (name,) = {name for name in row if row[name] != old[name]} - {"updated_at", "registration_status_updated_at"}
        time = "registration_status_updated_at" if name == "registration_status" else "updated_at"
        assert row == {**old, name: row[name], time: now}
        seen[path].append((name, "limit" if isinstance(row[name], dict) else row[name]))

    values = {
        "active": (True, False),
        "enabled": (True, False),
        "encrypted_media": ("SRTP", None),
        "registration_status": ("Registered", "Not Registered", "Expired", "Failed"),
        "inbound": ("limit",),
        "outbound": ("limit",),
    }
    for path in CONNECTIONS:
        expected = {(name, value) for name in values if name in fields[path] for value in values[name]}
        assert set(seen[path]) - {"added"} == expected
    assert 1000 < len(seen["/credential_connections"]) < 1500
    assert 30 < sum(changes.count("added") for changes in seen.values()) < 90


async def test_due_steps_are_applied_on_read():
    """The same steps are applied, however often lists are read. The response includes them, too."""
    clocks = Clock(), Clock()
    often, once = (Account(clock=clock, step=10) for clock in clocks)
    for _ in range(20):
        clocks[0].now += 10
        assert often.rows
    clocks[1].now += 209
    assert (await get(once)).json()["data"] == often.rows
    assert all_rows(once) == all_rows(often)


def test_catching_up_is_limited():
    """If the clock jumps ahead, at most the latest 300 steps are applied. If it goes back, none are applied."""
    clock = Clock()
    account = Account(clock=clock, step=1)
    before = connections(account)
    clock.now += 1e9
    changed = differences(before, connections(account)).values()
    assert 0 < len(changed) <= 300
    times = [max(row["updated_at"], row.get("registration_status_updated_at") or "") for row in changed]
    assert min(times) >= iso_time(int((clock.now - 300) * 1000))
    before = connections(account)
    clock.now -= 5e8
    assert connections(account) == before
    clock.now += 5e8 + 1
    assert len(differences(before, connections(account))) == 1


@pytest.mark.parametrize("step", [0, None], ids=["zero", "none"])
def test_an_account_can_stand_still(step):
    """Without a step, nothing ever changes."""
    clock = Clock()
    account = Account(clock=clock, step=step)
    before = all_rows(account)
    clock.now += 1e6
    assert all_rows(account) == before


def test_a_long_running_account_stays_balanced():
    """After thousands of steps, some rows are disabled, unencrypted or not registered, and most are not."""
    clock = Clock()
    account = Account(100, clock=clock, step=1)
    for _ in range(40):
        clock.now += 250
        rows = connections(account).values()
    for name, right in {
        "active": {True},
        "encrypted_media": {"SRTP"},
        "registration_status": {"Registered", None},
    }.items():
        values = [row[name] for row in rows if name in row]
        assert 0.02 < sum(value not in right for value in values) / len(values) < 0.25


def test_an_empty_account_grows():
    """In an account without rows, steps add the first connections. Nothing belongs to them."""
    clock = Clock()
    account = Account(0, clock=clock, step=1)
    assert not all_rows(account)
    clock.now += 1
    (row,) = all_rows(account).values()
    assert row["created_at"] == "2026-09-21T14:13:21.000Z"
    clock.now += 99
    assert {path for path in RESOURCES if account[path].rows} == set(CONNECTIONS)
