"""Progress of commands, on a terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from exporter.logs import configure_logging
from exporter.telnyx.lists.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.config.settings import LogSettings
    from exporter.telnyx.lists.progress import CreateProgress

_TERMINALS_WITHOUT_CURSOR = {"dumb", "unknown"}
"""Values of TERM for terminals that can't move the cursor, such as those of some editors."""


@contextlib.contextmanager
def show_progress(log: LogSettings) -> Iterator[CreateProgress]:
    """Provide a function for the progress of each resource. On exit, nothing of it remains on the terminal.

    Log lines meanwhile appear above it, and SIGTERM ends the command as Control-C does. If standard error is not a
    terminal, nothing is shown.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM", "") in _TERMINALS_WITHOUT_CURSOR:
        yield no_progress
        return
    from exporter.commands.progress.bars import Bars  # noqa: PLC0415 -- takes 0.1 s, which services should not wait for

    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with Bars(sys.stderr) as bars:
            configure_logging(log.level, log.format, bars)
            yield bars.create
    finally:
        configure_logging(log.level, log.format, sys.stderr)
        signal.signal(signal.SIGTERM, previous)
