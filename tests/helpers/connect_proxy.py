"""An HTTP proxy on loopback that opens tunnels (CONNECT) to one server, or refuses to."""

import asyncio
import base64
import contextlib


class ConnectProxy:
    """A proxy, as an asynchronous context manager. For any host that a client requests, the tunnel leads to `port`.

    `credentials` is the user name and password that it requires, such as `me:secret`. `status` is the HTTP status with
    which it refuses all requests. The reason phrase of a refusal repeats the headers of the request. `tls` is the TLS
    context of an https proxy.
    """

    def __init__(self, port, *, credentials=None, status=None, tls=None):
        self.targets = []
        """The hosts and ports that clients requested."""
        self.credentials = []
        """The user names and passwords that clients sent."""
        self.port = None
        self._upstream = port
        self._required = credentials
        self._status = status
        self._tls = tls
        self._tasks = set()

    @property
    def url(self):
        """Return the URL, without a user name and password."""
        return self.url_for()

    def url_for(self, credentials="", host="127.0.0.1"):
        """Return the URL with this user name and password."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'{credentials}@' if credentials else ''}{host}:{self.port}"

    def close(self):
        """Refuse connections from now on."""
        self._server.close()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _handle(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._connect(reader, writer)
        finally:
            writer.close()

    async def _connect(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, target, _ = request.split(" ")
        self.targets.append(target)
        credentials = base64.b64decode(headers.get("proxy-authorization", "").removeprefix("Basic ")).decode()
        self.credentials.append(credentials)
        status = 407 if self._required not in {None, credentials} else self._status
        if status is not None:
            phrase = f"No {credentials} {' '.join(lines)}"
            writer.write(f"HTTP/1.1 {status} {phrase}\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            upstream_writer.write(head.encode())
        try:
            await asyncio.gather(_copy(reader, upstream_writer), _copy(upstream_reader, writer))
        finally:
            upstream_writer.close()


async def _copy(reader, writer):
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.write_eof() if writer.can_write_eof() else writer.close()
