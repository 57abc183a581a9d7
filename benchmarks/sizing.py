"""Measure an exporter of one account with a different number of connections, and print the sizing table of the docs.

python benchmarks/sizing.py [--connections 100 1000 5000 10000 100000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import urllib.request

from processes import Scraper, Workload, cpu_seconds, exporter, process_memory
from run import measure_refreshes

MEBI = 2**20
COLUMNS = (
    "connections",
    "API requests of a poll",
    "series",
    "scrape with gzip (MiB)",
    "scrape without compression (MiB)",
    "resident memory (MiB)",
    "peak memory (MiB)",
    "CPU time of a poll and a scrape (s)",
    "CPU time if all pages changed (s)",
)


def series(url: str) -> int:
    """Return the number of series of a scrape."""
    return sum(not line.startswith(b"#") for line in urllib.request.urlopen(url).read().splitlines())


def requests(url: str) -> float:
    """Return how many requests to the Telnyx API the exporter has sent."""
    lines = urllib.request.urlopen(url).read().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(b"telnyx_api_requests_total{"))


def measure(connections: int, rounds: int) -> tuple[str, ...]:
    """Return the row of the table for this many connections.

    The exporter polls at each scrape, because its TTL is short. Between these polls, the list does not change.
    """
    flags = ("--cache.ttl=1ms", "--cache.max-stale=10m", "--telnyx.timeout=5m")
    with Workload("api", str(connections)) as api:
        with exporter(api.url, *flags) as (url, pid):
            text, gzip = (Scraper(url.removesuffix("/metrics"), encoding) for encoding in ("identity", "gzip"))
            text()
            gzip()
            number = series(url)
            sent = requests(url)
            before = cpu_seconds(pid)
            for _ in range(rounds):
                gzip()
            cpu = (cpu_seconds(pid) - before) / rounds
            per_poll = (requests(url) - sent) / (rounds + 1)
            resident = process_memory(pid, "VmRSS")
        refreshes = measure_refreshes(api.url, rounds)
    peak, new = (statistics.median(refreshes[name].rounds) for name in ("peak MiB after removals", "new cpu seconds"))
    sizes = (f"{scraper.size / MEBI:.3g}" for scraper in (gzip, text))
    memory = (f"{mebibytes:.0f}" for mebibytes in (resident, peak))
    return f"{connections:,}", f"{per_poll:.0f}", f"{number:,}", *sizes, *memory, f"{cpu:.2g}", f"{new:.2g}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, nargs="+", default=[100, 1_000, 5_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for row in (COLUMNS, ["---"] * len(COLUMNS)):
        print(f"| {' | '.join(row)} |", flush=True)
    for connections in arguments.connections:
        print(f"| {' | '.join(measure(connections, arguments.rounds))} |", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
