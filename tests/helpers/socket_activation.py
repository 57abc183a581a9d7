"""Sockets that are passed to a process as systemd passes them."""

import contextlib
import fcntl
import os
import subprocess

_HIGH = 50
"""A descriptor far from the first ones, which the process gets its sockets as."""


@contextlib.contextmanager
def passing(*command, sockets, pid="$$", **options):
    """Run a command with these sockets from descriptor 3 on, as meant for the process `pid`, by default its own."""
    high = [fcntl.fcntl(one, fcntl.F_DUPFD, _HIGH) for one in sockets]
    moves = " ".join(f"{place}<&{number}" for place, number in enumerate(high, 3))
    script = f'LISTEN_PID={pid} LISTEN_FDS={len(high)} exec "$@" {moves}'
    try:
        with subprocess.Popen(["bash", "-c", script, "bash", *command], pass_fds=high, text=True, **options) as process:
            yield process
    finally:
        for number in high:
            os.close(number)
