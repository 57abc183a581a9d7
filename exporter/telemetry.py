"""The exporter's metrics about itself and about its talks with Telnyx, on prometheus-client."""

from __future__ import annotations

import os
import platform
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter import __version__
from exporter.exposition.response import Format
from exporter.telnyx.errors import REASONS
from exporter.telnyx.responses import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

    from exporter.cache import Entry
    from exporter.refresh import View

REVISION = os.environ.get("EXPORTER_REVISION", "unknown")
"""The commit that this was built from; the container image sets it."""

_SUFFIXES = {"counter": "_total", "info": "_info"}


def family_name(metric: Metric) -> str:
    """Return the name that a metric of prometheus-client has in the Prometheus text format."""
    return metric.name + _SUFFIXES.get(metric.type, "")


class Telemetry:
    """Counts and remembers what happens; the parts that it happens to tell it.

    Only metrics whose name is `shown` are exposed, and `telnyx_up` always. Without `process` those about the process
    and the Python runtime are left out.
    """

    def __init__(self, *, shown: Callable[[str], bool] = lambda _: True, process: bool = True) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._shown = shown
        self._latest = _Latest()
        self._registry = CollectorRegistry()
        self._registry.register(self._latest)
        counter = partial(Counter, registry=self._registry)
        self._refreshes = counter("telnyx_refreshes_total", "Refreshes of the list, failed ones too.")
        self._failures = counter("telnyx_refresh_failures_total", "Failed refreshes, by reason.", ["reason"])
        for reason in REASONS:
            self._failures.labels(reason)
        self._requests = counter(
            "telnyx_api_requests_total", "Requests to Telnyx by HTTP status; none where there was no answer.", ["code"]
        )
        self._duration = Histogram(
            "telnyx_api_request_duration_seconds",
            "How long requests to Telnyx took.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0),
            registry=self._registry,
        )
        self._restarts = counter(
            "telnyx_list_restarts_total", "Walks over the list begun again because it changed underneath."
        )
        self._gets = counter("telnyx_exporter_cache_requests_total", "Scrapes that asked the cache.")
        self._hits = counter("telnyx_exporter_cache_hits_total", "Scrapes that found a fresh snapshot.")
        self._stales = counter("telnyx_exporter_stale_responses_total", "Scrapes that were shown a stale snapshot.")
        build = Info("telnyx_exporter_build", "What the exporter was built from.", registry=self._registry)
        build.info({"version": __version__, "revision": REVISION, "pythonversion": platform.python_version()})
        if process:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self._registry)

    def show(self, shown: Callable[[str], bool]) -> None:
        """Expose other metrics from now on."""
        self._shown = shown

    def began(self) -> None:
        """Take that the list is read as if it never had been; what the configuration is goes on."""
        self._latest.forget()

    def cache_configured(self, ttl: float, max_stale: float) -> None:
        """Record the settings of the cache, in seconds."""
        self._latest.ttl, self._latest.max_stale = ttl, max_stale

    def requested(self, code: str, seconds: float) -> None:
        """Count a request to Telnyx."""
        self._requests.labels(code).inc()
        self._duration.observe(seconds)

    def rate_limited(self, limit: RateLimit) -> None:
        """Keep what Telnyx says of its rate limit."""
        self._latest.limit = limit

    def restarted(self) -> None:
        """Count a walk that began again."""
        self._restarts.inc()

    def refreshed(self, seconds: float, at: float) -> None:
        """Take a refresh that succeeded `at` this Unix time."""
        self._refreshes.inc()
        self._latest.up, self._latest.duration, self._latest.success = True, seconds, at

    def failed(self, seconds: float, reason: str) -> None:
        """Take a refresh that failed."""
        self._refreshes.inc()
        self._failures.labels(reason).inc()
        self._latest.up, self._latest.duration = False, seconds

    def configured(self, source: str, at: float) -> None:
        """Take that the configuration from this source was read `at` this Unix time."""
        self._latest.misconfigured.discard(source)
        self._latest.configuration = at

    def misconfigured(self, source: str) -> None:
        """Take that the configuration from this source can't be used as it is now."""
        self._latest.misconfigured.add(source)

    def scraped(self, entry: Entry[View]) -> None:
        """Count a scrape by what the cache had for it."""
        self._gets.inc()
        if entry.hit:
            self._hits.inc()
        if entry.stale:
            self._stales.inc()

    def collect(self) -> Iterator[Metric]:
        """Return the families to expose."""
        for metric in self._registry.collect():
            if metric.name == "telnyx_up" or self._shown(family_name(metric)):
                yield metric

    def render(self, form: Format) -> bytes:
        """Return the metrics in this format, with the end mark that OpenMetrics wants."""
        generate = generate_openmetrics if form is Format.OPENMETRICS else generate_latest
        return generate(self)


class _Latest(Collector):
    """What is known of the last refresh; what is not known yet has no sample."""

    def __init__(self) -> None:
        self.forget()
        self.misconfigured: set[str] = set()
        self.configuration: float | None = None
        self.ttl: float | None = None
        self.max_stale: float | None = None

    def forget(self) -> None:
        """Know nothing of any refresh."""
        self.up = False
        self.success: float | None = None
        self.duration: float | None = None
        self.limit = RateLimit()

    def describe(self) -> Iterator[Metric]:
        """Return nothing: these names are nobody else's."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return the gauges that have a value."""
        for name, text, value in (
            ("telnyx_up", "Whether the last refresh succeeded (1) or not (0).", float(self.up)),
            ("telnyx_last_success_timestamp_seconds", "When the list was last read, in Unix seconds.", self.success),
            ("telnyx_refresh_duration_seconds", "How long the last refresh took.", self.duration),
            ("telnyx_api_rate_limit", "Requests that Telnyx allows in a period.", self.limit.limit),
            ("telnyx_api_rate_limit_remaining", "Requests left in this period.", self.limit.remaining),
            (
                "telnyx_api_rate_limit_reset_timestamp_seconds",
                "When the period of the rate limit ends, in Unix seconds.",
                self.limit.reset,
            ),
            (
                "telnyx_exporter_config_last_reload_successful",
                "Whether all configuration could be used when last read (1), or some of an older one is in use (0).",
                None if self.configuration is None else float(not self.misconfigured),
            ),
            (
                "telnyx_exporter_config_last_reload_success_timestamp_seconds",
                "When configuration was last read that can be used, in Unix seconds.",
                self.configuration,
            ),
            (
                "telnyx_exporter_cache_ttl_seconds",
                "Age at which a scrape refreshes the list (--cache.ttl).",
                self.ttl,
            ),
            (
                "telnyx_exporter_cache_max_stale_seconds",
                "Age at which the exporter stops showing connections while it can't read Telnyx (--cache.max-stale).",
                self.max_stale,
            ),
        ):
            if value is not None:
                yield GaugeMetricFamily(name, text, value)
