"""Runs scripts one after the other in one bash session, so that a script sees the variables of those before it."""

import subprocess

from programs import START_TIMEOUT, find_program

_LOOP = 'while read -r script; do . "$script" >"$script.out" 2>&1 <"$STDIN"; echo $?; done'


class ShellSession:
    """A bash session in a folder. Scripts read standard input from the file `stdin`.

    `prefix` is a command that runs bash. `options` are those of bash, and `setup` is what it runs first.
    """

    def __init__(self, folder, environment, *, prefix=(), options=(), setup="", stdin="/dev/null"):
        self._folder = folder
        self._number = 0
        self._process = subprocess.Popen(
            [*prefix, find_program("bash"), *options, "-c", setup + _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={**environment, "STDIN": str(stdin)},
            text=True,
        )

    def run(self, command):
        """Run a command, and return its exit status and the file with its output."""
        self._number += 1
        script = self._folder / f"command-{self._number}"
        script.write_text(command)
        self._process.stdin.write(f"{script}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()), script.with_suffix(".out")

    def close(self):
        """End the session and the programs that it waits for."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(START_TIMEOUT)
