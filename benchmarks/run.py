"""Compare the performance of the exporter with alternatives, and print the results as one table.

    python benchmarks/run.py [--connections 10000] [--rounds 5]

The alternatives are:

- prometheus-client, which renders the same metric families
- nginx, which serves the same bytes from a file (requires the Debian packages `nginx-light` and `wrk`)
- the Telnyx SDK, which reads the same list (requires `pip install telnyx`)

The script skips alternatives that are not installed. All traffic is on loopback. Each result is the median of several
rounds, followed by the minimum and the maximum.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from prometheus_client import Metric, generate_latest

from exporter.collectors.credential_connections import COLLECTOR, Connection
from exporter.collectors.families import Gauge, Info
from exporter.exposition.formats import Format
from exporter.exposition.renderer import Renderer
from exporter.sandbox import Account
from exporter.telnyx.pages import PageDecoder, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exporter.collectors.families import Family, LabelValue, MultiGauge, Sample

HERE = Path(__file__).parent
KEY = "sandbox"
ENVIRONMENT = {"TELNYX_API_KEY": KEY, "PATH": "/usr/bin:/usr/sbin:/bin"}


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


def print_row(name: str, ours: Measurement | str, theirs: Measurement | str, ratio: str) -> None:
    """Print a row of the table."""
    print(f"| {name} | {ours} | {theirs} | {ratio} |", flush=True)


# The list that all measurements use


@contextlib.contextmanager
def sandbox(connections: int) -> Iterator[str]:
    """Run the sandbox API with a list that doesn't change, and yield its base URL."""
    command = [sys.executable, "-m", "exporter.sandbox", f"--size={connections}", "--step=0", "--rate-limit=0"]
    process = subprocess.Popen(
        [*command, "--listen-address=127.0.0.1:0"], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stderr is not None
    try:
        yield process.stderr.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def snapshot_of(connections: int) -> Snapshot[Connection]:
    """Return the list of the sandbox API as a snapshot."""
    decode = PageDecoder(Connection)
    rows = list(Account(connections, step=0).encoded_rows())
    pages = (b'{"data":[' + b",".join(rows[start : start + 250]) + b"]}" for start in range(0, connections, 250))
    return Snapshot(tuple(decode(page).rows for page in pages))  # type: ignore[misc]  # no row is malformed


# Rendering


class PrometheusClientFamilies:
    """The same metric families as objects of prometheus-client, ready to render."""

    def __init__(self, snapshot: Snapshot) -> None:
        snapshot_metrics = [
            self._metric(family, [({}, sample) for sample in family.samples(snapshot)])
            for family in COLLECTOR.snapshot_families
        ]
        row_metrics = [
            self._metric(
                family,
                [
                    ({"connection_id": connection.id, "connection_name": connection.connection_name or ""}, sample)
                    for connection in snapshot.rows
                    for sample in self._samples(family, connection)
                ],
            )
            for family in COLLECTOR.row_families
        ]
        self._metrics = [*snapshot_metrics, *row_metrics]

    def collect(self) -> list[Metric]:
        """Return all families."""
        return self._metrics

    @staticmethod
    def _samples(family: Gauge | Info | MultiGauge, connection: Connection) -> Iterable[Sample]:
        if isinstance(family, Gauge):
            number = family.get_value(family.source(connection))
            return [] if number is None else [((), number)]
        if isinstance(family, Info):
            return [(family.get_labels(family.source(connection)), 1)]
        return family.samples(connection)

    @staticmethod
    def _metric(family: Family, samples: Iterable[tuple[dict[str, str], Sample]]) -> Metric:
        texts: dict[LabelValue, str] = {True: "true", False: "false", None: ""}
        metric = Metric(family.name, family.help, "gauge")
        for common, (values, number) in samples:
            labels = zip(family.labels, (texts.get(value, value) for value in values), strict=True)
            metric.add_sample(family.name, {**common, **dict(labels)}, number)
        return metric


def compare_rendering(connections: int, rounds: int) -> tuple[float, int]:
    """Compare rendering with prometheus-client. Return its time in seconds, and the length of the text in bytes."""
    snapshot = snapshot_of(connections)
    text = Renderer(COLLECTOR)(snapshot).encode(Format.TEXT, gzip=False).data
    samples = sum(not line.startswith(b"#") for line in text.splitlines())
    families = PrometheusClientFamilies(snapshot)
    theirs = measure(rounds, lambda: generate_latest(families))  # type: ignore[arg-type]  # it only calls collect()
    new = measure(rounds, lambda: Renderer(COLLECTOR)(snapshot))
    renderer = Renderer(COLLECTOR)
    renderer(snapshot)
    unchanged = measure(rounds, lambda: renderer(snapshot))
    copy = (*snapshot.pages[-1][:1], *snapshot.pages[-1][1:])  # an equal page, but not the same object
    snapshots = itertools.cycle((Snapshot((*snapshot.pages[:-1], copy)), snapshot))
    changed = measure(rounds, lambda: renderer(next(snapshots)))
    name = f"render {samples} samples, compared with prometheus-client"
    print_row(f"{name}: all pages new (s)", new, theirs, f"{theirs.median / new.median:.1f} times")
    print_row(f"{name}: one page changed (s)", changed, theirs, f"{theirs.median / changed.median:.0f} times")
    print_row(f"{name}: no page changed (s)", unchanged, theirs, f"{theirs.median / unchanged.median:.0f} times")
    return theirs.median, len(text)


# Scraping


class Workload:
    """A separate process in which the exporter serves one snapshot."""

    def __init__(self, base_url: str) -> None:
        command = [sys.executable, str(HERE / "workload.py"), "serve", base_url]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def toggle(self) -> None:
        """Start or stop refreshes in the background."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("toggle\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def resident_memory(self) -> float:
        """Return the resident memory of the process in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 2**10  # type: ignore[index]  # Linux always writes it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def wrk(url: str, connections: int, seconds: int = 3) -> tuple[float, float]:
    """Return the requests per second and the 99th percentile of the response time in seconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
    output = subprocess.run(
        [*command, "-H", "Accept-Encoding: gzip", url], capture_output=True, text=True, check=True
    ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\s", output)
    assert rate, output
    assert p99, output
    return float(rate[1]), float(p99[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[p99[2]]


@contextlib.contextmanager
def nginx(body: bytes) -> Iterator[str]:
    """Serve these bytes from a file with nginx, and yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "metrics").write_bytes(body)
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;"
            "events {} http { access_log off; sendfile on; tcp_nopush on;"
            f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"
        )
        process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")])
        time.sleep(0.5)
        try:
            yield f"http://127.0.0.1:{port}/metrics"
        finally:
            process.terminate()
            process.wait()


def compare_scraping(base_url: str, rounds: int, rendering_seconds: float, text_length: int) -> None:
    """Compare cached scrapes with rendering on each scrape and with nginx, and measure how much refreshes delay them.

    Also compare the resident memory with the sum of 60 MiB and three times the length of the text.
    """
    with Workload(base_url) as workload:
        host, _, port = workload.url.removeprefix("http://").partition(":")
        connection = socket.create_connection((host, int(port)))
        buffer = bytearray(2**20)

        def scrape() -> None:
            """Scrape with as little work as possible on this side, so that the exporter takes most of the time."""
            connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\n\r\n")
            head, _, rest = connection.recv(2**16).partition(b"\r\n\r\n")
            remaining = int(re.search(rb"content-length: (\d+)", head)[1]) - len(rest)  # type: ignore[index]  # always sent
            while remaining:
                remaining -= connection.recv_into(buffer, min(remaining, len(buffer)))

        scrape()
        request = urllib.request.Request(f"{workload.url}/metrics", headers={"accept-encoding": "gzip"})
        body = urllib.request.urlopen(request).read()
        resident, reference = workload.resident_memory(), 60 + 3 * text_length / 2**20
        print_row(
            "resident memory, compared with 60 MiB plus 3 times the text (MiB)",
            f"{resident:.0f}",
            f"{reference:.0f}",
            f"{resident / reference:.2f}",
        )
        seconds = measure(max(rounds, 20), scrape)
        mebibytes = len(body) / 2**20
        print_row(
            "cached scrape, compared with rendering on each scrape (s)",
            seconds,
            f"{rendering_seconds:.3g}",
            f"{rendering_seconds / seconds.median:.0f} times",
        )
        if shutil.which("wrk") and shutil.which("nginx"):
            with nginx(body) as static:
                ours, theirs = [], []
                for _ in range(rounds):
                    ours.append(wrk(f"{workload.url}/metrics", 4)[0])
                    theirs.append(wrk(static, 4)[0])
            a, b = Measurement(tuple(ours)), Measurement(tuple(theirs))
            print_row(
                f"cached scrapes of {mebibytes:.1f} MiB gzip, compared with nginx (per second)",
                a,
                b,
                f"{a.median / b.median:.2f}",
            )
            idle, busy = [], []
            for _ in range(rounds):
                idle.append(wrk(f"{workload.url}/metrics", 50)[1])
                workload.toggle()
                busy.append(wrk(f"{workload.url}/metrics", 50)[1])
                workload.toggle()
            a, b = Measurement(tuple(busy)), Measurement(tuple(idle))
            print_row(
                "p99 of 50 parallel scrapes during refreshes, compared with no refreshes (s)",
                a,
                b,
                f"{a.median / b.median:.2f}",
            )


# Refreshing


def measure_refreshes(base_url: str, rounds: int) -> dict[str, Measurement]:
    """Return measurements of refreshes. Each round runs in a new process."""
    command = [sys.executable, str(HERE / "workload.py"), "refresh", base_url]
    results = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(rounds)
    ]
    return {name: Measurement(tuple(result[name] for result in results)) for name in results[0]}


SDK = """
import time, telnyx
client = telnyx.Telnyx(api_key={key!r}, base_url={url!r})
started = time.perf_counter()
assert sum(1 for _ in client.credential_connections.list(page_size=250)) == {size}
print(time.perf_counter() - started)
"""

READ_LIST = """
import asyncio, time, uvloop
from exporter.collectors.credential_connections import COLLECTOR
from exporter.config.settings import FilterSettings
from exporter.telnyx.client import Client
from exporter.telnyx.lists import ListReader
from exporter.logs import configure_logging
from exporter.telemetry import Telemetry
configure_logging("error", "logfmt")
async def main():
    telemetry = Telemetry()
    client = Client({url!r}, lambda: {key!r}, telemetry)
    reader = ListReader(client, COLLECTOR.query(FilterSettings(), page_size=250), telemetry)
    started = time.perf_counter()
    assert (await reader.fetch()).row_count == {size}
    print(time.perf_counter() - started)
uvloop.run(main())
"""


def measure_program(program: str, rounds: int) -> Measurement:
    """Return the seconds that a program prints. Each round runs in a new process."""
    command = [sys.executable, "-c", program]
    return Measurement(
        tuple(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(rounds))
    )


def compare_reading(base_url: str, connections: int, rounds: int) -> None:
    """Compare reading the list with the Telnyx SDK."""
    if importlib.util.find_spec("telnyx") is None:
        print_row("read the list, compared with the Telnyx SDK (s)", "-", "not installed", "-")
        return
    settings = {"key": KEY, "url": base_url, "size": connections}
    ours = measure_program(READ_LIST.format(**settings), rounds)
    theirs = measure_program(SDK.format(**settings), rounds)
    print_row(
        "read the list, compared with the Telnyx SDK (s)", ours, theirs, f"{theirs.median / ours.median:.1f} times"
    )


# Starting


def start_until_ready() -> None:
    """Start the demo, wait until it is ready, and kill it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    command = [sys.executable, "-m", "exporter", "--demo", f"--web.listen-address={address}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://{address}/-/ready")
                return
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    size, rounds = arguments.connections, arguments.rounds
    print(f"{size} connections, {rounds} rounds, Python {platform.python_version()}, {os.cpu_count()} processors\n")
    print_row("measurement", "exporter", "compared with", "ratio")
    print_row(*["---"] * 4)
    rendering_seconds, text_length = compare_rendering(size, rounds)
    with sandbox(size) as base_url:
        compare_scraping(base_url, rounds, rendering_seconds, text_length)
        compare_reading(base_url, size, rounds)
        small = measure_refreshes(base_url, rounds)
    new, unchanged = small["new cpu seconds"], small["unchanged cpu seconds"]
    print_row(
        "CPU time of a refresh of an unchanged list, compared with an all-new list (s)",
        unchanged,
        new,
        f"{unchanged.median / new.median:.2f}",
    )
    with sandbox(10 * size) as base_url:
        large = measure_refreshes(base_url, max(1, rounds // 2))
    for key, name, unit in (("new seconds", "duration of a refresh", "s"), ("MiB", "peak memory of refreshes", "MiB")):
        a, b = large[key], small[key]
        print_row(
            f"{name}, {10 * size} connections compared with {size} ({unit})", a, b, f"{a.median / b.median:.1f} times"
        )
    print_row("startup until ready with --demo (s)", measure(rounds, start_until_ready), "-", "-")
    version = [sys.executable, "-m", "exporter", "--version"]
    print_row(
        "--version (s)", measure(rounds, lambda: subprocess.run(version, capture_output=True, check=True)), "-", "-"
    )


if __name__ == "__main__":
    main()
