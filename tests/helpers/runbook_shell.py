"""Runs the commands of a runbook in bash, where only known programs exist and every command line is recorded."""

import shlex
import shutil
import sys
from pathlib import Path

from programs import find_program
from shell_session import ShellSession

_PROGRAMS = (
    "base64",
    "cat",
    "chmod",
    "curl",
    "cut",
    "date",
    "grep",
    "head",
    "jq",
    "ls",
    "printenv",
    "rm",
    "sed",
    "sort",
    "stat",
    "tail",
)
"""The programs that are the real ones."""
_RECORD = 'printf "%s\\n" "${0##*/} $*" >>"$COMMANDS"\n'


class Shell:
    """A bash session in a folder, which becomes its home directory.

    `stand_ins` maps the names of programs to what they print for each command line. They fail for all others.
    `stdin` is what a user types.
    """

    def __init__(self, home: Path, stand_ins, stdin, **environment):
        self.home = home
        (home / "stdin").write_text(stdin)
        self._commands = home / "commands"
        self._commands.touch()
        programs = home / "programs"
        programs.mkdir()
        for name in _PROGRAMS:
            self._write(programs / name, f'exec {find_program(name)} "$@"')
        self._write(programs / "telnyx-exporter", f'exec {sys.executable} -m exporter "$@"')
        for name, outputs in stand_ins.items():
            cases = [f"{shlex.quote(line)}) printf %s {shlex.quote(text)};;" for line, text in outputs.items()]
            unknown = '*) echo "unexpected: ${0##*/} $*" >&2; exit 64'
            self._write(programs / name, "\n".join(['case "$*" in', *cases, unknown, "esac"]))
        variables = {"HOME": str(home), "PATH": str(programs), "COMMANDS": str(self._commands), "LC_ALL": "C.UTF-8"}
        self._session = ShellSession(home, variables | environment, options=("-o", "pipefail"), stdin=home / "stdin")

    def run(self, command):
        """Run a command and return its exit status, its output, and the command lines of the programs."""
        self._commands.write_text("")
        status, output = self._session.run(command)
        return status, output.read_text(), self._commands.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session.close()

    @staticmethod
    def _write(path, script):
        path.write_text(f"#!{shutil.which('bash')}\n{_RECORD}{script}\n")
        path.chmod(0o755)
