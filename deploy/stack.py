"""Runs the demo, Prometheus with the rules, and Alertmanager until Ctrl-C: `make stack`.

If Docker with compose works, they run in containers, with Grafana (compose.yaml). Otherwise, the programs on the PATH
run, and the exporter of this Python. The environment variable ENGINE selects one: docker, podman or none.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

ROOT = Path(__file__).parents[1]
ENGINES = ("docker", "podman")
COMPOSE = ("compose", "-f", "deploy/compose.yaml")
PORTS = {"exporter": 10142, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
"""The port of each service of compose.yaml."""
FLAGS = {
    "exporter": "--demo",
    "prometheus": "--config.file=prometheus/prometheus.yml --storage.tsdb.path={data}",
    "alertmanager": "--config.file=prometheus/alertmanager.yml --storage.path={data} --cluster.listen-address=",
}
"""The flags of each program, without those of its address."""
ADDRESS_FLAGS = "--web.listen-address=127.0.0.1:{port} --web.external-url=http://localhost:{port}"
LOGS = Path("build/stack")
READY_TIMEOUT, STOP_TIMEOUT = 120.0, 15.0
"""Seconds that the services have to become ready, and to end. Then they are killed."""


class StackError(Exception):
    """Why the stack can't run, in words for the user."""


@dataclass(frozen=True)
class Check:
    """A URL that responds with status 200 when a service is ready, and the list that must not be empty there."""

    service: str
    path: str
    data: str = ""

    def find_problem(self) -> str:
        """Return why the service is not ready, or an empty string."""
        url = f"http://127.0.0.1:{PORTS[self.service]}{self.path}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy for this machine
        try:
            with opener.open(url, timeout=5) as response:
                body = response.read()
        except (OSError, http.client.HTTPException) as error:
            return f"{self.service}, {url}: {error}"
        return f"{self.service}, {url}: no {self.data}" if self.data and not json.loads(body)["data"][self.data] else ""


CHECKS = (
    Check("exporter", "/-/ready"),
    Check("alertmanager", "/-/ready"),
    Check("prometheus", "/-/ready"),
    Check("prometheus", "/api/v1/rules", "groups"),
    Check("prometheus", "/api/v1/alertmanagers", "activeAlertmanagers"),
    Check("grafana", "/api/health"),
)


class Signals:
    """Counts the signals that ask the stack to end. They interrupt nothing, so that no process is left behind."""

    def __init__(self) -> None:
        self.received = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._count)

    def _count(self, *_: object) -> None:
        self.received += 1


class Programs:
    """The programs on the PATH."""

    services = tuple(FLAGS)
    logs = f"{LOGS}/"
    stop_hint = "If a package started it as a service: systemctl stop prometheus prometheus-alertmanager"

    def __init__(self, root: Path, data: Path) -> None:
        self._root, self._data = root, data
        self._commands = find_programs()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the programs. Each writes its output to a file."""
        for name, flags in FLAGS.items():
            templates = f"{ADDRESS_FLAGS} {flags}".split()
            arguments = (template.format(port=PORTS[name], data=self._data / name) for template in templates)
            with (self._root / LOGS / f"{name}.log").open("wb") as log:
                folder = self._data if name == "exporter" else self._root  # it would read the .env of the repository
                self._processes[name] = start_process((*self._commands[name], *arguments), folder, log)

    def is_running(self) -> bool:
        """Return True. If a program ended, raise a `StackError`."""
        for name, process in self._processes.items():
            if (status := process.poll()) is not None:
                how = f"ended with status {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"
                log = LOGS / f"{name}.log"
                lines = (self._root / log).read_text("utf-8", "replace").splitlines()[-5:]
                raise StackError("\n  ".join([f"{name} {how}. The end of its log, {log}:", *lines]))
        return True

    def end(self, is_urgent: Callable[[], bool]) -> None:
        """End the programs."""
        end_processes(self._processes.values(), signal.SIGTERM, is_urgent)


class Containers:
    """The containers of compose.yaml. Compose restarts those that end."""

    services = tuple(PORTS)

    def __init__(self, root: Path, engine: str) -> None:
        self._root, self._command = root, (engine, *COMPOSE)
        self._shown = " ".join(self._command)
        self._starting: list[subprocess.Popen[bytes]] = []
        self.logs = f"{self._shown} logs"
        self.stop_hint = f"If it is a container of an earlier run: {self._shown} down"

    def start(self) -> None:
        """Start to build and pull the images and to run the containers."""
        self._starting = [start_process((*self._command, "up", "--build", "--detach"), self._root)]

    def is_running(self) -> bool:
        """Return whether the containers run. If they can't be started, raise a `StackError`."""
        (status,) = (process.poll() for process in self._starting)
        if status:
            raise StackError(f"`{self._shown} up` failed with status {status}. ENGINE=none runs no containers.")
        return status == 0

    def end(self, is_urgent: Callable[[], bool]) -> None:
        """Stop building and starting, save the logs, and remove the containers and their data."""
        end_processes(self._starting, signal.SIGINT, is_urgent)
        with (self._root / LOGS / "containers.log").open("wb") as log:
            start_process((*self._command, "logs", "--no-color"), self._root, log).wait()
        if status := start_process((*self._command, "down", "--volumes"), self._root).wait():
            raise StackError(f"`{self._shown} down` failed with status {status}. Run it again to end the containers.")


Stack = Programs | Containers


def find_programs() -> dict[str, tuple[str, ...]]:
    """Return the commands of the programs. Debian calls Alertmanager `prometheus-alertmanager`."""
    paths = {
        "prometheus": shutil.which("prometheus"),
        "alertmanager": shutil.which("alertmanager") or shutil.which("prometheus-alertmanager"),
    }
    if missing := [name for name, path in paths.items() if not path]:
        raise StackError(
            f"Not found on the PATH: {' and '.join(missing)}. Install Prometheus and Alertmanager "
            "(on Debian: apt install prometheus prometheus-alertmanager), or Docker with compose."
        )
    exporter = (sys.executable, "-P", "-m", "exporter")  # -P: the installed one, which has the pages of the runbooks
    return {name: (path,) for name, path in paths.items() if path} | {"exporter": exporter}


def start_process(command: Sequence[str], root: Path, log: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in its own session, so that Ctrl-C reaches only this script."""
    return subprocess.Popen(  # noqa: S603 -- the commands are constants
        command,
        cwd=root,
        env={name: value for name, value in os.environ.items() if not name.startswith("TELNYX_")},  # not of this stack
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=end_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509 -- there are no threads
    )


def end_with_parent() -> Callable[[], None]:
    """Return a function that makes the kernel end this process if its parent ends."""
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, signal.SIGTERM)


def end_processes(
    processes: Collection[subprocess.Popen[bytes]], number: signal.Signals, is_urgent: Callable[[], bool]
) -> None:
    """Send a signal to the groups of these processes. Kill those that still run when it is urgent or too late."""
    deadline = time.monotonic() + STOP_TIMEOUT
    while running := [process for process in processes if process.poll() is None]:
        for process in running:
            with contextlib.suppress(OSError):  # it has just ended
                os.killpg(process.pid, number)
        number = signal.SIGKILL
        while any(process.poll() is None for process in running) and time.monotonic() < deadline and not is_urgent():
            time.sleep(0.05)


def check_ports(stack: Stack) -> None:
    """Raise a `StackError` if a program listens on a port that a service needs."""
    for name in stack.services:
        for address in ("127.0.0.1", "::1"):
            with contextlib.suppress(OSError), socket.create_connection((address, PORTS[name]), timeout=5):
                in_use = f"{name} needs port {PORTS[name]}, which is in use. Stop the program that listens on it."
                raise StackError(f"{in_use} {stack.stop_hint}")


def choose_engine(wanted: str, root: Path) -> tuple[str, str]:
    """Return the container engine or an empty string, and what the user should know about the choice."""
    if wanted and wanted not in {*ENGINES, "none"}:
        raise StackError(f"ENGINE={wanted}: must be {', '.join(ENGINES)} or none")
    engine = wanted or ENGINES[0]
    if engine == "none" or not (wanted or shutil.which(engine)):
        return "", ""
    command = (engine, *COMPOSE, "ps", "--quiet")
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        if subprocess.run(command, cwd=root, capture_output=True, timeout=30, check=False).returncode == 0:  # noqa: S603 -- a constant
            return engine, ""
    if wanted:
        raise StackError(f"ENGINE={wanted}: `{' '.join(command)}` fails. Install and start {engine} with compose.")
    return "", f"`{' '.join(command)}` fails, so this runs the programs on the PATH, without Grafana."


def wait_until_ready(stack: Stack, signals: Signals) -> None:
    """Wait until all services are ready, or until a signal ends the stack."""
    checks = [check for check in CHECKS if check.service in stack.services]
    deadline = math.inf
    while checks and not signals.received:
        if stack.is_running():
            deadline = min(deadline, time.monotonic() + READY_TIMEOUT)
            while checks and not (problem := checks[0].find_problem()):
                del checks[0]
            if checks and time.monotonic() > deadline:
                raise StackError(f"Not ready after {READY_TIMEOUT:g} s: {problem}. Logs: {LOGS}/")
        time.sleep(0.1)


def run(stack: Stack, signals: Signals) -> None:
    """Run the stack until a signal ends it."""
    check_ports(stack)
    say(f"Starting {', '.join(stack.services)}")
    try:
        stack.start()
        wait_until_ready(stack, signals)
        if not signals.received:
            say(summarize(stack))
        while not signals.received and stack.is_running():
            time.sleep(0.2)
    finally:
        received = signals.received
        stack.end(lambda: signals.received > received)


def summarize(stack: Stack) -> str:
    """Return where to look."""
    classic = Check("prometheus", "/alerts").find_problem()  # Debian's Prometheus 2 has only the old pages
    links = {name: f"http://localhost:{PORTS[name]}/" for name in stack.services}
    links["prometheus"] += "classic/alerts" if classic else "alerts"
    lines = (f"\n  {name:<13} {value}" for name, value in {**links, "logs": stack.logs}.items())
    return f"Ready. The first alerts fire after about two minutes. Press Ctrl-C to end.{''.join(lines)}"


def say(text: str) -> None:
    """Print a line, unless the terminal is closed."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def main(root: Path = ROOT) -> int:
    """Run the stack of the repository at `root`, and return the exit status."""
    signals = Signals()
    try:
        (root / LOGS).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="telnyx-stack-") as data:
            engine, note = choose_engine(os.environ.get("ENGINE", ""), root)
            if note:
                say(note)
            run(Containers(root, engine) if engine else Programs(root, Path(data)), signals)
    except (StackError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    say("Ended. All data is deleted.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
