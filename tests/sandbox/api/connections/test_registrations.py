from datetime import datetime

import pytest
from sandbox_client import NOW, error_of, get

from exporter.sandbox import Account

PATH = "/v2/sip_registration_status"


async def ask(account, username, credential_type="sip_credential_connection"):
    """Request the registration of a user name."""
    return await get(account, PATH, credential_type=credential_type, username=username)


async def registration(account, row):
    """Return the registration of a credential connection."""
    return (await ask(account, row["user_name"])).json()


@pytest.fixture
def row(account):
    """Return a credential connection whose client is registered."""
    return account.add(active=True, registration_status="Registered", user_name="acme99")


async def test_a_registered_client(account, row):
    """The answer is the object itself. It has the names and the address of the client."""
    found = await registration(account, row)
    details = found.pop("sip_registration_details")
    assert found == {
        "connection_id": row["id"],
        "connection_name": row["connection_name"],
        "credential_type": "sip_credential_connection",
        "credential_username": "acme99",
        "last_registration_response": "200 OK",
        "registered": True,
        "sip_registration_status": "registered",
    }
    assert set(details) == {"expires", "last_modified", "transport", "ua_ip", "ua_port"}
    assert details["ua_ip"].startswith(("192.0.2.", "198.51.100.", "203.0.113."))


@pytest.mark.parametrize(
    ("fields", "status", "response"),
    [
        ({"registration_status": "Not Registered"}, "standby", None),
        ({"registration_status": "Expired"}, "unregistering", "200 OK"),
        ({"registration_status": "Failed"}, "failed", "403 Forbidden"),
        ({"registration_status": None}, "unknown", None),
        ({"active": False}, "connection_disabled", None),
    ],
)
async def test_a_client_that_is_not_registered(account, row, fields, status, response):
    """The state follows the row of the connection. A client that is not registered has no address."""
    updated = account.update(row["id"], registration_status_updated_at="2026-09-21T14:00:00.000Z", **fields)
    found = await registration(account, updated)
    assert (found["sip_registration_status"], found["registered"]) == (status, False)
    assert found["last_registration_response"] == response
    details = found["sip_registration_details"]
    assert details.pop("last_modified") == "2026-09-21T14:00:00.000Z"
    assert details == dict.fromkeys(("expires", "transport", "ua_ip", "ua_port"))


async def test_registrations_are_renewed_in_time(clock):
    """A registration is renewed before it expires, and its time never runs backwards. Every transport occurs."""
    account = Account(clock=clock)
    clients = [row for row in account.rows if row["active"] and row["registration_status"] == "Registered"][:20]
    times = {row["id"]: [] for row in clients}
    transports = set()
    for _ in range(30):
        for row in clients:
            details = (await registration(account, row | {"registration_status": "Registered"}))[
                "sip_registration_details"
            ]
            if details["expires"]:
                age = clock.now - datetime.fromisoformat(details["last_modified"]).timestamp()
                assert 0 <= age < details["expires"]
                transports.add(details["transport"])
            times[row["id"]].append(details["last_modified"])
        clock.now += 45
    assert all(seen == sorted(seen) for seen in times.values())
    assert any(len(set(seen)) > 10 for seen in times.values())
    assert transports == {"UDP", "TCP", "TLS"}


async def test_a_registration_is_not_older_than_its_status(account, row):
    """If a client registered again a moment ago, its registration was modified then."""
    account.update(row["id"], registration_status_updated_at="2026-09-21T14:13:20.000Z")
    found = await registration(account, row)
    assert found["sip_registration_details"]["last_modified"] == "2026-09-21T14:13:20.000Z"
    assert datetime.fromisoformat("2026-09-21T14:13:20.000Z").timestamp() == NOW


async def test_unknown_user_names(account, row):
    """For a user name that no credential connection has, the response is 404."""
    assert error_of(await ask(account, "nobody")) == (404, "10005")
    account.update(row["id"], user_name="acme100")
    assert error_of(await ask(account, "acme99")) == (404, "10005")
    assert (await ask(account, "acme100")).json()["connection_id"] == row["id"]
    account.remove(row["id"])
    assert error_of(await ask(account, "acme100")) == (404, "10005")


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"username": "acme99"}, "credential_type"),
        ({"username": "acme99", "credential_type": "sip"}, "credential_type"),
        ({"credential_type": "sip_credential_connection"}, "username"),
        ({"credential_type": "sip_credential_connection", "username": ""}, "username"),
    ],
)
async def test_missing_parameters(account, row, params, parameter):
    """Without the type of the credential or the user name, the request is rejected. The error names the parameter."""
    response = await get(account, PATH, **params)
    assert error_of(response) == (400, "10015")
    assert response.json()["errors"][0]["source"] == {"parameter": parameter}
