"""Attack a server on loopback with hostile clients: `attacker.py BEHAVIOR PORT COUNT [SOURCE_ADDRESS]`.

A client connects again as soon as the server disconnects it. The program runs until you stop it.
"""

import asyncio
import base64
import contextlib
import itertools
import resource
import socket
import struct
import sys

GUESSES = itertools.count()


def get(path, *headers):
    """Return a request."""
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


def login(password):
    """Return the header with a password of the user `prometheus`."""
    return f"Authorization: Basic {base64.b64encode(f'prometheus:{password}'.encode()).decode()}"


async def send_nothing(client):
    """Wait until the server disconnects."""
    await client.wait()


async def send_one_request(client):
    """Leave the connection idle after one request."""
    await client.send(get("/-/healthy"))
    await client.wait()


async def reset(client):
    """Reset the connection after one response."""
    client.reset_when_closed()
    await client.send(get("/-/healthy"))
    await client.receive(4096)


async def send_slowly(client):
    """Send one header line a second, and never the last one."""
    await client.send(get("/metrics")[:-2])
    while await client.wait(1.0):
        await client.send(b"x: y\r\n")


async def read_slowly(client):
    """Read ten bytes of the response a second."""
    await client.send(get("/metrics", "Accept-Encoding: identity"))
    while await client.receive(10):  # noqa: ASYNC110 -- no event tells when to read
        await asyncio.sleep(1)


async def send_long_lists(client):
    """Send requests with thousands of items in their lists of accepted formats and encodings."""
    request = get("/metrics", "Accept: " + "," * 8000, "Accept-Encoding: " + "," * 7000).replace(b"GET", b"HEAD")
    while True:
        await client.send(request)
        if not await client.receive(4096):
            return


async def open_the_status_page(client):
    """Request one page after the other, each with another search."""
    while True:
        await client.send(get(f"/?q={next(GUESSES)}&sort=-updated&page=9"))
        received = 0
        while received < 1000:  # the beginning: the client does not wait for the rest
            piece = await client.receive(4096)
            if not piece:
                return
            received += len(piece)


async def guess_passwords(client):
    """Send one wrong password after another."""
    while True:
        await client.send(get("/metrics", login(next(GUESSES))))
        if not await client.receive(4096):
            return


class Client:
    """A connection of a hostile client."""

    def __init__(self, connected):
        self._socket = connected

    def reset_when_closed(self):
        """Reset the connection when the socket is closed."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def send(self, data):
        """Send data."""
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def receive(self, size):
        """Receive at most this many bytes, or none if the server has disconnected."""
        return await asyncio.get_running_loop().sock_recv(self._socket, size)

    async def wait(self, seconds=None):
        """Return False if the server disconnects within this time, else True."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self.receive(4096):
                    pass
                return False
        return True


async def attack(behavior, port, source):
    while True:
        with contextlib.suppress(OSError), socket.socket() as connected:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connected.bind((source, 0))
            connected.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", port))
            await behavior(Client(connected))
        await asyncio.sleep(0)


async def main(name, port, count, source="127.0.0.1"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    async with asyncio.TaskGroup() as group:
        for number in range(int(count)):
            group.create_task(attack(globals()[name], int(port), source))
            if number % 50 == 0:
                await asyncio.sleep(0.02)
        print("started", flush=True)  # noqa: T201 -- for the test


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
