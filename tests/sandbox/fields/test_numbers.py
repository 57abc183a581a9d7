from collections import Counter
from datetime import datetime, timedelta

import pytest

from exporter.sandbox import Account
from exporter.sandbox.resources import CONNECTIONS

NUMBERS = "/phone_numbers/slim"
CREDENTIALS = "/telephony_credentials"


def test_fields_of_numbers(account):
    """A number has exactly the fields that the API documents for the slim list."""
    assert {name for row in account[NUMBERS].rows for name in row} == {
        *("id", "record_type", "phone_number", "phone_number_type", "country_iso_alpha2", "status", "connection_id"),
        *("billing_group_id", "customer_reference", "external_pin", "created_at", "purchased_at", "activated_at"),
        *("updated_at", "emergency_enabled", "emergency_address_id", "emergency_status", "call_forwarding_enabled"),
        *("call_recording_enabled", "caller_id_name_enabled", "cnam_listing_enabled", "hd_voice_enabled"),
        *("inbound_call_screening", "t38_fax_gateway_enabled"),
    }


def test_numbers_belong_to_connections_of_all_kinds(account):
    """Nine of ten numbers belong to a connection of any kind."""
    kinds = {row["id"]: path for path in CONNECTIONS for row in account[path].rows}
    found = Counter(kinds.get(row["connection_id"]) for row in account[NUMBERS].rows)
    assert set(found) == {None, *CONNECTIONS}
    assert found[None] == sum(row["connection_id"] is None for row in account[NUMBERS].rows) == 12


def test_most_numbers_are_active(account):
    """Most numbers are active. Those that were never active have no time of it."""
    states = Counter(row["status"] for row in account[NUMBERS].rows)
    assert states["active"] > 110
    assert len(states) > 3
    for row in account[NUMBERS].rows:
        assert (row["activated_at"] is None) == (row["status"] != "active")


def test_emergency_services(account):
    """Numbers with emergency services have an address and a status of them."""
    for row in account[NUMBERS].rows:
        enabled = row["emergency_enabled"]
        assert (row["emergency_address_id"] is not None, row["emergency_status"] != "disabled") == (enabled, enabled)


def test_numbers_are_those_of_the_country(account):
    """The number begins with the code of its country."""
    codes = {(row["country_iso_alpha2"], row["phone_number"][:3]) for row in account[NUMBERS].rows}
    assert {code[:2] for country, code in codes if country in {"US", "CA"}} == {"+1"}
    others = {"DE": "+49", "GB": "+44", "FR": "+33", "AU": "+61"}
    assert codes >= set(others.items())


def test_fields_of_credentials(account):
    """A telephony credential has exactly the fields that the API documents."""
    assert {name for row in account[CREDENTIALS].rows for name in row} == {
        *("id", "record_type", "name", "resource_id", "sip_username", "sip_password", "user_id"),
        *("expired", "expires_at", "created_at", "updated_at"),
    }


def test_credentials_belong_to_credential_connections(account):
    """The resource of a telephony credential is a credential connection, after a prefix."""
    owners = {f"connection:{row['id']}" for row in account.rows}
    found = Counter(row["resource_id"] for row in account[CREDENTIALS].rows)
    assert set(found) < owners
    assert max(found.values()) > 1
    assert Account(0, step=0)[CREDENTIALS].add()["resource_id"] is None


@pytest.mark.parametrize("seed", range(3))
def test_few_credentials_are_expired(clock, seed):
    """Four of 80 credentials are expired, and one expires within days. Others expire later or never."""
    rows = Account(seed=seed, clock=clock, step=0)[CREDENTIALS].rows
    now = datetime.fromisoformat("2026-09-21T14:13:20Z")
    left = [(row["expired"], row["expires_at"] and datetime.fromisoformat(row["expires_at"]) - now) for row in rows]
    assert all(time < timedelta(0) for expired, time in left if expired)
    assert sum(expired for expired, _ in left) == 4
    assert sum(timedelta(0) < time < timedelta(days=5) for _, time in left if time) == 1
    later = [time for _, time in left if time and time > timedelta(days=5)]
    assert len(later) > 20
    assert min(later) >= timedelta(days=30)
    assert sum(time is None for _, time in left) > 20
