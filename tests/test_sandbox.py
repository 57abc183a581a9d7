import contextlib
import errno
import os
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass

import httpx
import pytest

from exporter import sandbox
from exporter.models import decode_page
from exporter.sandbox import Account, create_app, main

KEY = "KEY0123-secret"
PATH = "/v2/credential_connections"
NOW = 1_790_000_000.0  # 2026-09-21, after every generated time, and 40 seconds before a minute is full


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    now: float = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def account(clock):
    """Return an account that stands still."""
    return Account(clock=clock, step=0)


async def get(account, path=PATH, *, rate_limit=0, key=KEY, method="GET", **params):
    """Return the answer of a fresh app for this account."""
    app = create_app(account, api_key=KEY, rate_limit=rate_limit)
    async with client_of(app, key) as client:
        return await client.request(method, path, params=params)


def client_of(app, key=KEY):
    """Return a client of the app, with the key if there is one."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox", headers=headers)


def ids(response):
    """Return the ids of a page, in its order."""
    return [row["id"] for row in response.json()["data"]]


def error_of(response):
    """Return the status and the code of an answer with one error."""
    (error,) = response.json()["errors"]
    return response.status_code, error["code"]


# The account


def test_same_seed_gives_same_connections():
    """The same seed gives the same connections whatever the clock says; another seed gives others."""
    rows = Account(seed=7, clock=Clock(), step=0).rows
    assert Account(seed=7, step=0).rows == rows
    assert Account(seed=8, step=0).rows != rows


@pytest.mark.parametrize("seed", range(5))
def test_account_has_what_graphs_and_alerts_need(seed):
    """Any seed's 55 connections have disabled, unencrypted, unrestricted, limited and unlimited ones, and odd names."""
    rows = Account(seed=seed, step=0).rows
    assert len(rows) == 55
    assert 3 <= sum(not row["active"] for row in rows) <= 8
    assert 3 <= sum(row["encrypted_media"] is None for row in rows) <= 10
    assert sum(row["sip_uri_calling_preference"] == "unrestricted" for row in rows) in {2, 3}
    sites = Counter(row["anchorsite_override"] for row in rows)
    assert sites.most_common(1)[0][0] == "Latency"
    assert len(sites) > 3
    limits = [row["inbound"]["channel_limit"] for row in rows]
    assert None in limits
    assert len(set(limits)) > 3
    assert 3 <= sum(not re.fullmatch(r"[a-z-]+-\d\d", row["connection_name"]) for row in rows) <= 6
    assert any(row["outbound"]["ani_override"] for row in rows)
    assert any(row["webhook_event_url"] for row in rows)
    assert any(row["tags"] for row in rows)


def test_times_and_ids_ascend():
    """Creation times and ids ascend strictly, ids and names are unique, and none was updated before it was created."""
    rows = Account(2000, step=0).rows
    created = [row["created_at"] for row in rows]
    numbers = [int(row["id"]) for row in rows]
    assert created == sorted(set(created))
    assert numbers == sorted(set(numbers))
    assert len({row["connection_name"] for row in rows}) == 2000
    assert all(row["updated_at"] >= row["created_at"] for row in rows)
    assert {len(row["id"]) for row in rows} == {19}
    assert all(
        re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row[name])
        for row in rows
        for name in ("created_at", "updated_at")
    )


def test_everything_is_fictional():
    """Every URL leads to a reserved domain, and every phone number is in a range kept free for fiction."""
    rows = Account(2000, step=0).rows
    urls = {row[name] for row in rows for name in ("webhook_event_url", "webhook_event_failover_url")} - {None}
    assert all(httpx.URL(url).host.endswith(".example") for url in urls)
    assert any(httpx.URL(url).userinfo for url in urls)
    assert all(row["webhook_event_url"] for row in rows if row["webhook_event_failover_url"])
    assert any(httpx.URL(url).query for url in urls)
    assert any(httpx.URL(url).path.startswith("/services/") for url in urls)
    numbers = {row["outbound"]["ani_override"] for row in rows} - {None}
    fiction = r"\+(1\d{3}55501|49302312502?|442079460|441614960|33199000|61255500)\d+"
    assert all(re.fullmatch(fiction, number) and len(number) in {12, 13} for number in numbers)


async def test_rows_are_what_the_models_read(account):
    """The exporter's models read every row strictly and find every field that they know."""
    page = decode_page((await get(account)).content)
    assert [connection.id for connection in page.rows] == [row["id"] for row in account.rows]
    never_null = {"ios_push_credential_id", "android_push_credential_id", "webhook_event_failover_url"}
    for name in set(type(page.rows[0]).__struct_fields__) - never_null:
        assert any(getattr(connection, name) is not None for connection in page.rows), name
    assert all(row["password"] for row in account.rows)


async def test_add_places_a_connection_last(account, clock):
    """What is added has the fields given, is created now, and comes last."""
    row = account.add(connection_name="new", inbound={"channel_limit": 7}, fqdn=None)
    assert (row["connection_name"], row["inbound"]["channel_limit"], row["fqdn"]) == ("new", 7, None)
    assert row["inbound"]["codecs"]
    assert row["created_at"] == row["updated_at"] == "2026-09-21T14:13:20.000Z"
    assert account.rows[-1] is row
    assert (await get(account)).json()["data"][-1] == row
    clock.now = 0.0
    assert account.add()["created_at"] == "2026-09-21T14:13:20.001Z"


async def test_update_merges_fields_and_bumps_the_time(account):
    """An update merges its fields, those of objects too, sets `updated_at`, and leaves rows held before alone."""
    before = account.rows[3]
    kept = dict(before["inbound"])
    after = account.update(before["id"], active=None, tags=["x"], inbound={"channel_limit": 99}, outbound=None)
    assert after["inbound"] == {**kept, "channel_limit": 99}
    assert (after["active"], after["tags"], after["outbound"]) == (None, ["x"], None)
    assert after["updated_at"] == "2026-09-21T14:13:20.000Z"
    assert before["inbound"] == kept
    assert account.rows[3] is after
    assert (await get(account)).json()["data"][3] == after
    assert account.update(before["id"], outbound={"channel_limit": 1})["outbound"] == {"channel_limit": 1}


async def test_remove_takes_a_connection_off_the_list(account):
    """What is removed is gone from the rows and from the answer."""
    gone = account.rows[5]["id"]
    account.remove(gone)
    assert len(account.rows) == 54
    assert ids(await get(account)) == [row["id"] for row in account.rows]
    with pytest.raises(ValueError, match=gone):
        account.remove(gone)


def test_a_row_is_encoded_only_when_it_changes(account):
    """The list by creation time is the stored bytes themselves, of which a change replaces one."""
    before = list(account.encoded())
    account.update(account.rows[2]["id"], active=None)
    after = account.encoded()
    assert after is account.encoded()
    assert [place for place in range(55) if after[place] is not before[place]] == [2]


# How it moves


def differences(before, after):
    """Return the rows that were changed or added."""
    return [new for old, new in zip(before, after, strict=False) if old != new] + after[len(before) :]


def test_one_step_changes_one_connection():
    """Each step changes one connection, at the step's own time, in one respect; together the steps do all they can."""
    clock = Clock()
    account = Account(clock=clock, step=10)
    seen = Counter()
    for _ in range(300):
        before = list(account.rows)
        clock.now += 10
        (row,) = differences(before, account.rows)
        assert row["updated_at"] == sandbox._iso(int(clock.now * 1000))
        if len(account.rows) > len(before):
            seen["added"] += 1
            assert row["created_at"] == row["updated_at"]
            continue
        old = next(each for each in before if each["id"] == row["id"])
        (name,) = (name for name in row if row[name] != old[name] and name != "updated_at")
        seen[name, row[name] if name in {"active", "encrypted_media"} else "limit"] += 1
    assert set(seen) == {
        "added",
        ("active", True),
        ("active", False),
        ("encrypted_media", "SRTP"),
        ("encrypted_media", None),
        ("inbound", "limit"),
        ("outbound", "limit"),
    }
    assert seen["added"] < 15


async def test_steps_due_are_applied_on_a_read():
    """However often the list is read, the steps due by then are the same; the answer shows them too."""
    clocks = Clock(), Clock()
    often, once = (Account(clock=clock, step=10) for clock in clocks)
    for _ in range(20):
        clocks[0].now += 10
        assert often.rows
    clocks[1].now += 209
    assert (await get(once)).json()["data"] == often.rows
    assert once.rows == often.rows


def test_a_long_sleep_is_not_made_up_for():
    """A clock that leaps ahead costs 300 steps at most, the latest ones; one that goes back costs none."""
    clock = Clock()
    account = Account(clock=clock, step=1)
    before = list(account.rows)
    clock.now += 1e9
    changed = differences(before, account.rows)
    assert 0 < len(changed) <= 300
    assert min(row["updated_at"] for row in changed) >= sandbox._iso(int((clock.now - 300) * 1000))
    before = list(account.rows)
    clock.now -= 5e8
    assert account.rows == before
    clock.now += 5e8 + 1
    assert len(differences(before, account.rows)) == 1


@pytest.mark.parametrize("step", [0, None], ids=["zero", "none"])
def test_an_account_can_stand_still(step):
    """Without a step nothing ever changes."""
    clock = Clock()
    account = Account(clock=clock, step=step)
    before = list(account.rows)
    clock.now += 1e6
    assert account.rows == before


def test_an_account_left_alone_stays_as_it_is():
    """After thousands of steps some are disabled and some unencrypted, and most are neither."""
    clock = Clock()
    account = Account(clock=clock, step=1)
    for _ in range(20):
        clock.now += 250
        assert account.rows
    share = len(account.rows) / 100
    assert 2 < sum(not row["active"] for row in account.rows) / share < 25
    assert 2 < sum(row["encrypted_media"] is None for row in account.rows) / share < 25


def test_an_empty_account_grows():
    """In an account without connections a step adds the first."""
    clock = Clock()
    account = Account(0, clock=clock, step=1)
    assert account.rows == []
    clock.now += 1
    assert [row["created_at"] for row in account.rows] == ["2026-09-21T14:13:21.000Z"]


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
    """A page holds its rows in the order of creation, and `meta` tells where it stands; past the end it is empty."""
    response = await get(account, **{"page[number]": number, "page[size]": size})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "data": account.rows[rows],
        "meta": {"total_pages": pages, "total_results": 55, "page_number": number, "page_size": size},
    }


async def test_defaults():
    """Without parameters the answer is the first page of 250, by creation time."""
    account = Account(251, step=0)
    answer = (await get(account)).json()
    assert answer["data"] == account.rows[:250]
    assert answer["meta"] == {"total_pages": 2, "total_results": 251, "page_number": 1, "page_size": 250}


async def test_an_empty_list_is_a_page():
    """An account without connections answers an empty page."""
    answer = (await get(Account(0, step=0))).json()
    assert answer == {
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
    """Each sort orders the list both ways, absent values among the rest."""
    account.update(account.rows[9]["id"], connection_name=None, active=None)
    response = await get(account, sort=f"-{sort}" if descending else sort)
    assert ids(response) == [row["id"] for row in sorted(account.rows, key=key, reverse=descending)]


async def test_filter_by_name(account):
    """The name filter finds its text anywhere in the name, in upper or lower case, and counts what it found."""
    account.update(account.rows[9]["id"], connection_name=None)
    named = [account.update(account.rows[place]["id"], connection_name=f"x Søby-{place}") for place in (4, 2, 8)]
    response = await get(account, **{"filter[connection_name][contains]": "SØB", "page[size]": 2})
    assert response.json()["data"] == [named[1], named[0]]
    assert response.json()["meta"] == {"total_pages": 2, "total_results": 3, "page_number": 1, "page_size": 2}


async def test_filter_by_profile(account):
    """The profile filter takes the whole id and leaves out rows without one."""
    account.update(account.rows[0]["id"], outbound=None)
    row = account.update(account.rows[1]["id"], outbound={"outbound_voice_profile_id": "12345"})
    assert ids(await get(account, **{"filter[outbound_voice_profile_id]": "12345"})) == [row["id"]]
    assert ids(await get(account, **{"filter[outbound_voice_profile_id]": "1234"})) == []


async def test_filter_by_fqdn(account):
    """No connection has an FQDN unless it is given one, which is then matched exactly."""
    assert ids(await get(account, **{"filter[fqdn]": "sip.acme.example"})) == []
    row = account.add(fqdn="sip.acme.example")
    assert ids(await get(account, **{"filter[fqdn]": "sip.acme.example"})) == [row["id"]]
    assert ids(await get(account, **{"filter[fqdn]": "SIP.acme.example"})) == []


async def test_filters_and_sort_combine(account):
    """A row must pass every filter, and what passes is sorted."""
    for place, name in [(1, "zzz-b"), (2, "zzz-a"), (3, "zzz-c")]:
        account.update(account.rows[place]["id"], connection_name=name, outbound={"outbound_voice_profile_id": "p"})
    account.update(account.rows[3]["id"], outbound={"outbound_voice_profile_id": "q"})
    filters = {"filter[connection_name][contains]": "zzz", "filter[outbound_voice_profile_id]": "p"}
    response = await get(account, sort="connection_name", **filters)
    assert ids(response) == [account.rows[2]["id"], account.rows[1]["id"]]


# Refusals


@pytest.mark.parametrize("value", ["", "abc", "0", "-1", "1.5", "1e2", " 1", "1\n", "٣", "9" * 10, "9" * 5000, "\0"])
@pytest.mark.parametrize("name", ["page[number]", "page[size]"])
async def test_page_numbers_are_checked(account, name, value):
    """A page number or size that is no number of the right magnitude is a bad request that names its parameter."""
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
async def test_bad_parameters(account, name, value):
    """A parameter outside its bounds is a bad request that names it and doesn't repeat what was sent."""
    response = await get(account, **{name: value})
    assert error_of(response) == (400, "10015")
    assert response.json()["errors"][0]["source"] == {"parameter": name}


@pytest.mark.parametrize(
    "query",
    ["%", "%ff=%fe", "&&&", "=", "page[number]", "page%5Bnumber%5D=%F0%9F%98%80", "sort=%ff%00", "a=" + "b" * 9999],
)
async def test_hostile_queries(account, query):
    """No query, however broken, is more than a bad request."""
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
    """Without the right key the answer is Telnyx's 401."""
    app = create_app(account, api_key=KEY)
    async with client_of(app, None) as client:
        headers = {} if authorization is None else {"authorization": authorization.encode()}
        response = await client.get(PATH, headers=headers)
    assert response.status_code == 401
    (error,) = response.json()["errors"]
    assert (error["code"], error["title"]) == ("10009", "Authentication failed")
    assert set(error) == {"code", "title", "detail"}


async def test_any_key_can_be_used(account):
    """A key outside ASCII is compared like any other."""
    app = create_app(account, api_key="clé")
    async with client_of(app, None) as client:
        response = await client.get(PATH, headers={"authorization": "Bearer clé".encode()})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/v2/fqdn_connections"), ("GET", f"{PATH}/"), ("GET", f"{PATH}/1"), ("POST", PATH)],
)
async def test_unknown_paths(account, method, path):
    """Any other path or method is Telnyx's 404, never a redirect."""
    response = await get(account, path, method=method, rate_limit=5)
    assert error_of(response) == (404, "10005")
    assert response.headers["x-ratelimit-remaining"] == "4"


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
async def test_the_key_is_never_answered(account, path, params):
    """No answer holds the API key, wherever in the request it stood."""
    response = await get(account, path, **params)
    assert KEY not in response.text
    assert KEY not in str(response.headers)


# The rate limit


def limits(response):
    """Return what the headers say of the rate limit."""
    return tuple(response.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "reset"))


async def test_the_rate_limit_is_a_fixed_window(account, clock):
    """Every answer tells what is left of the minute; one request too many is a 429, and the next minute begins anew."""
    async with client_of(create_app(account, api_key=KEY, rate_limit=2)) as client:
        assert limits(await client.get(PATH)) == ("2", "1", "40")
        clock.now += 0.5
        unauthorized = await client.get(PATH, headers={"authorization": ""})
        assert (unauthorized.status_code, limits(unauthorized)) == (401, ("2", "0", "40"))
        assert "retry-after" not in unauthorized.headers
        clock.now += 38.5
        for _ in range(2):
            refused = await client.get(PATH)
            assert error_of(refused) == (429, "10011")
            assert limits(refused) == ("2", "0", "1")
            assert refused.headers["retry-after"] == "1"
        clock.now += 1
        response = await client.get(PATH)
        assert (response.status_code, limits(response)) == (200, ("2", "1", "60"))


async def test_the_rate_limit_is_600_by_default(account):
    """Without further words the limit is 600 a minute."""
    async with client_of(create_app(account, api_key=KEY)) as client:
        assert limits(await client.get(PATH))[0] == "600"


async def test_no_rate_limit(account):
    """A rate limit of 0 is none, and no header speaks of one."""
    async with client_of(create_app(account, api_key=KEY, rate_limit=0)) as client:
        for _ in range(700):
            response = await client.get(PATH, params={"page[size]": 1})
            assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("x-ratelimit") or name == "retry-after"]


# The command


def fetch(line, key="sandbox"):
    """Return the list from the base URL at the end of the line."""
    url = line.split()[-1]
    return httpx.get(
        f"{url}/credential_connections", headers={"authorization": f"Bearer {key}"}, timeout=10, trust_env=False
    )


def test_command_serves_until_interrupted():
    """The command prints its base URL in one line, serves what it was asked for there, and ends well on Ctrl-C."""
    options = ["--size", "30", "--seed", "7", "--step", "0", "--rate-limit", "0", "--listen-address", "127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter.sandbox", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TELNYX_API_KEY": KEY},
        text=True,
    )
    with process:
        try:
            assert select.select([process.stderr], [], [], 20)[0]
            line = process.stderr.readline()
            assert re.fullmatch(r"A sandbox of 30 connections: http://127\.0\.0\.1:\d+/v2\n", line)
            response = fetch(line, KEY)
            assert response.json()["data"] == Account(30, 7, step=0).rows
            assert not any("ratelimit" in name for name in response.headers)
            assert fetch(line).status_code == 401
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, rest) == (0, "")


@pytest.mark.parametrize("environment", [None, ""], ids=["unset", "empty"])
def test_main_without_a_key_takes_the_default_one(monkeypatch, environment):
    """Without a key in the environment it is `sandbox`; an interrupt ends `main` with status 0."""
    monkeypatch.delenv("TELNYX_API_KEY", raising=False)
    if environment is not None:
        monkeypatch.setenv("TELNYX_API_KEY", environment)
    answers = []
    reader, writer = os.pipe()

    def visit():
        try:
            answers.append(fetch(lines.readline()))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    with os.fdopen(reader) as lines, os.fdopen(writer, "w", buffering=1) as stderr, contextlib.redirect_stderr(stderr):
        visitor.start()
        assert main(["--listen-address", "127.0.0.1:0"]) == 0
        visitor.join()
    (answer,) = answers
    assert (answer.status_code, len(answer.json()["data"])) == (200, 55)
    assert answer.headers["x-ratelimit-limit"] == "600"


ADDRESS = "argument --listen-address: must be a loopback address and a port, such as 127.0.0.1:18080"
NEGATIVE = "--size, --step and --rate-limit must be 0 or more"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--listen-address", "0.0.0.0:18080"], ADDRESS),
        (["--listen-address", "192.0.2.1:18080"], ADDRESS),
        (["--listen-address", ":18080"], ADDRESS),
        (["--listen-address", "127.0.0.1"], ADDRESS),
        (["--listen-address", "127.0.0.1:http"], ADDRESS),
        (["--listen-address", "127.0.0.1:65536"], ADDRESS),
        (["--listen-address", "127.0.0.1:-1"], ADDRESS),
        (["--size", "many"], "argument --size: invalid int value: 'many'"),
        (["--size", "-1"], NEGATIVE),
        (["--step", "-1"], NEGATIVE),
        (["--rate-limit", "-1"], NEGATIVE),
        (["--sise", "1"], "unrecognized arguments: --sise 1"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, list) else "",
)
def test_user_errors_are_one_line(capsys, options, problem):
    """What a user gets wrong is one line, and status 2."""
    with pytest.raises(SystemExit) as exit_:
        main(options)
    assert exit_.value.code == 2
    assert capsys.readouterr() == ("", f"python -m exporter.sandbox: {problem}\n")


def test_a_port_in_use_is_one_line(capsys):
    """A port that is taken is one line that names it, and status 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SystemExit) as exit_:
            main(["--listen-address", address])
    assert exit_.value.code == 2
    line = capsys.readouterr().err
    assert line == f"python -m exporter.sandbox: cannot listen on {address}: {os.strerror(errno.EADDRINUSE)}\n"


def test_module_runs_as_a_program(monkeypatch, capsys):
    """`python -m exporter.sandbox` runs `main`, whose help tells every option."""
    monkeypatch.setattr(sys, "argv", ["sandbox", "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(sandbox.__file__, run_name="__main__")
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in ("listen-address", "size", "seed", "step", "rate-limit"))
