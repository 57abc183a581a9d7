from collections import Counter

from sandbox_client import fields_of, get

from exporter.sandbox import Account
from exporter.sandbox.resources import CONNECTIONS

PATH = "/outbound_voice_profiles"


def test_fields(account):
    """A profile has exactly the fields that the API documents."""
    assert {name for row in account[PATH].rows for name in fields_of(row)} == {
        *("id", "record_type", "name", "enabled", "connections_count", "concurrent_call_limit", "tags"),
        *("daily_spend_limit", "daily_spend_limit_enabled", "max_destination_rate", "whitelisted_destinations"),
        *("service_plan", "traffic_type", "usage_payment_method", "billing_group_id", "created_at", "updated_at"),
        *(f"calling_window.{name}" for name in ("start_time", "end_time", "calls_per_cld")),
        *(f"call_recording.call_recording_{name}" for name in ("type", "channels", "format", "caller_phone_numbers")),
    }


async def test_profiles_are_those_of_the_connections():
    """Connections refer to profiles, which count them. One profile is not used, whatever the size and the seed."""
    account = Account(300, seed=3, step=0)
    used = Counter(row["outbound"]["outbound_voice_profile_id"] for path in CONNECTIONS for row in account[path].rows)
    data = (await get(account, f"/v2{PATH}")).json()["data"]
    assert len(data) == 4
    assert {row["id"]: row["connections_count"] for row in data if row["connections_count"]} == used


def test_connections_are_counted_when_they_change(account):
    """A change of a connection changes the counts, but not the time of the last update of its profiles."""
    before = account[PATH].rows[:]
    source, target = before[0], before[3]
    row = next(row for row in account.rows if row["outbound"]["outbound_voice_profile_id"] == source["id"])
    account.update(row["id"], outbound={"outbound_voice_profile_id": target["id"]})
    after = account[PATH].rows
    assert after[0] == source | {"connections_count": source["connections_count"] - 1}
    assert after[3] == target | {"connections_count": 1}
    assert after[1:3] == before[1:3]
    account.update(row["id"], outbound=None)
    assert account[PATH].rows[3]["connections_count"] == 0


def test_every_kind_of_limit_occurs(account):
    """Among the four profiles, each limit is set and not set, and one records calls of some numbers only."""
    rows = account[PATH].rows
    assert all(row["enabled"] for row in rows)
    for name in ("concurrent_call_limit", "max_destination_rate"):
        assert sum(row[name] is None for row in rows) == 1
    assert [row["daily_spend_limit_enabled"] for row in rows] == [True, True, False, True]
    recorded = [row["call_recording"] for row in rows if row["call_recording"]["call_recording_caller_phone_numbers"]]
    assert [recording["call_recording_type"] for recording in recorded] == ["by_caller_phone_number"]


def test_added_profiles(account):
    """A profile that a test adds gets a generated id, unlike the first profiles."""
    added = [account[PATH].add()["id"] for _ in range(2)]
    assert len({row["id"] for row in account[PATH].rows}) == 6
    assert all(account[PATH].find(row_id)["id"] == row_id for row_id in added)
