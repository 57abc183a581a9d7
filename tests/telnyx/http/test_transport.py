import asyncio
import datetime as dt
import hashlib
import ipaddress
import socket
from contextlib import asynccontextmanager

import pytest
import structlog
from certificates import authority, identity, server_context
from connect_proxy import ConnectProxy
from cryptography import x509
from fake_api import FakeApi, connections, silence
from list_reader import KEY, Recorder, fetch, ids

from exporter.config.flags import UsageError
from exporter.telnyx.errors import (
    CertificateExpired,
    CertificateMismatch,
    CertificateUntrusted,
    ConnectionFailed,
    NameNotResolved,
    ProxyFailed,
    ProxyForbidden,
    ProxyServerError,
    ProxyUnauthorized,
    RequestTimeout,
    TelnyxError,
    TlsFailed,
)
from exporter.telnyx.http import tls
from exporter.telnyx.http.client import Client
from exporter.telnyx.http.transport import prepare_routes

CA, OTHER_CA = authority("ca"), authority("other ca")
LOOPBACK = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
HOST = "api.telnyx.test"
NAMES = (LOOPBACK, x509.DNSName(HOST))
CREDENTIALS = "me:canary-7f3a"
ATTEMPTS = 4
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Run each test without the variables for proxies and CAs."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def ca_file(tmp_path):
    """Return the path of a file with the private CA."""
    path = tmp_path / "ca.pem"
    path.write_text(CA.pem)
    return path


def server(*, by=CA, sans=NAMES, **options):
    """Return the TLS context of a server."""
    return server_context(identity("server", *sans, by=by, **options))


@asynccontextmanager
async def https_api(**options):
    """Yield an HTTPS API with three connections."""
    async with FakeApi(connections(3), tls=server(**options)) as api:
        yield api


async def failure(recorder, kind, **options):
    """Fetch, and return the error, which has this type, and the number of attempts. It quotes no secret."""
    with structlog.testing.capture_logs() as logs, pytest.raises(TelnyxError) as caught:
        await fetch(recorder, **options)
    assert type(caught.value) is kind
    assert caught.value.__context__ is None
    for secret in (KEY, "canary", HOST, "127.0.0.1"):
        assert secret not in f"{caught.value} {caught.value.advice}"
    assert not [secret for secret in (KEY, "canary") if secret in str(logs)]
    return str(caught.value), len(recorder.codes)


# TLS


async def test_a_private_ca_is_trusted(ca_file):
    """`--telnyx.ca-file` is trusted, also for loopback."""
    async with https_api() as api:
        assert ids(await fetch(base_url=api.url, ca_file=ca_file)) == ["1", "2", "3"]


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_the_environment_is_honoured_on_loopback(monkeypatch, tmp_path, ca_file, name):
    """The variables for CAs apply to loopback, too."""
    name_hash = hashlib.sha1(CA.certificate.subject.public_bytes()[2:], usedforsecurity=False).digest()[:4]
    ca_file.with_name(f"{int.from_bytes(name_hash, 'little'):08x}.0").write_text(CA.pem)  # as openssl rehash does
    monkeypatch.setenv(name, str(tmp_path if name == "SSL_CERT_DIR" else ca_file))
    async with https_api() as api:
        assert ids(await fetch(base_url=api.url)) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        pytest.param({"by": OTHER_CA}, CertificateUntrusted, "is not signed by a trusted CA", id="other CA"),
        pytest.param({"by": None}, CertificateUntrusted, "is not signed by a trusted CA", id="self-signed"),
        pytest.param({"age": dt.timedelta(days=9)}, CertificateExpired, "has expired", id="expired"),
        pytest.param({"age": -dt.timedelta(days=9)}, CertificateExpired, "is not valid yet", id="not yet valid"),
        pytest.param({"sans": [x509.DNSName("x.test")]}, CertificateMismatch, "is for another host", id="mismatch"),
    ],
)
async def test_a_certificate_that_is_not_accepted(recorder, ca_file, options, kind, message):
    """The error says what is wrong with the certificate. The request is not retried, and the key is never sent."""
    async with https_api(**options) as api:
        failed = await failure(recorder, kind, base_url=api.url, ca_file=ca_file)
        assert failed == (f"the certificate of the API {message}", 1)
        assert api.requests == []


async def test_the_default_cas_do_not_count_beside_the_file(recorder):
    """Without the file, the private CA is not trusted."""
    async with https_api() as api:
        message, attempts = await failure(recorder, CertificateUntrusted, base_url=api.url)
    assert (message, attempts) == ("the certificate of the API is not signed by a trusted CA", 1)


@asynccontextmanager
async def plain_server():
    """Yield the port of a server that answers anything with an HTTP response and closes the connection."""

    async def answer(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def test_a_server_without_tls(recorder, ca_file):
    """A server that speaks plain HTTP on an https URL fails the handshake, which is not retried."""
    async with plain_server() as port:
        message, attempts = await failure(recorder, TlsFailed, base_url=f"https://127.0.0.1:{port}", ca_file=ca_file)
    assert message.startswith("the TLS handshake with the API failed (")
    assert attempts == 1


async def test_a_handshake_that_breaks_is_retried(recorder, ca_file):
    """A server that closes the connection during the handshake may do better later."""

    async def close(_, writer):
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as closing:
        url = f"https://127.0.0.1:{closing.sockets[0].getsockname()[1]}"
        failed = await failure(recorder, ConnectionFailed, base_url=url, ca_file=ca_file)
    assert failed == ("the connection to the API was closed during the TLS handshake", ATTEMPTS)


@pytest.mark.parametrize("through_proxy", [False, True], ids=["API", "proxy"])
async def test_tls_that_fails_after_the_handshake(recorder, ca_file, through_proxy):
    """Something on the way can break TLS after the handshake, too. That is an error of the network, not a bug."""
    broken = asyncio.Event()

    async def relay(reader, writer):
        async with https_api() as api:
            api_reader, api_writer = await asyncio.open_connection("127.0.0.1", api.port)
            api_writer.write(await reader.read(2**16))  # the handshake ...
            writer.write(await api_reader.read(2**16))
            await reader.read(2**16)  # ... which the client ends with its first request
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await broken.wait()
            api_writer.close()
        writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as listening:
        address = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        options = {"base_url": f"https://{HOST}", "proxy_url": address} if through_proxy else {"base_url": address}
        kind, message = await send_once(**options, ca_file=ca_file)
        broken.set()
    assert kind is (ProxyFailed if through_proxy else TlsFailed)
    assert message == f"the TLS connection with the {'proxy' if through_proxy else 'API'} failed (WRONG_VERSION_NUMBER)"


async def test_a_name_that_dns_does_not_know(recorder, ca_file):
    """A host name without an address has its own error, and is retried."""
    message, attempts = await failure(
        recorder, NameNotResolved, base_url="https://no-such-host.invalid", ca_file=ca_file
    )
    assert message.startswith("can't resolve the host name of the API: ")
    assert attempts == ATTEMPTS


async def send_once(base_url, **options):
    """Send a request that fails, without retries, and return the error."""
    route = prepare_routes(base_url, **options)()
    client = Client(base_url, lambda: KEY, Recorder(), timeout=0.2, route=route)
    with pytest.raises(TelnyxError) as caught:
        await client.send_once("/x", {})
    await client.close()
    return type(caught.value), str(caught.value)


async def test_a_connection_that_is_not_accepted_in_time(ca_file):
    """A server that does not complete the connection in time is a failed connection, not a slow API."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        assert await send_once(url, ca_file=ca_file) == (ConnectionFailed, "no connection to the API in time")


def test_the_context_is_created_once(monkeypatch, ca_file):
    """The CAs are loaded once for all routes, also with an https proxy, and not at all without TLS."""
    created = []
    create = tls.create_ssl_context
    monkeypatch.setattr(
        "exporter.telnyx.http.transport.create_ssl_context", lambda *args: created.append(args) or create(*args)
    )
    routes = prepare_routes(f"https://{HOST}", ca_file, "https://proxy.test:1")
    first, second = routes(), routes()
    assert first.transport is not second.transport
    assert created == [(ca_file,)]
    prepare_routes("http://127.0.0.1:1")
    assert created == [(ca_file,)]


async def test_routes_share_no_connections(ca_file):
    """Each client has its own connections: one that is closed does not disturb the others."""
    async with https_api() as api:
        routes = prepare_routes(api.url, ca_file)
        first, second = (Client(api.url, lambda: KEY, Recorder(), route=routes()) for _ in range(2))
        for client in (first, second, first):
            await client.send_once("/credential_connections", {})
        assert api.accepted == 2
        await first.close()
        await second.send_once("/credential_connections", {})
        assert api.accepted == 2
        await second.close()


@pytest.mark.parametrize("host", ["1.2.3.999", "\u2603.test", "xn--zzzzzz.test", "[v1.x]"])
def test_a_host_that_httpx_rejects(ca_file, host):
    """A host that httpx can't use is an error of the configuration, not of each request. It is not quoted."""
    with pytest.raises(UsageError, match=r"^--telnyx.base-url: must have a valid host name or IP address$"):
        prepare_routes(f"https://{host}/canary/v2", ca_file)


# Proxies


@pytest.mark.parametrize("source", ["flag", "HTTPS_PROXY", "all_proxy"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
async def test_requests_go_through_the_proxy(monkeypatch, ca_file, source, is_tls):
    """The proxy connects to the API and can't read the request. It gets the user name and password of its URL."""
    proxy_tls = server() if is_tls else None
    async with https_api() as api, ConnectProxy(api.port, credentials=CREDENTIALS, tls=proxy_tls) as proxy:
        url = proxy.url_for(CREDENTIALS)
        if source != "flag":
            monkeypatch.setenv(source, url)
        options = {"proxy_url": url} if source == "flag" else {}
        assert ids(await fetch(base_url=f"https://{HOST}/v2", ca_file=ca_file, **options)) == ["1", "2", "3"]
    assert set(proxy.targets) == {f"{HOST}:443"}
    assert set(proxy.credentials) == {CREDENTIALS}


async def test_a_password_is_percent_decoded(ca_file):
    """Special characters of the password are percent-encoded in the URL."""
    async with https_api() as api, ConnectProxy(api.port, credentials="me:a/b#c@d:e") as proxy:
        url = proxy.url_for("me:a%2Fb%23c%40d%3Ae")
        assert ids(await fetch(base_url=f"https://{HOST}/v2", ca_file=ca_file, proxy_url=url)) == ["1", "2", "3"]


@pytest.mark.parametrize("is_explicit", [False, True], ids=["environment", "flag"])
async def test_loopback_uses_only_the_proxy_of_the_flag(monkeypatch, ca_file, is_explicit):
    """A proxy of the environment is not used for loopback, but that of the flag is."""
    async with https_api() as api, ConnectProxy(api.port) as proxy:
        for name in VARIABLES[:3]:
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        options = {"proxy_url": proxy.url} if is_explicit else {}
        assert ids(await fetch(base_url=api.url, ca_file=ca_file, **options)) == ["1", "2", "3"]
    assert bool(proxy.targets) is is_explicit


@pytest.mark.parametrize(
    ("options", "kind", "failed"),
    [
        (
            {"credentials": "me:other"},
            ProxyUnauthorized,
            ("the proxy requires a valid user name and password (HTTP status 407)", 1),
        ),
        ({"status": 403}, ProxyForbidden, ("the proxy does not allow connections to the API (HTTP status 403)", 1)),
        ({"status": 502}, ProxyServerError, ("the proxy failed to connect to the API (HTTP status 502)", ATTEMPTS)),
        ({"status": 503}, ProxyServerError, ("the proxy failed to connect to the API (HTTP status 503)", ATTEMPTS)),
    ],
    ids=["407", "403", "502", "503"],
)
async def test_a_proxy_that_refuses(recorder, ca_file, options, kind, failed):
    """The error has the proxy's status and quotes nothing else of its response. It is retried if the proxy failed."""
    async with https_api() as api, ConnectProxy(api.port, **options) as proxy:
        settings = {"ca_file": ca_file, "proxy_url": proxy.url_for(CREDENTIALS)}
        assert await failure(recorder, kind, base_url=f"https://{HOST}", **settings) == failed
    assert set(proxy.credentials) == {CREDENTIALS}
    assert api.requests == []


async def test_a_proxy_that_is_down(recorder, ca_file):
    """A proxy that can't be reached is named as such, and the request is retried."""
    async with ConnectProxy(0) as proxy:
        url = proxy.url_for(CREDENTIALS)
    failed = await failure(recorder, ProxyFailed, base_url=f"https://{HOST}", ca_file=ca_file, proxy_url=url)
    assert failed == ("can't connect to the proxy: Connection refused", ATTEMPTS)


async def test_a_proxy_that_dns_does_not_know(recorder, ca_file):
    """The host name of the proxy can be the problem."""
    options = {"proxy_url": f"http://{CREDENTIALS}@no-such-host.invalid:3128", "ca_file": ca_file}
    message, _ = await failure(recorder, ProxyFailed, base_url=f"https://{HOST}", **options)
    assert message.startswith("can't resolve the host name of the proxy: ")


async def test_a_proxy_that_does_not_answer(ca_file):
    """A proxy that accepts the connection but sends no response is named as such."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        failed = await send_once(f"https://{HOST}", proxy_url=url, ca_file=ca_file)
    assert failed == (ProxyFailed, "no response from the proxy in time")


async def test_a_slow_api_behind_a_proxy(ca_file):
    """When the proxy has connected, a response that does not arrive is a timeout of the API."""
    async with https_api() as api, ConnectProxy(api.port) as proxy:
        api.answer(silence)
        failed = await send_once(f"https://{HOST}", proxy_url=proxy.url, ca_file=ca_file)
    assert failed == (RequestTimeout, "the API did not respond in time (ReadTimeout)")


async def test_an_http_proxy_with_an_https_url(recorder, ca_file):
    """If the URL of the proxy has the wrong scheme, the advice is about the proxy."""
    async with plain_server() as port:
        options = {"ca_file": ca_file, "proxy_url": f"https://127.0.0.1:{port}"}
        message, _ = await failure(recorder, ProxyFailed, base_url=f"https://{HOST}", **options)
    assert message.startswith("the TLS handshake with the proxy failed (")


async def test_the_certificate_of_a_proxy_is_verified(recorder, ca_file):
    """An https proxy must have a certificate of a trusted CA."""
    async with ConnectProxy(0, tls=server(by=OTHER_CA)) as proxy:
        failed = await failure(
            recorder, CertificateUntrusted, base_url=f"https://{HOST}", ca_file=ca_file, proxy_url=proxy.url
        )
    assert failed == ("the certificate of the proxy is not signed by a trusted CA", 1)


async def test_a_proxy_that_inspects_tls(recorder, ca_file):
    """Behind the proxy, the certificate is that of the API, or of a proxy that inspects TLS with its own CA."""
    async with https_api(by=OTHER_CA) as api, ConnectProxy(api.port) as proxy:
        options = {"ca_file": ca_file, "proxy_url": proxy.url}
        failed = await failure(recorder, CertificateUntrusted, base_url=f"https://{HOST}", **options)
    assert failed == ("the certificate of the API is not signed by a trusted CA", 1)


async def test_a_forwarding_proxy_that_requires_a_password(recorder):
    """For plain http on loopback, a proxy forwards the request. Its 407 is the same error as for a tunnel."""
    async with FakeApi(connections(3)) as api, ConnectProxy(api.port, credentials=CREDENTIALS) as proxy:
        with pytest.raises(ProxyUnauthorized, match=r"\(HTTP status 407\)$"):
            await fetch(recorder, base_url=api.url, proxy_url=proxy.url)
        assert api.requests == []
        assert recorder.codes == ["407"]
