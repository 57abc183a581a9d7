"""The API key of one account, from a file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from exporter.config.files import read_file
from exporter.config.values import check_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.config.reload import ConfigObserver

SOURCE = "key"
"""The name of this configuration source."""
_MAX_BYTES = 4096

_log = structlog.get_logger()


class KeyFile:
    """Reads the API key from a file at each call, so that a rotated key is used without a restart.

    The constructor raises `OSError` or `ValueError` if the file is unusable. Later, if the file becomes unusable, the
    last valid key stays in use.
    """

    def __init__(self, path: Path, observer: ConfigObserver, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._observer = observer
        self._clock = clock
        self._key = read_key(path)
        self._problem = ""

    def __call__(self) -> str:
        """Read the file again and return the key, or the last valid key if the file is unusable."""
        try:
            self._key = read_key(self._path)
            problem = ""
        except (OSError, ValueError) as error:
            problem = describe_problem(error)
        if problem:
            self._observer.record_config_error(SOURCE)
        elif self._problem:
            self._observer.record_config_loaded(SOURCE, self._clock())
            _log.info("API key file is valid again", file=str(self._path))
        if problem not in {"", self._problem}:
            _log.warning("API key file is unusable, keeping the previous key", file=str(self._path), problem=problem)
        self._problem = problem
        return self._key


def read_key(path: Path) -> str:
    """Read a key from a file. Raises `OSError` or `ValueError` if the file or the key is unusable."""
    return check_key(read_file(path, _MAX_BYTES).decode("ascii", "replace").strip())


def describe_problem(error: OSError | ValueError) -> str:
    """Describe why a key file is unusable, without quoting its content."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
