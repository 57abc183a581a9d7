"""The web layer passes the tests of exporter-toolkit, the Go library for this web configuration file.

The tests are downloaded, and their server is replaced with the exporter's web layer, see `exporter_toolkit/`.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest

MODULE = "github.com/prometheus/exporter-toolkit@v0.20.0"
OURS = Path(__file__).parent / "exporter_toolkit"
ENVIRONMENT = {"GOFLAGS": "-mod=mod", "PYTHON": sys.executable, "SERVE": str(OURS / "serve.py")}

TESTS = {
    "TestServerBehaviour",
    "TestConfigReloading",
    "TestUsers",
    "TestBasicAuthCache",
    "TestBasicAuthWithFakepassword",
    "TestByPassBasicAuthVuln",
    "TestHTTPHeaders",
}
"""The tests that start a server. The others are about Go code that the exporter does not use."""
CASES = 39
"""The number of cases of these tests."""

FAST_BUILD = ("-vet=off", "-gcflags=all=-N -l", "-ldflags=-s -w")
"""Flags for a build without vet, optimization and debugging information. To build takes longer than to test."""

UNVERIFIED = "Python's ssl verifies every certificate that it requests, so the exporter rejects RequireAnyClientCert"
EXPECTED_FAILURES = {
    "valid tls config yml and tls client with RequireAnyClientCert (present certificate)": UNVERIFIED,
    "valid tls config yml (cert from file, key inline) and tls client with RequireAnyClientCert"
    " (present certificate)": UNVERIFIED,
    "valid tls config yml with non-http2 ciphers but http2 enabled": (
        "the exporter has no HTTP/2, so it needs no cipher suite for it"
    ),
    "valid rate limiter with an interval of one second": (
        "its burst of 0 would refuse every request, so the exporter rejects it"
    ),
}
"""The cases of TestServerBehaviour that fail, and why they may."""


def go(*arguments, cwd):
    return subprocess.run(
        ("go", *arguments), cwd=cwd, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False
    )


def go_or_skip(*arguments, cwd):
    done = go(*arguments, cwd=cwd)
    if done.returncode:
        pytest.skip(f"{MODULE} can't be downloaded")
    return done.stdout


@pytest.fixture
def module(tmp_path):
    """Return a copy of the module in which `ListenAndServe` starts the exporter's web layer."""
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    downloaded = json.loads(go_or_skip("mod", "download", "-json", MODULE, cwd=tmp_path))["Dir"]
    copy = shutil.copytree(downloaded, tmp_path / "module")
    for path in (copy, *copy.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    source = copy / "web" / "tls_config.go"
    before, after = source.read_text().split("func ListenAndServe(")
    source.write_text(f"{before}func goListenAndServe({after}")
    shutil.copy(OURS / "listen.go", copy / "web")
    tests = copy / "web" / "tls_config_test.go"  # the first wait is for a changed file, which a busy machine reads late
    tests.write_text(tests.read_text().replace("250 * time.Millisecond", "3 * time.Second", 1))
    for path in (copy / "web" / "testdata").glob("web_config_users*.yml"):  # their costs of 12 and 18 take minutes
        cheap = bcrypt.hashpw(b"alice123", bcrypt.gensalt(4)).decode()
        path.write_text(re.sub(r"alice: \S+", f"alice: {cheap}", path.read_text()).replace("$2y$18$", "$2y$04$"))
    go_or_skip("list", "-deps", "-test", "./web", cwd=copy)  # downloads what the module needs
    return copy


def test_the_web_layer_passes_the_tests_of_exporter_toolkit(module):
    """All cases pass except those that the exporter rejects on purpose or that need HTTP/2."""
    done = go("test", "./web", f"-run=^({'|'.join(TESTS)})$", "-json", "-timeout=10m", *FAST_BUILD, cwd=module)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    output = "".join(event.get("Output", "") for event in events) + done.stderr
    results = {event["Test"]: event["Action"] for event in events if "Test" in event}  # the last action is the result
    cases = {test for test in results if not any(other.startswith(f"{test}/") for other in results)}
    failed = {test for test in cases if results[test] != "pass"}
    assert {test.partition("/")[0] for test in cases} == TESTS, output
    assert len(cases) == CASES, output
    assert failed == {f"TestServerBehaviour/{name.replace(' ', '_')}" for name in EXPECTED_FAILURES}, output
