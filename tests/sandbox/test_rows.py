import re

import httpx
import pytest
from sandbox_client import Clock, fields_of

from exporter.sandbox import Account
from exporter.sandbox.resources import RESOURCES

NAMES = ("connection_name", "application_name", "friendly_name", "name")
SECRETS = ("password", "ip_authentication_token", "tech_prefix", "txt_value")
"""The last parts of the paths of fields that contain nothing but a secret."""


def test_same_seed_gives_same_rows(path):
    """The same seed gives the same rows, whatever the time and whichever list is read first. Another seed doesn't."""
    rows = Account(seed=7, clock=Clock(), step=0)[path].rows
    account = Account(seed=7, step=0)
    assert {other: account[other].rows for other in reversed(RESOURCES)}[path] == rows
    assert Account(seed=8, step=0)[path].rows != rows


def test_times_and_ids_ascend(path):
    """Creation times and ids ascend strictly. No row was updated before it was created."""
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
    """A row has at most one name, which no other row of its list has. Some names are unusual."""
    rows = Account(2000, step=0)[path].rows
    names = [row[name] for row in rows for name in NAMES if name in row]
    assert len(set(names)) == len(names) == (0 if path == "/external_connections" else len(rows))
    unusual = [name for name in names if not re.fullmatch(r"[a-z-]+-\d\d+", name)]
    assert len(names) / 20 < len(unusual) < len(names) / 10 or not names


def test_urls_are_fictional(path):
    """Every URL has a reserved domain. Some have secrets in their user information, path or query."""
    rows = Account(2000, step=0)[path].rows
    values = [value for row in rows for value in fields_of(row).values() if "://" in str(value)]
    urls = [httpx.URL(value) for value in values]
    assert all(url.host.endswith(".example") for url in urls)
    assert any(url.userinfo for url in urls)
    assert any(url.query for url in urls)
    assert any(url.path.startswith("/services/") for url in urls)


def test_phone_numbers_are_fictional():
    """Every phone number is in a range that is reserved for fiction."""
    numbers = {row["outbound"]["ani_override"] for row in Account(2000, step=0).rows} - {None}
    fictional = r"\+(1\d{3}55501|49302312502?|442079460|441614960|33199000|61255500)\d+"
    assert all(re.fullmatch(fictional, number) and len(number) in {12, 13} for number in numbers)


@pytest.mark.parametrize("size", [3, 500])
def test_secrets_differ(size):
    """No secret occurs twice in an account, neither in two rows nor in two fields."""
    account = Account(size, step=0)
    fields = [field for path in RESOURCES for row in account[path].rows for field in fields_of(row).items()]
    secrets = [value for name, value in fields if name.rpartition(".")[2] in SECRETS and value is not None]
    assert len(set(secrets)) == len(secrets) > 4 * size / 5
    assert all(len(secret) == 20 for secret in secrets)
    assert {name for name, _ in fields if name.rpartition(".")[2] in SECRETS} == {
        "password",
        "txt_value",
        "external_uac_settings.password",
        "outbound.ip_authentication_token",
        "outbound.tech_prefix",
    }
