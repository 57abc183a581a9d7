import pytest
from sandbox_client import KEY, PATH, client_of, get, ids

from exporter.sandbox import Account, create_app
from exporter.sandbox.resources import RESOURCES


def error_of(response):
    """Return the status and the error code of a response with one error."""
    (error,) = response.json()["errors"]
    return response.status_code, error["code"]


# Paging, sorting, filtering


@pytest.mark.parametrize(
    ("number", "size", "rows", "pages"),
    [
        (1, 250, slice(0, 55), 1),
        (1, 20, slice(0, 20), 3),
        (3, 20, slice(40, 55), 3),
        (2, 55, slice(0, 0), 1),
        (999_999_999, 1, slice(0, 0), 55),
    ],
    ids=["whole", "first", "last", "past-the-end", "far-past-the-end"],
)
async def test_pages(account, number, size, rows, pages):
    """A page contains its rows in order of creation, and `meta` states its position. Pages past the end are empty."""
    response = await get(account, **{"page[number]": number, "page[size]": size})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "data": account.rows[rows],
        "meta": {"total_pages": pages, "total_results": 55, "page_number": number, "page_size": size},
    }


async def test_defaults():
    """Without parameters, the response is the first page of 250 rows, in order of creation."""
    account = Account(251, step=0)
    body = (await get(account)).json()
    assert body["data"] == account.rows[:250]
    assert body["meta"] == {"total_pages": 2, "total_results": 251, "page_number": 1, "page_size": 250}


async def test_an_empty_account_has_an_empty_page():
    """The response for an account without connections is an empty page."""
    body = (await get(Account(0, step=0))).json()
    assert body == {
        "data": [],
        "meta": {"total_pages": 0, "total_results": 0, "page_number": 1, "page_size": 250},
    }


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("created_at", lambda row: row["created_at"]),
        ("connection_name", lambda row: row["connection_name"] or ""),
        ("active", lambda row: (row["active"] is not False, row["created_at"])),
    ],
    ids=["created_at", "connection_name", "active"],
)
async def test_sorts(account, sort, key, descending):
    """Every sort works in both directions and includes rows with null values."""
    account.update(account.rows[9]["id"], connection_name=None, active=None)
    response = await get(account, sort=f"-{sort}" if descending else sort)
    assert ids(response) == [row["id"] for row in sorted(account.rows, key=key, reverse=descending)]


async def test_filter_by_name(account):
    """The name filter finds its text anywhere in the name, ignoring case. `meta` counts the matches."""
    account.update(account.rows[9]["id"], connection_name=None)
    named = [account.update(account.rows[index]["id"], connection_name=f"x Søby-{index}") for index in (4, 2, 8)]
    response = await get(account, **{"filter[connection_name][contains]": "SØB", "page[size]": 2})
    assert response.json()["data"] == [named[1], named[0]]
    assert response.json()["meta"] == {"total_pages": 2, "total_results": 3, "page_number": 1, "page_size": 2}


async def test_filter_by_profile(account):
    """The profile filter matches the whole id and leaves out rows without one."""
    account.update(account.rows[0]["id"], outbound=None)
    row = account.update(account.rows[1]["id"], outbound={"outbound_voice_profile_id": "12345"})
    assert ids(await get(account, **{"filter[outbound_voice_profile_id]": "12345"})) == [row["id"]]
    assert ids(await get(account, **{"filter[outbound_voice_profile_id]": "1234"})) == []


async def test_filter_by_fqdn(account):
    """Connections have no FQDN unless a test sets one. The filter matches it exactly."""
    assert ids(await get(account, **{"filter[fqdn]": "sip.acme.example"})) == []
    row = account.add(fqdn="sip.acme.example")
    assert ids(await get(account, **{"filter[fqdn]": "sip.acme.example"})) == [row["id"]]
    assert ids(await get(account, **{"filter[fqdn]": "SIP.acme.example"})) == []


async def test_filters_and_sort_combine(account):
    """Rows must match every filter, and the matches are sorted."""
    for index, name in [(1, "zzz-b"), (2, "zzz-a"), (3, "zzz-c")]:
        account.update(account.rows[index]["id"], connection_name=name, outbound={"outbound_voice_profile_id": "p"})
    account.update(account.rows[3]["id"], outbound={"outbound_voice_profile_id": "q"})
    filters = {"filter[connection_name][contains]": "zzz", "filter[outbound_voice_profile_id]": "p"}
    response = await get(account, sort="connection_name", **filters)
    assert ids(response) == [account.rows[2]["id"], account.rows[1]["id"]]


# Every list

SORTS = {
    "/credential_connections": ("connection_name", "connection_name"),
    "/ip_connections": ("connection_name", "connection_name"),
    "/fqdn_connections": ("connection_name", "connection_name"),
    "/uac_connections": ("connection_name", "connection_name"),
    "/call_control_applications": ("connection_name", "application_name"),
    "/texml_applications": ("friendly_name", "friendly_name"),
    "/fax_applications": ("application_name", "application_name"),
}
"""The sort by name of each list that can be sorted, and the field with the name."""
FILTERED = ("/credential_connections", "/ip_connections", "/fqdn_connections", "/uac_connections")


async def test_pages_add_up(account, path):
    """The pages of every list contain each of its rows once."""
    pages = [await get(account, f"/v2{path}", **{"page[number]": number, "page[size]": 10}) for number in range(1, 8)]
    data = [row for page in pages for row in page.json()["data"]]
    assert sorted(data, key=lambda row: row["created_at"]) == account[path].rows
    assert {page.json()["meta"]["total_results"] for page in pages} == {len(data)}
    assert (data == account[path].rows) == (path in SORTS)


@pytest.mark.parametrize("path", SORTS)
async def test_every_sort_of_a_list(account, path):
    """Lists can be sorted by creation time, name and active state, in both directions, and by nothing else."""
    name, name_field = SORTS[path]
    account[path].update(account[path].rows[1]["id"], **{name_field: None})
    keys = {
        "created_at": lambda row: row["created_at"],
        name: lambda row: row[name_field] or "",
        "active": lambda row: (row["active"], row["created_at"]),
    }
    for sort, key in keys.items():
        expected = [row["id"] for row in sorted(account[path].rows, key=key)]
        assert ids(await get(account, f"/v2{path}", sort=sort)) == expected
        assert ids(await get(account, f"/v2{path}", sort=f"-{sort}")) == expected[::-1]
    for sort in {"connection_name", "friendly_name", "application_name"} - {name}:
        assert error_of(await get(account, f"/v2{path}", sort=sort)) == (400, "10015")


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "anything", ""])
async def test_a_list_without_a_sort_ignores_it(account, sort):
    """In a list that can't be sorted, any sort is ignored. The order is neither that of creation nor its reverse."""
    found = ids(await get(account, "/v2/external_connections", sort=sort))
    created = [row["id"] for row in account["/external_connections"].rows]
    assert found == ids(await get(account, "/v2/external_connections"))
    assert found not in (created, created[::-1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filter[connection_name][contains]", "søby"),
        ("filter[outbound_voice_profile_id]", "12345"),
        ("filter[fqdn]", "sip.example"),
    ],
)
async def test_filters_of_a_list(account, path, name, value):
    """SIP connections have filters. Other lists ignore them, as they ignore any parameter that they don't have."""
    fields = {"connection_name": "x Søby", "fqdn": "sip.example", "outbound": {"outbound_voice_profile_id": "12345"}}
    row = account[path].add(**fields)
    found = ids(await get(account, f"/v2{path}", **{name: value, "unknown": "x"}))
    assert found == [row["id"]] if path in FILTERED else len(found) == len(account[path].rows)


# Errors


@pytest.mark.parametrize("value", ["", "abc", "0", "-1", "1.5", "1e2", " 1", "1\n", "٣", "9" * 10, "9" * 5000, "\0"])
@pytest.mark.parametrize("name", ["page[number]", "page[size]"])
async def test_invalid_page_numbers_are_rejected(account, name, value):
    """A page number or size that is not a number in range is a bad request. The error names the parameter."""
    response = await get(account, **{name: value})
    assert error_of(response) == (400, "10015")
    assert response.json()["errors"][0]["source"] == {"parameter": name}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page[size]", "251"),
        ("sort", ""),
        ("sort", "-"),
        ("sort", "id"),
        ("sort", "--created_at"),
        ("sort", "Created_at"),
        ("filter[connection_name][contains]", ""),
        ("filter[connection_name][contains]", "ab"),
        ("filter[fqdn]", ""),
        ("filter[outbound_voice_profile_id]", ""),
    ],
)
async def test_invalid_parameters_are_rejected(account, name, value):
    """A parameter with an invalid value is a bad request. The error names the parameter and doesn't quote the value."""
    response = await get(account, **{name: value})
    assert error_of(response) == (400, "10015")
    assert response.json()["errors"][0]["source"] == {"parameter": name}


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
        ("POST", PATH),
    ],
)
async def test_unknown_paths(account, method, path):
    """The response for any other path or method is Telnyx's 404, never a redirect."""
    response = await get(account, path, method=method, rate_limit=5)
    assert error_of(response) == (404, "10005")
    assert response.headers["x-ratelimit-remaining"] == "4"


async def test_forbidden_lists(account, path):
    """If the key may not read a list, the response is Telnyx's 403. Other lists can be read."""
    forbidden = [path, "/balance"]
    response = await get(account, f"/v2{path}", forbidden=forbidden)
    assert response.status_code == 403
    assert [error["title"] for error in response.json()["errors"]] == ["Authorization failed"]
    assert error_of(response) == (403, "10010")
    statuses = {other: (await get(account, f"/v2{other}", forbidden=forbidden)).status_code for other in RESOURCES}
    assert statuses == dict.fromkeys(RESOURCES, 200) | {path: 403}


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
    ],
    ids=["list", "sort", "page", "filter", "path"],
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
