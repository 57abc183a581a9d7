import contextlib
import errno
import os
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest
from sandbox_client import KEY

from exporter.sandbox import Account, __main__
from exporter.sandbox.__main__ import main
from exporter.sandbox.api import ENDPOINTS

MEASURES_COVERAGE = True

START = (
    r"The sandbox serves {size} credential connections\. "
    r"Run: TELNYX_BASE_URL=http://127\.0\.0\.1:\d+/v2 TELNYX_API_KEY={key} telnyx-exporter\n"
)


def fetch(line, key="sandbox", path="/credential_connections"):
    """Request a list from the base URL in this line and return the response."""
    url = re.search(r"http://\S+", line)[0]
    return httpx.get(f"{url}{path}", headers={"authorization": f"Bearer {key}"}, timeout=10, trust_env=False)


def test_command_serves_until_interrupted():
    """The command prints its base URL in one line, serves the requested account there, and exits with 0 on Ctrl-C.

    The line doesn't contain the key.
    """
    options = ["--size", "30", "--seed", "7", "--step", "0", "--rate-limit", "0", "--listen-address", "127.0.0.1:0"]
    forbidden = ["/ip_connections", "/balance", "/connections/{connection_id}/active_calls"]
    options += [option for path in forbidden for option in ("--forbid", path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter.sandbox", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TELNYX_API_KEY": KEY},
        text=True,
    )
    with process:
        try:
            assert select.select([process.stderr], [], [], 20)[0]
            line = process.stderr.readline()
            assert re.fullmatch(START.format(size=30, key=r"\.\.\."), line)
            response = fetch(line, KEY)
            assert response.json()["data"] == Account(30, 7, step=0).rows
            assert [path for path in ENDPOINTS if fetch(line, KEY, path).status_code == 403] == forbidden
            assert not any("ratelimit" in name for name in response.headers)
            assert fetch(line).status_code == 401
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, rest) == (0, "")


@pytest.mark.parametrize("environment", [None, ""], ids=["unset", "empty"])
def test_main_without_a_key_uses_the_default_key(monkeypatch, environment):
    """If the environment has no key, the key is `sandbox`, and is printed. On an interrupt, `main` returns 0."""
    monkeypatch.delenv("TELNYX_API_KEY", raising=False)
    if environment is not None:
        monkeypatch.setenv("TELNYX_API_KEY", environment)
    printed, responses = [], []
    reader, writer = os.pipe()

    def fetch_and_interrupt():
        try:
            printed.append(lines.readline())
            responses.append(fetch(printed[0]))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    client_thread = threading.Thread(target=fetch_and_interrupt)
    with os.fdopen(reader) as lines, os.fdopen(writer, "w", buffering=1) as stderr, contextlib.redirect_stderr(stderr):
        client_thread.start()
        assert main(["--listen-address", "127.0.0.1:0"]) == 0
        client_thread.join()
    assert re.fullmatch(START.format(size=55, key="sandbox"), printed[0])
    (response,) = responses
    assert (response.status_code, len(response.json()["data"])) == (200, 55)
    assert response.headers["x-ratelimit-limit"] == "600"


ADDRESS = "argument --listen-address: must be a loopback address and a port, such as 127.0.0.1:18080"
FORBID = f"argument --forbid: must be one of {', '.join(ENDPOINTS)}"
NEGATIVE = "--size, --step and --rate-limit must be 0 or more"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--listen-address", "0.0.0.0:18080"], ADDRESS),
        (["--listen-address", "192.0.2.1:18080"], ADDRESS),
        (["--listen-address", ":18080"], ADDRESS),
        (["--listen-address", "127.0.0.1"], ADDRESS),
        (["--listen-address", "127.0.0.1:http"], ADDRESS),
        (["--listen-address", "127.0.0.1:65536"], ADDRESS),
        (["--listen-address", "127.0.0.1:-1"], ADDRESS),
        (["--size", "many"], "argument --size: invalid int value: 'many'"),
        (["--size", "-1"], NEGATIVE),
        (["--step", "-1"], NEGATIVE),
        (["--rate-limit", "-1"], NEGATIVE),
        (["--forbid", "/v2/ip_connections"], FORBID),
        (["--sise", "1"], "unrecognized arguments: --sise 1"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, list) else "",
)
def test_user_errors_are_one_line(capsys, options, problem):
    """The error for an invalid option is one line, and the exit status is 2."""
    with pytest.raises(SystemExit) as exit_:
        main(options)
    assert exit_.value.code == 2
    assert capsys.readouterr() == ("", f"python -m exporter.sandbox: {problem}\n")


def test_a_port_in_use_is_one_line(capsys):
    """The error for a port in use is one line that names the address, and the exit status is 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SystemExit) as exit_:
            main(["--listen-address", address])
    assert exit_.value.code == 2
    line = capsys.readouterr().err
    assert line == f"python -m exporter.sandbox: cannot listen on {address}: {os.strerror(errno.EADDRINUSE)}\n"


def test_module_runs_as_a_program(monkeypatch, capsys):
    """`python -m exporter.sandbox` runs `main`, whose help lists every option and path, the defaults and the key."""
    monkeypatch.setattr(sys, "argv", ["sandbox", "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(__main__.__file__, run_name="__main__")
    assert exit_.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "or `sandbox`" in text
    assert all(f"(default: {value})" in text for value in ("127.0.0.1:18080", 55, 1, 45, 600))
    assert all(path in text for path in ENDPOINTS)
    assert all(f"--{name}" in text for name in ("listen-address", "size", "seed", "step", "rate-limit", "forbid"))
