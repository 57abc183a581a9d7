"""Run the exporter against a peer that fails at random, and look for errors, leaks and delays.

    python benchmarks/soak.py --minutes 10

Half of the time Telnyx's stand-in answers rightly, and half of the time it does one of the things that the tests know.
Scrapers ask in every format, some vanish in the middle, some never read their answer. The exporter is a process of its
own, so that what it holds is its own; all traffic is on loopback. Prints a line a minute and a summary; the exit status
is 1 where a scrape failed or was late.
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
"""Seconds that a scraper waits, as it says in its header."""
FLAGS = (
    "--web.listen-address=127.0.0.1:0",
    "--telnyx.timeout=3s",
    "--cache.ttl=500ms",
    "--cache.max-stale=8s",
)
UNWANTED = {"429-for-ages", "429-until-a-date"}
"""Faults that are obeyed by doing nothing for minutes."""
ACCEPT = ("", "text/plain;version=1.0.0", "application/openmetrics-text;version=1.0.0")


@dataclass
class Tally:
    """What the scrapers saw."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    hostile: int = 0


@dataclass(frozen=True)
class Footprint:
    """What the exporter holds at one moment."""

    resident: float
    """MiB."""
    descriptors: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.resident:.1f} MiB, {self.descriptors} descriptors, {self.tasks} tasks"


class Exporter:
    """The exporter as a child process that says how many tasks it has when it is asked on its standard input."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, base_url: str) -> AsyncIterator[Exporter]:
        """Start it, and end it with SIGTERM."""
        command = (__file__, "--exporter", f"--telnyx.base-url={base_url}", *FLAGS)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=pipe, stdout=pipe, stderr=pipe, env={"TELNYX_API_KEY": "KEY-of-the-soak"}
        )
        assert process.stderr is not None
        while not (found := re.search(rb"page=(http://\S+)/", await process.stderr.readline())):
            pass
        reading = asyncio.create_task(cls._count_lines(process.stderr))
        yield cls(process, found[1].decode())
        process.terminate()
        status = await process.wait()
        print(f"ended with status {status}; lines of log with a traceback: {await reading}")

    @staticmethod
    async def _count_lines(log: asyncio.StreamReader) -> int:
        return sum([b"Traceback" in line async for line in log])

    async def footprint(self) -> Footprint:
        """Look at it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        tasks = int(await self.process.stdout.readline())
        proc = Path(f"/proc/{self.process.pid}")
        pages = int((proc / "statm").read_text().split()[1])
        return Footprint(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list((proc / "fd").iterdir())), tasks)


def serve(flags: list[str]) -> int:
    """Run the exporter in this process; for each line on standard input, print the number of its tasks."""

    def answer() -> None:
        for _ in sys.stdin:
            gc.collect()
            loops = [thing for thing in gc.get_objects() if isinstance(thing, uvloop.Loop)]
            print(sum(len(asyncio.all_tasks(loop)) for loop in loops), flush=True)

    threading.Thread(target=answer, daemon=True).start()
    return run_exporter(flags)


async def scrape(url: str, tally: Tally, stop: asyncio.Event, rng: random.Random) -> None:
    """Scrape like Prometheus until told to stop."""
    async with httpx.AsyncClient(trust_env=False) as http:
        while not stop.is_set():
            headers = {
                "accept": rng.choice(ACCEPT),
                "accept-encoding": rng.choice(("identity", "gzip")),
                "x-prometheus-scrape-timeout-seconds": str(DEADLINE),
            }
            started = time.perf_counter()
            try:
                answer = await http.get(f"{url}/metrics", headers=headers, timeout=2 * DEADLINE)
                if answer.status_code != httpx.codes.OK or "telnyx_up" not in answer.text:
                    tally.errors.append(f"HTTP status {answer.status_code}")
            except httpx.HTTPError as error:
                tally.errors.append(repr(error))
            tally.seconds.append(time.perf_counter() - started)
            await asyncio.sleep(rng.expovariate(10))


async def annoy(where: tuple[str, int], tally: Tally, stop: asyncio.Event, rng: random.Random) -> None:
    """Be a client that nobody wants: half a request, an answer that is not read, a sudden end."""
    while not stop.is_set():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(*where)
            writer.write(
                rng.choice((b"GET /metr", b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 3, b"\x16\x03\x01\r\n\r\n"))
            )
            await asyncio.sleep(rng.random())
            writer.transport.abort()
        tally.hostile += 1


async def fail(peer: FakeApi, stop: asyncio.Event, rng: random.Random) -> None:
    """Change how the peer answers, every now and then."""
    faults = [fault.answer for name, fault in FAULTS.items() if name not in UNWANTED]
    while not stop.is_set():
        peer.answer(rng.choice(faults) if rng.random() < 0.5 else listing())
        if rng.random() < 0.3:
            del peer.rows[rng.randrange(len(peer.rows))]
            peer.rows.append({**peer.rows[0], "id": f"{rng.getrandbits(60)}"})
        await asyncio.sleep(rng.expovariate(0.5))


async def soak(minutes: float, seed: int) -> bool:
    """Run for this many minutes and report; return whether all scrapes were answered in time."""
    rng, tally, stop = random.Random(seed), Tally(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    async with FakeApi(connections(CONNECTIONS)) as peer, Exporter.running(peer.url) as exporter:
        where = ("127.0.0.1", int(exporter.url.rpartition(":")[2]))

        async def busy(seconds: float) -> Footprint:
            """Scrape, annoy and fail, and then let all come to rest, so that what is left is what leaked."""
            stop.clear()
            tasks.extend(asyncio.create_task(scrape(exporter.url, tally, stop, rng)) for _ in range(SCRAPERS))
            tasks.append(asyncio.create_task(annoy(where, tally, stop, rng)))
            tasks.append(asyncio.create_task(fail(peer, stop, rng)))
            await asyncio.sleep(seconds)
            stop.set()
            await asyncio.gather(*tasks)
            tasks.clear()
            peer.answer(listing())
            await asyncio.sleep(4.0)
            return await exporter.footprint()

        first = last = await busy(min(56.0, minutes * 30))
        print(f"warmed up: {first}", flush=True)
        for minute in range(max(1, round(minutes))):
            last = await busy(min(56.0, minutes * 60))
            print(f"minute {minute + 1}: {len(tally.seconds)} scrapes, {last}", flush=True)
        async with httpx.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(f"{exporter.url}/metrics")).text
        print(f"peer: {len(peer.requests)} requests")
        for line in re.findall(r"^telnyx_(?:refresh|list_restarts).*_total.* [1-9].*$", metrics, re.MULTILINE):
            print(line)
    quantiles = statistics.quantiles(tally.seconds, n=1000)
    late = sum(seconds > DEADLINE for seconds in tally.seconds)
    print(
        f"scrapes: {len(tally.seconds)}, errors: {len(tally.errors)}, late: {late}, "
        f"median {quantiles[499] * 1e3:.1f} ms, p99 {quantiles[989] * 1e3:.1f} ms, "
        f"worst {max(tally.seconds) * 1e3:.1f} ms of {DEADLINE * 1e3:.0f} ms; hostile clients: {tally.hostile}"
    )
    print(f"first and last: {first} -> {last}")
    for error in sorted(set(tally.errors)):
        print(f"error: {error} ({tally.errors.count(error)} times)")
    return not tally.errors and not late


def main() -> int:
    """Run the command."""
    if sys.argv[1:2] == ["--exporter"]:
        return serve(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    return 0 if asyncio.run(soak(arguments.minutes, arguments.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
