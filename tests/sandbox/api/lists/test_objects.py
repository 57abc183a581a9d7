import pytest
from sandbox_client import KEY, PATH, client_of, error_of, get, ids

from exporter.sandbox import create_app
from exporter.sandbox.resources import CONNECTIONS
from exporter.sandbox.rows import iso_time, merge

WITH_OBJECTS = (*CONNECTIONS, "/outbound_voice_profiles", "/telephony_credentials")
ANY_CONNECTION = {"active": False, "tags": ["x"], "inbound": {"channel_limit": 9}, "outbound": {"channel_limit": 7}}
FIELDS = dict.fromkeys(CONNECTIONS, ANY_CONNECTION) | {
    "/outbound_voice_profiles": {"enabled": False, "daily_spend_limit": "5.00", "max_destination_rate": 1},
    "/telephony_credentials": {"expires_at": "2030-01-01T00:00:00Z", "name": "x"},
}
"""Fields to change in an object of each list."""


async def send(account, path, body, *, method="PATCH", content_type="application/json"):
    """Send a body and return the response. The body is a JSON value or bytes."""
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    async with client_of(create_app(account, api_key=KEY)) as client:
        return await client.request(method, path, **content, headers={"content-type": content_type})


@pytest.mark.parametrize("path", WITH_OBJECTS)
async def test_read_and_change(account, clock, path):
    """A request merges its fields into an object, which shows them from then on. `updated_at` becomes the time."""
    before = account[path].rows[1]
    url = f"/v2{path}/{before['id']}"
    assert (await get(account, url)).json() == {"data": before}
    clock.now += 60
    response = await send(account, url, FIELDS[path])
    after = merge(before, {**FIELDS[path], "updated_at": iso_time(int(clock.now * 1000))})
    assert (response.status_code, response.json()) == (200, {"data": after})
    assert (await get(account, url)).json() == {"data": after}
    assert after in (await get(account, f"/v2{path}", **{"page[size]": 250})).json()["data"]
    (event,) = account.audit_events
    assert event["resource_id"] == before["id"]


@pytest.mark.parametrize("path", ["/v2/ip_connections/1", "/v2/outbound_voice_profiles/x", "/v2/connections/1"])
async def test_unknown_ids(account, path):
    """The response for an unknown id is Telnyx's 404."""
    assert error_of(await get(account, path)) == (404, "10005")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"actve": False}, "/"),
        ({"id": "1"}, "/"),
        ({"updated_at": "2026-01-01T00:00:00Z"}, "/"),
        ({"active": "false"}, "/active"),
        ({"active": 0}, "/active"),
        ({"active": None}, "/active"),
        ({"tags": "no-alert"}, "/tags"),
        ({"tags": [1]}, "/tags"),
        ({"outbound": 5}, "/outbound"),
        ({"outbound": {"channel_limits": 5}}, "/outbound"),
        ({"outbound": {"channel_limit": "5"}}, "/outbound/channel_limit"),
        ({"outbound": {"channel_limit": 5.5}}, "/outbound/channel_limit"),
    ],
)
async def test_invalid_fields(account, body, pointer):
    """An unknown field, a read-only field or a wrong type is rejected, and nothing changes. The error says where."""
    before = account.rows[0]
    response = await send(account, f"{PATH}/{before['id']}", {"connection_name": "x"} | body)
    assert error_of(response) == (422, "10015")
    assert response.json()["errors"][0]["source"] == {"pointer": pointer}
    assert account.rows[0] is before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
async def test_invalid_bodies(account, body):
    """A body that isn't a JSON object is rejected."""
    assert error_of(await send(account, f"{PATH}/{account.rows[0]['id']}", body)) == (400, "10015")


async def test_content_type(account):
    """A body that is declared to be something else than JSON is rejected."""
    form = "application/x-www-form-urlencoded"
    response = await send(account, f"{PATH}/{account.rows[0]['id']}", {"active": True}, content_type=form)
    assert error_of(response) == (400, "10015")


async def test_errors_do_not_quote_the_request(account):
    """The response never contains the key, wherever it was in the body."""
    for body in ({KEY: 1}, {"outbound": {KEY: 1}}, {"active": KEY}, KEY.encode()):
        response = await send(account, f"{PATH}/{account.rows[0]['id']}", body)
        assert response.status_code in {400, 422}
        assert KEY not in response.text


@pytest.mark.parametrize("path", ["/ip_connections", "/outbound_voice_profiles"])
async def test_objects_of_a_forbidden_list(account, path):
    """A key that may not read a list may neither read nor change its objects."""
    url = f"/v2{path}/{account[path].rows[0]['id']}"
    for method in ("GET", "PATCH"):
        assert error_of(await get(account, url, method=method, forbidden=[path])) == (403, "10010")


@pytest.mark.parametrize(
    ("path", "connections", "fields"),
    [
        ("/ips", "/ip_connections", {"ip_address": "192.0.2.1"}),
        ("/fqdns", "/fqdn_connections", {"fqdn": "sip.example", "dns_record_type": "a"}),
    ],
)
async def test_add_an_endpoint(account, path, connections, fields):
    """An IP or FQDN can be added to a connection. Without one of its fields, or for no connection, it is rejected."""
    body = {"connection_id": account[connections].rows[0]["id"], **fields}
    for name in body:
        incomplete = {field: value for field, value in body.items() if field != name}
        rejected = await send(account, f"/v2{path}", incomplete, method="POST")
        assert rejected.status_code == 422
        assert rejected.json()["errors"][0]["source"] == {"pointer": f"/{name}"}
    unknown = await send(account, f"/v2{path}", {**body, "connection_id": "1"}, method="POST")
    assert error_of(unknown) == (422, "10015")
    response = await send(account, f"/v2{path}", body, method="POST")
    assert response.status_code == 201
    assert response.json()["data"].items() >= body.items()
    assert response.json()["data"]["id"] in ids(await get(account, f"/v2{path}"))


async def test_only_endpoints_can_be_added(account):
    """No object can be added to other lists, and the error lists what is possible."""
    response = await send(account, PATH, {}, method="POST")
    assert error_of(response) == (404, "10005")
    assert response.json()["errors"][0]["detail"].endswith("; POST of /ips, /fqdns below /v2.")
    (patch,) = [part for part in response.json()["errors"][0]["detail"].split("; ") if part.startswith("PATCH of ")]
    assert patch.removeprefix("PATCH of ").split(", ") == [f"{path}/{{id}}" for path in WITH_OBJECTS]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON;charset=utf-8"])
async def test_content_type_can_have_parameters(account, content_type):
    """Some HTTP clients add a charset to the type of the body."""
    url = f"{PATH}/{account.rows[0]['id']}"
    assert (await send(account, url, {"active": False}, content_type=content_type)).status_code == 200
