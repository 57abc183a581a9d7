"""Run parts of the exporter in a separate process. `run.py` starts this script.

python benchmarks/workload.py refresh BASE_URL   measure time, CPU time and memory of refreshes: all new, then unchanged
python benchmarks/workload.py serve BASE_URL     serve one snapshot; each line on stdin starts or stops refreshes
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

import uvloop

from exporter.cache import Cache
from exporter.collectors.credential_connections import COLLECTOR
from exporter.config.settings import FilterSettings
from exporter.exposition.formats import Format
from exporter.exposition.renderer import Renderer
from exporter.logs import configure_logging
from exporter.refresh import Refresher, View
from exporter.telemetry import Telemetry
from exporter.telnyx.client import Client
from exporter.telnyx.lists import ListReader
from exporter.web import server
from exporter.web.app import create_app

KEY = "sandbox"


def create_refresher(base_url: str, telemetry: Telemetry) -> tuple[Client, Refresher]:
    """Return a client and a refresher with empty caches."""
    client = Client(base_url, lambda: KEY, telemetry)
    reader = ListReader(client, COLLECTOR.query(FilterSettings(), page_size=250), telemetry)
    return client, Refresher(reader, Renderer(COLLECTOR), telemetry)


async def refresh(base_url: str) -> None:
    """Refresh with empty caches and then twice with an unchanged list, and print the measurements as JSON."""
    client, refresher = create_refresher(base_url, Telemetry())
    measurements: dict[str, float] = {}
    for name in ("new", "unchanged", "unchanged"):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        view = await refresher()
        view.document.encode(Format.TEXT, gzip=True)
        measurements[f"{name} seconds"] = time.perf_counter() - wall_start
        measurements[f"{name} cpu seconds"] = time.process_time() - cpu_start
    measurements["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    await client.close()
    print(json.dumps(measurements))


async def serve(base_url: str) -> None:
    """Serve one snapshot until standard input ends. Each line on it starts or stops refreshes in the background.

    Each of these refreshes starts with empty caches, and its result is discarded.
    """
    telemetry = Telemetry()
    client, refresher = create_refresher(base_url, telemetry)
    cache: Cache[View] = Cache(refresher, ttl=1e6, max_stale=1e6)
    await cache.get(60.0)
    await client.close()
    lines: asyncio.Queue[str] = asyncio.Queue()
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    listener = server.listen("127.0.0.1:0")
    async with server.serving(create_app(lambda: cache, telemetry), listener):
        print(server.local_url(listener), flush=True)
        while await lines.get():
            print("busy", flush=True)
            while lines.empty():
                client, refresher = create_refresher(base_url, Telemetry(process=False))
                await refresher()
                await client.close()
            if not lines.get_nowait():
                break
            print("idle", flush=True)


if __name__ == "__main__":
    configure_logging("error", "logfmt")
    work = {"refresh": refresh, "serve": serve}[sys.argv[1]]
    uvloop.run(work(sys.argv[2]))
