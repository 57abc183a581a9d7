import pytest
from sandbox_client import KEY, PATH, client_of, error_of, get, ids

from exporter.sandbox import Account, create_app, create_shared_app
from exporter.sandbox.api import ENDPOINTS

ACTIVE_CALLS = "/connections/{connection_id}/active_calls"


@pytest.mark.parametrize(
    "query",
    ["%", "%ff=%fe", "&&&", "=", "page[number]", "page%5Bnumber%5D=%F0%9F%98%80", "sort=%ff%00", "a=" + "b" * 9999],
)
async def test_hostile_queries(account, query):
    """However malformed a query is, the worst response is a bad request."""
    assert (await get(account, f"{PATH}?{query}")).status_code in {200, 400}


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        "Bearer ü",
    ],
)
async def test_authentication(account, authorization):
    """Without the right key, the response is Telnyx's 401."""
    app = create_app(account, api_key=KEY)
    async with client_of(app, None) as client:
        headers = {} if authorization is None else {"authorization": authorization.encode()}
        response = await client.get(PATH, headers=headers)
    assert response.status_code == 401
    (error,) = response.json()["errors"]
    assert (error["code"], error["title"]) == ("10009", "Authentication failed")
    assert set(error) == {"code", "title", "detail"}


async def test_any_key_can_be_used(account):
    """A key with characters outside ASCII works like any other."""
    app = create_app(account, api_key="clé")
    async with client_of(app, None) as client:
        response = await client.get(PATH, headers={"authorization": "Bearer clé".encode()})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v2/connections"),
        ("GET", PATH.removeprefix("/v2")),
        ("GET", f"{PATH}/"),
        ("GET", f"{PATH}/1"),
        ("GET", "/v3/balance"),
        ("GET", "/v2"),
        ("GET", "/v2/connections/1/2/active_calls"),
        ("GET", "/v2/connections//active_calls"),
        ("GET", "/v2/connections/1/active_calls/"),
        ("POST", "/v2/balance"),
        ("POST", PATH),
    ],
)
async def test_unknown_paths(account, method, path):
    """The response for any other path or method is Telnyx's 404, never a redirect."""
    response = await get(account, path, method=method, rate_limit=5)
    assert error_of(response) == (404, "10005")
    assert response.headers["x-ratelimit-remaining"] == "4"


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_forbidden_endpoints(account, path):
    """If the key may not read an endpoint, the response is Telnyx's 403. Others can be read."""
    forbidden = [path, "/messages"]
    response = await get(account, f"/v2{path}", forbidden=forbidden)
    assert response.status_code == 403
    assert [error["title"] for error in response.json()["errors"]] == ["Authorization failed"]
    assert error_of(response) == (403, "10010")
    statuses = {other: (await get(account, f"/v2{other}", forbidden=forbidden)).status_code for other in ENDPOINTS}
    incomplete = {"/sip_registration_status": 400, ACTIVE_CALLS: 404, "/connections/{connection_id}": 404}
    assert statuses == dict.fromkeys(ENDPOINTS, 200) | incomplete | {path: 403}


async def test_the_calls_of_all_connections_can_be_forbidden(account):
    """The path with the placeholder stands for all connections."""
    path = f"/v2/connections/{account['/texml_applications'].rows[0]['id']}/active_calls"
    assert (await get(account, path)).status_code == 200
    assert error_of(await get(account, path, forbidden=[ACTIVE_CALLS])) == (403, "10010")
    assert (await get(account, path, forbidden=[path.removeprefix("/v2")])).status_code == 200
    assert error_of(await get(account, "/v2/connections/1/2/active_calls", forbidden=[ACTIVE_CALLS])) == (404, "10005")


async def test_a_forbidden_list_needs_the_right_key(account):
    """Without the right key, the response for a forbidden list is 401, as for any other."""
    response = await get(account, forbidden=["/credential_connections"], key="wrong")
    assert error_of(response) == (401, "10009")


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (PATH, {}),
        (PATH, {"sort": KEY}),
        (PATH, {"page[number]": KEY}),
        (PATH, {"filter[fqdn]": KEY}),
        (f"/{KEY}", {}),
        (f"/v2/connections/{KEY}/active_calls", {}),
        ("/v2/sip_registration_status", {"credential_type": KEY, "username": KEY}),
        ("/v2/sip_registration_status", {"credential_type": "sip_credential_connection", "username": KEY}),
    ],
    ids=["list", "sort", "page", "filter", "path", "calls", "credential-type", "username"],
)
async def test_responses_never_contain_the_key(account, path, params):
    """No response contains the API key, wherever it was in the request."""
    response = await get(account, path, **params)
    assert KEY not in response.text
    assert KEY not in str(response.headers)


# The rate limit


def limits(response):
    """Return the values of the rate limit headers."""
    return tuple(response.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "reset"))


async def test_the_rate_limit_is_a_fixed_window(account, clock):
    """Every response states how many requests are left in the minute. Requests over the limit get status 429.

    The limit is reset when the next minute begins.
    """
    async with client_of(create_app(account, api_key=KEY, rate_limit=2)) as client:
        assert limits(await client.get(PATH)) == ("2", "1", "40")
        clock.now += 0.5
        unauthorized = await client.get(PATH, headers={"authorization": ""})
        assert (unauthorized.status_code, limits(unauthorized)) == (401, ("2", "0", "40"))
        assert "retry-after" not in unauthorized.headers
        clock.now += 38.5
        for _ in range(2):
            limited = await client.get(PATH)
            assert error_of(limited) == (429, "10011")
            assert limits(limited) == ("2", "0", "1")
            assert limited.headers["retry-after"] == "1"
        clock.now += 1
        response = await client.get(PATH)
        assert (response.status_code, limits(response)) == (200, ("2", "1", "60"))


async def test_the_rate_limit_is_600_by_default(account):
    """The default limit is 600 requests per minute."""
    async with client_of(create_app(account, api_key=KEY)) as client:
        assert limits(await client.get(PATH))[0] == "600"


async def test_no_rate_limit(account):
    """A rate limit of 0 disables it, and responses have no rate limit headers."""
    async with client_of(create_app(account, api_key=KEY, rate_limit=0)) as client:
        for _ in range(700):
            response = await client.get(PATH, params={"page[size]": 1})
            assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("x-ratelimit") or name == "retry-after"]


# Several accounts


@pytest.fixture
def accounts(clock):
    """Return two accounts by their keys. Their connections have different ids."""
    return {key: Account(3, seed, clock=clock, step=0) for seed, key in enumerate((KEY, "clé"))}


async def request(app, key, path=PATH):
    """Send a request with this key and return the response."""
    async with client_of(app, None) as client:
        return await client.get(path, headers={"authorization": f"Bearer {key}".encode()})


async def test_each_key_reads_its_account(accounts):
    """A request gets the lists of the account whose key it has. Each account has its own rate limit."""
    apis = {key: create_app(account, api_key=key, rate_limit=2) for key, account in accounts.items()}
    app = create_shared_app(apis)
    for key, account in accounts.items():
        for remaining in ("1", "0"):
            response = await request(app, key)
            assert ids(response) == [row["id"] for row in account.rows]
            assert limits(response) == ("2", remaining, "40")
        assert error_of(await request(app, key)) == (429, "10011")
        assert error_of(await request(app, key, "/v2/unknown")) == (429, "10011")


@pytest.mark.parametrize("authorization", [b"", b"Bearer", b"Bearer wrong", b"Basic KEY0123-secret", b"Bearer \xff"])
async def test_a_key_of_no_account(accounts, authorization):
    """With another key or none, the response is Telnyx's 401, whatever the path. It doesn't contain the key."""
    app = create_shared_app({key: create_app(account, api_key=key) for key, account in accounts.items()})
    async with client_of(app, None) as client:
        for path in (PATH, "/"):
            response = await client.get(path, headers={"authorization": authorization})
            assert error_of(response) == (401, "10009")
            assert response.headers["content-type"] == "application/json"
            assert "wrong" not in response.text


async def test_accounts_come_and_go(account):
    """A new account can be read at once. After its key was rotated, only the new key works."""
    apis = {}
    app = create_shared_app(apis)
    statuses = []
    for keys in ([], ["old"], ["new"]):
        apis.clear()
        apis |= {key: create_app(account, api_key=key) for key in keys}
        statuses.append([(await request(app, key)).status_code for key in ("old", "new")])
    assert statuses == [[401, 401], [200, 401], [401, 200]]
