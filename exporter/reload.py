"""Reading configuration again while the exporter runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_log = structlog.get_logger()


class Source(Protocol):
    """Where configuration comes from."""

    async def reload(self) -> None:
        """Read it again and go by it.

        Raises `ValueError`, with one line that says what and why, where it can't be used; then all stays as it was.
        """


class Recorder(Protocol):
    """Is told how it went."""

    def configured(self, source: str, at: float) -> None:
        """Take that this source was read again at this Unix time."""

    def misconfigured(self, source: str) -> None:
        """Take that what this source says can't be used."""


class Reloader:
    """Reads all sources again, one call after the other; one that can't be used does not keep the others from it."""

    def __init__(
        self, sources: Mapping[str, Source], recorder: Recorder, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._sources = sources
        self._recorder = recorder
        self._clock = clock
        self._turn = asyncio.Lock()

    async def __call__(self) -> None:
        """Read again. Raises `ValueError` with one line for all that can't be used."""
        problems = []
        async with self._turn:
            for name, source in self._sources.items():
                try:
                    await source.reload()
                except ValueError as error:
                    problems.append(str(error))
                    self._recorder.misconfigured(name)
                else:
                    self._recorder.configured(name, self._clock())
        if problems:
            problem = "; ".join(problems)
            _log.warning("configuration can't be used, keeping the last one", problem=problem)
            raise ValueError(problem)
        _log.info("configuration read again")
