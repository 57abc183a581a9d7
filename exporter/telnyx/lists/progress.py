"""The progress of reading, for commands that show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias


class Progress(Protocol):
    """Receives the progress of reading one resource."""

    def record_progress(self, done: int, total: int | None) -> None:
        """Record how many parts were read, of how many. None means that the total is not known yet."""

    def record_end(self) -> None:
        """Record that reading has succeeded or failed."""


CreateProgress: TypeAlias = Callable[[str, str], Progress]
"""Returns the progress of the resource with this name, whose parts have this name, such as `pages`."""


class _NoProgress:
    def record_progress(self, _done: int, _total: int | None) -> None:
        """Do nothing."""

    def record_end(self) -> None:
        """Do nothing."""


NO_PROGRESS: Progress = _NoProgress()
"""Shows nothing."""


def no_progress(_name: str, _unit: str) -> Progress:
    """Return a progress that shows nothing."""
    return NO_PROGRESS
