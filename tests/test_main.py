import os
import re
import runpy
import signal
import subprocess
import sys

import pytest

from exporter import __version__
from exporter.__main__ import run


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """Work in an empty directory, with no variable of ours set."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("TELNYX_")]:
        monkeypatch.delenv(name)
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@pytest.fixture
def ended(monkeypatch):
    """Return a function that runs the command with these arguments and returns its status."""

    def status(*arguments, way=run):
        monkeypatch.setattr(sys, "argv", ["telnyx-exporter", *arguments])
        with pytest.raises(SystemExit) as exit_:
            way()
        return exit_.value.code

    return status


def test_version(ended, capsys):
    """`--version` prints name and version."""
    assert ended("--version") == 0
    assert capsys.readouterr() == (f"telnyx-exporter {__version__}\n", "")


def test_version_waits_for_no_imports():
    """`--version` imports neither the command's parts nor what they are made of."""
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "exporter", "--version"], capture_output=True, text=True, check=True
    )
    assert process.stdout == f"telnyx-exporter {__version__}\n"
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert "exporter" in imported
    assert not imported & {"exporter.cli", "pydantic", "httpx", "starlette", "structlog", "uvloop"}


def test_version_among_other_flags(ended, capsys):
    """`--version` counts in any place."""
    assert ended("--once", "--version") == 0
    assert capsys.readouterr() == (f"telnyx-exporter {__version__}\n", "")


def test_help(ended, capsys):
    """`--help` prints how to use the command."""
    assert ended("--help") == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: telnyx-exporter [--FLAG=VALUE ...]\n")
    assert not err


@pytest.mark.parametrize(("arguments", "status"), [(["--check-config", "--demo"], 0), (["--check-config"], 2)])
def test_process_ends_with_the_commands_status(ended, arguments, status):
    """The process ends with the status that the command returns."""
    assert ended(*arguments) == status


def test_module_is_the_command(ended, capsys, monkeypatch):
    """`python -m exporter` runs the command."""
    monkeypatch.delitem(sys.modules, "exporter.__main__")
    assert ended("--version", way=lambda: runpy.run_module("exporter", run_name="__main__")) == 0
    assert re.fullmatch(r"telnyx-exporter \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)
