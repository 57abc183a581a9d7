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
from exporter.web.tls import TLS, create_context


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        pytest.param("127.0.0.1:0", "127.0.0.1", id="IPv4"),
        pytest.param("[::1]:0", "[::1]", id="IPv6"),
        pytest.param("localhost:0", None, id="name"),
        pytest.param(":0", "localhost", id="every address"),
    ],
)
def test_listening(address, reached):
    """A socket listens where the address says, and the URL is one that a person can open."""
    with server.listen(address) as listener:
        port = listener.getsockname()[1]
        assert server.url(listener).endswith(f":{port}")
        assert reached is None or server.url(listener) == f"http://{reached}:{port}"


def test_every_address_is_of_both_families():
    """Without a host, IPv4 and IPv6 clients both reach the socket."""
    with server.listen(":0") as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()


def test_every_address_without_ipv6(monkeypatch):
    """A machine without IPv6 listens on IPv4."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with server.listen(":0") as listener:
        assert listener.family == socket.AF_INET
        assert server.url(listener).startswith("http://localhost:")


def test_a_port_in_use_is_an_error():
    """The port of another socket can't be taken."""
    with server.listen("127.0.0.1:0") as first, pytest.raises(OSError, match="in use"):
        server.listen(f"127.0.0.1:{first.getsockname()[1]}")


@pytest.fixture
def path(tmp_path):
    """Return a path to listen on."""
    return tmp_path / "telnyx.sock"


def test_listening_on_a_path(path):
    """A path is listened on, nobody but its owner may connect by a usual umask, and it goes with the socket."""
    with server.listen(f"unix://{path}"):
        assert path.is_socket()
        assert not path.stat().st_mode & stat.S_IWOTH
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_a_path_left_behind_is_taken_over(path):
    """What a process that was killed left behind is no obstacle."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with server.listen(f"unix://{path}") as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.accept()[0].close()


def test_a_path_in_use_is_an_error(path):
    """Where somebody listens, busy or not, nobody else can."""
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen(0)
        client.connect(str(path))  # the one that its queue holds
        with pytest.raises(OSError, match="in use"):
            server.listen(f"unix://{path}")
        assert path.is_socket()


def test_a_path_that_is_a_file_is_an_error(path):
    """No file is removed to listen in its place."""
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="File exists"):
        server.listen(f"unix://{path}")
    assert path.read_text() == "mine"


@pytest.mark.parametrize("another", [False, True], ids=["gone", "taken"])
def test_a_path_that_is_not_ours_any_more_is_left_alone(path, another):
    """A path that somebody removed need not be removed, and one that another made in its place must not be."""
    with contextlib.ExitStack() as stack:
        with server.listen(f"unix://{path}"):
            path.unlink()
            if another:
                stack.enter_context(server.listen(f"unix://{path}"))
        assert path.exists() is another


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
    """Return what a process says of the sockets that it takes over, and why it does not."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with passing(sys.executable, "-c", INHERIT, sockets=sockets, **pipes, **options) as process:
        out, err = process.communicate(timeout=20)
    return out.strip(), err.strip()


def test_sockets_of_systemd_are_taken_over(path):
    """Sockets that systemd passes are served, of whatever family, and no child of the exporter's inherits them."""
    with server.listen("127.0.0.1:0") as one, server.listen(f"unix://{path}") as other:
        assert inherited(one, other) == (f"{one.getsockname()} and {path}", "")


def test_sockets_for_others_are_left_alone():
    """Variables that were meant for another process, whose child this is, mean nothing."""
    with server.listen("127.0.0.1:0") as listener:
        assert inherited(listener, pid="1") == ("", "")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["connection", "datagrams"])
def test_sockets_that_do_not_listen_are_refused(kind):
    """A socket that gives no connections is refused in words of the unit that passed it."""
    with socket.socket(type=kind) as one:
        one.bind(("127.0.0.1", 0))
        assert inherited(one) == ("", "systemd passed a socket that does not listen; use ListenStream= and Accept=no")


async def test_requests_in_flight_are_answered_at_the_end():
    """An orderly end waits for the answers that are under way."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(_):
        asked.set()
        await go.wait()
        return PlainTextResponse("done")

    listener = server.listen("127.0.0.1:0")
    url = server.url(listener)
    async with httpx.AsyncClient() as client, asyncio.timeout(10):
        async with server.serving(Starlette(routes=[Route("/", slow)]), listener):
            answer = asyncio.create_task(client.get(url))
            await asked.wait()
            asyncio.get_running_loop().call_later(0.2, go.set)
        assert (await answer).text == "done"
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
    """One application is served on all sockets, and all are closed in the end."""
    listeners = [server.listen("127.0.0.1:0"), server.listen("[::1]:0"), server.listen(f"unix://{path}")]
    urls = [server.url(listener) for listener in listeners[:2]]
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


def secured(who, **keys):
    return create_context(TLS.model_validate({"cert": who.pem, "key": who.key_pem, **keys}))


def shown(answer):
    """Return the certificate that an answer came with."""
    return answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(binary_form=True)


@LOOPS
async def test_a_new_context_is_for_new_connections():
    """A renewed certificate is shown to the next connection, and the one that is there goes on."""
    contexts = [secured(OLD)]
    listener = server.listen("127.0.0.1:0")
    url = f"https://localhost:{listener.getsockname()[1]}/"
    trust = ssl.create_default_context(cadata=CA.pem)
    async with (
        asyncio.timeout(10),
        server.serving(HELLO, listener, tls=lambda: contexts[-1]),
        httpx.AsyncClient(verify=trust) as first,
        httpx.AsyncClient(verify=trust) as second,
    ):
        answer = await first.get(url)
        assert answer.text == "https"
        assert shown(answer) == ssl.PEM_cert_to_DER_cert(OLD.pem)
        contexts.append(secured(NEW))
        assert shown(await first.get(url)) == ssl.PEM_cert_to_DER_cert(OLD.pem)
        assert shown(await second.get(url)) == ssl.PEM_cert_to_DER_cert(NEW.pem)


@LOOPS
async def test_a_client_without_an_allowed_name_is_sent_away(tmp_path):
    """A client's certificate is needed, and one of its names; others get no answer, and are a line at debug."""
    listener = server.listen("127.0.0.1:0")
    url = f"https://localhost:{listener.getsockname()[1]}/"
    policy = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": CA.pem, "client_allowed_sans": ["good"]}
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    context = secured(OLD, **policy)
    with structlog.testing.capture_logs() as logs:
        await knock(listener, context, url, tmp_path)
    assert not reported
    assert [(log["event"], log["log_level"], log["client"]) for log in logs] == [
        ("connection refused", "debug", "127.0.0.1"),
    ] * 2
    assert logs[1]["reason"] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


async def knock(listener, context, url, tmp_path):
    """Connect with a certificate that is welcome, with one that is not, and with none."""
    async with asyncio.timeout(10), server.serving(HELLO, listener, tls=lambda: context):
        for name, welcome in (("good", True), ("bad", False), (None, False)):
            trust = ssl.create_default_context(cadata=CA.pem)
            if name:
                who = identity("client", x509.DNSName(name), by=CA)
                (tmp_path / "client.pem").write_text(who.pem + who.key_pem)
                trust.load_cert_chain(tmp_path / "client.pem")
            async with httpx.AsyncClient(verify=trust) as client:
                with contextlib.nullcontext() if welcome else pytest.raises(httpx.TransportError):
                    assert (await client.get(url)).status_code == 200


@LOOPS
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["silence", "no TLS"])
async def test_a_handshake_has_its_time(monkeypatch, sent):
    """A connection that does not shake hands is ended."""
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.2)
    listener = server.listen("127.0.0.1:0")
    context = secured(OLD)
    async with asyncio.timeout(10), server.serving(HELLO, listener, tls=lambda: context):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(sent)
        with contextlib.suppress(ConnectionError):
            while await reader.read(100):
                pass
        writer.close()


@LOOPS
async def test_handshakes_are_bounded(monkeypatch):
    """Connections in the midst of a handshake count, too; one too many is ended at once, and an end waits for none."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    listener = server.listen("127.0.0.1:0")
    where = listener.getsockname()
    context = secured(OLD)
    async with asyncio.timeout(5):
        async with server.serving(HELLO, listener, tls=lambda: context):
            pending = [await asyncio.open_connection(*where) for _ in range(2)]
            reader, writer = await asyncio.open_connection(*where)
            with contextlib.suppress(ConnectionError):
                assert not await reader.read()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*where)
        for reader, _ in pending:
            with contextlib.suppress(ConnectionError):
                assert not await reader.read()
    for each in (writer, *(writer for _, writer in pending)):
        each.close()


async def test_a_connection_that_cannot_be_taken_is_no_end(monkeypatch):
    """When there are no descriptors left, connections are taken again once there are."""
    loop = asyncio.get_running_loop()
    take, failures = loop.sock_accept, [OSError(errno.EMFILE, "Too many open files")]

    async def accept(listener):
        if failures:
            raise failures.pop()
        return await take(listener)

    monkeypatch.setattr(loop, "sock_accept", accept)
    listener = server.listen("127.0.0.1:0")
    context = secured(OLD)
    async with (
        asyncio.timeout(10),
        server.serving(HELLO, listener, tls=lambda: context),
        httpx.AsyncClient(verify=ssl.create_default_context(cadata=CA.pem)) as client,
    ):
        assert (await client.get(f"https://localhost:{listener.getsockname()[1]}/")).text == "https"
    assert not failures


async def test_an_end_waits_no_longer_than_its_grace(monkeypatch):
    """A client that never takes its answer does not keep the exporter from stopping."""
    monkeypatch.setattr(server, "GRACE_PERIOD", 0.2)

    async def large(_):
        return PlainTextResponse("x" * 50_000_000)

    listener = server.listen("127.0.0.1:0")
    where = listener.getsockname()
    async with asyncio.timeout(10):
        async with server.serving(Starlette(routes=[Route("/", large)]), listener):
            _, writer = await asyncio.open_connection(*where, limit=1)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.2)  # until the buffers on the way are full
    writer.transport.abort()


async def test_signals_are_noticed():
    """Each of the signals calls, as often as it comes, and afterwards it does what it did before."""
    came, before = asyncio.Queue(), signal.getsignal(signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    signal.pthread_kill(threading.get_ident(), signal.SIGHUP)  # is held back, and would end this process
    with server.on_signals((signal.SIGHUP, signal.SIGTERM), lambda: came.put_nowait(1)):
        async with asyncio.timeout(5):
            await came.get()
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
                os.kill(os.getpid(), number)
                await came.get()
    assert signal.getsignal(signal.SIGHUP) is before
