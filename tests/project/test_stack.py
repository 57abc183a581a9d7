"""The parts of `make stack` that need no program. `tests/e2e/test_stack.py` runs it."""

import re
import runpy
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "stack.py"
STACK = runpy.run_path(str(SCRIPT))
StackError = STACK["StackError"]
PORTS = STACK["PORTS"]


@pytest.fixture
def add_program(tmp_path, monkeypatch):
    """Return a function that adds a program to an empty PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def add(name, script=""):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
        return str(tmp_path / name)

    return add


@pytest.fixture
def respond():
    """Return a function that starts a server for one request, and returns its port."""
    threads = []

    def respond(response):
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(5)

        def serve():
            with server, server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(response)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return server.getsockname()[1]

    yield respond
    for thread in threads:
        thread.join()


def run_script(**environment):
    """Run the script without programs on the PATH, and return its result."""
    environment = {"PATH": "/nonexistent", **environment}
    return subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=False)


def test_ports_are_those_of_compose():
    """The services and their ports are those that compose publishes."""
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    published = {port for service in services.values() for port in service.get("ports", ())}
    assert services.keys() == PORTS.keys()
    assert published == {f"127.0.0.1:{port}:{port}" for port in PORTS.values()}
    assert {check.service for check in STACK["CHECKS"]} == PORTS.keys()


@pytest.mark.parametrize("name", ["alertmanager", "prometheus-alertmanager"])
def test_programs_are_found(add_program, name):
    """Alertmanager has two names."""
    paths = {program: add_program(program) for program in ("prometheus", name)}
    commands = STACK["find_programs"]()
    assert commands["prometheus"] == (paths["prometheus"],)
    assert commands["alertmanager"] == (paths[name],)


@pytest.mark.parametrize(
    ("installed", "missing"),
    [("prometheus", "alertmanager"), ("alertmanager", "prometheus"), ("other", "prometheus and alertmanager")],
)
def test_missing_programs_are_named(add_program, installed, missing):
    """The error names all programs that are missing, and how to install them."""
    add_program(installed)
    with pytest.raises(StackError, match=rf"^Not found on the PATH: {missing}\. Install .*\(on Debian: apt install "):
        STACK["find_programs"]()


@pytest.mark.parametrize(
    ("engine", "error"),
    [
        ("none", "Not found on the PATH: prometheus and alertmanager. Install .+"),
        ("", "Not found on the PATH: prometheus and alertmanager. Install .+"),
        ("docker", "ENGINE=docker: `docker compose .+` fails. Install and start docker with compose."),
        ("lxc", "ENGINE=lxc: must be docker, podman or none"),
    ],
)
def test_errors_are_one_line(engine, error):
    """An error is one line on standard error, and the exit status is 1."""
    result = run_script(ENGINE=engine)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(f"{error}\n", result.stderr)


@pytest.mark.parametrize(
    ("wanted", "engine"), [("", "docker"), ("docker", "docker"), ("podman", "podman"), ("none", "")]
)
def test_working_engine_is_used(add_program, wanted, engine):
    """Docker is the default. The user can choose another engine, or none."""
    for name in ("docker", "podman"):
        add_program(name)
    assert STACK["choose_engine"](wanted, ROOT) == (engine, "")


def test_docker_without_compose_or_daemon_is_not_used(add_program):
    """If Docker is installed but doesn't work, the programs run, and one line says why."""
    add_program("docker", "exit 1")
    engine, note = STACK["choose_engine"]("", ROOT)
    assert engine == ""
    assert re.fullmatch(r"`docker compose -f deploy/compose\.yaml ps --quiet` fails, so .+, without Grafana\.", note)


def test_no_engine_needs_no_explanation(add_program):
    """If Docker is not installed, the programs run."""
    assert STACK["choose_engine"]("", ROOT) == ("", "")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_ports_in_use_are_found(monkeypatch, family):
    """A port is in use if a program listens on it at any address of localhost."""
    address = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}[family]
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        monkeypatch.setitem(PORTS, "other", port)
        stack = SimpleNamespace(services=["other"], stop_hint="How")
        with pytest.raises(StackError, match=rf"^other needs port {port}, which is in use\. Stop .+\. How$"):
            STACK["check_ports"](stack)
    STACK["check_ports"](stack)


def test_timeout_names_what_is_not_ready(monkeypatch, respond):
    """If the services run but don't become ready, the error has the URL that doesn't respond."""
    start = STACK["wait_until_ready"]
    monkeypatch.setitem(start.__globals__, "READY_TIMEOUT", 0.2)
    monkeypatch.setitem(PORTS, "exporter", respond(b"HTTP/1.0 200 OK\r\n\r\n"))
    monkeypatch.setitem(PORTS, "alertmanager", 9)
    stack = SimpleNamespace(services=["exporter", "alertmanager"], is_running=iter([True] * 20).__next__)
    with pytest.raises(StackError, match=r"^Not ready after 0\.2 s: alertmanager, http://127\.0\.0\.1:9/-/ready: .+\."):
        start(stack, SimpleNamespace(received=0))


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (b'HTTP/1.0 200 OK\r\n\r\n{"data": {"groups": [{}]}}', ""),
        (b'HTTP/1.0 200 OK\r\n\r\n{"data": {"groups": []}}', "no groups"),
        (b"HTTP/1.0 503 Unavailable\r\n\r\n", "HTTP Error 503: Unavailable"),
        (b"", "Remote end closed connection without response"),
        (b"nonsense", "nonsense"),
    ],
)
def test_service_is_ready_when_its_list_is_not_empty(monkeypatch, respond, response, problem):
    """A service is ready when it responds with status 200 and its list has rows. No proxy is used."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setitem(PORTS, "other", respond(response))
    found = STACK["Check"]("other", "/rules", "groups").find_problem()
    assert found == (problem and f"other, http://127.0.0.1:{PORTS['other']}/rules: {problem}")
