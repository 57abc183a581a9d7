"""Reloading of the configuration while the exporter runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_log = structlog.get_logger()


class Source(Protocol):
    """A part of the configuration that can be reloaded, for example a file."""

    async def reload(self) -> None:
        """Read the source again and apply it.

        Raises `ValueError`, with a one-line message, if it is invalid. Then the previous configuration stays in use.
        """


class ConfigObserver(Protocol):
    """Receives the results of loading configuration."""

    def record_config_loaded(self, source: str, at: float) -> None:
        """Record that this source was loaded `at` this Unix time."""

    def record_config_error(self, source: str) -> None:
        """Record that this source is invalid."""


class Reloader:
    """Reloads all sources. A source that is invalid does not affect the others.

    All calls during a reload share the next one. Cancelling a caller does not cancel the reload.
    """

    def __init__(
        self, sources: Mapping[str, Source], observer: ConfigObserver, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._sources = sources
        self._observer = observer
        self._clock = clock
        self._lock = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        """The reload that starts when the running one ends."""

    async def __call__(self) -> None:
        """Reload. If a source is invalid, raise `ValueError` with one line that states the result of each source."""
        if self._next is None:
            self._next = asyncio.create_task(self._reload_all())
        await asyncio.shield(self._next)

    async def _reload_all(self) -> None:
        async with self._lock:
            self._running, self._next = self._next, None  # a source that changes from now on needs another reload
            problems = {name: await self._reload(name, source) for name, source in self._sources.items()}
        if any(problems.values()):
            results = (f"{name}: {problem or 'reloaded'}" for name, problem in problems.items())
            raise ValueError("; ".join(results))

    async def _reload(self, name: str, source: Source) -> str:
        """Reload one source and return why it failed, or an empty string."""
        try:
            await source.reload()
        except ValueError as error:
            self._observer.record_config_error(name)
            _log.warning("configuration is invalid, keeping the previous one", source=name, problem=str(error))
            return f"invalid, kept the previous version: {error}"
        self._observer.record_config_loaded(name, self._clock())
        _log.info("configuration reloaded", source=name)
        return ""
