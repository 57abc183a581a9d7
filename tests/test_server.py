import asyncio
import os
import signal
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter import server


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
