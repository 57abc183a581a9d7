"""Compare the performance of the exporter with alternatives, and print the results as one table.

    python benchmarks/run.py [--connections 10000] [--rounds 5]

The alternatives are:

- prometheus-client, which renders the same metric families
- zlib, which compresses the same text
- nginx, which serves the same bytes from a file (requires the Debian packages `nginx-light` and `wrk`)
- the Telnyx SDK, which reads the same list (requires `pip install telnyx`)
- Prometheus's json_exporter, which exposes two metrics of the same connections (requires the program in PATH)
- the minimum work: reading and hashing the list, and copying the response in memory

The script skips alternatives that are not installed. All traffic is on loopback. Each result is the median of several
rounds, followed by the minimum and the maximum.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from processes import KEY, Scraper, Workload, exporter, free_port, json_exporter, nginx, process_memory, running, wrk
from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.collectors.connection_rows import Connection
from exporter.collectors.credential_connections import COLLECTOR, CredentialConnection
from exporter.collectors.families import Gauge, Info, RowCount
from exporter.collectors.registry import COLLECTORS
from exporter.exposition.formats import Format
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Document, response_body
from exporter.sandbox import Account
from exporter.telemetry import Telemetry
from exporter.telnyx.lists.pages import PageDecoder
from exporter.telnyx.lists.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from exporter.collectors.families import Family, LabelValue, MultiGauge, Sample

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Measurement:
    """The results of all rounds of a measurement."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of all rounds."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return f"{self.median:.3g} ({min(self.rounds):.3g} to {max(self.rounds):.3g})"


def measure(rounds: int, work: Callable[[], object]) -> Measurement:
    """Return the seconds that each call of `work` takes."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return Measurement(tuple(seconds))


def measure_in_turn(rounds: int, *works: Callable[[], float]) -> list[Measurement]:
    """Return the results of functions that are called in turn, so that noise of the machine affects all of them."""
    results = [[work() for work in works] for _ in range(rounds)]
    return [Measurement(tuple(values)) for values in zip(*results, strict=True)]


def print_row(name: str, ours: object, theirs: object = "-", ratio: str = "-") -> None:
    """Print a row of the table."""
    print(f"| {name} | {ours} | {theirs} | {ratio} |", flush=True)


def print_ratio(name: str, ours: Measurement, theirs: Measurement) -> None:
    """Print a row with our median divided by theirs."""
    print_row(name, ours, theirs, f"{ours.median / theirs.median:.3g}")


def print_speed(name: str, ours: Measurement, theirs: Measurement) -> None:
    """Print a row with their median divided by ours: how many times faster ours is. Both are seconds."""
    print_row(name, ours, theirs, f"{theirs.median / ours.median:.1f} times")


# Rendering


def pages_of(connections: int) -> list[Sequence[CredentialConnection]]:
    """Return the pages of the sandbox API's list."""
    decode = PageDecoder(CredentialConnection)
    rows = list(Account(connections, step=0).encoded_rows())
    bodies = (b'{"data":[' + b",".join(rows[start : start + 250]) + b"]}" for start in range(0, connections, 250))
    return [decode(body).rows for body in bodies]  # type: ignore[misc]  # no row is malformed


class PrometheusClientFamilies:
    """The same metric families as objects of prometheus-client, ready to render."""

    def __init__(self, pages: Sequence[Sequence[CredentialConnection]]) -> None:
        rows = [row for page in pages for row in page]
        snapshot_metrics = [
            self._metric(family, [({}, sample) for sample in self._snapshot_samples(family, rows)])
            for family in COLLECTOR.snapshot_families
        ]
        row_metrics = [
            self._metric(
                family,
                [
                    ({"connection_id": row.id, "connection_name": row.connection_name or ""}, sample)
                    for row in rows
                    for sample in self._samples(family, row)
                ],
            )
            for family in COLLECTOR.row_families
        ]
        self._metrics = [*snapshot_metrics, *row_metrics]

    def collect(self) -> list[Metric]:
        """Return all families."""
        return self._metrics

    @staticmethod
    def _snapshot_samples(family: Family, rows: Sequence[CredentialConnection]) -> Iterable[Sample]:
        if not isinstance(family, RowCount):
            return [((), 0)]
        return Counter(map(family.get_labels, map(COLLECTOR.index_record, rows))).items()

    @staticmethod
    def _samples(family: Gauge | Info | MultiGauge, row: CredentialConnection) -> Iterable[Sample]:
        if isinstance(family, Gauge):
            number = family.get_value(family.source(row))
            return [] if number is None else [((), number)]
        if isinstance(family, Info):
            return [(family.get_labels(family.source(row)), 1)]
        return family.samples(row)

    @staticmethod
    def _metric(family: Family, samples: Iterable[tuple[dict[str, str], Sample]]) -> Metric:
        texts: dict[LabelValue, str] = {True: "true", False: "false", None: ""}
        metric = Metric(family.name, family.help, "gauge")
        for common, (values, number) in samples:
            labels = zip(family.labels, (texts.get(value, value) for value in values), strict=True)
            metric.add_sample(family.name, {**common, **dict(labels)}, number)
        return metric


def compare_rendering(connections: int, rounds: int) -> Measurement:
    """Compare rendering with prometheus-client, and compression with zlib. Return the time of prometheus-client."""
    pages = pages_of(connections)
    rendered = [Renderer(COLLECTOR).render_page(page) for page in pages]

    def render(renderer: Renderer, changed: int) -> None:
        new = [renderer.render_page(page) for page in pages[:changed]]
        renderer.render(Snapshot((*new, *rendered[changed:]), connections))

    renderer = Renderer(COLLECTOR)
    document = Document(renderer.render(Snapshot(tuple(rendered), connections)))
    text = b"".join(response_body(document, Format.TEXT, b"", gzip=False).pieces)
    samples = sum(not line.startswith(b"#") for line in text.splitlines())
    families = PrometheusClientFamilies(pages)
    theirs = measure(rounds, lambda: generate_latest(families))  # type: ignore[arg-type]  # it only calls collect()
    name = f"render and compress {samples} samples, compared with rendering by prometheus-client"
    for what, number in (("all pages new", len(pages)), ("one page changed", 1), ("no page changed", 0)):
        ours = measure(rounds, partial(render, renderer, number))
        print_speed(f"{name}: {what} (s)", ours, theirs)
    compressed = response_body(document, Format.TEXT, b"", gzip=True).length
    zlib_size = len(zlib.compress(text, 6))
    print_row(
        "size of the response, compared with zlib at level 6 (MiB)",
        f"{compressed / 2**20:.2f}",
        f"{zlib_size / 2**20:.2f}",
        f"{compressed / zlib_size:.3g}",
    )
    return theirs


def compare_own_metrics(series: int, rounds: int) -> None:
    """Compare rendering the exporter's own metrics with prometheus-client, in the format that Prometheus prefers.

    `series` is a number of additional series.
    """
    telemetry, repetitions = Telemetry(), 1 if series else 200
    account = telemetry.account()
    for number in range(series):
        account.record_refresh_failure(1.0, f"reason {number}")

    def seconds(render: Callable[[], object]) -> float:
        def render_changed() -> None:
            account.record_refresh_failure(1.0, "reason 0")
            render()

        return measure(1, lambda: [render_changed() for _ in range(repetitions)]).median / repetitions

    ours, theirs = measure_in_turn(
        rounds,
        lambda: seconds(lambda: telemetry.render(Format.OPENMETRICS)),
        lambda: seconds(lambda: generate_openmetrics(telemetry)),
    )
    name = f"render the exporter's own metrics and {series} more series, compared with prometheus-client (s)"
    print_speed(name, ours, theirs)


# Scraping


def compare_scraping(base_url: str, rounds: int, rendering: Measurement) -> None:
    """Measure cached scrapes with and without compression, alone and during other work."""
    with Workload("serve", base_url) as workload:
        scrape, scrape_text = Scraper(workload.url, "gzip"), Scraper(workload.url, "identity")
        request = urllib.request.Request(f"{workload.url}/metrics", headers={"accept-encoding": "gzip"})
        body = urllib.request.urlopen(request).read()
        print_row("resident memory (MiB)", f"{workload.memory('VmRSS'):.0f}")
        seconds, copy = measure_in_turn(max(rounds, 20), scrape, lambda: measure(1, lambda: bytearray(body)).median)
        print_speed("cached scrape, compared with rendering by prometheus-client (s)", seconds, rendering)
        print_ratio("cached scrape, compared with a copy of the response in memory (s)", seconds, copy)
        workload.reset_peak()
        before = workload.memory("VmRSS")
        (text_seconds,) = measure_in_turn(max(rounds, 20), scrape_text)
        print_ratio("cached scrape without compression, compared with one with compression (s)", text_seconds, seconds)
        print_row("memory for a scrape without compression (MiB)", f"{workload.memory('VmHWM') - before:.1f}")
        with Workload("request", f"{workload.url}/metrics"):
            (beside,) = measure_in_turn(max(rounds, 20), scrape)
        print_ratio("cached scrape while another one is sent without compression (s)", beside, seconds)
        if shutil.which("wrk") and shutil.which("nginx"):
            compare_with_nginx(workload, body, rounds)


SHARE = 2.4
"""Rows of all lists of a sandbox, as a multiple of its credential connections."""


def compare_collectors(connections: int, rounds: int) -> None:
    """Compare cached scrapes of connections that are in eight lists with as many that are in one list."""
    names = [collector.name for collector in COLLECTORS if issubclass(collector.row_type, Connection)]
    flags = [flag for name in names for flag in (f"--collector.{name}", f"--collector.{name}.ttl=1h")]
    with (
        Workload("api", str(connections)) as one_list,
        Workload("api", str(round(connections / SHARE))) as many_lists,
        exporter(one_list.url, "--cache.ttl=1h", "--cache.max-stale=1h") as (one_url, _),
        exporter(many_lists.url, *flags, "--telnyx.max-requests-per-second=1000") as (many_url, _),
    ):
        for url, number in ((one_url, 1), (many_url, len(names))):
            while urllib.request.urlopen(url).read().count(b"telnyx_collector_success{") < number:
                time.sleep(0.1)
        one, many = (Scraper(url.removesuffix("/metrics"), "gzip") for url in (one_url, many_url))
        seconds, compared = measure_in_turn(max(rounds, 50), many, one)
    print_ratio(f"cached scrape of {connections} connections in 8 lists, compared with 1 list (s)", seconds, compared)


def scrapes_per_second(url: str, connections: int) -> float:
    """Return the number of responses per second for this many connections."""
    return wrk(url, connections)[0]


def compare_with_nginx(workload: Workload, body: bytes, rounds: int) -> None:
    """Compare the number of cached scrapes per second with nginx, and measure how much refreshes delay scrapes."""
    with nginx(body) as static:
        for connections in (1, 4):
            ours, theirs = measure_in_turn(
                rounds,
                partial(scrapes_per_second, f"{workload.url}/metrics", connections),
                partial(scrapes_per_second, static, connections),
            )
            size = len(body) / 2**20
            name = f"cached scrapes of {size:.1f} MiB by {connections} clients, compared with nginx (per second)"
            print_ratio(name, ours, theirs)

    def busy() -> float:
        workload.toggle()
        try:
            return wrk(f"{workload.url}/metrics", 50)[1]
        finally:
            workload.toggle()

    idle, during = measure_in_turn(rounds, lambda: wrk(f"{workload.url}/metrics", 50)[1], busy)
    print_ratio("p99 of 50 parallel scrapes during refreshes, compared with no refreshes (s)", during, idle)


# Refreshing


def measure_refreshes(base_url: str, rounds: int) -> dict[str, Measurement]:
    """Return measurements of refreshes. Each round runs in a new process."""
    command = [sys.executable, str(HERE / "workload.py"), "refresh", base_url]
    results = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(rounds)
    ]
    return {name: Measurement(tuple(result[name] for result in results)) for name in results[0]}


def compare_refreshes(connections: int, rounds: int) -> None:
    """Compare refreshes with reading and hashing the list, and with a list of ten times the size."""
    with Workload("api", str(connections)) as api:
        compare_reading(api.url, connections, rounds)
        small = measure_refreshes(api.url, rounds)
    floor = small["floor cpu seconds"]
    for key, what in (
        ("new", "all pages new"),
        ("changed", "one connection changed"),
        ("unchanged", "nothing changed"),
    ):
        ours = small[f"{key} cpu seconds"]
        name = f"CPU time of a refresh, compared with reading and hashing the list: {what} (s)"
        print_ratio(name, ours, floor)
    with Workload("api", str(10 * connections)) as api:
        large = measure_refreshes(api.url, max(1, rounds // 2))
    for key, what in (
        ("new seconds", "duration of a refresh (s)"),
        ("resident MiB", "resident memory after refreshes (MiB)"),
        ("peak MiB", "peak memory of refreshes (MiB)"),
        ("peak MiB after removals", "peak memory of refreshes in which all pages change (MiB)"),
    ):
        ours, theirs = large[key], small[key]
        name = f"{what}: {10 * connections} connections, compared with {connections}"
        print_ratio(name, ours, theirs)


SDK = """
import time, telnyx
client = telnyx.Telnyx(api_key={key!r}, base_url={url!r})
started = time.perf_counter()
assert sum(1 for _ in client.credential_connections.list(page_size=250)) == {size}
print(time.perf_counter() - started)
"""

READ_LIST = """
import asyncio, sys, time, uvloop
sys.path.insert(0, {here!r})
from workload import create_refresher
from exporter.logs import configure_logging
from exporter.telemetry import Telemetry
configure_logging("error", "logfmt")
async def main():
    _, refresh = create_refresher({url!r}, Telemetry().account())
    started = time.perf_counter()
    assert (await refresh()).row_count == {size}
    print(time.perf_counter() - started)
uvloop.run(main())
"""


def run_program(program: str) -> float:
    """Return the seconds that a program prints. It runs in a new process."""
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def compare_reading(base_url: str, connections: int, rounds: int) -> None:
    """Compare a refresh with reading the list with the Telnyx SDK."""
    name = "read and render the list, compared with reading by the Telnyx SDK (s)"
    if importlib.util.find_spec("telnyx") is None:
        print_row(name, "-", "not installed")
        return
    settings = {"key": KEY, "url": base_url, "size": connections, "here": str(HERE)}
    ours, theirs = measure_in_turn(
        rounds, lambda: run_program(READ_LIST.format(**settings)), lambda: run_program(SDK.format(**settings))
    )
    print_speed(name, ours, theirs)


def compare_with_json_exporter(rounds: int) -> None:
    """Compare the exporter with json_exporter, which reads the API at each scrape, for one page of connections."""
    program, name = shutil.which("json_exporter"), "250 connections, compared with json_exporter"
    if program is None:
        print_row(name, "-", "not installed")
        return

    def scrape(url: str) -> Callable[[], float]:
        return lambda: measure(1, lambda: urllib.request.urlopen(url).read()).median

    with (
        Workload("api", "250") as api,
        json_exporter(program, f"{api.url}/credential_connections") as (json_url, json_pid),
        exporter(api.url, "--cache.ttl=1ms", "--cache.max-stale=1m") as (reading_url, _),
        exporter(api.url) as (cached_url, pid),
    ):
        cached, reading, theirs = measure_in_turn(
            max(rounds, 20), scrape(cached_url), scrape(reading_url), scrape(json_url)
        )
        memory, their_memory = process_memory(pid, "VmRSS"), process_memory(json_pid, "VmRSS")
    for what, ours in (("cached scrape", cached), ("scrape that reads the API", reading)):
        print_speed(f"{name}: {what} (s)", ours, theirs)
    print_row(f"{name}: resident memory (MiB)", f"{memory:.0f}", f"{their_memory:.0f}", f"{memory / their_memory:.3g}")


# Starting


def start_until_ready() -> float:
    """Start the demo, and return the seconds until it is ready."""
    address = f"127.0.0.1:{free_port()}"
    command = (sys.executable, "-m", "exporter", "--demo", f"--web.listen-address={address}")
    started = time.perf_counter()
    with running(*command, url=f"http://{address}/-/ready"):
        return time.perf_counter() - started


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--connections", type=int, default=10_000, help="number of credential connections (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (default: %(default)s)")
    arguments = parser.parse_args()
    size, rounds = arguments.connections, arguments.rounds
    print(f"{size} connections, {rounds} rounds, Python {platform.python_version()}, {os.cpu_count()} processors\n")
    print_row("measurement", "exporter", "compared with", "ratio")
    print_row(*["---"] * 4)
    rendering = compare_rendering(size, rounds)
    compare_own_metrics(0, rounds)
    compare_own_metrics(10_000, rounds)
    with Workload("api", str(size)) as api:
        compare_scraping(api.url, rounds, rendering)
    for connections in (50, size):
        compare_collectors(connections, rounds)
    compare_refreshes(size, rounds)
    compare_with_json_exporter(rounds)
    (startup,) = measure_in_turn(rounds, start_until_ready)
    print_row("startup until ready with --demo (s)", startup)
    version = [sys.executable, "-m", "exporter", "--version"]
    print_row("--version (s)", measure(rounds, lambda: subprocess.run(version, capture_output=True, check=True)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
