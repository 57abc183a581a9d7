"""Pass sockets to a process in the way that systemd does."""

import contextlib
import fcntl
import os
import subprocess

_HIGH = 50
"""The lowest descriptor for copies of the sockets. It doesn't overlap with those that the process gets, from 3 up."""


@contextlib.contextmanager
def passing(*command, sockets, pid="$$", **options):
    """Run a command with these sockets as descriptors 3 and up, and with `pid` as LISTEN_PID, by default its own."""
    high = [fcntl.fcntl(source, fcntl.F_DUPFD, _HIGH) for source in sockets]
    redirections = " ".join(f"{descriptor}<&{number}" for descriptor, number in enumerate(high, 3))
    script = f'LISTEN_PID={pid} LISTEN_FDS={len(high)} exec "$@" {redirections}'
    try:
        with subprocess.Popen(["bash", "-c", script, "bash", *command], pass_fds=high, text=True, **options) as process:
            yield process
    finally:
        for number in high:
            os.close(number)
