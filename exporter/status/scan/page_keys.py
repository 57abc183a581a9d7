"""Selects the sort keys of one page of the table from those of all connections, without sorting all of them."""

from __future__ import annotations

import operator
from itertools import chain
from typing import TYPE_CHECKING

from exporter.status.scan.pause import pause

if TYPE_CHECKING:
    from collections.abc import Sequence

_RUN_KEYS = 4000
"""Sort keys to sort in one step. More would delay scrapes, and fewer would make it slower to combine the runs."""


class PageKeys:
    """Takes sort keys, and returns some in order.

    It sorts runs of a few thousand keys, and combines only the parts of the runs that are needed. All keys differ. It
    drops keys that come after the first `limit` ones, because they can't be on the page.
    """

    def __init__(self, limit: int, *, descending: bool) -> None:
        self._limit = limit
        self._descending = descending
        self._comes_before = operator.gt if descending else operator.lt
        self._last: str | None = None
        """Keys after this one are dropped. None as long as there are fewer than `limit` keys in a run."""
        self._unsorted: list[str] = []
        self._runs: list[list[str]] = []

    def add(self, keys: list[str]) -> None:
        """Add the keys of a page of a list."""
        if self._last is not None:
            comes_before, last = self._comes_before, self._last
            keys = [key for key in keys if comes_before(key, last)]
        self._unsorted += keys
        if len(self._unsorted) >= _RUN_KEYS:
            self._end_run()

    def _end_run(self) -> None:
        run = sorted(self._unsorted, reverse=self._descending)[: self._limit]
        self._runs.append(run)
        self._unsorted = []
        if len(run) == self._limit:
            self._last = run[-1]

    async def select(self, first: int, count: int) -> list[str]:
        """Return up to `count` keys in order, after the `first` ones, and forget all keys.

        There must be `first` keys, and `first + count` must be at most `limit`.
        """
        self._end_run()
        await pause()
        starts = _skip(self._runs, first, descending=self._descending)
        rest = first - sum(starts)
        parts = (run[start : start + rest + count] for run, start in zip(self._runs, starts, strict=True))
        keys = sorted(chain.from_iterable(parts), reverse=self._descending)[rest : rest + count]
        while self._runs:  # it takes several milliseconds to free them all
            self._runs.pop()
            await pause()
        return keys


def _skip(runs: Sequence[Sequence[str]], count: int, *, descending: bool) -> list[int]:
    """Skip the first `count` keys of sorted runs, or fewer by less than the number of runs. Return the positions."""
    starts = [0] * len(runs)
    while step := (count - sum(starts)) // len(runs):
        # Look ahead by `step` keys in each run. In the run whose key comes first there, these keys can be skipped: each
        # other run has fewer than `step` keys before that one, so it is among the next `step * len(runs)` keys of all.
        ahead = [
            (run[start + step - 1], number)
            for number, (run, start) in enumerate(zip(runs, starts, strict=True))
            if start + step <= len(run)
        ]
        _, number = max(ahead) if descending else min(ahead)
        starts[number] += step
    return starts
