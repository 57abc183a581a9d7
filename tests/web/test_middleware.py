import asyncio
import base64
import contextlib
import threading

import bcrypt
import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter.web import middleware as auth
from exporter.web.middleware import WebConfigMiddleware
from exporter.web.web_config import WebConfig

RIGHT = ("alice", "pässword")
ALICE = bcrypt.hashpw("pässword".encode(), bcrypt.gensalt(4)).decode()
BOB = bcrypt.hashpw(b"b" * 72, bcrypt.gensalt(5)).decode()
USERS = {"basic_auth_users": {"alice": ALICE, "bob": BOB}}


async def hello(_):
    return PlainTextResponse("hello", headers={"x-frame-options": "sameorigin", "x-other": "kept"})


APP = Starlette(routes=[Route("/metrics", hello), Route("/-/healthy", hello), Route("/-/ready", hello)])


class Check:
    """bcrypt, which keeps what it was asked."""

    def __init__(self):
        self.stored = []

    def __call__(self, password, stored):
        """Check a password."""
        self.stored.append(stored.decode())
        return bcrypt.checkpw(password, stored)


class Current:
    """A configuration that can change."""

    def __init__(self, **sections):
        self.set(**sections)

    def set(self, **sections):
        """Change it."""
        self.config = WebConfig.model_validate(sections)

    def __call__(self):
        """Return it as it is now."""
        return self.config


def client(current, *, peer=("192.0.2.7", 4711), **seams):
    transport = httpx.ASGITransport(WebConfigMiddleware(APP, current, **seams), client=peer)
    return httpx.AsyncClient(transport=transport, base_url="http://exporter")


async def test_without_users_anyone_may_ask():
    """A file without users asks for none."""
    async with client(Current()) as http:
        assert (await http.get("/metrics")).status_code == 200


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        pytest.param(RIGHT, 200, id="right"),
        pytest.param(("bob", "b" * 72), 200, id="right, of another"),
        pytest.param(("bob", "b" * 80), 200, id="longer than bcrypt looks"),
        pytest.param(("alice", "wrong"), 401, id="wrong"),
        pytest.param(("alice", ""), 401, id="empty"),
        pytest.param(("alice", "a\0b"), 401, id="NUL"),
        pytest.param(("bob", "pässword"), 401, id="another's"),
        pytest.param(("mallory", "b" * 72), 401, id="nobody, with the password that nobody is checked against"),
    ],
)
async def test_passwords(credentials, status):
    """A user with its password is let in, and nobody else."""
    async with client(Current(**USERS), check_password=(check := Check())) as http:
        answers = [await http.get("/metrics", auth=credentials) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status] * 2
    assert len(check.stored) == (1 if status == 200 else 2)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("Bearer " + base64.b64encode(b"alice:x").decode(), id="another scheme"),
        pytest.param("Basic", id="nothing"),
        pytest.param("Basic ????", id="not base64"),
        pytest.param("Basic \xe9", id="not ASCII"),
        pytest.param("Basic " + base64.b64encode(b"alice").decode(), id="no colon"),
    ],
)
async def test_headers_that_name_nobody(header):
    """A header that names no user is answered with a challenge, without bcrypt."""
    async with client(Current(**USERS), check_password=(check := Check())) as http:
        headers = {} if header is None else {"authorization": header.encode("latin-1")}
        answer = await http.get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="telnyx-exporter", charset="UTF-8"'
    assert not check.stored


async def test_scheme_in_any_case():
    """The scheme is compared as HTTP says."""
    header = "bAsIc  " + base64.b64encode("alice:pässword".encode()).decode()
    async with client(Current(**USERS)) as http:
        assert (await http.get("/metrics", headers={"authorization": header})).status_code == 200


async def test_unknown_users_cost_what_known_ones_do():
    """Bcrypt is called as often for a user that does not exist, at the highest cost there is."""
    async with client(Current(**USERS), check_password=(check := Check())) as http:
        for _ in range(2):
            await http.get("/metrics", auth=("bob", "wrong"))
            await http.get("/metrics", auth=("mallory", "wrong"))
    assert check.stored == [BOB] * 4


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
async def test_probes_stay_open(path):
    """Health is asked by who has no password, as often as it likes."""
    current = Current(**USERS, rate_limit={"interval": "1h", "burst": 1})
    async with client(current) as http:
        for _ in range(3):
            assert (await http.get(path)).status_code == 200


async def test_a_reload_forgets_verdicts():
    """A password that was right counts for nothing once the users change."""
    current = Current(**USERS)
    async with client(current, check_password=(check := Check())) as http:
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 200
        current.set(basic_auth_users={"alice": BOB})
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 401
        current.set(**USERS)
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 200
    assert check.stored == [ALICE, BOB, ALICE]


async def test_passwords_are_not_kept():
    """What is remembered of a right password is neither it nor its hash."""
    middleware = WebConfigMiddleware(APP, Current(**USERS))
    transport = httpx.ASGITransport(middleware)
    async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as http:
        await http.get("/metrics", auth=RIGHT)
    (proof,) = middleware._auth._cached_logins.values()
    assert "pässword".encode() not in proof
    assert ALICE.encode() not in proof


async def test_one_password_is_checked_at_a_time():
    """Scrapers that come together wait for one bcrypt, not for one each."""
    async with client(Current(**USERS), check_password=(check := Check())) as http:
        answers = await asyncio.gather(*(http.get("/metrics", auth=RIGHT) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len(check.stored) == 1


async def test_those_who_wait_are_bounded(monkeypatch):
    """More wrong passwords than can wait are turned away, and those known to be right are not."""
    monkeypatch.setattr(auth, "MAX_QUEUED_CHECKS", 2)
    go, asked = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(password, stored):
        if password == b"wrong":
            loop.call_soon_threadsafe(asked.set)
            go.wait(10)
        return bcrypt.checkpw(password, stored)

    async with client(Current(**USERS), check_password=slow) as http, contextlib.AsyncExitStack() as stack:
        stack.callback(go.set)
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 200
        waiting = [asyncio.create_task(http.get("/metrics", auth=("alice", "wrong"))) for _ in range(2)]
        await asked.wait()
        await asyncio.sleep(0.1)  # until the second one waits, too
        assert (await http.get("/metrics", auth=("alice", "wrong"))).status_code == 503
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 200
        go.set()
        assert [(await task).status_code for task in waiting] == [401] * 2


@pytest.mark.parametrize(("peer", "shown"), [(("192.0.2.7", 4711), "192.0.2.7"), (None, "")], ids=["TCP", "path"])
async def test_who_is_refused_is_a_line_at_debug(peer, shown):
    """Who looks for guesses, or for why a scrape is refused, finds it, without what was guessed."""
    with structlog.testing.capture_logs() as logs:
        async with client(Current(**USERS), peer=peer) as asking:
            for guess in (RIGHT, ("alice", "gue55")):
                await asking.get("/metrics", auth=guess)
    assert logs == [{"event": "request rejected", "log_level": "debug", "status": 401, "client": shown}]


async def test_headers():
    """Headers of the file are on every answer, in place of its own; a blank one is not there."""
    headers = {"X-Frame-Options": "deny", "Content-Security-Policy": "", "X-XSS-Protection": "0"}
    async with client(Current(**USERS, http_server_config={"headers": headers})) as http:
        answers = [await http.get("/metrics"), await http.get("/-/ready"), await http.get("/metrics", auth=RIGHT)]
    for answer in answers:
        assert answer.headers.get_list("x-frame-options") == ["deny"]
        assert answer.headers["x-xss-protection"] == "0"
        assert "content-security-policy" not in answer.headers
    assert answers[-1].headers["x-other"] == "kept"


async def test_rate_limit():
    """A burst passes, then one request for each interval; a pause gains no more than a burst."""
    times = iter((0, 0, 0, 0, 9, 10, 11, 1000, 1000, 1000))  # the first is that of the start
    current = Current(rate_limit={"interval": "10s", "burst": 2})
    async with client(current, clock=lambda: next(times)) as http:
        statuses = [(await http.get("/metrics")).status_code for _ in range(9)]
    assert statuses == [200, 200, 429, 429, 200, 429, 200, 200, 429]
