"""Failed requests of a fan-out: logs them, and decides how long to pause."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import structlog

from exporter.account.refresh import requested_wait, wait_after_refusal
from exporter.cache import MAX_BACKOFF
from exporter.telnyx.errors import RateLimited

if TYPE_CHECKING:
    from exporter.telnyx.errors import TelnyxError

_log = structlog.get_logger()


class Problems:
    """Records the results of requests.

    A reason is logged once, and again after each connection was read without a failure. Requests pause when Telnyx asks
    for it, and when every connection has failed since the last success.
    """

    def __init__(self, collector: str) -> None:
        self._collector = collector
        self._reasons: set[str] = set()
        """The reasons that were logged."""
        self.error: TelnyxError | None = None
        """The error of the last request, or None if it succeeded."""
        self.failures = 0
        """The number of failures since the last success."""
        self._successes = 0
        """The number of successes since the last failure."""
        self.pause_until = -math.inf

    def record_success(self, cycle_length: int) -> None:
        """Record a success. `cycle_length` is the number of connections."""
        self.error = None
        self.failures = 0
        self._successes += 1
        if self._reasons and self._successes >= cycle_length:
            reasons = ", ".join(sorted(self._reasons))
            _log.info("requests succeed again", collector=self._collector, last_reason=reasons)
            self._reasons = set()

    def record_failure(self, error: TelnyxError, cycle_length: int, now: float, **context: str) -> None:
        """Record a failure. `context` are further fields of the log line."""
        self.error = error
        self._successes = 0
        self.failures += 1
        lasting = self.failures - cycle_length
        if isinstance(error, RateLimited):
            self._pause(now + max(1.0, requested_wait(error)))
        elif lasting >= 0:
            self._pause(now + max(min(2.0 ** min(lasting, 10), MAX_BACKOFF), wait_after_refusal(error)))
        is_logged = error.reason in self._reasons or error.is_logged_elsewhere
        log = _log.debug if is_logged else _log.warning
        log(
            "request failed",
            collector=self._collector,
            **context,
            reason=error.reason,
            error=str(error),
            advice=error.advice,
        )
        if not error.is_logged_elsewhere:
            self._reasons.add(error.reason)

    def _pause(self, until: float) -> None:
        self.pause_until = max(self.pause_until, until)
