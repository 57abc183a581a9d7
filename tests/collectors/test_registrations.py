import json

import pytest
from connections import decode, samples
from msgspec.structs import replace

from exporter.collectors.connection_families import REGISTRATION
from exporter.collectors.connection_index import EXAMPLE
from exporter.collectors.credential_connections import COLLECTOR as CONNECTIONS
from exporter.collectors.registrations import COLLECTOR
from exporter.telnyx.errors import BadRequest, Malformed, NotFound, ServerError

CONNECTION = replace(EXAMPLE, id="42", name="pbx", active=True, login="acme42")
DETAILS = {
    "expires": 1_800_000_000,
    "last_modified": "2026-11-28T10:00:00Z",
    "transport": "TLS",
    "ua_ip": "canary-1",
    "ua_port": 5060,
    "sip_uri_user_host": "canary-2",
}
RESPONSE = {
    "connection_id": "42",
    "connection_name": "pbx",
    "credential_type": "sip_credential_connection",
    "credential_username": "canary-3",
    "last_registration_response": "200 OK",
    "registered": True,
    "sip_registration_status": "registered",
    "sip_registration_details": DETAILS,
}
C = 'connection_id="42",connection_name="pbx"'


async def read(answer, connection=CONNECTION):
    """Return the registration that the collector reads from this response, or after this error."""
    requests = []

    async def get(path, params):
        requests.append((path, params))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    row = await COLLECTOR.endpoint.read(get, connection)
    (request,) = requests
    assert request == (
        "/sip_registration_status",
        {"credential_type": "sip_credential_connection", "username": connection.login},
    )
    return row


def lines(row):
    """Return the sample lines of a registration, without the beginning of their names."""
    return [line.removeprefix("telnyx_connection_") for line in samples([row], collector=COLLECTOR)]


async def test_a_registration():
    """A registration has its state, status, transport and times. No address, login or URI of it is kept."""
    row = await read(RESPONSE)
    assert lines(row) == [
        f"registered{{{C}}} 1",
        f'registration_status{{{C},status="registered",transport="TLS"}} 1',
        f"registration_updated_timestamp_seconds{{{C}}} 1795860000.0",
        f"registration_expires_timestamp_seconds{{{C}}} 1800000000",
    ]
    assert "canary" not in repr([getattr(row, name) for name in row.__struct_fields__])


@pytest.mark.parametrize("error", [BadRequest(400), NotFound(404), BadRequest(422)])
async def test_a_rejected_request_is_unknown(error):
    """400 and 404 don't say that the connection is not registered."""
    assert lines(await read(error)) == [f'registration_status{{{C},status="unknown",transport=""}} 1']


async def test_other_errors_are_raised():
    """Other errors are no answer."""
    with pytest.raises(ServerError):
        await read(ServerError(500))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"registered": False, "sip_registration_status": "failed"}, ["registered 0", "failed"]),
        ({"registered": False, "sip_registration_status": "trying"}, ["registered 0", "trying"]),
        ({"registered": False, "sip_registration_status": "unknown"}, ["unknown"]),
        ({"registered": True, "sip_registration_status": "unknown"}, ["unknown"]),
        ({"registered": None, "sip_registration_status": "standby"}, ["standby"]),
        ({"registered": True, "sip_registration_status": None}, ["registered 1", "registered"]),
        ({"registered": False, "sip_registration_status": None}, ["registered 0", "unregistered"]),
    ],
)
async def test_states(fields, expected):
    """The state is a number, unless Telnyx does not know it. The status is a label as Telnyx sends it."""
    found = lines(await read(RESPONSE | fields | {"sip_registration_details": None}))
    assert [line.replace(f"{{{C}}}", "") for line in found[:-1]] == expected[:-1]
    assert found[-1] == f'registration_status{{{C},status="{expected[-1]}",transport=""}} 1'


@pytest.mark.parametrize(
    ("expires", "last_modified", "timestamp"),
    [
        (1_800_000_000, None, "1800000000"),
        ("1800000000", None, "1800000000"),
        (3600, "2026-11-28T10:00:00Z", "1795863600.0"),
        (3600, "2026-11-28T10:00:00", "1795863600.0"),
        (3600, None, None),
        (3600, "now", None),
        (None, "2026-11-28T10:00:00Z", None),
    ],
)
async def test_expiry(expires, last_modified, timestamp):
    """The expiry is a Unix time, or a number of seconds since the last change. Otherwise it is not known."""
    details = {"expires": expires, "last_modified": last_modified}
    found = [line for line in lines(await read(RESPONSE | {"sip_registration_details": details})) if "expires" in line]
    expected = f"registration_expires_timestamp_seconds{{{C}}} {timestamp}"
    assert found == ([expected] if timestamp else [])


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"data": {"registered": true}}', b'{"registered": "x"}']
)
async def test_something_else_is_malformed(body):
    """A response that says nothing about a registration is an error, and not an unknown state."""
    with pytest.raises(Malformed):
        await read(body)


@pytest.mark.parametrize(
    ("changes", "selected"),
    [({}, True), ({"active": False}, False), ({"active": None}, False), ({"login": ""}, False)],
)
def test_only_active_connections_with_a_login_are_read(changes, selected):
    """A disabled connection can't register, and one without a login can't be looked up."""
    assert COLLECTOR.endpoint.selects(replace(CONNECTION, **changes)) is selected


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [(True, False, ["registration_lost"]), (False, True, ["registered"]), (True, None, []), (None, False, [])],
)
async def test_changes(before, after, kinds):
    """The log mentions a registration that was lost or came back, but not an unknown state."""
    old, new = [COLLECTOR.index_record(await read(RESPONSE | {"registered": state})) for state in (before, after)]
    assert [difference.kind for difference in new.changes_since(old)] == kinds


def test_the_list_shows_no_registrations_beside_these():
    """The collector of credential connections leaves its own registration values out, and provides the logins."""
    changed = COLLECTOR.changes_to["credential-connections"](CONNECTIONS)
    row = {"id": "42", "user_name": "acme42", "registration_status": "Registered"}
    assert {family.name for family in CONNECTIONS.row_families} - {family.name for family in changed.row_families} == {
        family.name for family in REGISTRATION
    }
    (connection,) = decode(row)
    record = changed.index_record(connection)
    assert (record.login, record.registered) == ("acme42", None)
    assert CONNECTIONS.index_record(connection).login == ""
