"""Run the exporter against a fake Telnyx API that fails at random, and look for errors, leaks and late responses.

    python benchmarks/soak.py --minutes 10

Half of the time, the fake API responds correctly. Otherwise, it responds with a random fault from the tests. Scrapers
request all formats. Hostile clients disconnect in the middle of a request or don't read the response. The exporter runs
in a separate process, so that its resources can be measured separately. All traffic is on loopback.

The script prints a line for each minute and a summary. The exit status is 1 if a scrape failed or was late.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import random
import re
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import uvloop

from exporter.cli import main as run_exporter

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from fake_api import FAULTS, FakeApi, connections, listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONNECTIONS = 1000
SCRAPERS = 8
DEADLINE = 2.0
"""Seconds that a scraper waits. It sends this value in `X-Prometheus-Scrape-Timeout-Seconds`."""
FLAGS = (
    "--web.listen-address=127.0.0.1:0",
    "--telnyx.timeout=3s",
    "--cache.ttl=500ms",
    "--cache.max-stale=8s",
)
EXCLUDED_FAULTS = {"429-for-ages", "429-until-a-date"}
"""Faults that make the exporter wait for minutes before the next request."""
ACCEPT = ("", "text/plain;version=1.0.0", "application/openmetrics-text;version=1.0.0")


@dataclass
class Tally:
    """Results of all scrapes, and the number of hostile clients."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    hostile: int = 0


@dataclass(frozen=True)
class Footprint:
    """Resources that the exporter uses at one moment."""

    resident: float
    """MiB."""
    descriptors: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.resident:.1f} MiB, {self.descriptors} file descriptors, {self.tasks} tasks"


class Exporter:
    """The exporter as a child process. For each line on standard input, it prints the number of its asyncio tasks."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, base_url: str) -> AsyncIterator[Exporter]:
        """Start the exporter, yield it, and stop it with SIGTERM."""
        command = (__file__, "--exporter", f"--telnyx.base-url={base_url}", *FLAGS)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=pipe, stdout=pipe, stderr=pipe, env={"TELNYX_API_KEY": "KEY-of-the-soak"}
        )
        assert process.stderr is not None
        while not (match := re.search(rb"page=(http://\S+)/", await process.stderr.readline())):
            pass
        tracebacks = asyncio.create_task(cls._count_tracebacks(process.stderr))
        yield cls(process, match[1].decode())
        process.terminate()
        status = await process.wait()
        print(f"exit status: {status}, log lines with a traceback: {await tracebacks}")

    @staticmethod
    async def _count_tracebacks(log: asyncio.StreamReader) -> int:
        return sum([b"Traceback" in line async for line in log])

    async def footprint(self) -> Footprint:
        """Return the resources that the exporter uses now."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        tasks = int(await self.process.stdout.readline())
        proc = Path(f"/proc/{self.process.pid}")
        pages = int((proc / "statm").read_text().split()[1])
        return Footprint(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list((proc / "fd").iterdir())), tasks)


def serve(flags: list[str]) -> int:
    """Run the exporter in this process. For each line on standard input, print the number of its asyncio tasks."""

    def print_task_counts() -> None:
        for _ in sys.stdin:
            gc.collect()
            loops = [item for item in gc.get_objects() if isinstance(item, uvloop.Loop)]
            print(sum(len(asyncio.all_tasks(loop)) for loop in loops), flush=True)

    threading.Thread(target=print_task_counts, daemon=True).start()
    return run_exporter(flags)


async def scrape(url: str, tally: Tally, stop: asyncio.Event, rng: random.Random) -> None:
    """Scrape like Prometheus until `stop` is set."""
    async with httpx.AsyncClient(trust_env=False) as http:
        while not stop.is_set():
            headers = {
                "accept": rng.choice(ACCEPT),
                "accept-encoding": rng.choice(("identity", "gzip")),
                "x-prometheus-scrape-timeout-seconds": str(DEADLINE),
            }
            started = time.perf_counter()
            try:
                response = await http.get(f"{url}/metrics", headers=headers, timeout=2 * DEADLINE)
                if response.status_code != httpx.codes.OK or "telnyx_up" not in response.text:
                    tally.errors.append(f"HTTP status {response.status_code}")
            except httpx.HTTPError as error:
                tally.errors.append(repr(error))
            tally.seconds.append(time.perf_counter() - started)
            await asyncio.sleep(rng.expovariate(10))


async def send_hostile_requests(
    address: tuple[str, int], tally: Tally, stop: asyncio.Event, rng: random.Random
) -> None:
    """Send incomplete or invalid requests, or requests whose responses are not read, and abort the connection."""
    while not stop.is_set():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(*address)
            writer.write(
                rng.choice((b"GET /metr", b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 3, b"\x16\x03\x01\r\n\r\n"))
            )
            await asyncio.sleep(rng.random())
            writer.transport.abort()
        tally.hostile += 1


async def inject_faults(api: FakeApi, stop: asyncio.Event, rng: random.Random) -> None:
    """Change the responses of the fake API, and sometimes its list, every two seconds on average."""
    faults = [fault.answer for name, fault in FAULTS.items() if name not in EXCLUDED_FAULTS]
    while not stop.is_set():
        api.answer(rng.choice(faults) if rng.random() < 0.5 else listing())
        if rng.random() < 0.3:
            del api.rows[rng.randrange(len(api.rows))]
            api.rows.append({**api.rows[0], "id": f"{rng.getrandbits(60)}"})
        await asyncio.sleep(rng.expovariate(0.5))


async def soak(minutes: float, seed: int) -> bool:
    """Run for this many minutes and print a report. Return whether all scrapes succeeded in time."""
    rng, tally, stop = random.Random(seed), Tally(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    async with FakeApi(connections(CONNECTIONS)) as api, Exporter.running(api.url) as exporter:
        address = ("127.0.0.1", int(exporter.url.rpartition(":")[2]))

        async def run_load(seconds: float) -> Footprint:
            """Run all clients and faults for `seconds`, wait until the exporter is idle, and return its footprint.

            If the footprint grows from call to call, the exporter leaks.
            """
            stop.clear()
            tasks.extend(asyncio.create_task(scrape(exporter.url, tally, stop, rng)) for _ in range(SCRAPERS))
            tasks.append(asyncio.create_task(send_hostile_requests(address, tally, stop, rng)))
            tasks.append(asyncio.create_task(inject_faults(api, stop, rng)))
            await asyncio.sleep(seconds)
            stop.set()
            await asyncio.gather(*tasks)
            tasks.clear()
            api.answer(listing())
            await asyncio.sleep(4.0)
            return await exporter.footprint()

        first = last = await run_load(min(56.0, minutes * 30))
        print(f"after warmup: {first}", flush=True)
        for minute in range(max(1, round(minutes))):
            last = await run_load(min(56.0, minutes * 60))
            print(f"minute {minute + 1}: {len(tally.seconds)} scrapes, {last}", flush=True)
        async with httpx.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(f"{exporter.url}/metrics")).text
        print(f"API requests: {len(api.requests)}")
        for line in re.findall(r"^telnyx_(?:refresh|list_restarts).*_total.* [1-9].*$", metrics, re.MULTILINE):
            print(line)
    quantiles = statistics.quantiles(tally.seconds, n=1000)
    late = sum(seconds > DEADLINE for seconds in tally.seconds)
    print(
        f"scrapes: {len(tally.seconds)}, errors: {len(tally.errors)}, late: {late}, "
        f"median {quantiles[499] * 1e3:.1f} ms, p99 {quantiles[989] * 1e3:.1f} ms, "
        f"worst {max(tally.seconds) * 1e3:.1f} ms of {DEADLINE * 1e3:.0f} ms; hostile clients: {tally.hostile}"
    )
    print(f"footprint after warmup: {first}; at the end: {last}")
    for error in sorted(set(tally.errors)):
        print(f"error: {error} ({tally.errors.count(error)} times)")
    return not tally.errors and not late


def main() -> int:
    """Run the soak test, or the exporter with `--exporter`."""
    if sys.argv[1:2] == ["--exporter"]:
        return serve(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="duration of the test (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random faults (default: %(default)s)")
    arguments = parser.parse_args()
    return 0 if asyncio.run(soak(arguments.minutes, arguments.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
