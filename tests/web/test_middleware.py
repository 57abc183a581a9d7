import asyncio
import base64
import threading
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import httpx
import pytest
from raw_clients import Incidents
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter.config.web.paths import WebPaths
from exporter.server.incidents import RequestRefused
from exporter.web.middleware import WebConfigMiddleware
from exporter.web.web_config import WebConfig

RIGHT = ("alice", "pässword")
ALICE = bcrypt.hashpw("pässword".encode(), bcrypt.gensalt(4)).decode()
BOB = bcrypt.hashpw(b"b" * 72, bcrypt.gensalt(5)).decode()
USERS = {"basic_auth_users": {"alice": ALICE, "bob": BOB}}


async def hello(_):
    return PlainTextResponse("hello", headers={"x-frame-options": "sameorigin", "x-other": "kept"})


OPEN = ("/-/healthy", "/-/ready", "/runbooks", "/runbooks/", "/runbooks/TelnyxApiDown")
APP = Starlette(routes=[Route(path, hello) for path in ("/metrics", *OPEN)])


class PasswordCheck:
    """Checks passwords with bcrypt and records the hashes that it is called with."""

    def __init__(self):
        self.hashes = []

    def __call__(self, password, stored):
        """Check a password against a hash."""
        self.hashes.append(stored.decode())
        return bcrypt.checkpw(password, stored)


class Current:
    """A web configuration that a test can change."""

    def __init__(self, **sections):
        self.set(**sections)

    def set(self, **sections):
        """Change the configuration."""
        self.config = WebConfig.model_validate(sections)

    def __call__(self):
        """Return the current configuration."""
        return self.config


def client(current, *, peer=("192.0.2.7", 4711), **options):
    incidents = options.pop("incidents", Incidents())
    transport = httpx.ASGITransport(WebConfigMiddleware(APP, current, incidents, **options), client=peer)
    return httpx.AsyncClient(transport=transport, base_url="http://exporter")


async def test_without_users_no_password_is_needed():
    """If the file has no users, requests need no password."""
    async with client(Current()) as http:
        assert (await http.get("/metrics")).status_code == 200


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        pytest.param(RIGHT, 200, id="right"),
        pytest.param(("bob", "b" * 72), 200, id="right, another user"),
        pytest.param(("bob", "b" * 80), 200, id="longer than the limit of bcrypt"),
        pytest.param(("alice", "wrong"), 401, id="wrong"),
        pytest.param(("alice", ""), 401, id="empty"),
        pytest.param(("alice", "a\0b"), 401, id="NUL"),
        pytest.param(("bob", "pässword"), 401, id="password of another user"),
        pytest.param(("mallory", "b" * 72), 401, id="unknown user, password of the costliest hash"),
    ],
)
async def test_passwords(credentials, status):
    """Only users with the right password are let in."""
    async with client(Current(**USERS), check_password=(check := PasswordCheck())) as http:
        responses = [await http.get("/metrics", auth=credentials) for _ in range(2)]
    assert [response.status_code for response in responses] == [status] * 2
    assert len(check.hashes) == (1 if status == 200 else 2)


async def test_password_checks_have_their_own_thread():
    """A password is checked even if the thread that refreshes and responses share is busy, and doesn't keep it busy."""
    release = threading.Event()
    with ThreadPoolExecutor(1) as shared:
        asyncio.get_running_loop().set_default_executor(shared)
        busy = asyncio.create_task(asyncio.to_thread(release.wait, 30))
        async with client(Current(**USERS)) as http, asyncio.timeout(20):
            assert (await http.get("/metrics", auth=RIGHT)).status_code == 200
        assert not busy.done()
        release.set()
        await busy


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("Bearer " + base64.b64encode(b"alice:x").decode(), id="another scheme"),
        pytest.param("Basic", id="scheme only"),
        pytest.param("Basic ????", id="not base64"),
        pytest.param("Basic \xe9", id="not ASCII"),
        pytest.param("Basic " + base64.b64encode(b"alice").decode(), id="no colon"),
    ],
)
async def test_invalid_headers_get_a_challenge(header):
    """A header without valid credentials gets a challenge. bcrypt is not called."""
    async with client(Current(**USERS), check_password=(check := PasswordCheck())) as http:
        headers = {} if header is None else {"authorization": header.encode("latin-1")}
        response = await http.get("/metrics", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Basic realm="telnyx-exporter", charset="UTF-8"'
    assert not check.hashes


async def test_scheme_is_case_insensitive():
    """The case of the authentication scheme doesn't matter, as HTTP specifies."""
    header = "bAsIc  " + base64.b64encode("alice:pässword".encode()).decode()
    async with client(Current(**USERS)) as http:
        assert (await http.get("/metrics", headers={"authorization": header})).status_code == 200


async def test_unknown_users_take_as_long_as_known_ones():
    """For an unknown user, bcrypt is called as often as for a known one, with the highest cost of all users."""
    async with client(Current(**USERS), check_password=(check := PasswordCheck())) as http:
        for _ in range(2):
            await http.get("/metrics", auth=("bob", "wrong"))
            await http.get("/metrics", auth=("mallory", "wrong"))
    assert check.hashes == [BOB] * 4


@pytest.mark.parametrize("path", OPEN)
async def test_health_checks_and_runbooks_stay_open(path):
    """Health checks and runbooks need no password and have no rate limit."""
    current = Current(**USERS, rate_limit={"interval": "1h", "burst": 1})
    async with client(current) as http:
        for _ in range(3):
            assert (await http.get(path)).status_code == 200


async def test_open_paths_are_below_a_prefix():
    """With a prefix, only the health checks and runbooks below it are open. The redirect of `/` is not."""
    app = Starlette(routes=[Route("/{path:path}", hello)])
    middleware = WebConfigMiddleware(app, Current(**USERS), Incidents(), paths=WebPaths("/a", "/b"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url="http://exporter") as http:
        opened = ("/a/-/healthy", "/a/-/ready", "/a/runbooks/", "/a/runbooks/x")
        closed = ("/-/ready", "/b/-/ready", "/runbooks/", "/b/runbooks/x", "/a/runbooksx", "/a/metrics", "/")
        codes = {path: (await http.get(path)).status_code for path in (*opened, *closed)}
    assert codes == {**dict.fromkeys(opened, 200), **dict.fromkeys(closed, 401)}


async def test_a_changed_hash_clears_a_cached_login():
    """When the hash of a user changes, the cached login is dropped."""
    current = Current(**USERS)
    async with client(current, check_password=(check := PasswordCheck())) as http:
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 200
        current.set(basic_auth_users={"alice": BOB})
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 401
        current.set(**USERS)
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 200
    assert check.hashes == [ALICE, BOB, ALICE]


async def test_a_reload_keeps_other_cached_logins():
    """A reload keeps the logins of users whose hash stays the same, so that nobody can keep them from logging in."""
    current = Current(**USERS)
    async with client(current, check_password=(check := PasswordCheck())) as http:
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 200
        current.set(basic_auth_users={"alice": ALICE, "carol": BOB}, rate_limit={"interval": "1s", "burst": 9})
        assert (await http.get("/metrics", auth=RIGHT)).status_code == 200
    assert check.hashes == [ALICE]


async def test_passwords_are_not_cached():
    """A cached login contains neither the password nor its bcrypt hash."""
    middleware = WebConfigMiddleware(APP, Current(**USERS), Incidents())
    transport = httpx.ASGITransport(middleware)
    async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as http:
        await http.get("/metrics", auth=RIGHT)
    (digest,) = middleware._auth._cached_digests.values()
    assert "pässword".encode() not in digest
    assert ALICE.encode() not in digest


async def test_concurrent_requests_share_one_check():
    """Concurrent scrapes with the same password wait for a single bcrypt call."""
    async with client(Current(**USERS), check_password=(check := PasswordCheck())) as http:
        responses = await asyncio.gather(*(http.get("/metrics", auth=RIGHT) for _ in range(5)))
    assert [response.status_code for response in responses] == [200] * 5
    assert len(check.hashes) == 1


@pytest.mark.parametrize(("peer", "address"), [(("192.0.2.7", 4711), "192.0.2.7"), (None, "")], ids=["TCP", "Unix"])
async def test_refused_requests_are_recorded(peer, address):
    """Refused requests are recorded with their reason and the address of the client."""
    current = Current(**USERS, rate_limit={"interval": "1h", "burst": 3})
    async with client(current, peer=peer, incidents=(incidents := Incidents())) as http:
        responses = [await http.get("/metrics", auth=guess) for guess in (RIGHT, ("alice", "gue55"), None, RIGHT)]
    assert [response.status_code for response in responses] == [200, 401, 401, 429]
    assert incidents == [
        (RequestRefused.WRONG_CREDENTIALS, address, ""),
        (RequestRefused.NO_CREDENTIALS, address, ""),
        (RequestRefused.RATE_LIMIT, address, ""),
    ]


async def test_headers():
    """The headers from the file replace those of every response. A header with an empty value is not added."""
    headers = {"X-Frame-Options": "deny", "Content-Security-Policy": "", "X-XSS-Protection": "0"}
    async with client(Current(**USERS, http_server_config={"headers": headers})) as http:
        responses = [await http.get("/metrics"), await http.get("/-/ready"), await http.get("/metrics", auth=RIGHT)]
    for response in responses:
        assert response.headers.get_list("x-frame-options") == ["deny"]
        assert response.headers["x-xss-protection"] == "0"
        assert "content-security-policy" not in response.headers
    assert responses[-1].headers["x-other"] == "kept"


async def test_rate_limit():
    """A burst passes, then one request per interval. However long a pause is, it allows only one more burst."""
    times = iter((0, 0, 0, 0, 9, 10, 11, 1000, 1000, 1000))  # the first one is read at startup
    current = Current(rate_limit={"interval": "10s", "burst": 2})
    async with client(current, clock=lambda: next(times)) as http:
        statuses = [(await http.get("/metrics")).status_code for _ in range(9)]
    assert statuses == [200, 200, 429, 429, 200, 429, 200, 200, 429]
