import pytest
from sandbox_client import error_of, get, ids

from exporter.sandbox import Account
from exporter.sandbox.resources import RESOURCES

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


PAGE_SIZES = dict.fromkeys(RESOURCES, 250) | {
    "/call_control_applications": 20,
    "/fax_applications": 20,
    "/outbound_voice_profiles": 20,
    "/phone_numbers/slim": 20,
    "/telephony_credentials": 50,
}
"""The default size of a page of each list."""
NEWEST_FIRST = ("/outbound_voice_profiles", "/phone_numbers/slim")
"""The lists whose default order is the reverse order of creation."""


async def test_pages_add_up(account, path):
    """The pages of every list contain each of its rows once."""
    pages = [await get(account, f"/v2{path}", **{"page[number]": number, "page[size]": 20}) for number in range(1, 9)]
    data = [row for page in pages for row in page.json()["data"]]
    assert sorted(data, key=lambda row: row["created_at"]) == account[path].rows
    assert {page.json()["meta"]["total_results"] for page in pages} == {len(data)}
    assert (data == account[path].rows) == (path in SORTS)
    assert (data[::-1] == account[path].rows) == (path in NEWEST_FIRST)


async def test_default_page_sizes(account, path):
    """Without the parameter, a page has as many rows as Telnyx documents for its list."""
    meta = (await get(account, f"/v2{path}")).json()["meta"]
    assert (meta["page_number"], meta["page_size"]) == (1, PAGE_SIZES[path])


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


@pytest.mark.parametrize(
    ("path", "sorts"),
    [
        (
            "/outbound_voice_profiles",
            ("created_at", "enabled", "name", "service_plan", "traffic_type", "usage_payment_method"),
        ),
        ("/phone_numbers/slim", ("created_at", "purchased_at", "phone_number")),
    ],
)
async def test_sorts_of_lists_that_are_not_connections(account, path, sorts):
    """Profiles and numbers can be sorted by some of their fields, in both directions. Equal rows are sorted by age."""
    account[path].update(account[path].rows[1]["id"], enabled=False)
    for sort in sorts:
        expected = [row["id"] for row in sorted(account[path].rows, key=lambda row: str(row[sort]))]
        assert ids(await get(account, f"/v2{path}", sort=sort, **{"page[size]": 250})) == expected
        assert ids(await get(account, f"/v2{path}", sort=f"-{sort}", **{"page[size]": 250})) == expected[::-1]
    assert error_of(await get(account, f"/v2{path}", sort="updated_at")) == (400, "10015")


@pytest.mark.parametrize("path", ["/external_connections", "/ips", "/fqdns", "/telephony_credentials"])
@pytest.mark.parametrize("sort", ["created_at", "-created_at", "anything", ""])
async def test_a_list_without_a_sort_ignores_it(account, path, sort):
    """In a list that can't be sorted, any sort is ignored. The order is neither that of creation nor its reverse."""
    found = ids(await get(account, f"/v2{path}", sort=sort, **{"page[size]": 250}))
    created = [row["id"] for row in account[path].rows]
    assert found == ids(await get(account, f"/v2{path}", **{"page[size]": 250}))
    assert found not in (created, created[::-1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filter[connection_name][contains]", "søby"),
        ("filter[outbound_voice_profile_id]", "12345"),
        ("filter[fqdn]", "sip.example"),
    ],
)
async def test_filters_of_connections(account, connection_path, name, value):
    """SIP connections have filters. Others ignore them, as they ignore any parameter that they don't have."""
    fields = {"connection_name": "x Søby", "fqdn": "sip.example", "outbound": {"outbound_voice_profile_id": "12345"}}
    row = account[connection_path].add(**fields)
    found = ids(await get(account, f"/v2{connection_path}", **{name: value, "unknown": "x"}))
    assert found == [row["id"]] if connection_path in FILTERED else len(found) == len(account[connection_path].rows)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/ips", ("connection_id", "ip_address", "port")),
        ("/fqdns", ("connection_id", "fqdn", "port", "dns_record_type")),
        ("/phone_numbers/slim", ("connection_id", "status", "country_iso_alpha2")),
        ("/telephony_credentials", ("name", "resource_id", "sip_username")),
    ],
)
async def test_filters_of_lists_that_are_not_connections(account, path, fields):
    """Endpoints, numbers and credentials can be filtered by the exact values of some fields."""
    row = account[path].add(**dict.fromkeys(fields, "x"))
    for field in fields:
        assert ids(await get(account, f"/v2{path}", **{f"filter[{field}]": row[field]})) == [row["id"]]
        assert ids(await get(account, f"/v2{path}", **{f"filter[{field}]": "X"})) == []


async def test_filter_profiles_by_name(account):
    """Profiles can be filtered by a part of their name."""
    row = account["/outbound_voice_profiles"].add(name="Søby 7")
    assert ids(await get(account, "/v2/outbound_voice_profiles", **{"filter[name][contains]": "BY 7"})) == [row["id"]]


# Errors


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
