import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl

import httpx
import pytest
from certificates import authority, identity
from cryptography import x509
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter import server
from exporter.tls import TLS, create_context


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


CA = authority("ca")
OLD, NEW = (identity("server", x509.DNSName("localhost"), by=CA) for _ in range(2))


def secured(who, **keys):
    return create_context(TLS.model_validate({"cert": who.pem, "key": who.key_pem, **keys}))


async def hello(request):
    return PlainTextResponse(request.url.scheme)


HELLO = Starlette(routes=[Route("/", hello)])
LOOPS = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)


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
        server.serving(HELLO, listener, lambda: contexts[-1]),
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
    """A client's certificate is needed, and one of its names; nobody else gets an answer, or is a line in the log."""
    listener = server.listen("127.0.0.1:0")
    url = f"https://localhost:{listener.getsockname()[1]}/"
    policy = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": CA.pem, "client_allowed_sans": ["good"]}
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    context = secured(OLD, **policy)
    async with asyncio.timeout(10), server.serving(HELLO, listener, lambda: context):
        for name, welcome in (("good", True), ("bad", False), (None, False)):
            trust = ssl.create_default_context(cadata=CA.pem)
            if name:
                who = identity("client", x509.DNSName(name), by=CA)
                (tmp_path / "client.pem").write_text(who.pem + who.key_pem)
                trust.load_cert_chain(tmp_path / "client.pem")
            async with httpx.AsyncClient(verify=trust) as client:
                with contextlib.nullcontext() if welcome else pytest.raises(httpx.TransportError):
                    assert (await client.get(url)).status_code == 200
    assert not reported


@LOOPS
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["silence", "no TLS"])
async def test_a_handshake_has_its_time(monkeypatch, sent):
    """A connection that does not shake hands is ended."""
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.2)
    listener = server.listen("127.0.0.1:0")
    context = secured(OLD)
    async with asyncio.timeout(10), server.serving(HELLO, listener, lambda: context):
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
    async with asyncio.timeout(10):
        async with server.serving(HELLO, listener, lambda: context):
            writers = [(await asyncio.open_connection(*where))[1] for _ in range(2)]
            reader, writer = await asyncio.open_connection(*where)
            with contextlib.suppress(ConnectionError):
                assert not await reader.read()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*where)
    for each in (writer, *writers):
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
        server.serving(HELLO, listener, lambda: context),
        httpx.AsyncClient(verify=ssl.create_default_context(cadata=CA.pem)) as client,
    ):
        assert (await client.get(f"https://localhost:{listener.getsockname()[1]}/")).text == "https"
    assert not failures


async def test_an_end_waits_no_longer_than_its_grace(monkeypatch):
    """A client that never takes its answer does not keep the exporter from stopping."""
    monkeypatch.setattr(server, "GRACE", 0.2)

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_signals_are_noticed(number):
    """SIGTERM and SIGINT are an orderly end."""
    with server.told_to_stop() as told:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await told.wait()
