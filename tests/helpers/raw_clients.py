"""Serve an application on loopback, for clients that write and read their own bytes."""

import asyncio
import contextlib
import socket

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter.server.listeners import listen
from exporter.server.serving import serving

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def _hello(request):
    return PlainTextResponse(f"hello over {request.url.scheme}")


HELLO = Starlette(routes=[Route("/", _hello)])


class Incidents(list):
    """Records the incidents of a server."""

    def __init__(self):
        super().__init__()
        self.occurred = asyncio.Event()

    def record_incident(self, incident, client, detail=""):
        """Record an incident with its details."""
        self.append((incident, client, detail))
        self.occurred.set()


@contextlib.asynccontextmanager
async def serve(app=HELLO, *, incidents=None, tls=None):
    """Serve an app and yield a function that opens connections. All of it may take 20 seconds.

    `tls` is the server's TLS configuration. Clients of `connect` use no TLS unless they give `ssl` and its options.
    """
    listener = listen("127.0.0.1:0")
    address = listener.getsockname()
    writers = []

    async def connect(local_address="127.0.0.1", **options):
        reader, writer = await asyncio.open_connection(
            *address, limit=2**18, local_addr=(local_address, 0), family=socket.AF_INET, **options
        )
        writers.append(writer)
        return reader, writer

    observer = Incidents() if incidents is None else incidents
    async with asyncio.timeout(20), serving(app, listener, observer=observer, tls=tls and (lambda: tls)):
        yield connect
        for writer in writers:
            writer.transport.abort()


async def read_until_closed(reader):
    """Read until the connection is closed or reset, and return what arrived."""
    received = []
    with contextlib.suppress(ConnectionResetError):
        while piece := await reader.read(2**20):
            received.append(piece)
    return b"".join(received)
