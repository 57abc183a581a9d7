"""Output of commands."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from exporter.config.flags import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_stdout(pieces: Iterable[bytes | memoryview]) -> None:
    """Write to standard output. Raises `UsageError` if that fails."""
    if sys.stdout is None:
        raise UsageError("standard output: is closed")
    try:
        sys.stdout.buffer.writelines(pieces)
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout)
        raise UsageError(f"standard output: {error.strerror}") from None


def discard(stream: TextIO) -> None:
    """Discard output that could not be written. Otherwise Python would fail when it flushes the stream at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
