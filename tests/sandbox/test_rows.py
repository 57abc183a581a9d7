import re
from ipaddress import ip_address

import httpx
import pytest
from sandbox_client import Clock, fields_of

from exporter.sandbox import Account
from exporter.sandbox.resources import RESOURCES

NAMES = ("connection_name", "application_name", "friendly_name", "name")
SECRETS = ("password", "ip_authentication_token", "tech_prefix", "txt_value", "sip_password", "external_pin")
"""The last parts of the paths of fields that contain nothing but a secret."""
NAMELESS = ("/external_connections", "/ips", "/fqdns", "/phone_numbers/slim")
NO_URLS = ("/outbound_voice_profiles", "/ips", "/fqdns", "/phone_numbers/slim", "/telephony_credentials")


def test_same_seed_gives_same_rows(path):
    """The same seed gives the same rows, whichever list is read first. Another seed doesn't.

    The time changes only when telephony credentials expire.
    """
    clock = Clock()
    rows = Account(seed=7, clock=clock, step=0)[path].rows
    account = Account(seed=7, clock=clock, step=0)
    assert {other: account[other].rows for other in reversed(RESOURCES)}[path] == rows
    assert Account(seed=8, clock=clock, step=0)[path].rows != rows
    clock.now += 12.5
    later = Account(seed=7, clock=clock, step=0)[path].rows
    assert [row | {"expires_at": None} for row in later] == [row | {"expires_at": None} for row in rows]
    assert (later == rows) == (path != "/telephony_credentials")


def test_times_and_ids_ascend(path):
    """Creation times and ids ascend strictly. No update is older than its row."""
    rows = Account(2000, step=0)[path].rows
    created = [row["created_at"] for row in rows]
    numbers = [int(row["id"]) for row in rows]
    assert created == sorted(set(created))
    assert numbers == sorted(set(numbers))
    assert all(row["updated_at"] >= row["created_at"] for row in rows)
    assert {len(row["id"]) for row in rows} == {19}
    assert all(
        re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row[name])
        for row in rows
        for name in ("created_at", "updated_at")
    )


def test_ids_are_unique_in_the_account():
    """Rows of different lists never have the same id, even if they have the same time and the same random numbers."""
    account = Account(clock=Clock(), step=0)
    for path in RESOURCES:
        account[path]._rng.seed(1)
    added = [account[path].add() for path in RESOURCES]
    assert len({row["created_at"] for row in added}) == 1
    assert len({row["id"] for row in added}) == len(RESOURCES)


def test_names_are_unique(path):
    """A row has at most one name, which no other row of its list has. Every twelfth name is unusual."""
    rows = Account(2000, step=0)[path].rows
    names = [row[name] for row in rows for name in NAMES if name in row]
    assert len(set(names)) == len(names) in {0, len(rows)}
    assert not (names and path in NAMELESS)
    unusual = [name for name in names if not re.fullmatch(r"[a-z-]+-\d\d+", name)]
    assert unusual == names[3::12]


def urls_of(rows):
    """Return the URLs in these rows."""
    return [httpx.URL(value) for row in rows for value in fields_of(row).values() if "://" in str(value)]


@pytest.mark.parametrize("path", NO_URLS)
def test_lists_without_urls(path):
    """Profiles, and rows that belong to connections, have no URLs."""
    assert not urls_of(Account(step=0)[path].rows)


def test_urls_are_fictional(path):
    """Every URL has a reserved domain."""
    assert all(url.host.endswith(".example") for url in urls_of(Account(2000, step=0)[path].rows))


def test_some_urls_of_connections_contain_secrets(connection_path):
    """Connections of every type have URLs with secrets in their user information, path or query."""
    urls = urls_of(Account(2000, step=0)[connection_path].rows)
    assert any(url.userinfo for url in urls)
    assert any(url.query for url in urls)
    assert any(url.path.startswith("/services/") for url in urls)


def test_phone_numbers_are_fictional():
    """Every phone number is in a range that is reserved for fiction."""
    account = Account(2000, step=0)
    numbers = {row["outbound"]["ani_override"] for row in account.rows} - {None}
    numbers |= {row["phone_number"] for row in account["/phone_numbers/slim"].rows}
    for row in account["/outbound_voice_profiles"].rows:
        numbers.update(row["call_recording"]["call_recording_caller_phone_numbers"])
    fictional = r"\+(1\d{3}55501|49302312502?|442079460|441614960|33199000|61255500)\d+"
    assert all(re.fullmatch(fictional, number) and len(number) in {12, 13} for number in numbers)


def test_addresses_are_fictional():
    """Every IP address is in a range that is reserved for documentation, and every host has a reserved domain."""
    account = Account(2000, step=0)
    addresses = {row["ip_address"] for row in account["/ips"].rows}
    assert {address.rpartition(".")[0] for address in addresses} == {"192.0.2", "198.51.100", "203.0.113"}
    assert all(ip_address(address) for address in addresses)
    assert all(row["fqdn"].endswith(".example") for row in account["/fqdns"].rows)


@pytest.mark.parametrize("size", [3, 500])
def test_secrets_differ(size):
    """No secret occurs twice in an account, neither in two rows nor in two fields."""
    account = Account(size, step=0)
    fields = [field for path in RESOURCES for row in account[path].rows for field in fields_of(row).items()]
    secrets = [value for name, value in fields if name.rpartition(".")[2] in SECRETS and value is not None]
    assert len(set(secrets)) == len(secrets) > 4 * size / 5
    assert all(len(secret) == 20 for secret in secrets)
    assert {name for name, _ in fields if name.rpartition(".")[2] in SECRETS} >= {
        "password",
        "txt_value",
        "external_uac_settings.password",
        "outbound.ip_authentication_token",
        "outbound.tech_prefix",
        "sip_password",
        "external_pin",
    }
