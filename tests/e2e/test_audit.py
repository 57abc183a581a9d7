"""The check for known vulnerabilities, with pip-audit itself and a source of data on loopback."""

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


def flaw(*events):
    """Return what is known of httpx, by a source that speaks as osv.dev does."""
    affected = {
        "package": {"name": "httpx", "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *events]}],
    }
    return {"id": "TEST-1", "affected": [affected]}


def osv(port):
    return ("--vulnerability-service=osv", f"--osv-url=http://127.0.0.1:{port}/")


@contextlib.contextmanager
def source(*flaws, status=200):
    """Serve what is known of httpx, and nothing of all others, and give pip-audit's flags for that."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            known = flaws if asked == {"package": {"name": "httpx", "ecosystem": "PyPI"}, "version": VERSION} else ()
            body = json.dumps({"vulns": known} if known else {}).encode()
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
            yield osv(server.server_port)
        finally:
            server.shutdown()
            thread.join()


def audit(*arguments):
    command = (sys.executable, ROOT / ".ci" / "audit.py", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_nothing_known_is_fine():
    """Where nothing is known of any dependency, all of them have been looked up."""
    with source() as flags:
        status, output, error = audit(*flags)
    assert re.fullmatch(r"(\d+) of \1 dependencies audited\.\n", output)
    assert (status, error) == (0, "")


@pytest.mark.parametrize(
    ("events", "fixed"), [(({"fixed": "99.0"},), "99.0"), ((), "no version")], ids=["fixed", "not-fixed"]
)
def test_a_known_vulnerability_fails(events, fixed):
    """It is named, with the version that is without it, and nothing lands until something is done about it."""
    with source(flaw(*events)) as flags:
        status, _, error = audit(*flags)
        assert audit(*flags, "--ignore-vuln=TEST-1")[0] == 0
    assert error == f"httpx {VERSION} has TEST-1, fixed in {fixed}\n"
    assert status == 1


def test_without_data_it_says_so_and_goes_on():
    """Where nobody answers, or only that it can't, that is all it says, and it is no failure."""
    with source(status=503) as flags:
        answers = [audit(*flags), audit(*osv(free_port()))]
    assert answers == [(0, "Not audited: nothing that knows of vulnerabilities can be reached.\n", "")] * 2


def test_what_else_goes_wrong_fails():
    """Anything but that is a failure, in pip-audit's words."""
    status, output, error = audit("--no-such-flag")
    assert "--no-such-flag" in error
    assert (status, output) == (1, "")
