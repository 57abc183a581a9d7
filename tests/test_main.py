import os
import runpy
import signal
import subprocess
import sys

import pytest

from exporter.__main__ import run
from exporter.build import VERSION_TEXT


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Run each test in an empty directory without `TELNYX_` variables, and unblock SIGHUP afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("TELNYX_")]:
        monkeypatch.delenv(name)
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@pytest.fixture
def exit_status(monkeypatch):
    """Return a function that runs the command with these arguments and returns its exit status."""

    def status(*arguments, entry_point=run):
        monkeypatch.setattr(sys, "argv", ["telnyx-exporter", *arguments])
        with pytest.raises(SystemExit) as exit_:
            entry_point()
        return exit_.value.code

    return status


def test_version(exit_status, capsys):
    """`--version` prints the version and what it was built from."""
    assert exit_status("--version") == 0
    assert capsys.readouterr() == (VERSION_TEXT, "")


def test_version_imports_little():
    """`--version` imports neither the command's modules nor its dependencies."""
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "exporter", "--version"], capture_output=True, text=True, check=True
    )
    assert process.stdout == VERSION_TEXT
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert "exporter" in imported
    assert not imported & {"exporter.cli", "pydantic", "httpx", "starlette", "structlog", "uvloop"}


def test_version_among_other_flags(exit_status, capsys):
    """`--version` works in any position."""
    assert exit_status("--once", "--version") == 0
    assert capsys.readouterr() == (VERSION_TEXT, "")


def test_help(exit_status, capsys):
    """`--help` prints the usage."""
    assert exit_status("--help") == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: telnyx-exporter [--FLAG=VALUE ...]\n")
    assert not err


@pytest.mark.parametrize(("arguments", "status"), [(["--check-config", "--demo"], 0), (["--check-config"], 2)])
def test_process_exits_with_the_status_of_the_command(exit_status, arguments, status):
    """The process exits with the status that the command returns."""
    assert exit_status(*arguments) == status


def test_module_runs_the_command(exit_status, capsys, monkeypatch):
    """`python -m exporter` runs the command."""
    monkeypatch.delitem(sys.modules, "exporter.__main__")
    assert exit_status("--version", entry_point=lambda: runpy.run_module("exporter", run_name="__main__")) == 0
    assert capsys.readouterr().out == VERSION_TEXT
