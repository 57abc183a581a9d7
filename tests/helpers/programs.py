"""Run real programs for end-to-end tests, on loopback. Each context manager stops its program at the end."""

import contextlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import pytest
import uvicorn

from exporter.collectors.registry import COLLECTORS
from exporter.sandbox import create_app
from exporter.server.listeners import listen, local_url

ALL_COLLECTORS = (
    *(f"--collector.{collector.name}" for collector in COLLECTORS),
    *(f"--collector.{collector.name}.rate=100" for collector in COLLECTORS if collector.default_rate),
    "--telnyx.max-requests-per-second=100",
)
"""Flags that let the exporter read all lists, without a delay at the start."""
START_TIMEOUT = 30.0
"""Seconds to wait for a program to start or for an effect to show."""


def find_program(*names):
    """Return the path of a program, by any of its names. If it is missing, skip the test, or fail it in CI."""
    for name in names:
        if path := shutil.which(name):
            return path
    missing = f"{names[0]} is not installed"
    if os.environ.get("CI"):
        pytest.fail(missing)
    return pytest.skip(missing)


def free_port():
    """Return a free TCP port of loopback, below those that the kernel chooses for the clients of other tests."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_until(condition, what):
    """Return the first true result of `condition`. Fail after `START_TIMEOUT` seconds, with `what` in the message."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if result := condition():
                return result
        time.sleep(0.1)
    return pytest.fail(f"{what} did not happen in {START_TIMEOUT:g} s")


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=START_TIMEOUT) as response:
        return response.read().decode()


def get_json(url, **parameters):
    return json.loads(get(f"{url}?{urllib.parse.urlencode(parameters)}"))


@contextlib.contextmanager
def running(*command, log, **environment):
    """Run a program, with its output in the file `log`, and send it SIGTERM at the end."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=log.parent, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=START_TIMEOUT)


def sandbox(account, api_key):
    """Serve an account as `serve_api` does."""
    return serve_api(create_app(account, api_key=api_key))


@contextlib.contextmanager
def serve_api(app, **options):
    """Serve a sandbox from a thread of this process, where a test can change it, and yield the base URL.

    `options` are those of uvicorn.
    """
    api = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="warning", lifespan="off", **options))
    with listen("127.0.0.1:0") as listener:
        thread = threading.Thread(target=api.run, args=([listener],))
        thread.start()
        try:
            yield f"{local_url(listener)}/v2"
        finally:
            api.should_exit = True
            thread.join(START_TIMEOUT)


@contextlib.contextmanager
def exporter(folder, *flags, wrapper=(), port=0, **environment):
    """Run the exporter, or a wrapper program that runs it, and yield its URL."""
    log = folder / "exporter.log"
    command = (*wrapper, sys.executable, "-m", "exporter", f"--web.listen-address=127.0.0.1:{port}", *flags)
    with running(*command, log=log, **environment):
        yield wait_until(lambda: re.search(r"page=(https?://\S+)/", log.read_text()), "listening")[1]


@contextlib.contextmanager
def prometheus(folder, config, *flags):
    """Run Prometheus with this configuration and yield its URL."""
    (folder / "prometheus.yml").write_text(config)
    url = f"http://127.0.0.1:{free_port()}"
    command = (
        find_program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        *flags,
    )
    with running(*command, log=folder / "prometheus.log"):
        wait_until(lambda: get(f"{url}/-/ready"), "Prometheus being ready")
        yield url


@contextlib.contextmanager
def alertmanager(folder, config):
    """Run Alertmanager with this configuration file, without a cluster, and yield its URL."""
    url = f"http://127.0.0.1:{free_port()}"
    command = (
        find_program("alertmanager", "prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--cluster.listen-address=",
    )
    with running(*command, log=folder / "alertmanager.log"):
        wait_until(lambda: get(f"{url}/-/ready"), "Alertmanager being ready")
        yield url
