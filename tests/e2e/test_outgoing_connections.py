"""The command connects to the API over TLS with a private CA, and through a proxy. Its output never has a password."""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from certificates import authority, identity, server_context
from connect_proxy import ConnectProxy
from cryptography import x509
from fake_api import FakeApi, connections

from exporter.telnyx.errors import (
    CertificateUntrusted,
    ProxyFailed,
    ProxyForbidden,
    ProxyServerError,
    ProxyUnauthorized,
)

CANARY = "c4n4ry"
CREDENTIALS = f"{CANARY}-user:{CANARY}-password"
HOST = "api.telnyx.test"
CA, OTHER_CA = authority("ca"), authority("other ca")
TLS = server_context(identity("server", x509.DNSName(HOST), by=CA))
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
TIMEOUT = 30


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Run each test in a folder that has the CAs, without the variables for proxies and CAs."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("TELNYX_API_KEY", f"KEY{CANARY}")
    monkeypatch.setenv("TELNYX_BASE_URL", f"https://{HOST}/v2")
    Path("ca.pem").write_text(CA.pem)
    Path("other.pem").write_text(OTHER_CA.pem)
    return tmp_path


@pytest.fixture
async def api():
    """Yield an HTTPS API with three connections, whose certificate is for `HOST` and signed by `CA`."""
    async with FakeApi(connections(3), tls=TLS) as api:
        yield api


def write(name, text):
    """Write a file in the folder of the test."""
    Path(name).write_text(text)


async def start(*flags, **environment):
    """Start the command, with its log as JSON."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "--log.format=json", "--log.level=debug", *flags),
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*flags, **environment):
    """Run the command and return its exit status and its output, which has no secret."""
    process = await start(*flags, **environment)
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    assert CANARY.encode() not in out + err
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def serving(*flags, **environment):
    """Start the exporter and yield its process and its URL. At the end, check that its log has no secret."""
    process = await start("--web.listen-address=127.0.0.1:0", "--telnyx.timeout=5s", *flags, **environment)
    process.lines = []
    try:
        async with asyncio.timeout(TIMEOUT):
            listening = await record(process, "listening")
            yield process, listening["page"]
            process.terminate()
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    assert CANARY not in "".join(process.lines) + err.decode()


async def record(process, *messages):
    """Return the next log record with one of these messages."""
    while True:
        line = (await process.stderr.readline()).decode()
        assert line, f"the log ended before {messages}"
        process.lines.append(line)
        if (found := json.loads(line))["msg"] in messages:
            return found


async def pages(url):
    """Return the status page and the metrics."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=TIMEOUT) as client:
        return (await client.get("/")).text, (await client.get("/metrics")).text


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "TELNYX_EXPORTER_TELNYX__PROXY_URL"])
async def test_once_through_a_proxy(api, name):
    """`--once` reads the API through the proxy of the environment, with a private CA."""
    async with ConnectProxy(api.port, credentials=CREDENTIALS) as proxy:
        status, out, _ = await run("--once", "--telnyx.ca-file=ca.pem", **{name: proxy.url_for(CREDENTIALS)})
    assert status == 0
    assert out.count("telnyx_connection_active{") == 3
    assert set(proxy.targets) == {f"{HOST}:443"}


async def test_the_flag_for_a_proxy_takes_precedence(api):
    """`--telnyx.proxy-url` takes precedence over HTTPS_PROXY and NO_PROXY, and SSL_CERT_FILE has the CAs."""
    environment = {"HTTPS_PROXY": f"http://{CANARY}@127.0.0.1:9", "NO_PROXY": "*", "SSL_CERT_FILE": "ca.pem"}
    async with ConnectProxy(api.port) as proxy:
        status, _, _ = await run("--once", f"--telnyx.proxy-url={proxy.url}", **environment)
    assert status == 0
    assert proxy.targets


@pytest.mark.parametrize(
    ("options", "ca_file", "error", "message"),
    [
        pytest.param({}, "other.pem", CertificateUntrusted, "is not signed by a trusted CA", id="other CA"),
        pytest.param({"credentials": "me:other"}, "ca.pem", ProxyUnauthorized, "(HTTP status 407)", id="407"),
        pytest.param({"status": 403}, "ca.pem", ProxyForbidden, "(HTTP status 403)", id="403"),
        pytest.param({"status": 502}, "ca.pem", ProxyServerError, "(HTTP status 502)", id="502"),
        pytest.param(None, "ca.pem", ProxyFailed, "can't connect to the proxy: Connection refused", id="down"),
    ],
)
async def test_each_failure_has_its_advice(api, options, ca_file, error, message):
    """`--check-access`, the log, the status page and the metrics show what failed and the advice, but no password."""
    async with ConnectProxy(api.port, **options or {}) as proxy:
        if options is None:
            proxy.close()
        environment = {"HTTPS_PROXY": proxy.url_for(CREDENTIALS)}
        status, out, _ = await run("--check-access", f"--telnyx.ca-file={ca_file}", **environment)
        assert status == 1
        assert f"{message}. {error.advice}\n" in out

        async with serving(f"--telnyx.ca-file={ca_file}", **environment) as (process, url):
            failed = await record(process, "refresh failed")
            page, metrics = await pages(url)
            assert (failed["reason"], failed["advice"]) == (error.reason, error.advice)
            assert failed["error"].endswith(message)
            assert CANARY not in page + metrics
            assert error.advice.split("-")[0] in page
            assert f'telnyx_refresh_failures_total{{reason="{error.reason}"}} 1.0' in metrics
    assert api.requests == []


async def test_a_reload_reads_the_ca_file_again(api):
    """SIGHUP applies a CA file whose content changed. An invalid one changes nothing."""
    write("trusted.pem", OTHER_CA.pem)
    async with ConnectProxy(api.port) as proxy:
        environment = {"HTTPS_PROXY": proxy.url, "TELNYX_EXPORTER_CACHE__TTL": "0"}
        async with serving("--telnyx.ca-file=trusted.pem", **environment) as (process, url):
            assert (await record(process, "refresh failed"))["reason"] == "tls"

            write("trusted.pem", "junk")
            process.send_signal(signal.SIGHUP)
            rejected = await record(process, "configuration is invalid, keeping the previous one")
            assert rejected["problem"] == "--telnyx.ca-file='trusted.pem': must contain PEM certificates"

            write("trusted.pem", CA.pem)
            process.send_signal(signal.SIGHUP)
            await record(process, "configuration reloaded")
            await record(process, "refreshes succeed again", "refreshed")
            _, metrics = await pages(url)
            assert "telnyx_up 1.0" in metrics


async def test_a_reload_applies_another_proxy(api):
    """SIGHUP applies the proxy of `.env`. An invalid one is reported without its value, and changes nothing."""
    name = "TELNYX_EXPORTER_TELNYX__PROXY_URL"
    async with ConnectProxy(api.port, status=403) as first, ConnectProxy(api.port) as second:
        write(".env", f"{name}={first.url_for(CREDENTIALS)}\n")
        async with serving("--telnyx.ca-file=ca.pem") as (process, _):
            assert (await record(process, "refresh failed"))["reason"] == "proxy"

            write(".env", f"{name}=socks5://{CREDENTIALS}@127.0.0.1:9\n")
            process.send_signal(signal.SIGHUP)
            rejected = await record(process, "configuration is invalid, keeping the previous one")
            assert rejected["problem"].startswith(f"{name} in .env: is a SOCKS proxy")

            write(".env", f"{name}={second.url_for(CREDENTIALS)}\n")
            process.send_signal(signal.SIGHUP)
            await record(process, "configuration reloaded")
            await record(process, "refreshes succeed again", "refreshed")
    assert second.targets


async def test_a_demo_ignores_proxies(api):
    """A demo reads its own API on loopback, whatever proxies are set."""
    environment = {"HTTPS_PROXY": "http://127.0.0.1:9", "TELNYX_EXPORTER_TELNYX__PROXY_URL": "http://proxy.test:9"}
    status, _, _ = await run("--once", "--demo", **environment)
    assert status == 0
    assert api.requests == []
