from sandbox_client import NOW

from exporter.sandbox import Account
from exporter.sandbox.rows import iso_time

PATH = "/ip_connections"


def test_changes_are_in_the_log(account):
    """The log has the changes of all lists with old and new values, in the order of their times."""
    row = account[PATH].rows[0]
    added = account[PATH].add(connection_name="x")
    account[PATH].update(row["id"], active=None, inbound={"channel_limit": 7})
    account[PATH].remove(added["id"])
    create, update, delete = account.audit_events
    assert [event["change_type"] for event in (create, update, delete)] == ["create", "update", "delete"]
    assert [event["resource_id"] for event in (create, update, delete)] == [added["id"], row["id"], added["id"]]
    assert {event["record_type"] for event in account.audit_events} == {"ip_connection"}
    assert {event["created_at"] for event in account.audit_events} == {iso_time(int(NOW * 1000))}
    assert update["changes"] == [
        {"field": "active", "from": row["active"], "to": None},
        {"field": "inbound.channel_limit", "from": row["inbound"]["channel_limit"], "to": 7},
    ]
    assert {"field": "connection_name", "from": None, "to": "x"} in create["changes"]
    assert {"field": "connection_name", "from": "x", "to": None} in delete["changes"]


def test_what_nobody_sets_is_not_in_the_log(account):
    """A registration and the number of a profile's connections are no changes."""
    account.update(account.rows[0]["id"], registration_status="Failed")
    account["/outbound_voice_profiles"].update(account["/outbound_voice_profiles"].rows[0]["id"], connections_count=9)
    assert account.audit_events == []


def test_the_log_is_reproducible(clock):
    """The same seed gives the same events, which are those of the changes over time. The log has the last 1000."""
    logs = []
    for seed in (1, 1, 2):
        clock.now = NOW
        account = Account(seed=seed, clock=clock, step=45)
        assert account.audit_events == []
        clock.now += 450 * 2
        logs.append(account.audit_events)
    assert logs[0] == logs[1] != logs[2]
    times = [event["created_at"] for event in logs[0]]
    assert len(times) > 10
    assert times == sorted(times)
    for number in range(1001):
        account.update(account.rows[0]["id"], tags=[str(number)])
    assert len(account.audit_events) == 1000
