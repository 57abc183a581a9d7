"""The metrics of one account: its refreshes, API requests and caches."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Histogram

from exporter.exposition.own_metrics import AccountMetrics
from exporter.telemetry.latest_value import LatestValue
from exporter.telnyx.errors import REASONS
from exporter.telnyx.http.responses import RateLimit

if TYPE_CHECKING:
    from exporter.cache import Entry

STATE_METRICS = slice(6)
"""The metrics that come before those of the configuration."""
OTHER_METRICS = slice(6, None)

_counter = partial(Counter, registry=None)


class AccountTelemetry:
    """Records events of one account. An account without a name is no label.

    No collector has the label `account`: it is added when the metrics are rendered.
    """

    def __init__(self, account: str) -> None:
        self._up = LatestValue(
            "telnyx_up", "Whether the last refresh succeeded (1) or not (0). 0 until the first refresh ends.", 0.0
        )
        self._success = LatestValue(
            "telnyx_last_success_timestamp_seconds", "Time of the last successful refresh, in Unix seconds."
        )
        self._duration = LatestValue("telnyx_refresh_duration_seconds", "Duration of the last refresh, in seconds.")
        self._limit = LatestValue("telnyx_api_rate_limit", "Number of requests that Telnyx allows per period.")
        self._remaining = LatestValue(
            "telnyx_api_rate_limit_remaining", "Number of requests that remain in this period."
        )
        self._reset = LatestValue(
            "telnyx_api_rate_limit_reset_timestamp_seconds",
            "Time of the end of the rate limit's period, in Unix seconds.",
        )
        self._ttl = LatestValue(
            "telnyx_exporter_cache_ttl_seconds", "Age at which the list is refreshed, in seconds (--cache.ttl)."
        )
        self._max_stale = LatestValue(
            "telnyx_exporter_cache_max_stale_seconds",
            "Age at which cached connections expire while refreshes fail, in seconds (--cache.max-stale).",
        )
        self._refreshes = _counter("telnyx_refreshes_total", "Number of refreshes, including failed ones.")
        self._failures = _counter("telnyx_refresh_failures_total", "Number of failed refreshes, by reason.", ["reason"])
        for reason in REASONS:
            self._failures.labels(reason)
        self._requests = _counter(
            "telnyx_api_requests_total",
            "Number of requests to the Telnyx API, by HTTP status. The code is none if there was no response.",
            ["code"],
        )
        self._request_duration = Histogram(
            "telnyx_api_request_duration_seconds",
            "Duration of requests to the Telnyx API, in seconds.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0),
            registry=None,
        )
        self._list_restarts = _counter(
            "telnyx_list_restarts_total",
            "Number of times that a poll started again because the list changed or contradicted its totals.",
        )
        self._cache_requests = _counter(
            "telnyx_exporter_cache_requests_total", "Number of times that a scrape queried the cache of a collector."
        )
        self._cache_hits = _counter(
            "telnyx_exporter_cache_hits_total",
            "Number of times that a scrape found fresh data in the cache of a collector.",
        )
        self._stale_responses = _counter(
            "telnyx_exporter_stale_responses_total",
            "Number of times that a scrape got stale data from the cache of a collector.",
        )
        self.metrics = AccountMetrics(
            account,
            (
                *(self._up, self._success, self._duration, self._limit, self._remaining, self._reset),
                *(self._ttl, self._max_stale, self._refreshes, self._failures, self._requests),
                *(self._request_duration, self._list_restarts),
                *(self._cache_requests, self._cache_hits, self._stale_responses),
            ),
        )
        """The metrics to render."""

    def reset_refresh_metrics(self) -> None:
        """Reset the metrics of the last refresh."""
        self._set(self._up, 0.0)
        self._set(self._success, None)
        self._set(self._duration, None)
        self.record_rate_limit(RateLimit())

    def record_cache_settings(self, ttl: float | None, max_stale: float | None) -> None:
        """Record the settings of the cache, in seconds, or None if there is none."""
        self._set(self._ttl, ttl)
        self._set(self._max_stale, max_stale)

    def record_request(self, code: str, seconds: float) -> None:
        """Record a request to the Telnyx API."""
        self._count(self._requests, code)
        self._request_duration.observe(seconds)
        self.metrics.record_change(self._request_duration)

    def record_rate_limit(self, limit: RateLimit) -> None:
        """Record the rate limit that Telnyx stated."""
        self._set(self._limit, limit.limit)
        self._set(self._remaining, limit.remaining)
        self._set(self._reset, limit.reset)

    @property
    def rate_limit(self) -> RateLimit:
        """The rate limit that Telnyx stated last."""
        return RateLimit(self._limit.value, self._remaining.value, self._reset.value)

    def record_list_restart(self) -> None:
        """Record that reading restarted because the list changed or contradicted its own totals."""
        self._count(self._list_restarts)

    def record_up(self, up: bool) -> None:  # noqa: FBT001 -- a value, not a switch
        """Record whether Telnyx can be read."""
        self._set(self._up, float(up))

    def record_refresh(self, seconds: float, at: float) -> None:
        """Record a refresh that succeeded `at` this Unix time."""
        self._count(self._refreshes)
        self._set(self._up, 1.0)
        self._set(self._duration, seconds)
        self._set(self._success, at)

    def record_refresh_failure(self, seconds: float, reason: str) -> None:
        """Record a refresh that failed."""
        self._count(self._refreshes)
        self._count(self._failures, reason)
        self._set(self._up, 0.0)
        self._set(self._duration, seconds)

    def record_scrape(self, entry: Entry[Any]) -> None:
        """Record that a scrape queried the cache of a collector, and the state that it found."""
        self._count(self._cache_requests)
        if entry.hit:
            self._count(self._cache_hits)
        if entry.stale:
            self._count(self._stale_responses)

    def _count(self, counter: Counter, *labels: str) -> None:
        (counter.labels(*labels) if labels else counter).inc()
        self.metrics.record_change(counter)

    def _set(self, gauge: LatestValue, value: float | None) -> None:
        if value != gauge.value:
            gauge.value = value
            self.metrics.record_change(gauge)
