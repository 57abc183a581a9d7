"""The command `telnyx-exporter`, also `python -m exporter`."""

from __future__ import annotations

import signal
import sys

from exporter.build import VERSION_TEXT


def run() -> None:
    """Run the command and exit with its status."""
    if sys.argv[1:] == ["--version"]:
        print(VERSION_TEXT, end="")  # noqa: T201 -- the output of the command
        sys.exit(0)
    # Without a handler, SIGHUP would end the process. Block it until the handler that reloads is installed.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from exporter.cli import main  # noqa: PLC0415 -- imports take 0.3 s, and --version should not wait for them

    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
