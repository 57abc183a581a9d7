"""Serve many accounts at one URL, some of which fail. `accounts.py` starts this script.

python benchmarks/account_api.py CONNECTIONS ACCOUNTS FLEET...

An API key is `FLEET-KIND-NUMBER`. The kind says how the account responds. The script prints its base URL when it is
ready. For each line on standard input, it prints the number of requests by fleet and kind. It ends with standard input.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections import Counter
from typing import TYPE_CHECKING

import uvicorn
import uvloop
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from exporter.sandbox import Account, create_app, create_shared_app
from exporter.server.listeners import listen, local_url

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

SLOW = 10.0
"""Seconds until the slow accounts respond."""
GOOD = "good"
_REFUSED = "refused"

_requests: Counter[str] = Counter()
"""Requests by fleet and kind."""


class Protocol(HttpToolsProtocol):
    """Counts requests, and resets the connections of accounts whose API refuses them.

    All accounts share one address, so the kernel can't refuse the connections of some. A reset is the next best: like
    a refusal, the client sees it at once, and needs a new connection for each request.
    """

    def on_headers_complete(self) -> None:
        """Start a request."""
        key = next((value for name, value in self.headers if name == b"authorization"), b"").removeprefix(b"Bearer ")
        fleet_and_kind = key.decode().rpartition("-")[0]
        _requests[fleet_and_kind] += 1
        if fleet_and_kind.endswith(_REFUSED):
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        else:
            super().on_headers_complete()


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond like a proxy whose API doesn't respond in time."""
    await asyncio.sleep(SLOW)
    await Response(b"<html>", 504, media_type="text/html")(scope, receive, send)


FAILURES: dict[str, ASGIApp] = {
    _REFUSED: Response(b"never sent"),
    "slow": slow,
    "500": Response(b'{"errors":[]}', 500, media_type="application/json"),
    "401": Response(b'{"errors":[]}', 401, media_type="application/json"),
    "429": Response(b'{"errors":[]}', 429, {"retry-after": "20"}, media_type="application/json"),
    "garbage": Response(bytes(range(256)) * 40, media_type="application/json"),
}
"""The responses of failing accounts, by the kind of failure."""


async def main(connections: str, accounts: str, *fleets: str) -> None:
    """Serve until standard input ends."""
    apis: dict[str, ASGIApp] = {}
    for number in range(int(accounts)):
        account = Account(int(connections), seed=number, step=0)
        for fleet in fleets:
            key = f"{fleet}-{GOOD}-{number}"
            apis[key] = create_app(account, api_key=key, rate_limit=0)
            apis |= {f"{fleet}-{kind}-{number}": api for kind, api in FAILURES.items()}
    listener = listen("127.0.0.1:0")
    config = uvicorn.Config(create_shared_app(apis), http=Protocol, log_config=None, log_level="error", lifespan="off")
    server = asyncio.create_task(uvicorn.Server(config).serve([listener]))
    print(f"{local_url(listener)}/v2", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(_requests), flush=True)
    server.cancel()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
