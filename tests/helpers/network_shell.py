"""Runs commands in a network of their own, so that they can use the same ports as programs of this machine."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from programs import find_program
from shell_session import ShellSession

_NAMESPACES = ("--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--map-root-user")


class NetworkShell:
    """A bash session in a folder, with only a loopback interface. All programs that it started end with it.

    The folder gets a `.venv` with the exporter and Python, as the README creates it.
    """

    def __init__(self, folder: Path, **environment):
        self._folder = folder
        self._number = 0
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name, arguments in {"python": "", "telnyx-exporter": "-m exporter "}.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments}"$@"\n')
            (programs / name).chmod(0o755)
        command = (find_program("unshare"), *_NAMESPACES)
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
            pytest.skip("can't create a network namespace")
        variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), **environment}
        self._session = ShellSession(folder, variables, prefix=command, setup="ip link set lo up; ")

    def run(self, command):
        """Run a command and return its output. It must succeed."""
        status, output = self._session.run(command)
        assert status == 0, output.read_text()
        return output.read_text()

    def start(self, command):
        """Start a command that runs until the session ends, and return the file with its output."""
        status, output = self._session.run(f"({command.rstrip()}) &\n")
        assert status == 0
        return output

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session.close()
