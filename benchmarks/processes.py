"""Programs that the benchmarks compare, each in its own process and on loopback."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sandbox"
"""The API key of the sandbox."""

_WORKLOAD = str(Path(__file__).with_name("workload.py"))
_START_TIMEOUT = 20.0
"""Seconds."""


class Workload:
    """A mode of `workload.py` that prints a line when it is ready."""

    def __init__(self, mode: str, argument: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, _WORKLOAD, mode, argument], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._read_line()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def toggle(self) -> None:
        """Start or stop refreshes in the background of `serve`."""
        assert self._process.stdin is not None
        self._process.stdin.write("toggle\n")
        self._process.stdin.flush()
        self._read_line()

    def memory(self, field: str) -> float:
        """Return a field of the process's status, see `process_memory`."""
        return process_memory(self._process.pid, field)

    def reset_peak(self) -> None:
        """Set the peak of the resident memory to its current value."""
        reset_peak(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


class Scraper:
    """A connection that scrapes with as little work as possible, so that the exporter takes most of the time."""

    def __init__(self, url: str, encoding: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._connection = socket.create_connection((host, int(port)))
        self._request = f"GET /metrics HTTP/1.1\r\nhost: x\r\naccept-encoding: {encoding}\r\n\r\n".encode()
        self._buffer = bytearray(2**20)
        self.size = 0
        """Bytes of the last response, without its head."""

    def __call__(self) -> float:
        """Scrape and return the seconds to the last byte."""
        started = time.perf_counter()
        self._connection.sendall(self._request)
        head, _, rest = self._connection.recv(2**16).partition(b"\r\n\r\n")
        self.size = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]  # always sent
        remaining = self.size - len(rest)
        while remaining:
            remaining -= self._connection.recv_into(self._buffer, min(remaining, len(self._buffer)))
        return time.perf_counter() - started


def process_memory(pid: int, field: str) -> float:
    """Return a field of a process's status in MiB: `VmRSS` is the resident memory, and `VmHWM` its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 2**10  # type: ignore[index]  # Linux always writes it


def reset_peak(pid: int) -> None:
    """Set the peak of a process's resident memory to its current value."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def free_port() -> int:
    """Return a port on which no program listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(*command: str, url: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, wait until it responds to requests for the URL, and stop it at the end."""
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/usr/sbin:/bin", **environment}
    )
    try:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                urllib.request.urlopen(url).read()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.01)
        yield process
    finally:
        process.terminate()  # nginx would leave its worker process behind if it were killed
        process.wait()


@contextlib.contextmanager
def nginx(body: bytes) -> Iterator[str]:
    """Serve these bytes from a file with nginx, and yield the URL."""
    url = f"http://127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "metrics").write_bytes(body)
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;"
            "events {} http { access_log off; sendfile on; tcp_nopush on;"
            f"server {{ listen {url.removeprefix('http://')}; root {folder}; }} }}"
        )
        with running("nginx", "-c", str(folder / "nginx.conf"), url=f"{url}/metrics"):
            yield f"{url}/metrics"


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


_JSON_EXPORTER = """\
modules:
  connections:
    http_client_config: {authorization: {credentials: %s}}
    metrics:
      - name: telnyx_connection
        type: object
        help: A connection.
        path: "{.data[*]}"
        labels: {connection_id: "{.id}", connection_name: "{.connection_name}"}
        values: {active: "{.active}"}
      - name: telnyx_connection_inbound
        type: object
        help: Settings of calls to a connection.
        path: "{.data[*]}"
        labels:
          connection_id: "{.id}"
          connection_name: "{.connection_name}"
          ani_number_format: "{.inbound.ani_number_format}"
          dnis_number_format: "{.inbound.dnis_number_format}"
        values: {channel_limit: "{.inbound.channel_limit}"}
"""


@contextlib.contextmanager
def json_exporter(program: str, target: str) -> Iterator[tuple[str, int]]:
    """Run Prometheus's json_exporter for two metrics of each connection, and yield its URL and process id."""
    address = f"127.0.0.1:{free_port()}"
    url = f"http://{address}/probe?module=connections&target={target}"
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as config:
        config.write(_JSON_EXPORTER % KEY)
        config.flush()
        command = (program, f"--config.file={config.name}", f"--web.listen-address={address}", "--log.level=error")
        with running(*command, url=url) as process:
            yield url, process.pid


@contextlib.contextmanager
def exporter(base_url: str, *flags: str, api_key: str = KEY) -> Iterator[tuple[str, int]]:
    """Run the exporter's command, and yield the URL of its metrics and its process id."""
    address = f"127.0.0.1:{free_port()}"
    command = (sys.executable, "-m", "exporter", f"--telnyx.base-url={base_url}", f"--web.listen-address={address}")
    with running(*command, *flags, url=f"http://{address}/metrics", TELNYX_API_KEY=api_key) as process:
        yield f"http://{address}/metrics", process.pid
