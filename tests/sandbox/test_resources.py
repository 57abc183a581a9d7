import random

import pytest

from exporter.sandbox import Account
from exporter.sandbox.resources import CONNECTIONS, RESOURCES
from exporter.sandbox.rows import merge

CREDENTIAL = "/credential_connections"
AT = "2026-09-21T14:13:20.000Z"
HEALTHY = {"active": True, "enabled": True, "encrypted_media": "SRTP", "registration_status": "Registered"}
"""The fields that can get a wrong value, with the right one."""
LOST = ("Not Registered", "Expired", "Failed")
FAULTS = [
    ("active", False),
    ("enabled", False),
    ("encrypted_media", None),
    *(("registration_status", status) for status in LOST),
]


def changes_of(path, row):
    """Return 500 changes that the row can have."""
    rng = random.Random(1)
    return [RESOURCES[path].change(rng, row, AT) for _ in range(500)]


def healthy(account, path):
    """Add a row without faults to a list and return it."""
    row = account[path].rows[0]
    return account[path].add(**{name: right for name, right in HEALTHY.items() if name in row})


def time_field(name):
    """Return the field that holds the time of a change of this field."""
    return "registration_status_updated_at" if name == "registration_status" else "updated_at"


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        (0, (0, 0, 0, 0, 0, 0)),
        (1, (1, 3, 4, 3, 3, 3)),
        (15, (15, 3, 4, 4, 33, 22)),
        (55, (55, 11, 4, 15, 121, 80)),
        (1000, (1000, 200, 4, 280, 2200, 1450)),
    ],
)
def test_counts(size, counts):
    """An account has as many credential connections as its size. It has a fifth of each other kind, but at least 3.

    All lists but that of the profiles grow with the size.
    """
    account = Account(size, step=0)
    credential, other, profiles, endpoints, numbers, logins = counts
    expected = {
        **dict.fromkeys(CONNECTIONS, other),
        CREDENTIAL: credential,
        "/outbound_voice_profiles": profiles,
        "/ips": endpoints,
        "/fqdns": endpoints,
        "/phone_numbers/slim": numbers,
        "/telephony_credentials": logins,
    }
    assert {path: len(account[path].rows) for path in expected} == expected


def test_a_row_without_limits_is_only_updated():
    """A change of a row that has nothing that can go wrong, and no channel limit, moves only its time."""
    assert changes_of(CREDENTIAL, {"id": "1"}) == [{"updated_at": AT}] * 500


def test_record_types(account, path):
    """The record type of a row is the singular of the path of its list, with two exceptions."""
    exceptions = {"/phone_numbers/slim": "phone_number", "/telephony_credentials": "credential"}
    record_type = exceptions.get(path, path.removeprefix("/").removesuffix("s"))
    assert {row["record_type"] for row in account[path].rows} == {record_type}


def test_kinds_have_the_faults_of_their_fields(account):
    """Every kind can be disabled. Only SIP connections have encryption, and some of them have a registration."""
    found = {path: {name for name in HEALTHY if name in account[path].rows[0]} for path in CONNECTIONS}
    expected = {
        "/credential_connections": {"active", "encrypted_media", "registration_status"},
        "/ip_connections": {"active", "encrypted_media"},
        "/fqdn_connections": {"active", "encrypted_media"},
        "/uac_connections": {"active", "encrypted_media", "registration_status"},
        "/external_connections": {"active"},
        "/call_control_applications": {"active"},
        "/texml_applications": {"active"},
        "/fax_applications": {"active"},
    }
    assert found | expected == found


def test_a_healthy_row_gets_a_fault_or_another_limit(account, connection_path):
    """A change of a row without faults is a fault in one of its fields, or another channel limit, with its time."""
    row = healthy(account, connection_path)
    seen = set()
    for change in changes_of(connection_path, row):
        ((name, value),) = ((name, value) for name, value in change.items() if not name.endswith("updated_at"))
        assert change == {name: value, time_field(name): AT}
        assert merge(row, change)[name] != row[name]
        seen.add((name, "limit" if isinstance(value, dict) else value))
    assert seen == {
        *((name, wrong) for name, wrong in FAULTS if name in row),
        *((direction, "limit") for direction in ("inbound", "outbound") if direction in row),
    }


@pytest.mark.parametrize(("name", "wrong"), FAULTS)
def test_a_fault_is_repaired_by_the_next_change(account, connection_path, name, wrong):
    """The next change of a row with a fault repairs it. A change of a registration doesn't set `updated_at`."""
    row = healthy(account, connection_path)
    if name in row:
        faulty = account[connection_path].update(row["id"], **{name: wrong})
        expected = {name: HEALTHY[name], time_field(name): AT}
        assert all(change == expected for change in changes_of(connection_path, faulty))


def test_a_muted_row_keeps_its_fault(account, connection_path):
    """A connection with the tag that mutes alerts is meant to be disabled. It only gets other channel limits."""
    row = account[connection_path].add(active=False, tags=["no-alert"])
    changed = {name for change in changes_of(connection_path, row) for name in change}
    assert changed == {"inbound", "outbound", "updated_at"}


def test_a_row_without_a_value_has_no_fault(account):
    """A registration status of null, and an active state of null, are neither caused nor repaired."""
    row = account.add(active=None, encrypted_media="SRTP", registration_status=None)
    names = {name for change in changes_of(CREDENTIAL, row) for name in change}
    assert names == {"encrypted_media", "inbound", "outbound", "updated_at"}


def test_a_channel_limit_can_be_set_in_an_object_that_is_null(account):
    """A new channel limit doesn't need the object to exist."""
    row = account.update(healthy(account, CREDENTIAL)["id"], inbound=None)
    assert any(change.get("inbound", {}).get("channel_limit") for change in changes_of(CREDENTIAL, row))
