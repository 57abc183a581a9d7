"""The exporter's metrics about itself and its API requests, with prometheus-client."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.build import BUILD_INFO
from exporter.exposition.own_metrics import OwnMetricsRenderer
from exporter.server.incidents import ConnectionClosed, HandshakeFailed, RequestRefused
from exporter.telnyx.errors import REASONS
from exporter.telnyx.http.responses import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

    from exporter.cache import Entry
    from exporter.exposition.formats import Format
    from exporter.server.incidents import Incident

ALWAYS_EXPOSED = frozenset({"telnyx_up", "telnyx_exporter_build_info"})
"""Metrics that no filter hides, because they show that the exporter runs and that it can read Telnyx."""


class Telemetry:
    """Records events of the exporter and exposes them as metrics.

    It exposes the metrics in `ALWAYS_EXPOSED`, and those whose name `is_exposed` accepts. Without `process`, metrics
    about the process and the Python runtime are left out.
    """

    def __init__(self, *, is_exposed: Callable[[str], bool] = lambda _: True, process: bool = True) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.set_filter(is_exposed)
        self._latest = _LatestValues()
        self._registry = _Registry()
        self._renderer = OwnMetricsRenderer(self._registry.collectors)
        self._registry.register(self._latest)
        counter = partial(Counter, registry=self._registry)
        self._refreshes = counter("telnyx_refreshes_total", "Refreshes of the list, including failed ones.")
        self._failures = counter("telnyx_refresh_failures_total", "Failed refreshes, by reason.", ["reason"])
        for reason in REASONS:
            self._failures.labels(reason)
        self._requests = counter(
            "telnyx_api_requests_total",
            "Requests to the Telnyx API, by HTTP status, or none if there was no response.",
            ["code"],
        )
        self._request_duration = Histogram(
            "telnyx_api_request_duration_seconds",
            "Duration of requests to the Telnyx API.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0),
            registry=self._registry,
        )
        self._list_restarts = counter(
            "telnyx_list_restarts_total",
            "Times that reading the list restarted because it changed or contradicted its own totals.",
        )
        self._cache_requests = counter(
            "telnyx_exporter_cache_requests_total", "Times that a scrape queried the cache of a collector."
        )
        self._cache_hits = counter(
            "telnyx_exporter_cache_hits_total", "Times that a scrape found fresh data of a collector."
        )
        self._stale_responses = counter(
            "telnyx_exporter_stale_responses_total", "Times that a scrape got stale data of a collector."
        )
        self._incidents = {
            ConnectionClosed: counter(
                "telnyx_exporter_connections_closed_total",
                "Connections that the exporter closed at a limit or a timeout, by reason.",
                ["reason"],
            ),
            RequestRefused: counter(
                "telnyx_exporter_requests_refused_total", "Requests that the exporter refused, by reason.", ["reason"]
            ),
            HandshakeFailed: counter(
                "telnyx_exporter_tls_handshake_failures_total",
                "Failed TLS handshakes with clients, by reason.",
                ["reason"],
            ),
        }
        for incident in (*ConnectionClosed, *RequestRefused, *HandshakeFailed):
            self._incidents[type(incident)].labels(incident.value)
        build = Info("telnyx_exporter_build", "Version and build of the exporter.", registry=self._registry)
        build.info(BUILD_INFO)
        if process:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self._registry)

    def set_filter(self, is_exposed: Callable[[str], bool]) -> None:
        """Change which metrics are exposed."""
        self._is_exposed = cache(lambda name: name in ALWAYS_EXPOSED or is_exposed(name))

    def reset_refresh_metrics(self) -> None:
        """Reset the metrics of the last refresh. The configuration metrics keep their values."""
        self._latest.reset()

    def record_cache_settings(self, ttl: float | None, max_stale: float | None) -> None:
        """Record the settings of the cache, in seconds, or None if there is none."""
        self._latest.ttl, self._latest.max_stale = ttl, max_stale

    def record_request(self, code: str, seconds: float) -> None:
        """Record a request to the Telnyx API."""
        self._requests.labels(code).inc()
        self._request_duration.observe(seconds)

    def record_rate_limit(self, limit: RateLimit) -> None:
        """Record the rate limit that Telnyx stated."""
        self._latest.limit = limit

    def record_list_restart(self) -> None:
        """Record that reading restarted because the list changed or contradicted its own totals."""
        self._list_restarts.inc()

    def record_up(self, up: bool) -> None:  # noqa: FBT001 -- a value, not a switch
        """Record whether Telnyx can be read."""
        self._latest.up = up

    def record_refresh(self, seconds: float, at: float) -> None:
        """Record a refresh that succeeded `at` this Unix time."""
        self._refreshes.inc()
        self._latest.up, self._latest.duration, self._latest.success = True, seconds, at

    def record_refresh_failure(self, seconds: float, reason: str) -> None:
        """Record a refresh that failed."""
        self._refreshes.inc()
        self._failures.labels(reason).inc()
        self._latest.up, self._latest.duration = False, seconds

    def record_config_loaded(self, source: str, at: float) -> None:
        """Record that this configuration source was loaded `at` this Unix time."""
        self._latest.invalid_sources.discard(source)
        self._latest.config_loaded = at

    def record_config_error(self, source: str) -> None:
        """Record that this configuration source is invalid."""
        self._latest.invalid_sources.add(source)

    def record_scrape(self, entry: Entry[Any]) -> None:
        """Record that a scrape queried the cache of a collector, and the state that it found."""
        self._cache_requests.inc()
        if entry.hit:
            self._cache_hits.inc()
        if entry.stale:
            self._stale_responses.inc()

    def count_incident(self, incident: Incident) -> None:
        """Count an incident that a client caused."""
        self._incidents[type(incident)].labels(incident.value).inc()

    def collect(self) -> Iterator[Metric]:
        """Return all metric families, whether they are exposed or not."""
        yield from self._registry.collect()

    def render(self, form: Format) -> bytes:
        """Render the metrics in this format, with the end of the document."""
        return self._renderer.render(form, self._is_exposed)


class _Registry(CollectorRegistry):
    """A registry that makes its collectors available, in the order of registration."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        """Register a collector."""
        super().register(collector)
        self.collectors.append(collector)


class _LatestValues(Collector):
    """Gauges with the latest values. A value that is not known yet has no sample; `telnyx_up` always has one."""

    def __init__(self) -> None:
        self.reset()
        self.invalid_sources: set[str] = set()
        self.config_loaded: float | None = None
        self.ttl: float | None = None
        self.max_stale: float | None = None

    def reset(self) -> None:
        """Reset the values of the last refresh."""
        self.up = False
        self.success: float | None = None
        self.duration: float | None = None
        self.limit = RateLimit()

    def describe(self) -> Iterator[Metric]:
        """Return nothing, so that prometheus-client skips its check for duplicate names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return the gauges that have a value."""
        for name, text, value in (
            (
                "telnyx_up",
                "Whether the last refresh succeeded (1), or failed or has not finished yet (0).",
                float(self.up),
            ),
            (
                "telnyx_last_success_timestamp_seconds",
                "When the list was last read successfully, in Unix seconds.",
                self.success,
            ),
            ("telnyx_refresh_duration_seconds", "Duration of the last refresh.", self.duration),
            ("telnyx_api_rate_limit", "Requests that Telnyx allows per period.", self.limit.limit),
            ("telnyx_api_rate_limit_remaining", "Requests that remain in this period.", self.limit.remaining),
            (
                "telnyx_api_rate_limit_reset_timestamp_seconds",
                "When the period of the rate limit ends, in Unix seconds.",
                self.limit.reset,
            ),
            (
                "telnyx_exporter_config_last_reload_successful",
                "Whether all configuration is valid (1), or a previous version of some of it is in use (0).",
                None if self.config_loaded is None else float(not self.invalid_sources),
            ),
            (
                "telnyx_exporter_config_last_reload_success_timestamp_seconds",
                "When valid configuration was last loaded, in Unix seconds.",
                self.config_loaded,
            ),
            (
                "telnyx_exporter_cache_ttl_seconds",
                "Age at which a scrape refreshes the list (--cache.ttl).",
                self.ttl,
            ),
            (
                "telnyx_exporter_cache_max_stale_seconds",
                "Age at which the exporter stops exposing connections while refreshes fail (--cache.max-stale).",
                self.max_stale,
            ),
        ):
            if value is not None:
                yield GaugeMetricFamily(name, text, value)
