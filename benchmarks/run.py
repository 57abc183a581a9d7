"""Measure the exporter side by side with what else could do its work, in one run, as one table.

    python benchmarks/run.py [--connections 10000] [--rounds 5]

Against prometheus-client's own rendering of the same families, nginx with the same bytes in a file (Debian's packages
`nginx-light` and `wrk`), and Telnyx's SDK (`pip install telnyx`) reading the same list; what is not there is left out.
All of it runs on loopback. A figure is the median of several rounds, with the least and the most of them behind it.
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
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Format
from exporter.sandbox import Account
from exporter.telnyx.pages import PageDecoder, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exporter.collectors.families import Family, LabelValue, MultiGauge, Sample

HERE = Path(__file__).parent
KEY = "sandbox"
ENVIRONMENT = {"TELNYX_API_KEY": KEY, "PATH": "/usr/bin:/usr/sbin:/bin"}


@dataclass(frozen=True)
class Figure:
    """Rounds of one measurement."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The one to quote."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        least, most = min(self.rounds), max(self.rounds)
        return f"{self.median:.3g} ({least:.3g} to {most:.3g})"


def measure(rounds: int, work: Callable[[], object]) -> Figure:
    """Return the seconds that it takes."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return Figure(tuple(seconds))


def row(what: str, ours: Figure | str, theirs: Figure | str, ratio: str) -> None:
    """Print a row of the table."""
    print(f"| {what} | {ours} | {theirs} | {ratio} |", flush=True)


# The same list for all


@contextlib.contextmanager
def sandbox(connections: int) -> Iterator[str]:
    """Run an account that stands still and give its base URL."""
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
    """Return the same list as a snapshot."""
    decode = PageDecoder(Connection)
    rows = list(Account(connections, step=0).encoded_rows())
    pages = (b'{"data":[' + b",".join(rows[start : start + 250]) + b"]}" for start in range(0, connections, 250))
    return Snapshot(tuple(decode(page).rows for page in pages))  # type: ignore[misc]  # all rows can be read


# Rendering


class Families:
    """The same families as prometheus-client has them, ready to be rendered."""

    def __init__(self, snapshot: Snapshot) -> None:
        selection = COLLECTOR
        counts = [
            self._metric(family, [({}, sample) for sample in family.samples(snapshot)])
            for family in selection.snapshot_families
        ]
        each = [
            self._metric(
                family,
                [
                    ({"connection_id": connection.id, "connection_name": connection.connection_name or ""}, sample)
                    for connection in snapshot.rows
                    for sample in self._samples(family, connection)
                ],
            )
            for family in selection.row_families
        ]
        self._metrics = [*counts, *each]

    def collect(self) -> list[Metric]:
        """Return them."""
        return self._metrics

    @staticmethod
    def _samples(family: Gauge | Info | MultiGauge, connection: Connection) -> Iterable[Sample]:
        if isinstance(family, Gauge):
            number = family.value(family.part(connection))
            return [] if number is None else [((), number)]
        if isinstance(family, Info):
            return [(family.values(family.part(connection)), 1)]
        return family.samples(connection)

    @staticmethod
    def _metric(family: Family, samples: Iterable[tuple[dict[str, str], Sample]]) -> Metric:
        words: dict[LabelValue, str] = {True: "true", False: "false", None: ""}
        metric = Metric(family.name, family.help, "gauge")
        for common, (values, number) in samples:
            labels = zip(family.labels, (words.get(value, value) for value in values), strict=True)
            metric.add_sample(family.name, {**common, **dict(labels)}, number)
        return metric


def rendering(connections: int, rounds: int) -> tuple[float, int]:
    """Compare rendering; return the seconds that prometheus-client takes, and the length of the text."""
    snapshot = snapshot_of(connections)
    selection = COLLECTOR
    text = Renderer(selection)(snapshot).encode(Format.TEXT, gzip=False).data
    samples = sum(not line.startswith(b"#") for line in text.splitlines())
    families = Families(snapshot)
    theirs = measure(rounds, lambda: generate_latest(families))  # type: ignore[arg-type]  # collect() is all it calls
    new = measure(rounds, lambda: Renderer(selection)(snapshot))
    renderer = Renderer(selection)
    renderer(snapshot)
    same = measure(rounds, lambda: renderer(snapshot))
    last = (*snapshot.pages[-1][:1], *snapshot.pages[-1][1:])  # equal, and yet another page
    turns = itertools.cycle((Snapshot((*snapshot.pages[:-1], last)), snapshot))
    some = measure(rounds, lambda: renderer(next(turns)))
    row(f"rendering {samples} samples, all new, s", new, theirs, f"{theirs.median / new.median:.1f} times")
    row("the same, one page of the list changed, s", some, theirs, f"{theirs.median / some.median:.0f} times")
    row("the same, nothing changed, s", same, theirs, f"{theirs.median / same.median:.0f} times")
    return theirs.median, len(text)


# Scraping


class Workload:
    """The exporter serving one snapshot in a process of its own."""

    def __init__(self, base_url: str) -> None:
        command = [sys.executable, str(HERE / "workload.py"), "serve", base_url]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def toggle(self) -> None:
        """Begin or end refreshes beside the scrapes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("toggle\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def resident(self) -> float:
        """Return the MiB that it holds."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 2**10  # type: ignore[index]  # Linux has it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def wrk(url: str, connections: int, seconds: int = 3) -> tuple[float, float]:
    """Return the requests a second, and the 99th percentile of their seconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
    out = subprocess.run(
        [*command, "-H", "Accept-Encoding: gzip", url], capture_output=True, text=True, check=True
    ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\s", out)
    assert rate, out
    assert p99, out
    return float(rate[1]), float(p99[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[p99[2]]


@contextlib.contextmanager
def nginx(body: bytes) -> Iterator[str]:
    """Run nginx with these bytes in a file."""
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


def scraping(base_url: str, rounds: int, rendered: float, text: int) -> None:
    """Compare warm scrapes with a file in nginx, with rendering at each scrape, and with a refresh beside them."""
    with Workload(base_url) as workload:
        host, _, port = workload.url.removeprefix("http://").partition(":")
        peer = socket.create_connection((host, int(port)))
        buffer = bytearray(2**20)

        def scrape() -> None:
            """Take an answer as cheaply as Python can, so that the time is the exporter's."""
            peer.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\n\r\n")
            head, _, rest = peer.recv(2**16).partition(b"\r\n\r\n")
            left = int(re.search(rb"content-length: (\d+)", head)[1]) - len(rest)  # type: ignore[index]  # it has one
            while left:
                left -= peer.recv_into(buffer, min(left, len(buffer)))

        scrape()
        request = urllib.request.Request(f"{workload.url}/metrics", headers={"accept-encoding": "gzip"})
        body = urllib.request.urlopen(request).read()
        resident, bound = workload.resident(), 60 + 3 * text / 2**20
        row(
            "resident memory, MiB, against 60 and three times the text",
            f"{resident:.0f}",
            f"{bound:.0f}",
            f"{resident / bound:.2f}",
        )
        seconds = measure(max(rounds, 20), scrape)
        megabytes = len(body) / 2**20
        row(
            "a warm scrape against rendering each time, s",
            seconds,
            f"{rendered:.3g}",
            f"{rendered / seconds.median:.0f} times",
        )
        if shutil.which("wrk") and shutil.which("nginx"):
            with nginx(body) as static:
                ours, theirs = [], []
                for _ in range(rounds):
                    ours.append(wrk(f"{workload.url}/metrics", 4)[0])
                    theirs.append(wrk(static, 4)[0])
            a, b = Figure(tuple(ours)), Figure(tuple(theirs))
            row(
                f"warm scrapes of {megabytes:.1f} MiB of gzip a second, against nginx",
                a,
                b,
                f"{a.median / b.median:.2f}",
            )
            quiet, busy = [], []
            for _ in range(rounds):
                quiet.append(wrk(f"{workload.url}/metrics", 50)[1])
                workload.toggle()
                busy.append(wrk(f"{workload.url}/metrics", 50)[1])
                workload.toggle()
            a, b = Figure(tuple(busy)), Figure(tuple(quiet))
            row(
                "p99 of 50 scrapes in parallel beside a refresh, against without, s", a, b, f"{a.median / b.median:.2f}"
            )


# Refreshing


def refreshes(base_url: str, rounds: int) -> dict[str, Figure]:
    """Return the figures of refreshes in fresh processes."""
    command = [sys.executable, str(HERE / "workload.py"), "refresh", base_url]
    found = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(rounds)
    ]
    return {name: Figure(tuple(figures[name] for figures in found)) for name in found[0]}


SDK = """
import time, telnyx
client = telnyx.Telnyx(api_key={key!r}, base_url={url!r})
started = time.perf_counter()
assert sum(1 for _ in client.credential_connections.list(page_size=250)) == {size}
print(time.perf_counter() - started)
"""

WALK = """
import asyncio, time, uvloop
from exporter.collectors.credential_connections import COLLECTOR
from exporter.config.settings import Filter
from exporter.telnyx.client import Client
from exporter.telnyx.lists import ListReader
from exporter.logs import configure
from exporter.telemetry import Telemetry
configure("error", "logfmt")
async def main():
    telemetry = Telemetry()
    client = Client({url!r}, lambda: {key!r}, telemetry)
    reader = ListReader(client, COLLECTOR.query(Filter(), page_size=250), telemetry)
    started = time.perf_counter()
    assert (await reader.fetch()).row_count == {size}
    print(time.perf_counter() - started)
uvloop.run(main())
"""


def seconds_of(program: str, rounds: int) -> Figure:
    """Return the seconds that a program prints, in fresh processes."""
    command = [sys.executable, "-c", program]
    return Figure(
        tuple(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(rounds))
    )


def walking(base_url: str, connections: int, rounds: int) -> None:
    """Compare reading the list with the official SDK."""
    if importlib.util.find_spec("telnyx") is None:
        row("walking the list, against Telnyx's SDK, s", "-", "not installed", "-")
        return
    settings = {"key": KEY, "url": base_url, "size": connections}
    ours, theirs = seconds_of(WALK.format(**settings), rounds), seconds_of(SDK.format(**settings), rounds)
    row("walking the list, against Telnyx's SDK, s", ours, theirs, f"{theirs.median / ours.median:.1f} times")


# Starting


def first_answer() -> None:
    """Start the demo, wait until it is ready, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
    command = [sys.executable, "-m", "exporter", "--demo", f"--web.listen-address={where}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://{where}/-/ready")
                return
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    size, rounds = arguments.connections, arguments.rounds
    print(f"{size} connections, {rounds} rounds, Python {platform.python_version()}, {os.cpu_count()} processors\n")
    row("what", "the exporter", "the other", "ratio")
    row(*["---"] * 4)
    rendered, text = rendering(size, rounds)
    with sandbox(size) as base_url:
        scraping(base_url, rounds, rendered, text)
        walking(base_url, size, rounds)
        small = refreshes(base_url, rounds)
    cpu, same = small["new cpu seconds"], small["unchanged cpu seconds"]
    row("CPU of a refresh, nothing changed against all new, s", same, cpu, f"{same.median / cpu.median:.2f}")
    with sandbox(10 * size) as base_url:
        large = refreshes(base_url, max(1, rounds // 2))
    for name, what in (("new seconds", "time of a refresh, s"), ("MiB", "memory of a refresh, MiB")):
        a, b = large[name], small[name]
        row(f"{what}: {10 * size} connections against {size}", a, b, f"{a.median / b.median:.1f} times")
    row("start until ready with --demo, s", measure(rounds, first_answer), "-", "-")
    version = [sys.executable, "-m", "exporter", "--version"]
    row("--version, s", measure(rounds, lambda: subprocess.run(version, capture_output=True, check=True)), "-", "-")


if __name__ == "__main__":
    main()
