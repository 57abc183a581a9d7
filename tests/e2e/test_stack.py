"""Tests that run `make stack` with real programs on its real ports. Each has a separate network namespace."""

import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from network_shell import NetworkShell
from programs import find_program, wait_until

ROOT = Path(__file__).parents[2]
SCRIPT = ".venv/bin/python deploy/stack.py"
SERVICES = "exporter|prometheus|alertmanager"
FAKE_DOCKER = """
import os, signal, sys, time
with open("docker.log", "a") as log:
    print(*sys.argv[1:], file=log)
command = sys.argv[4]
if command == "up":
    {up}
elif command == "logs":
    print("a log")
elif command == "down":
    os.system("(kill $(cat docker.pid)) 2>/dev/null")
"""
"""A container engine that only writes down its arguments. `up` runs Python code, which can start `SERVERS`."""
SERVERS = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": {"groups": [1], "activeAlertmanagers": [1]}}')


for port in (3000, 9090, 9093, 10142):
    Thread(target=ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever).start()
with open("docker.pid", "w") as file:
    file.write(str(os.getpid()))
"""
"""A program that responds on the ports of all services."""


class StackShell(NetworkShell):
    """A shell in a copy of the files that `make stack` needs. Programs in `bin/` hide those of this machine."""

    def __init__(self, folder):
        for name in ("make", "ip", "ss", "pkill", "curl", "prometheus"):
            find_program(name)
        find_program("alertmanager", "prometheus-alertmanager")
        for name in ("Makefile", "deploy/stack.py", "deploy/compose.yaml", "prometheus"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(ROOT / name) if (ROOT / name).is_dir() else shutil.copy(ROOT / name, target)
        (folder / ".env").write_text("TELNYX_EXPORTER_CACHE__TTL=invalid\n")  # for an exporter that is not the demo
        (folder / "bin").mkdir()
        super().__init__(folder)
        self._output = None
        self.run('export PATH="$PWD/bin:$PATH"; unset ENGINE MAKEFLAGS MAKELEVEL')

    @property
    def output(self):
        """What the stack has printed."""
        return self._output.read_text()

    def add_program(self, name, script):
        """Add a program to the PATH."""
        program = self._folder / "bin" / name
        program.write_text(script)
        program.chmod(0o755)

    def add_docker(self, up):
        """Add a fake Docker, whose `up` runs this Python code."""
        (self._folder / "servers.py").write_text(SERVERS)
        self.add_program("docker", f"#!{sys.executable}\n{FAKE_DOCKER.format(up=up)}")

    def start_stack(self, command=f"ENGINE=none exec {SCRIPT}", until="Starting"):
        """Start the stack in the background, and wait for a text in its output."""
        self._output = self.start(command)
        wait_until(lambda: until in self.output, until)

    def kill(self, signal, pattern="stack.py"):
        """Send a signal to the processes whose command has this text."""
        self.run(f"pkill -{signal} -f {pattern}")

    def wait(self):
        """Wait for the end of the stack. Check that its processes and data are gone, and return its exit status."""
        wait_until(lambda: "ended" in self.run("kill -0 $! 2>&1 || echo ended"), "the end of the stack")
        status = int(self.run("wait $!; echo $?"))
        assert self.run(f"pgrep -fl '{SERVICES}' || true") == ""
        assert self.data() == []
        assert "Traceback" not in self.output
        return status

    def data(self):
        """Return what is in the temporary directories of the stack."""
        return [path.name for path in self._folder.glob("telnyx-stack-*/*")]


@pytest.fixture
def shell(tmp_path):
    """Yield a shell."""
    with StackShell(tmp_path) as shell:
        yield shell


def test_the_stack_runs_until_ctrl_c(shell, tmp_path):
    """When it is ready, all links respond, and the alerts reach Alertmanager. Ctrl-C ends all and deletes the data."""
    shell.start_stack("make stack ENGINE=none", "logs ")
    links = dict(re.findall(r"^  (\w+) +(\S+)$", shell.output, re.MULTILINE))
    assert list(links) == ["exporter", "prometheus", "alertmanager", "logs"]
    assert sorted(path.name for path in (tmp_path / links.pop("logs")).iterdir()) == [
        f"{name}.log" for name in sorted(links)
    ]
    for url in links.values():
        shell.run(f"curl -sf {url}")
    assert '"TelnyxExporterDown"' in shell.run("curl -sf http://localhost:9090/api/v1/rules")
    assert '"activeAlertmanagers":[{' in shell.run("curl -sf http://localhost:9090/api/v1/alertmanagers")
    addresses = shell.run("ss -ltnH | awk '{print $4}'").split()
    assert {f"127.0.0.1:{port}" for port in (9090, 9093, 10142)} <= set(addresses)
    assert [address for address in addresses if not address.startswith("127.0.0.1:")] == []
    assert sorted(shell.data()) == ["alertmanager", "prometheus"]
    shell.kill("INT")
    assert shell.wait() == 0
    assert shell.output.endswith("Ended. All data is deleted.\n")


def test_sigterm_ends_the_stack_before_it_is_ready(shell):
    """SIGTERM ends all programs while they start."""
    shell.start_stack()
    wait_until(lambda: len(shell.data()) == 2, "the data")
    shell.kill("TERM")
    assert shell.wait() == 0
    assert "Ready" not in shell.output


def test_second_ctrl_c_kills_the_programs(shell, tmp_path):
    """A program that ignores SIGTERM is killed when the user presses Ctrl-C again, not after 15 seconds."""
    shell.add_program("alertmanager", "#!/bin/sh\ntrap 'echo term' TERM\necho up\nwhile :; do sleep 0.1; done\n")
    log = tmp_path / "build" / "stack" / "alertmanager.log"
    shell.start_stack()
    wait_until(lambda: "up" in log.read_text(), "the start")
    started = time.monotonic()
    shell.kill("INT")
    wait_until(lambda: "term" in log.read_text(), "SIGTERM")
    shell.kill("INT")
    assert shell.wait() == 0
    assert time.monotonic() - started < 15


def test_programs_end_with_the_script(shell):
    """If the script is killed, its programs end. It can't delete their data."""
    shell.start_stack()
    wait_until(lambda: len(shell.data()) == 2, "the data")
    shell.kill("KILL")
    wait_until(lambda: not shell.run(f"pgrep -fl '{SERVICES}' || true"), "the end of the programs")


def test_program_that_fails_ends_the_stack(shell):
    """If a program can't start, the error has its status, the last lines of its log and the name of the file."""
    shell.add_program("alertmanager", "#!/bin/sh\nseq 9\nexit 3\n")
    shell.start_stack()
    assert shell.wait() == 1
    error = "alertmanager ended with status 3. The end of its log, build/stack/alertmanager.log:"
    assert shell.output.splitlines()[-6:] == [error, "  5", "  6", "  7", "  8", "  9"]


def test_program_that_is_killed_ends_the_stack(shell):
    """If a program is killed while the stack runs, the error names the signal."""
    shell.start_stack(until="logs ")
    shell.kill("KILL", "bin/prometheus.--web")
    assert shell.wait() == 1
    assert "\nprometheus was ended by SIGKILL. The end of its log, build/stack/prometheus.log:\n" in shell.output


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0"])
def test_port_in_use_is_one_line(shell, tmp_path, address):
    """If a port is in use, the error names it and the program that needs it. No program starts."""
    server = shell.start(f".venv/bin/python -u -m http.server 9093 --bind {address}")
    wait_until(lambda: "Serving" in server.read_text(), "the server")
    shell.start_stack(until="in use")
    assert shell.wait() == 1
    (line,) = shell.output.splitlines()
    assert line.startswith(
        "alertmanager needs port 9093, which is in use. Stop the program that listens on it. If a package "
    )
    assert list((tmp_path / "build" / "stack").iterdir()) == []


def test_containers_run_if_docker_works(shell, tmp_path):
    """With compose, all services run in containers, with Grafana. At the end, compose deletes them and their data."""
    shell.add_docker('os.spawnl(os.P_NOWAIT, sys.executable, "python", "servers.py")')
    shell.start_stack(f"exec {SCRIPT}", "logs ")
    assert "\n  prometheus    http://localhost:9090/alerts\n" in shell.output
    assert "\n  grafana       http://localhost:3000/\n" in shell.output
    assert shell.output.endswith("  logs          docker compose -f deploy/compose.yaml logs\n")
    shell.kill("TERM")
    assert shell.wait() == 0
    prefix = "compose -f deploy/compose.yaml"
    commands = ["ps --quiet", "up --build --detach", "logs --no-color", "down --volumes"]
    assert (tmp_path / "docker.log").read_text().splitlines() == [f"{prefix} {command}" for command in commands]
    assert (tmp_path / "build" / "stack" / "containers.log").read_text() == "a log\n"


def test_ctrl_c_ends_the_build_of_containers(shell, tmp_path):
    """While compose builds and pulls images, Ctrl-C interrupts it. Then compose deletes what it started."""
    shell.add_docker(
        'signal.signal(signal.SIGINT, lambda *_: sys.exit("Canceled")); print("Building", flush=True); time.sleep(60)'
    )
    shell.start_stack(f"exec {SCRIPT}", "Building")
    shell.kill("INT")
    assert shell.wait() == 0
    assert shell.output.endswith("Building\nCanceled\nEnded. All data is deleted.\n")
    assert (tmp_path / "docker.log").read_text().endswith(" down --volumes\n")


def test_containers_that_cannot_start_are_deleted(shell, tmp_path):
    """If compose fails, the error says how to run without it, and compose deletes what it started."""
    shell.add_docker("sys.exit(17)")
    shell.start_stack(f"exec {SCRIPT}")
    assert shell.wait() == 1
    error = "`docker compose -f deploy/compose.yaml up` failed with status 17. ENGINE=none runs no containers.\n"
    assert shell.output.endswith(error)
    assert (tmp_path / "docker.log").read_text().endswith(" down --volumes\n")
