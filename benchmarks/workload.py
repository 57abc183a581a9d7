"""Run parts of the exporter in a separate process. `run.py` starts this script.

python benchmarks/workload.py api SIZE           serve a list that changes only on request: POST /change, POST /remove
python benchmarks/workload.py refresh BASE_URL   measure time, CPU time and memory of refreshes, and print them as JSON
python benchmarks/workload.py serve BASE_URL     serve one snapshot; each line on stdin starts or stops refreshes
python benchmarks/workload.py request URL        request a URL without compression, over and over

Each of them but `refresh` prints one line when it is ready, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvloop
from processes import KEY, process_memory
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from exporter.account.cached_collector import CachedCollector
from exporter.account.collector_group import CollectorGroup
from exporter.account.refresh import Refresher
from exporter.account.status import CollectorStatus
from exporter.accounts.account_set import AccountSet
from exporter.collectors.credential_connections import COLLECTOR
from exporter.config.settings import FilterSettings
from exporter.exposition.formats import Format
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Document
from exporter.logs import configure_logging
from exporter.sandbox import Account
from exporter.sandbox import create_app as create_api
from exporter.server.listeners import listen, local_url
from exporter.server.serving import serving
from exporter.telemetry import AccountTelemetry, Telemetry
from exporter.telnyx.http.client import Client
from exporter.telnyx.lists.reader import ListReader
from exporter.web.app import create_app

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

QUERY = COLLECTOR.endpoint.query(COLLECTOR.row_type, FilterSettings(), page_size=250)


def create_client(base_url: str, telemetry: AccountTelemetry) -> Client:
    """Return a client that waits long enough for the largest list."""
    return Client(base_url, lambda: KEY, telemetry, timeout=300.0)


def create_refresher(base_url: str, telemetry: AccountTelemetry) -> tuple[Client, Refresher]:
    """Return a client and a refresher with empty caches."""
    client, renderer = create_client(base_url, telemetry), Renderer(COLLECTOR)
    return client, Refresher(COLLECTOR.name, ListReader(client, QUERY, renderer), renderer, telemetry)


async def serve_api(size: str) -> None:
    """Serve the sandbox until standard input ends."""
    account = Account(int(size), step=0)
    changes = 0

    async def change(_: Request) -> Response:
        nonlocal changes
        changes += 1
        row = account.rows[changes * 7919 % len(account.rows)]
        account.update(row["id"], active=not row["active"])
        return PlainTextResponse("changed")

    async def remove(_: Request) -> Response:
        account.remove(account.rows[0]["id"])
        return PlainTextResponse("removed")

    routes = [Route("/change", change, methods=["POST"]), Route("/remove", remove, methods=["POST"])]
    app = Starlette(routes=[*routes, Mount("/", create_api(account, api_key=KEY, rate_limit=0))])
    listener = listen("127.0.0.1:0")
    async with serving(app, listener):
        print(f"{local_url(listener)}/v2", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def read_and_hash(client: Client) -> None:
    """Read all pages and hash their bodies, which is the minimum work of a refresh."""
    session = client.session()

    async def read(number: int) -> bytes:
        return await session.get(QUERY.path, {"page[number]": number, "page[size]": QUERY.page_size, **QUERY.params})

    async def read_all() -> None:
        numbers = iter(range(1, json.loads(await read(1))["meta"]["total_pages"] + 1))

        async def work() -> None:
            for number in numbers:
                hashlib.sha256(await read(number)).digest()

        await asyncio.gather(*(work() for _ in range(client.concurrency)))

    await session.run(read_all())


def post(base_url: str, action: str) -> None:
    """Make the API change its list."""
    request = urllib.request.Request(f"{base_url.removesuffix('/v2')}/{action}", method="POST")
    urllib.request.urlopen(request).close()


async def refresh(base_url: str) -> None:
    """Refresh with empty caches, with an unchanged list, and with one changed connection, and print the results."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # as the command does
    client, refresher = create_refresher(base_url, Telemetry().account())
    measurements: dict[str, float] = {}

    async def refresh_and_encode() -> None:
        view = await refresher()
        Document(view.families).blocks(Format.OPENMETRICS)

    for name in ("new", "unchanged", "unchanged", "changed", "changed", "floor"):
        if name == "changed":
            await asyncio.to_thread(post, base_url, "change")
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        await (read_and_hash(client) if name == "floor" else refresh_and_encode())
        measurements[f"{name} seconds"] = time.perf_counter() - wall_start
        measurements[f"{name} cpu seconds"] = time.process_time() - cpu_start
    for name, field in (("resident MiB", "VmRSS"), ("peak MiB", "VmHWM")):
        measurements[name] = process_memory(os.getpid(), field)
    for _ in range(2):  # all pages change, because all rows move
        await asyncio.to_thread(post, base_url, "remove")
        await refresh_and_encode()
    measurements["peak MiB after removals"] = process_memory(os.getpid(), "VmHWM")
    await client.close()
    print(json.dumps(measurements))


async def serve(base_url: str) -> None:
    """Serve one snapshot until standard input ends. Each line on it starts or stops refreshes in the background.

    Each of these refreshes starts with empty caches, and its result is discarded.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    telemetry = Telemetry()
    client, refresher = create_refresher(base_url, telemetry.account())
    collector = CachedCollector(refresher, CollectorStatus(COLLECTOR.name), ttl=1e6, max_stale=1e6)
    group = CollectorGroup([collector], telemetry.account())
    accounts = AccountSet({"": group}, group.collectors)
    await group.refresh_all()
    await client.close()
    lines: asyncio.Queue[str] = asyncio.Queue()
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    listener = listen("127.0.0.1:0")
    async with serving(create_app(lambda: accounts, telemetry), listener):
        print(local_url(listener), flush=True)
        while await lines.get():
            print("busy", flush=True)
            while lines.empty():
                client, refresher = create_refresher(base_url, Telemetry(process=False).account())
                await refresher()
                await client.close()
            if not lines.get_nowait():
                break
            print("idle", flush=True)


async def request(url: str) -> None:
    """Request a URL without compression until standard input ends."""
    threading.Thread(target=_request_forever, args=(url,), daemon=True).start()
    await asyncio.to_thread(sys.stdin.read)


def _request_forever(url: str) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    buffer = bytearray(2**20)
    print("ready", flush=True)
    while True:
        connection.request("GET", parts._replace(scheme="", netloc="").geturl())
        response = connection.getresponse()
        while response.readinto(buffer):
            pass


if __name__ == "__main__":
    configure_logging("error", "logfmt")
    work = {"api": serve_api, "refresh": refresh, "serve": serve, "request": request}[sys.argv[1]]
    uvloop.run(work(sys.argv[2]))
