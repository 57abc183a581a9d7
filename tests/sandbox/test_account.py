from collections import Counter

import pytest
from connections import decode_page
from sandbox_client import Clock, get, ids

from exporter.sandbox import Account
from exporter.sandbox.connections import iso_time


async def test_rows_match_the_models_of_the_exporter(account):
    """The exporter's strict models decode every row, and every field that they know occurs in the rows."""
    page = decode_page((await get(account)).content)
    assert [connection.id for connection in page.rows] == [row["id"] for row in account.rows]
    rarely_set = {"ios_push_credential_id", "android_push_credential_id", "webhook_event_failover_url"}
    for name in set(type(page.rows[0]).__struct_fields__) - rarely_set:
        found = any(getattr(connection, name) is not None for connection in page.rows)
        assert found, f"add {name} to _CHOICES in exporter/sandbox/connections.py"
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


def differences(before, after):
    """Return the rows that were changed or added."""
    return [new for old, new in zip(before, after, strict=False) if old != new] + after[len(before) :]


def test_one_step_changes_one_connection():
    """Each step changes one field of one connection, at the time of the step. Over many steps, all changes occur."""
    clock = Clock()
    account = Account(clock=clock, step=10)
    seen = Counter()
    for _ in range(300):
        before = list(account.rows)
        clock.now += 10
        (row,) = differences(before, account.rows)
        assert row["updated_at"] == iso_time(int(clock.now * 1000))
        if len(account.rows) > len(before):
            seen["added"] += 1
            assert row["created_at"] == row["updated_at"]
            continue
        old = next(each for each in before if each["id"] == row["id"])
        (name,) = (name for name in row if row[name] != old[name] and name != "updated_at")
        seen[name, row[name] if name in {"active", "encrypted_media"} else "limit"] += 1
    assert set(seen) == {
        "added",
        ("active", True),
        ("active", False),
        ("encrypted_media", "SRTP"),
        ("encrypted_media", None),
        ("inbound", "limit"),
        ("outbound", "limit"),
    }
    assert seen["added"] < 15


async def test_due_steps_are_applied_on_read():
    """The same steps are applied, however often the list is read. The response includes them, too."""
    clocks = Clock(), Clock()
    often, once = (Account(clock=clock, step=10) for clock in clocks)
    for _ in range(20):
        clocks[0].now += 10
        assert often.rows
    clocks[1].now += 209
    assert (await get(once)).json()["data"] == often.rows
    assert once.rows == often.rows


def test_catching_up_is_limited():
    """If the clock jumps ahead, at most the latest 300 steps are applied. If it goes back, none are applied."""
    clock = Clock()
    account = Account(clock=clock, step=1)
    before = list(account.rows)
    clock.now += 1e9
    changed = differences(before, account.rows)
    assert 0 < len(changed) <= 300
    assert min(row["updated_at"] for row in changed) >= iso_time(int((clock.now - 300) * 1000))
    before = list(account.rows)
    clock.now -= 5e8
    assert account.rows == before
    clock.now += 5e8 + 1
    assert len(differences(before, account.rows)) == 1


@pytest.mark.parametrize("step", [0, None], ids=["zero", "none"])
def test_an_account_can_stand_still(step):
    """Without a step, nothing ever changes."""
    clock = Clock()
    account = Account(clock=clock, step=step)
    before = list(account.rows)
    clock.now += 1e6
    assert account.rows == before


def test_a_long_running_account_stays_balanced():
    """After thousands of steps, some connections are disabled, some are unencrypted, and most are neither."""
    clock = Clock()
    account = Account(clock=clock, step=1)
    for _ in range(20):
        clock.now += 250
        assert account.rows
    share = len(account.rows) / 100
    assert 2 < sum(not row["active"] for row in account.rows) / share < 25
    assert 2 < sum(row["encrypted_media"] is None for row in account.rows) / share < 25


def test_an_empty_account_grows():
    """In an account without connections, a step adds the first one."""
    clock = Clock()
    account = Account(0, clock=clock, step=1)
    assert account.rows == []
    clock.now += 1
    assert [row["created_at"] for row in account.rows] == ["2026-09-21T14:13:21.000Z"]
