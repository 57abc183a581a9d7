"""Where the API key comes from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from exporter.config.files import read
from exporter.config.settings import check_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.config.reload import Recorder

SOURCE = "key"
"""What this configuration is called where there are others."""
_MAX_BYTES = 4096

_log = structlog.get_logger()


class KeyFile:
    """The API key in a file, read at each call, so that a rotated key is used without a restart.

    Made with a file that can't be used, it raises `OSError` or `ValueError`; later it keeps the last good key instead.
    """

    def __init__(self, path: Path, recorder: Recorder, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._recorder = recorder
        self._clock = clock
        self._key = self._read()
        self._problem = ""

    def __call__(self) -> str:
        """Return the key."""
        try:
            self._key = self._read()
            problem = ""
        except (OSError, ValueError) as error:
            problem = describe(error)
        if problem:
            self._recorder.misconfigured(SOURCE)
        elif self._problem:
            self._recorder.configured(SOURCE, self._clock())
            _log.info("API key file can be used again", file=str(self._path))
        if problem not in {"", self._problem}:
            _log.warning("API key file can't be used, keeping the last key", file=str(self._path), problem=problem)
        self._problem = problem
        return self._key

    def _read(self) -> str:
        return check_key(read(self._path, _MAX_BYTES).decode("ascii", "replace").strip())


def describe(error: OSError | ValueError) -> str:
    """Return why a key file can't be used, in words that hold nothing of it."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
