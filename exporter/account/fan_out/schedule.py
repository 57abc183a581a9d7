"""Decides which connection a fan-out reads next, and when."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.collectors.connection_index import ConnectionRecord

_MIN_CYCLE = 10.0
"""Shortest cycle, in seconds: longer than the rendered rows are reused."""
_OVERDUE_CYCLES = 1.5
"""Cycles since its last request after which a connection is read as soon as the rate allows."""


class Schedule:
    """The order of the connections, and the interval between two requests.

    A cycle, in which each connection is read once, takes `ttl` seconds, or longer if `rate` requests per second are not
    enough. Its requests are evenly spread. Connections that were never requested, or whose cycle was interrupted, are
    read as fast as the rate allows.
    """

    def __init__(self, ttl: float, rate: float) -> None:
        self._ttl = ttl
        self._rate = rate
        self._queue: OrderedDict[str, ConnectionRecord] = OrderedDict()
        """The connections by id. The one whose last request is the longest ago comes first."""
        self._requested_at: dict[str, float] = {}
        """When each connection was last requested."""
        self._last_turn = -math.inf
        self._measured_cycle = 0.0
        """Seconds that a cycle takes at the present pace."""

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._queue

    @property
    def connections(self) -> Sequence[ConnectionRecord]:
        """All connections, the next one first."""
        return tuple(self._queue.values())

    @property
    def cycle(self) -> float:
        """Seconds in which each connection is read once. If responses or the request budget are slow, they count."""
        return max(self._planned_cycle, self._measured_cycle)

    @property
    def _planned_cycle(self) -> float:
        return max(self._ttl, len(self._queue) / self._rate, _MIN_CYCLE)

    def update(self, connections: Mapping[str, ConnectionRecord]) -> None:
        """Put new connections at the front of the queue, and forget those that are gone."""
        new = [row_id for row_id in connections if row_id not in self._queue]
        known = [row_id for row_id in self._queue if row_id in connections]
        self._queue = OrderedDict((row_id, connections[row_id]) for row_id in (*new, *known))
        self._requested_at = {row_id: at for row_id, at in self._requested_at.items() if row_id in connections}

    def next_turn(self, now: float) -> float:
        """Return when the next request is due. Without connections, that is never."""
        if not self._queue:
            return math.inf
        requested_at = self._requested_at.get(next(iter(self._queue)), -math.inf)
        is_overdue = now - requested_at >= _OVERDUE_CYCLES * self._planned_cycle
        return self._last_turn + (1 / self._rate if is_overdue else self._planned_cycle / len(self._queue))

    def take_turn(self, now: float) -> ConnectionRecord:
        """Return the connection to request now."""
        row_id, connection = next(iter(self._queue.items()))
        self._queue.move_to_end(row_id)
        if self._last_turn > -math.inf:
            count = len(self._queue)
            self._measured_cycle += ((now - self._last_turn) * count - self._measured_cycle) / count
        self._last_turn = self._requested_at[row_id] = now
        return connection

    def interrupt(self) -> None:
        """Record that no requests were sent for a while, so that the time until the next one is not measured."""
        self._last_turn = -math.inf

    def adopt(self, previous: Schedule) -> None:
        """Continue with the connections of another schedule, and the times of their requests."""
        self._queue, self._requested_at, self._last_turn = previous._queue, previous._requested_at, previous._last_turn
