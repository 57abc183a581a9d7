"""The check for known vulnerabilities, with the real pip-audit and a fake vulnerability service on loopback."""

import contextlib
import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from programs import free_port

ROOT = Path(__file__).parents[2]
VERSION = re.search(r"^httpx==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]


def vulnerability(*events):
    """Return a vulnerability of httpx in the format of osv.dev."""
    affected = {
        "package": {"name": "httpx", "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *events]}],
    }
    return {"id": "TEST-1", "affected": [affected]}


def osv_flags(port):
    return ("--vulnerability-service=osv", f"--osv-url=http://127.0.0.1:{port}/")


@contextlib.contextmanager
def vulnerability_service(*vulnerabilities, status=200):
    """Serve these vulnerabilities of httpx, and none of other packages. Yield the flags that pip-audit needs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))
            httpx = {"package": {"name": "httpx", "ecosystem": "PyPI"}, "version": VERSION}
            found = vulnerabilities if query == httpx else ()
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield osv_flags(server.server_port)
        finally:
            server.shutdown()
            thread.join()


def audit(*arguments):
    command = (sys.executable, ROOT / ".ci" / "audit.py", *arguments)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout, result.stderr


def test_the_check_passes_without_known_vulnerabilities():
    """The check passes and reports that it looked up all dependencies."""
    with vulnerability_service() as flags:
        status, output, error = audit(*flags)
    assert re.fullmatch(r"(\d+) of \1 dependencies audited\.\n", output)
    assert (status, error) == (0, "")


@pytest.mark.parametrize(
    ("events", "fixed"), [(({"fixed": "99.0"},), "99.0"), ((), "no version")], ids=["fixed", "not-fixed"]
)
def test_a_known_vulnerability_fails_the_check(events, fixed):
    """The error names the vulnerability and the version that fixes it. The check passes if it is ignored explicitly."""
    with vulnerability_service(vulnerability(*events)) as flags:
        status, _, error = audit(*flags)
        assert audit(*flags, "--ignore-vuln=TEST-1")[0] == 0
    assert error == f"httpx {VERSION} has TEST-1, fixed in {fixed}\n"
    assert status == 1


def test_an_unavailable_service_does_not_fail_the_check():
    """If the service returns an error or is down, the check passes and reports that it audited nothing."""
    with vulnerability_service(status=503) as flags:
        results = [audit(*flags), audit(*osv_flags(free_port()))]
    assert results == [(0, "Not audited: the vulnerability service is unreachable.\n", "")] * 2


def test_any_other_error_fails_the_check():
    """Any other error fails the check and prints the message of pip-audit."""
    status, output, error = audit("--no-such-flag")
    assert "--no-such-flag" in error
    assert (status, output) == (1, "")
