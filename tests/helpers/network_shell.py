"""Runs commands in a network of their own, so that they can use the same ports as programs of this machine."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from programs import START_TIMEOUT, find_program

_NAMESPACES = ("--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--map-root-user")
_LOOP = 'ip link set lo up; while read -r script; do . "$script" >"$script.out" 2>&1 </dev/null; echo $?; done'


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
        self._process = subprocess.Popen(
            [*command, find_program("bash"), "-c", _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=variables,
            text=True,
        )

    def run(self, command):
        """Run a command and return its output. It must succeed."""
        script = self._send(command)
        assert self._process.stdout.readline() == "0\n", script.with_suffix(".out").read_text()
        return script.with_suffix(".out").read_text()

    def start(self, command):
        """Start a command that runs until the session ends, and return the file with its output."""
        script = self._send(f"({command.rstrip()}) &\n")
        assert self._process.stdout.readline() == "0\n"
        return script.with_suffix(".out")

    def _send(self, command):
        self._number += 1
        script = self._folder / f"command-{self._number}"
        script.write_text(command)
        self._process.stdin.write(f"{script}\n")
        self._process.stdin.flush()
        return script

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(START_TIMEOUT)
