"""Where the API key comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from .files import read
from .settings import check_key

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES = 4096

_log = structlog.get_logger()


class KeyFile:
    """The API key in a file, read at each call, so that a rotated key is used without a restart.

    Made with a file that can't be used, it raises `OSError` or `ValueError`; later it keeps the last good key instead.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = self._read()
        self._problem = ""

    def __call__(self) -> str:
        """Return the key."""
        try:
            self._key = self._read()
            problem = ""
        except (OSError, ValueError) as error:
            problem = describe(error)
        if problem and problem != self._problem:
            _log.warning("API key file can't be used, keeping the last key", file=str(self._path), problem=problem)
        self._problem = problem
        return self._key

    def _read(self) -> str:
        if self._path.is_fifo():
            raise ValueError("is a pipe, which could not be read again")
        return check_key(read(self._path, _MAX_BYTES).decode("ascii", "replace").strip())


def describe(error: OSError | ValueError) -> str:
    """Return why a key file can't be used, in words that hold nothing of it."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
