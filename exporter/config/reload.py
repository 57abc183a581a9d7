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
        """Read again. Raises `ValueError` with one line that says of each source what became of it, if one failed."""
        async with self._turn:
            outcomes = {name: await self._read(name, source) for name, source in self._sources.items()}
        if any(outcomes.values()):
            told = (f"{name}: {problem or 'read again'}" for name, problem in outcomes.items())
            raise ValueError("; ".join(told))

    async def _read(self, name: str, source: Source) -> str:
        """Read one source again, and return why it can't be used, if it can't."""
        try:
            await source.reload()
        except ValueError as error:
            self._recorder.misconfigured(name)
            _log.warning("configuration can't be used, keeping the last one", source=name, problem=str(error))
            return f"kept as it was, {error}"
        self._recorder.configured(name, self._clock())
        _log.info("configuration read again", source=name)
        return ""
