"""A running exporter exposes exactly the paths, headers and ports that docs/operations.md documents."""

import contextlib
import http.client
import re
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from programs import exporter, running, sandbox, wait_until

from exporter.sandbox import Account

KEY = "KEY-of-tests"
DOCUMENT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SECTION = DOCUMENT.partition("## Paths and responses\n")[2].partition("\n## ")[0]

ROWS = re.findall(r"^\| `(/[^`]*)`.*? \| (.*?) \| (.*?) \|$", SECTION, re.MULTILINE)
DOCUMENTED = {
    path: (set(methods.split(", ")), {int(status) for status in re.findall(r"\d{3}", statuses.partition(";")[0])})
    for path, methods, statuses in ROWS
}
"""Methods and statuses by path, with default settings. The statuses after a semicolon need other settings."""
HEADERS = set(re.findall(r"`([a-z-]+)`", SECTION.partition("some of these headers")[2].partition("The exporter")[0]))

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")
GUESSES = (
    "/metrics/ /metrics.json /metric /METRICS //metrics /%2Fmetrics /metrics%00 /metrics/../-/reload /* /- /-/ "
    "/-/quit /-/config /-/status /-/healthy/ /healthz /readyz /livez /health /status /config /probe /sd /targets "
    "/api/v1/query /debug /debug/vars /debug/pprof/ /admin /login /docs /redoc /openapi.json /swagger.json /static/ "
    "/favicon.ico /robots.txt /index.html /.env /.git/config /pyproject.toml /exporter/cli.py /../../etc/passwd "
    "/%2e%2e/%2e%2e/etc/passwd /runbook /runbooksx "
)
"""Paths that other servers have."""
UNKNOWN_RUNBOOKS = (
    "../metrics .. %2e%2e/runbooks.py ../runbooks.py TelnyxApiDown.html TelnyxApiDown/ index index.html / x"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Yield the host and port of an exporter with default settings."""
    with sandbox(Account(5), KEY) as api:
        flags = [f"--telnyx.base-url={api}"]
        with exporter(tmp_path_factory.mktemp("exporter"), *flags, TELNYX_API_KEY=KEY) as url:
            yield urlsplit(url).hostname, urlsplit(url).port


def send_request(address, method, target):
    """Return the status of the response and the names of its headers."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, target, headers={"accept-encoding": "gzip"})
        response = connection.getresponse()
        response.read()
    return response.status, {name.lower() for name, _ in response.getheaders()}


def test_the_documentation_is_parsed():
    """The table of paths and the list of headers are found."""
    runbooks = {"/runbooks", "/runbooks/", "/runbooks/TelnyxApiDown"}
    assert DOCUMENTED.keys() == {
        *("/metrics", "/", "/api/v1/status", *runbooks),
        *("/-/healthy", "/-/ready", "/-/reload"),
    }
    assert {"date", "content-type"} <= HEADERS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", DOCUMENTED)
def test_documented_paths(address, path, method):
    """A path handles its methods as documented, and rejects others with a 405 that lists the allowed ones."""
    methods, statuses = DOCUMENTED[path]
    status, headers = send_request(address, method, path)
    assert status in (statuses if method in methods else {405})
    assert headers <= HEADERS


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", GUESSES.split())
def test_other_paths(address, path, method):
    """Any other path gets a 404."""
    status, headers = send_request(address, method, path)
    assert status == 404
    assert headers <= HEADERS


@pytest.mark.parametrize("name", UNKNOWN_RUNBOOKS.split())
def test_unknown_runbooks(address, name):
    """Below the index of the runbooks, only their names exist, and no other file or page can be reached."""
    status, headers = send_request(address, "GET", f"/runbooks/{name}")
    assert status == 404
    assert headers <= HEADERS
    assert send_request(address, "POST", f"/runbooks/{name}")[0] == 405


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 100,
        b"BREW / HTTP/1.1\r\n\r\n",
    ],
    ids=["nothing", "half a line", "TLS", "unknown version", "zeros", "unknown method"],
)
def test_invalid_requests(address, sent):
    """An invalid request is rejected or dropped, and the response does not name the software."""
    with socket.create_connection(address, timeout=15) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(4096), b""))
    head = received.partition(b"\r\n\r\n")[0].decode().lower()
    assert not head or head.startswith("http/1.1 400 ")
    assert {line.partition(":")[0] for line in head.splitlines()[1:]} <= HEADERS
    assert not re.search(r"uvicorn|python|starlette|traceback", received.decode().lower())


def listening_addresses(pid):
    """Return the kernel's list of what a process listens on: `("tcp6", 10142)`, `("unix", "/run/a.sock")`."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.update(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
    found = set()
    for table, listening in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == listening and rest[5] in inodes:
                found.add((table, int(local.rpartition(":")[2], 16)))
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        _, _, _, flags, _, _, inode, *path = line.split()
        if inode in inodes and int(flags, 16) & 0x10000:
            found.add(("unix", path[0]))
    return found


@pytest.mark.parametrize("demo", [False, True], ids=["account", "demo"])
def test_open_ports(tmp_path, demo):
    """The exporter listens only on the configured addresses. A demo also listens on one port of loopback."""
    path, log = tmp_path / "telnyx.sock", tmp_path / "exporter.log"
    flags = ["--demo"] if demo else ["--telnyx.base-url=http://127.0.0.1:9/v2"]
    addresses = f"--web.listen-address=127.0.0.1:0,[::1]:0,unix://{path}"
    command = (sys.executable, "-m", "exporter", addresses, *flags)
    with running(*command, log=log, TELNYX_API_KEY=KEY) as process:
        wait_until(lambda: "socket=" in log.read_text(), "listening")
        urls = re.findall(r"page=http://(\S+):(\d+)/", log.read_text())
        # IPv4 and IPv6 may use the same port.
        configured = {("tcp6" if "[" in host else "tcp", int(port)) for host, port in urls} | {("unix", str(path))}
        others = listening_addresses(process.pid) - configured
        assert configured <= listening_addresses(process.pid)
    assert len(configured) == 3
    assert len(others) == (1 if demo else 0)
