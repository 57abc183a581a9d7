from itertools import groupby, pairwise

import pytest
from sandbox_client import error_of, get

from exporter.sandbox import Account
from exporter.sandbox.resources import CONNECTIONS

APPLICATIONS = ("/call_control_applications", "/texml_applications")
LIMITED = {"inbound": {"channel_limit": 100}, "outbound": {"channel_limit": None}}
URL = "https://hooks.example/x"


@pytest.fixture
def account(clock):
    """Return an account that changes every 45 seconds."""
    return Account(clock=clock)


async def ask(account, row_id, **params):
    """Request the calls of a connection."""
    return await get(account, f"/v2/connections/{row_id}/active_calls", **params)


async def page(account, row_id, **params):
    """Return the calls of a page, and its `meta`."""
    body = (await ask(account, row_id, **{f"page[{name}]": value for name, value in params.items()})).json()
    return body["data"], body["meta"]


async def count(account, row_id):
    """Return the number of calls of a connection."""
    return (await page(account, row_id, limit=1))[1]["total_items"]


@pytest.fixture
async def busy(account):
    """Return the id of an application that has more than 40 calls."""
    for _ in range(20):
        row = account["/texml_applications"].add(active=True, **LIMITED)
        if await count(account, row["id"]) > 40:
            return row["id"]
    raise AssertionError


async def test_a_call(account, busy):
    """A call has identifiers, of which one controls it, and the seconds that it lasts so far."""
    (call,), _ = await page(account, busy, limit=1)
    assert set(call) == {
        *("record_type", "call_control_id", "call_leg_id", "call_session_id", "client_state", "call_duration")
    }
    assert call["record_type"] == "call"
    assert call["call_control_id"].startswith("v3:")
    assert isinstance(call["call_duration"], int)


async def test_pages(account, busy):
    """Cursors lead to the next page and back. By default, a page has 20 calls."""
    everything, _ = await page(account, busy, limit=250)
    total = len(everything)
    first, meta = await page(account, busy)
    url = f"/v2/connections/{busy}/active_calls?page[limit]=20"
    assert meta == {
        "total_items": total,
        "cursors": {"after": "20", "before": None},
        "next": f"{url}&page[after]=20",
        "previous": None,
    }
    second, meta = await page(account, busy, after=meta["cursors"]["after"])
    assert first + second == everything[:40]
    assert (meta["cursors"], meta["previous"]) == ({"after": "40", "before": "21"}, f"{url}&page[before]=21")
    assert (await page(account, busy, before=meta["cursors"]["before"]))[0] == first
    assert (await page(account, busy, before=11))[0] == everything[:10]
    last, meta = await page(account, busy, after=total - 3, limit=250)
    assert last == everything[-3:]
    assert (meta["cursors"]["after"], meta["next"]) == (None, None)


@pytest.mark.parametrize("params", [{"after": 10**9}, {"before": 1}], ids=["after-the-end", "before-the-start"])
async def test_pages_beyond_the_calls(account, busy, params):
    """A page after the last call, or before the first one, is empty."""
    calls, meta = await page(account, busy, **params)
    assert calls == []
    assert meta["total_items"] > 40


@pytest.mark.parametrize("name", ["page[limit]", "page[after]", "page[before]"])
@pytest.mark.parametrize("value", ["0", "-1", "x", ""])
async def test_invalid_pages(account, busy, name, value):
    """A limit or cursor that is not a number in range is a bad request. The error names the parameter."""
    response = await ask(account, busy, **{name: value})
    assert error_of(response) == (400, "10015")
    assert response.json()["errors"][0]["source"] == {"parameter": name}


async def test_the_largest_page(account, busy):
    """A page has at most 250 calls."""
    assert error_of(await ask(account, busy, **{"page[limit]": 251})) == (400, "10015")


@pytest.mark.parametrize("row_id", ["1", "x", "9" * 19, "{connection_id}", "%00"])
async def test_unknown_connections(account, row_id):
    """For an id that no connection has, the response is 404."""
    assert error_of(await ask(account, row_id)) == (404, "10005")


@pytest.mark.parametrize("path", CONNECTIONS)
async def test_which_connections_have_calls(account, path):
    """Applications for voice calls have calls, and other connections only with a webhook URL. Others are rejected."""
    with_url = account[path].add(webhook_event_url=URL)
    without = account[path].add(webhook_event_url=None)
    statuses = [(await ask(account, row["id"])).status_code for row in (with_url, without)]
    if path in APPLICATIONS:
        assert statuses == [200, 200]
    elif path == "/fax_applications":
        assert statuses == [422, 422]
    else:
        assert statuses == [200, 422]


async def history(account, clock, **fields):
    """Return the numbers of calls of six applications with these fields, over an hour."""
    rows = account["/call_control_applications"]
    counts = {row["id"]: [] for row in rows.rows[:6]}
    for _ in range(40):
        clock.now += 90
        for row_id, seen in counts.items():
            rows.update(row_id, active=True, **fields)  # in spite of the changes of the account
            seen.append(await count(account, row_id))
    return list(counts.values())


async def test_calls_rise_and_fall(account, clock):
    """The number of calls rises and falls. For some applications, it comes close to the channel limits."""
    histories = await history(account, clock, **LIMITED)
    for counts in histories:
        changes = [after - before for before, after in pairwise(counts)]
        assert min(changes) < 0 < max(changes)
    highest = [max(counts) for counts in histories]
    assert min(highest) < 70
    assert 80 < max(highest) <= 100


async def test_some_connections_are_near_their_limit_for_a_while(account, clock):
    """Some applications have calls on more than 80 % of their channels for about ten minutes, the others never."""
    longest = [
        90 * max(len(list(run)) if above else 0 for above, run in groupby(counts, lambda calls: calls > 80))
        for counts in await history(account, clock, **LIMITED)
    ]
    assert {0} < set(longest) <= {0, 540, 630, 720}


@pytest.mark.parametrize(
    ("inbound", "outbound", "maximum"), [(5, 5, 10), (None, 10, 10), (0, None, 0), (None, None, 20)]
)
async def test_channel_limits(account, clock, inbound, outbound, maximum):
    """The limits of both directions are added. A connection without limits has at most 20 calls."""
    fields = {"inbound": {"channel_limit": inbound}, "outbound": {"channel_limit": outbound}}
    histories = await history(account, clock, **fields)
    assert 0.8 * maximum <= max(map(max, histories)) <= maximum
    assert min(map(min, histories)) == 0


async def test_a_row_without_limits(account):
    """The objects with the limits can be null."""
    row = account["/call_control_applications"].add(active=True, inbound=None, outbound=None)
    assert await count(account, row["id"]) <= 20


async def test_a_disabled_connection_has_no_calls(account, busy):
    """A connection that is not active has no calls."""
    account["/texml_applications"].update(busy, active=False)
    assert await page(account, busy) == (
        [],
        {"total_items": 0, "cursors": {"after": None, "before": None}, "next": None, "previous": None},
    )


async def test_calls_get_longer_and_end(account, clock, busy):
    """A call gets longer while it lasts. Half an hour later, others have taken the places of all calls."""
    before, _ = await page(account, busy, limit=10)
    clock.now += 5
    after, _ = await page(account, busy, limit=10)
    lasting = [(old, new) for old, new in zip(before, after, strict=True) if old["call_leg_id"] == new["call_leg_id"]]
    assert len(lasting) > 5
    assert all(new == old | {"call_duration": old["call_duration"] + 5} for old, new in lasting)
    clock.now += 1800
    later, _ = await page(account, busy, limit=10)
    assert later
    assert not {call["call_control_id"] for call in before} & {call["call_control_id"] for call in later}


async def test_the_same_seed_and_time_give_the_same_calls(clock):
    """Calls depend on nothing but the seed and the time. If the account stands still, they do, too."""
    accounts = [Account(clock=clock), Account(clock=clock), Account(clock=clock, step=0)]
    row_id = accounts[0]["/texml_applications"].rows[1]["id"]
    frozen = await page(accounts[2], row_id)
    clock.now += 100
    assert await page(accounts[0], row_id) == await page(accounts[1], row_id)
    assert await page(accounts[2], row_id) == frozen
