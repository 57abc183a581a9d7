import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading

import httpx
import pytest
import structlog
from certificates import authority, identity
from cryptography import x509
from socket_activation import passing
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter.web import server
from exporter.web.tls import TLSConfig, create_context


@pytest.mark.parametrize(
    ("address", "host"),
    [
        pytest.param("127.0.0.1:0", "127.0.0.1", id="IPv4"),
        pytest.param("[::1]:0", "[::1]", id="IPv6"),
        pytest.param("localhost:0", None, id="name"),
        pytest.param(":0", "localhost", id="all addresses"),
    ],
)
def test_listening(address, host):
    """A socket listens on the given address, and its URL can be opened in a browser."""
    with server.listen(address) as listener:
        port = listener.getsockname()[1]
        assert server.local_url(listener).endswith(f":{port}")
        assert host is None or server.local_url(listener) == f"http://{host}:{port}"


def test_all_addresses_include_ipv4_and_ipv6():
    """Without a host, both IPv4 and IPv6 clients can connect."""
    with server.listen(":0") as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()


def test_all_addresses_without_ipv6(monkeypatch):
    """Without a host, a machine without IPv6 listens on IPv4."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with server.listen(":0") as listener:
        assert listener.family == socket.AF_INET
        assert server.local_url(listener).startswith("http://localhost:")


def test_a_port_in_use_is_an_error():
    """Listening on the port of another socket raises an error."""
    with server.listen("127.0.0.1:0") as first, pytest.raises(OSError, match="in use"):
        server.listen(f"127.0.0.1:{first.getsockname()[1]}")


@pytest.fixture
def path(tmp_path):
    """Return the path of a Unix socket."""
    return tmp_path / "telnyx.sock"


def test_listening_on_a_path(path):
    """A Unix socket is removed when it is closed. With a usual umask, only its owner can connect."""
    with server.listen(f"unix://{path}"):
        assert path.is_socket()
        assert not path.stat().st_mode & stat.S_IWOTH
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_a_path_of_a_killed_process_is_replaced(path):
    """A socket file that a killed process left behind is replaced."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with server.listen(f"unix://{path}") as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.accept()[0].close()


def test_a_path_in_use_is_an_error(path):
    """Listening on the path of another process raises an error, even if that process is busy."""
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen(0)
        client.connect(str(path))  # fills the backlog
        with pytest.raises(OSError, match="in use"):
            server.listen(f"unix://{path}")
        assert path.is_socket()


def test_a_path_that_is_a_file_is_an_error(path):
    """A regular file at the path is an error. The file is not removed."""
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="File exists"):
        server.listen(f"unix://{path}")
    assert path.read_text() == "mine"


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_closing_ignores_a_removed_or_replaced_path(path, replaced):
    """Closing a socket succeeds if its path was removed, and keeps a path that another socket has created."""
    with contextlib.ExitStack() as stack:
        with server.listen(f"unix://{path}"):
            path.unlink()
            if replaced:
                stack.enter_context(server.listen(f"unix://{path}"))
        assert path.exists() is replaced


INHERIT = """
import os, sys
from exporter.web import server
try:
    listeners = server.inherit_sockets()
except ValueError as error:
    sys.exit(str(error))
assert not any(listener.get_inheritable() for listener in listeners)
assert not {"LISTEN_PID", "LISTEN_FDS"} & set(os.environ) or not listeners
print(*(listener.getsockname() for listener in listeners), sep=" and ")
"""


def inherited(*sockets, **options):
    """Start a process that inherits these sockets. Return their addresses as it prints them, and its error."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with passing(sys.executable, "-c", INHERIT, sockets=sockets, **pipes, **options) as process:
        out, err = process.communicate(timeout=20)
    return out.strip(), err.strip()


def test_sockets_from_systemd_are_inherited(path):
    """The exporter inherits sockets of any family from systemd. Its own child processes don't inherit them."""
    with server.listen("127.0.0.1:0") as one, server.listen(f"unix://{path}") as other:
        assert inherited(one, other) == (f"{one.getsockname()} and {path}", "")


def test_sockets_for_another_process_are_ignored():
    """Variables that systemd set for another process, such as the parent, are ignored."""
    with server.listen("127.0.0.1:0") as listener:
        assert inherited(listener, pid="1") == ("", "")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["connection", "datagrams"])
def test_sockets_that_do_not_listen_are_rejected(kind):
    """A socket that doesn't accept connections is rejected, and the error names the settings of the systemd unit."""
    with socket.socket(type=kind) as one:
        one.bind(("127.0.0.1", 0))
        assert inherited(one) == ("", "systemd passed a socket that does not listen; use ListenStream= and Accept=no")


async def test_shutdown_waits_for_requests_in_flight():
    """A graceful shutdown waits for the responses to requests in flight."""
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(_):
        started.set()
        await release.wait()
        return PlainTextResponse("done")

    listener = server.listen("127.0.0.1:0")
    url = server.local_url(listener)
    async with httpx.AsyncClient() as client, asyncio.timeout(10):
        async with server.serving(Starlette(routes=[Route("/", slow)]), listener):
            response = asyncio.create_task(client.get(url))
            await started.wait()
            asyncio.get_running_loop().call_later(0.2, release.set)
        assert (await response).text == "done"
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def hello(request):
    return PlainTextResponse(request.url.scheme)


HELLO = Starlette(routes=[Route("/", hello)])
LOOPS = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)


@LOOPS
async def test_several_sockets_are_served(path):
    """One application is served on several sockets. They are all closed at shutdown."""
    listeners = [server.listen("127.0.0.1:0"), server.listen("[::1]:0"), server.listen(f"unix://{path}")]
    urls = [server.local_url(listener) for listener in listeners[:2]]
    async with asyncio.timeout(10):
        async with (
            server.serving(HELLO, *listeners),
            httpx.AsyncClient() as client,
            httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as local,
        ):
            assert [(await client.get(url)).text for url in urls] == ["http", "http"]
            assert (await local.get("http://exporter/")).text == "http"
        assert not path.exists()
        assert [listener.fileno() for listener in listeners] == [-1, -1, -1]


CA = authority("ca")
OLD, NEW = (identity("server", x509.DNSName("localhost"), by=CA) for _ in range(2))


def tls_context(server_identity, **keys):
    return create_context(
        TLSConfig.model_validate({"cert": server_identity.pem, "key": server_identity.key_pem, **keys})
    )


def server_certificate(response):
    """Return the server certificate of the connection on which a response was received."""
    return response.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(binary_form=True)


@LOOPS
async def test_new_connections_use_the_new_context():
    """A new connection gets the renewed certificate. An existing connection stays open."""
    contexts = [tls_context(OLD)]
    listener = server.listen("127.0.0.1:0")
    url = f"https://localhost:{listener.getsockname()[1]}/"
    trust = ssl.create_default_context(cadata=CA.pem)
    async with (
        asyncio.timeout(10),
        server.serving(HELLO, listener, tls=lambda: contexts[-1]),
        httpx.AsyncClient(verify=trust) as first,
        httpx.AsyncClient(verify=trust) as second,
    ):
        response = await first.get(url)
        assert response.text == "https"
        assert server_certificate(response) == ssl.PEM_cert_to_DER_cert(OLD.pem)
        contexts.append(tls_context(NEW))
        assert server_certificate(await first.get(url)) == ssl.PEM_cert_to_DER_cert(OLD.pem)
        assert server_certificate(await second.get(url)) == ssl.PEM_cert_to_DER_cert(NEW.pem)


@LOOPS
async def test_a_client_without_an_allowed_name_is_rejected(tmp_path):
    """Clients need a certificate with an allowed name. Others get no response and are logged at debug level."""
    listener = server.listen("127.0.0.1:0")
    url = f"https://localhost:{listener.getsockname()[1]}/"
    policy = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": CA.pem, "client_allowed_sans": ["good"]}
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    context = tls_context(OLD, **policy)
    with structlog.testing.capture_logs() as logs:
        await connect_clients(listener, context, url, tmp_path)
    assert not reported
    assert [(log["event"], log["log_level"], log["client"]) for log in logs] == [
        ("connection failed", "debug", "127.0.0.1"),
    ] * 2
    assert logs[1]["reason"] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


async def connect_clients(listener, context, url, tmp_path):
    """Connect with an allowed certificate, with another one, and without one."""
    async with asyncio.timeout(10), server.serving(HELLO, listener, tls=lambda: context):
        for name, allowed in (("good", True), ("bad", False), (None, False)):
            trust = ssl.create_default_context(cadata=CA.pem)
            if name:
                client_identity = identity("client", x509.DNSName(name), by=CA)
                (tmp_path / "client.pem").write_text(client_identity.pem + client_identity.key_pem)
                trust.load_cert_chain(tmp_path / "client.pem")
            async with httpx.AsyncClient(verify=trust) as client:
                with contextlib.nullcontext() if allowed else pytest.raises(httpx.TransportError):
                    assert (await client.get(url)).status_code == 200


@LOOPS
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["silence", "no TLS"])
async def test_a_slow_handshake_is_aborted(monkeypatch, sent):
    """A connection that doesn't complete the TLS handshake in time is closed."""
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.2)
    listener = server.listen("127.0.0.1:0")
    context = tls_context(OLD)
    async with asyncio.timeout(10), server.serving(HELLO, listener, tls=lambda: context):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(sent)
        with contextlib.suppress(ConnectionError):
            while await reader.read(100):
                pass
        writer.close()


@LOOPS
async def test_handshakes_count_towards_the_connection_limit(monkeypatch):
    """Pending handshakes count towards the limit. A connection over it is closed at once. Shutdown doesn't wait."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    listener = server.listen("127.0.0.1:0")
    address = listener.getsockname()
    context = tls_context(OLD)
    async with asyncio.timeout(5):
        async with server.serving(HELLO, listener, tls=lambda: context):
            pending = [await asyncio.open_connection(*address) for _ in range(2)]
            reader, writer = await asyncio.open_connection(*address)
            with contextlib.suppress(ConnectionError):
                assert not await reader.read()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)
        for reader, _ in pending:
            with contextlib.suppress(ConnectionError):
                assert not await reader.read()
    for each in (writer, *(writer for _, writer in pending)):
        each.close()


async def test_the_server_recovers_from_an_accept_error(monkeypatch):
    """After running out of file descriptors, the server accepts connections again as soon as it can."""
    loop = asyncio.get_running_loop()
    original_accept, failures = loop.sock_accept, [OSError(errno.EMFILE, "Too many open files")]

    async def accept(listener):
        if failures:
            raise failures.pop()
        return await original_accept(listener)

    monkeypatch.setattr(loop, "sock_accept", accept)
    listener = server.listen("127.0.0.1:0")
    context = tls_context(OLD)
    async with (
        asyncio.timeout(10),
        server.serving(HELLO, listener, tls=lambda: context),
        httpx.AsyncClient(verify=ssl.create_default_context(cadata=CA.pem)) as client,
    ):
        assert (await client.get(f"https://localhost:{listener.getsockname()[1]}/")).text == "https"
    assert not failures


async def test_shutdown_waits_no_longer_than_the_grace_period(monkeypatch):
    """A client that never reads its response doesn't prevent the exporter from stopping."""
    monkeypatch.setattr(server, "GRACE_PERIOD", 0.2)

    async def large(_):
        return PlainTextResponse("x" * 50_000_000)

    listener = server.listen("127.0.0.1:0")
    address = listener.getsockname()
    async with asyncio.timeout(10):
        async with server.serving(Starlette(routes=[Route("/", large)]), listener):
            _, writer = await asyncio.open_connection(*address, limit=1)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.2)  # until the buffers of both sockets are full
    writer.transport.abort()


async def test_signals_call_the_callback():
    """Each signal calls the callback every time, even one that was blocked. Then the previous handler is restored."""
    calls, previous = asyncio.Queue(), signal.getsignal(signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    signal.pthread_kill(threading.get_ident(), signal.SIGHUP)  # blocked, so it stays pending and doesn't end the test
    with server.on_signals((signal.SIGHUP, signal.SIGTERM), lambda: calls.put_nowait(1)):
        async with asyncio.timeout(5):
            await calls.get()
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
                os.kill(os.getpid(), number)
                await calls.get()
    assert signal.getsignal(signal.SIGHUP) is previous
