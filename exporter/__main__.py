"""The command `telnyx-exporter`, also `python -m exporter`."""

from __future__ import annotations

import signal
import sys

from exporter import __version__


def run() -> None:
    """Run the command and end the process with its status."""
    if sys.argv[1:] == ["--version"]:
        print(f"telnyx-exporter {__version__}")  # noqa: T201 -- the answer to the question
        sys.exit(0)
    # Until there is what reads configuration again, SIGHUP would end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from exporter.cli import main  # noqa: PLC0415 -- a third of a second of imports, which --version need not wait for

    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
