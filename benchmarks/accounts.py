"""Measure exporters of several accounts, and compare 100 working accounts with and without 100 failing ones.

    python benchmarks/accounts.py [--connections 20] [--minutes 5] [--fleets 1 20 100 100+100 200]

`100+100` is one exporter with 100 good accounts and 100 failing accounts. The API of a failing account refuses the
connection, responds after 10 seconds, responds with the status 500, 401 or 429, or sends garbage.

All exporters run at the same time, each in its own process. The script scrapes them in turn, so that noise of the
machine affects all of them. All traffic is on loopback. The measurement begins when all exporters have read all good
accounts. For two minutes, the script scrapes as often as Prometheus does. Then it scrapes often, to measure the
duration of many scrapes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from account_api import FAILURES, GOOD
from processes import Scraper, cpu_seconds, exporter, process_memory

if TYPE_CHECKING:
    from collections.abc import Callable

START_TIMEOUT = 120.0
"""Seconds."""
BURST = 50
"""Scrapes without a pause, whose CPU time is measured."""
LOAD_MINUTES = 2
SCRAPE_INTERVAL = 30.0
"""Seconds between two scrapes of Prometheus."""


class Api:
    """The process of `account_api.py`."""

    def __init__(self, connections: int, accounts: int, fleets: list[str]) -> None:
        script = str(Path(__file__).with_name("account_api.py"))
        command = [sys.executable, script, str(connections), str(accounts), *fleets]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self._read_line()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def requests(self) -> Counter[str]:
        """Return the number of requests by fleet."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        counts: Counter[str] = Counter()
        for fleet_and_kind, number in json.loads(self._read_line()).items():
            counts[fleet_and_kind.partition("-")[0]] += number
        return counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Fleet:
    """The accounts of one exporter, and its measurements."""

    name: str
    url: str
    pid: int
    ready_after: float
    """Seconds from the start until all good accounts had been read."""
    scrape: Scraper = field(init=False)
    """Connected when the measurement begins, because the exporter closes connections that it gets no request on."""
    seconds: list[float] = field(default_factory=list)
    cpu_of_scrape: float = 0.0
    """CPU time of a scrape when no account has been refreshed since the last one."""
    cpu: float = 0.0
    """CPU time per minute, with a scrape every 30 s."""
    requests: float = 0.0
    """API requests per minute."""

    def metrics(self) -> str:
        """Return the metrics as text."""
        return urllib.request.urlopen(self.url).read().decode()

    def measure_burst(self) -> None:
        """Measure the CPU time of a scrape."""
        before = cpu_seconds(self.pid)
        for _ in range(BURST):
            self.scrape()
        self.cpu_of_scrape = (cpu_seconds(self.pid) - before) / BURST

    def quantile(self, percent: int) -> float:
        """Return a percentile of the seconds of all scrapes."""
        return statistics.quantiles(self.seconds, n=100)[percent - 1]


def write_keys(folder: Path, fleet: str) -> None:
    """Write the key files of a fleet."""
    good, _, bad = fleet.partition("+")
    kinds = [GOOD] * int(good) + [list(FAILURES)[number % len(FAILURES)] for number in range(int(bad or 0))]
    for number, kind in enumerate(kinds):
        (folder / f"account-{number:03}").write_text(f"{fleet}-{kind}-{number}\n")


def start(running: contextlib.ExitStack, api: Api, fleet: str, ttl: str) -> Fleet:
    """Start the exporter of a fleet and wait until it has read all good accounts."""
    folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
    write_keys(folder, fleet)
    started = time.perf_counter()
    flags = (f"--telnyx.api-key-files={folder}/*", f"--cache.ttl={ttl}")
    url, pid = running.enter_context(exporter(api.url, *flags, api_key=""))
    while len(re.findall(r"(?m)^telnyx_up{.*} 1", urllib.request.urlopen(url).read().decode())) < int(
        fleet.partition("+")[0]
    ):
        if time.perf_counter() - started > START_TIMEOUT:
            sys.exit(f"{fleet}: the accounts were not read within {START_TIMEOUT:g} s")
        time.sleep(0.1)
    return Fleet(fleet, url, pid, time.perf_counter() - started)


def scrape_in_turn(fleets: list[Fleet], seconds: float, interval: float) -> None:
    """Scrape all fleets at this interval, in another order each time."""
    for fleet in fleets:
        fleet.scrape = Scraper(fleet.url.removesuffix("/metrics"), "gzip")
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        for fleet in random.sample(fleets, len(fleets)):
            fleet.seconds.append(fleet.scrape())
        time.sleep(max(0.0, min(now + interval, end) - time.monotonic()))


def measure_load(api: Api, fleets: list[Fleet]) -> None:
    """Scrape all fleets as often as Prometheus does, and measure their CPU time and API requests."""
    requests, cpu = api.requests(), {fleet.name: cpu_seconds(fleet.pid) for fleet in fleets}
    scrape_in_turn(fleets, LOAD_MINUTES * 60, SCRAPE_INTERVAL)
    requests = api.requests() - requests
    for fleet in fleets:
        fleet.cpu = (cpu_seconds(fleet.pid) - cpu[fleet.name]) / LOAD_MINUTES
        fleet.requests = requests[fleet.name] / LOAD_MINUTES
        fleet.seconds.clear()


def print_table(fleets: list[Fleet]) -> None:
    """Print a row for each measurement, and a column for each fleet."""

    def series(fleet: Fleet) -> int:
        return len(re.findall("(?m)^[^#]", fleet.metrics()))

    rows: dict[str, Callable[[Fleet], str]] = {
        "scrape, p50 (ms)": lambda fleet: f"{fleet.quantile(50) * 1e3:.2f}",
        "scrape, p99 (ms)": lambda fleet: f"{fleet.quantile(99) * 1e3:.2f}",
        "scrape, slowest (ms)": lambda fleet: f"{max(fleet.seconds) * 1e3:.2f}",
        "CPU time of a scrape (ms)": lambda fleet: f"{fleet.cpu_of_scrape * 1e3:.2f}",
        "CPU time per minute, with a scrape every 30 s (s)": lambda fleet: f"{fleet.cpu:.2f}",
        "API requests per minute": lambda fleet: f"{fleet.requests:.0f}",
        "resident memory (MiB)": lambda fleet: f"{process_memory(fleet.pid, 'VmRSS'):.0f}",
        "series": lambda fleet: str(series(fleet)),
        "scrape with gzip (KiB)": lambda fleet: f"{fleet.scrape.size / 2**10:.0f}",
        "scrape without compression (KiB)": lambda fleet: f"{len(fleet.metrics()) / 2**10:.0f}",
        "start until all good accounts were read (s)": lambda fleet: f"{fleet.ready_after:.1f}",
    }
    print(f"| accounts | {' | '.join(fleet.name for fleet in fleets)} |")
    print("|---" * (len(fleets) + 1) + "|")
    for what, value in rows.items():
        print(f"| {what} | {' | '.join(map(value, fleets))} |")


def print_ratios(fleets: list[Fleet]) -> None:
    """Print how much the failing accounts delay scrapes of the good ones."""
    by_name = {fleet.name: fleet for fleet in fleets}
    for fleet in fleets:
        alone = by_name.get(fleet.name.partition("+")[0], fleet)
        if alone is not fleet:
            ratios = [f"p{percent} {fleet.quantile(percent) / alone.quantile(percent):.2f}" for percent in (50, 99)]
            print(f"\n{fleet.name} accounts, compared with {alone.name}: {', '.join(ratios)}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "(default: %(default)s)"
    parser.add_argument("--connections", type=int, default=20, help=f"credential connections per account {default}")
    parser.add_argument("--minutes", type=float, default=5.0, help=f"duration of the measurement {default}")
    parser.add_argument("--ttl", default="30s", help=f"--cache.ttl of the exporters {default}")
    parser.add_argument("--interval", type=float, default=0.5, help=f"seconds between two scrapes {default}")
    parser.add_argument(
        "--fleets",
        nargs="+",
        default=["1", "20", "100", "100+100", "200"],
        metavar="GOOD[+FAILING]",
        help="for each exporter, the number of accounts that work and that fail (default: 1 20 100 100+100 200)",
    )
    arguments = parser.parse_args()
    most = max(sum(map(int, fleet.split("+"))) for fleet in arguments.fleets)
    print(
        f"{arguments.connections} connections in each account, {arguments.minutes:g} minutes, TTL {arguments.ttl}, "
        f"Python {platform.python_version()}, {os.cpu_count()} processors\n",
        flush=True,
    )
    with Api(arguments.connections, most, arguments.fleets) as api, contextlib.ExitStack() as running:
        fleets = [start(running, api, fleet, arguments.ttl) for fleet in arguments.fleets]
        measure_load(api, fleets)
        scrape_in_turn(fleets, arguments.minutes * 60, arguments.interval)
        for fleet in fleets:
            fleet.measure_burst()
        print_table(fleets)
        print_ratios(fleets)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
