"""Measure the status page of one account with many connections, and how much its visitors delay scrapes.

    python benchmarks/status_page.py [--connections 10000 100000] [--rounds 3]

Times are in milliseconds: the median of several rounds, followed by the minimum and the maximum. Scrapes are measured
alone and while clients request status pages, in turn, so that noise of the machine affects both. All traffic is on
loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import platform
import statistics
import sys
import time
import urllib.request
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from processes import Scraper, Workload, exporter, process_memory, reset_peak
from run import Measurement, measure_in_turn
from workload import post

from exporter.config.web.paths import READY, STATUS
from exporter.status.problems import CONNECTION_PROBLEMS
from exporter.status.query import REGISTRATIONS, SORTS, STATES, Query
from exporter.status.table import PAGE_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

START_TIMEOUT = 60.0
"""Seconds."""
CLIENTS = (0, 1, 4)
"""Numbers of clients that request status pages while scrapes are measured."""
CHANGES = 3
"""Changes of all pages. Each takes seconds."""
SCRAPE_SECONDS = 2.0
"""Duration of scrapes with the same number of clients, in each round."""


def views(connections: int) -> Mapping[str, Sequence[Query]]:
    """Return the views of the page. Similar ones have a common name."""
    return {
        "first page": [Query()],
        "page in the middle": [middle(connections)],
        "last page": [Query(page=connections)],
        "search for a name or an id": [Query(q="fax"), Query(q="138189337")],
        "filter by state, registration, type, site or encryption": [
            *(Query(state=state) for state in STATES),
            *(Query(registration=registration) for registration in REGISTRATIONS),
            Query(type="credential_connection"),
            Query(site="London, UK"),
            Query(encryption="SRTP"),
        ],
        "filter by a kind of problem": [Query(problem=kind) for kind in CONNECTION_PROBLEMS],
        "sort by any column, in both directions": [
            Query(sort=direction + column) for column in SORTS for direction in ("", "-")
        ],
    }


def middle(connections: int) -> Query:
    """Return the most expensive view: most keys are sorted, and none can be left out early."""
    return Query(page=connections // PAGE_ROWS // 2)


class Visitor:
    """A client that keeps its connection to an exporter."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def get(self, path: str) -> int:
        """Request a path, and return the status of the response."""
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        response.read()
        return response.status

    def seconds(self, path: str) -> float:
        """Return the time until the response is complete."""
        started = time.perf_counter()
        status = self.get(path)
        seconds = time.perf_counter() - started
        if status != HTTPStatus.OK:
            sys.exit(f"{path}: HTTP status {status}")
        return seconds

    def measure(self, rounds: int, paths: Sequence[str]) -> Measurement:
        """Return the seconds of all responses."""
        results = measure_in_turn(rounds, *(partial(self.seconds, path) for path in paths))
        return Measurement(tuple(seconds for result in results for seconds in result.rounds))


@contextlib.contextmanager
def ready_exporter(api: Workload, ttl: str) -> Iterator[tuple[str, int, Visitor]]:
    """Run an exporter until it has read the list. Yield its URL, its process id and a visitor."""
    flags = (f"--cache.ttl={ttl}", "--cache.max-stale=1h", "--telnyx.timeout=5m")
    with exporter(api.url, *flags) as (metrics, pid):
        url = metrics.removesuffix("/metrics")
        visitor = Visitor(url)
        deadline = time.monotonic() + START_TIMEOUT
        while visitor.get(READY) != HTTPStatus.OK:
            if time.monotonic() > deadline:
                sys.exit(f"the exporter was not ready within {START_TIMEOUT:g} s")
            time.sleep(0.1)
        yield url, pid, visitor


def measure_views(visitor: Visitor, connections: int, rounds: int) -> dict[str, str]:
    """Measure how long views take."""
    paths = {name: ["/" + query.link() for query in queries] for name, queries in views(connections).items()}
    paths[f"`{STATUS}`"] = [STATUS]
    return {f"{name} (ms)": milliseconds(visitor.measure(rounds, some)) for name, some in paths.items()}


def measure_scrapes(url: str, connections: int, rounds: int) -> dict[str, str]:
    """Measure cached scrapes alone, and while clients request pages in the middle."""
    page = f"{url}/{middle(connections).link()}"
    results: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    for _ in range(rounds):
        for clients, seconds in results.items():
            with contextlib.ExitStack() as running:
                for _ in range(clients):
                    running.enter_context(Workload("request", page))
                scrape, end = Scraper(url, "gzip"), time.monotonic() + SCRAPE_SECONDS
                while time.monotonic() < end:
                    seconds.append(scrape())
    rows = {}
    for percent in (50, 99):
        quantiles = {clients: statistics.quantiles(seconds, n=100)[percent - 1] for clients, seconds in results.items()}
        alone = quantiles[0]
        for clients, quantile in quantiles.items():
            name = f"cached scrape with gzip, p{percent}, with {clients} client{'s' * (clients != 1)} of the page (ms)"
            rows[name] = f"{quantile * 1e3:.3g} ({quantile / alone:.2g} times)" if clients else f"{alone * 1e3:.3g}"
    return rows


def measure_changes(api: Workload, rounds: int) -> dict[str, str]:
    """Measure the first view after all pages of the list changed. The exporter polls at each scrape."""
    with ready_exporter(api, "1ms") as (url, pid, visitor):
        headers = {"accept-encoding": "gzip", "x-prometheus-scrape-timeout-seconds": "60"}
        scrape = urllib.request.Request(f"{url}/metrics", headers=headers)

        def change() -> None:
            post(api.url, "remove")  # removes the first row, so all others move
            urllib.request.urlopen(scrape).read()

        def view_after_change() -> float:
            change()
            return visitor.seconds("/")

        for _ in range(CHANGES):
            change()
        peak = process_memory(pid, "VmHWM")
        visitor.get("/")
        (seconds,) = measure_in_turn(min(rounds, CHANGES), view_after_change)
        return {
            "first view after all pages of the list changed (ms)": milliseconds(seconds),
            "peak memory while all pages change, without views (MiB)": f"{peak:.0f}",
            "peak memory while all pages change, with views (MiB)": f"{process_memory(pid, 'VmHWM'):.0f}",
        }


def measure(connections: int, rounds: int) -> dict[str, str]:
    """Return the results for this many connections, by the name of the measurement."""
    with Workload("api", str(connections)) as api:
        with ready_exporter(api, "1h") as (url, pid, visitor):
            Scraper(url, "gzip")()
            before = process_memory(pid, "VmRSS")
            reset_peak(pid)
            first = visitor.seconds("/")
            rows = measure_views(visitor, connections, rounds)
            after, peak = process_memory(pid, "VmRSS"), process_memory(pid, "VmHWM")
            scrapes = measure_scrapes(url, connections, rounds)
        changes = measure_changes(api, rounds)
    return {
        "first view after the start (ms)": f"{first * 1e3:.3g}",
        **rows,
        **scrapes,
        **changes,
        "memory before the first view (MiB)": f"{before:.0f}",
        "memory after all views (MiB)": f"{after:.0f}",
        "peak memory of all views (MiB)": f"{peak:.0f}",
    }


def milliseconds(seconds: Measurement) -> str:
    """Return seconds as milliseconds."""
    return str(Measurement(tuple(value * 1e3 for value in seconds.rounds)))


def main() -> None:
    """Print a row for each measurement, and a column for each number of connections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "(default: %(default)s)"
    parser.add_argument("--connections", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3, help=f"rounds of each measurement {default}")
    arguments = parser.parse_args()
    print(f"{arguments.rounds} rounds, Python {platform.python_version()}, {os.cpu_count()} processors\n", flush=True)
    columns = [measure(connections, arguments.rounds) for connections in arguments.connections]
    rows = {"connections": [f"{connections:,}" for connections in arguments.connections]}
    rows["---"] = ["---"] * len(columns)
    rows |= {name: [column[name] for column in columns] for name in columns[0]}
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(values)} |")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
