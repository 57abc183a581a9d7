"""The metrics of the exporter, and those of its accounts."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from exporter.build import BUILD_INFO
from exporter.exposition.own_metrics import OwnMetricsRenderer
from exporter.server.incidents import ConnectionClosed, HandshakeFailed, RequestRefused
from exporter.telemetry.account import OTHER_METRICS, STATE_METRICS, AccountTelemetry
from exporter.telemetry.latest_value import LatestValue
from exporter.telnyx.http.responses import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from prometheus_client import Metric
    from prometheus_client.registry import Collector

    from exporter.exposition.formats import Format
    from exporter.exposition.own_metrics import AccountMetrics
    from exporter.server.incidents import Incident

ALWAYS_EXPOSED = frozenset({"telnyx_up", "telnyx_exporter_build_info"})
"""Metrics that no filter hides, because they show that the exporter runs and that it can read Telnyx."""


class Telemetry:
    """Records events of the exporter and exposes them as metrics, together with those of its accounts.

    It exposes the metrics in `ALWAYS_EXPOSED`, and those whose name `is_exposed` accepts. Without `process`, metrics
    about the process and the Python runtime are left out. Without `accounts`, there is exactly one account, which has
    no name.
    """

    def __init__(
        self,
        *,
        is_exposed: Callable[[str], bool] = lambda _: True,
        process: bool = True,
        accounts: bool = False,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.set_filter(is_exposed)
        self._accounts: dict[str, AccountTelemetry] = {}
        if not accounts:
            self.account()
        self._invalid_sources: set[str] = set()
        self._config_valid = LatestValue(
            "telnyx_exporter_config_last_reload_successful",
            "Whether the configuration is valid (1) or not (0). If not, the exporter uses a previous version.",
        )
        self._config_loaded = LatestValue(
            "telnyx_exporter_config_last_reload_success_timestamp_seconds",
            "Time when valid configuration was last loaded, in Unix seconds.",
        )
        self._shard = LatestValue(
            "telnyx_exporter_shard_ordinal",
            "Ordinal of this shard, from 0 (--shard); absent without --telnyx.api-key-files.",
        )
        self._total_shards = LatestValue(
            "telnyx_exporter_total_shards", "Number of shards (--total-shards); absent without --telnyx.api-key-files."
        )
        self._account_count = LatestValue(
            "telnyx_exporter_accounts", "Number of accounts of this shard; absent without --telnyx.api-key-files."
        )
        self._key_files = LatestValue(
            "telnyx_exporter_api_key_files",
            "Number of files with a valid name that --telnyx.api-key-files matches, for all shards.",
        )
        config = (self._config_valid, self._config_loaded)
        fleet = (self._shard, self._total_shards, self._account_count, self._key_files)
        self._renderer = OwnMetricsRenderer(
            (STATE_METRICS, (*config, *fleet), OTHER_METRICS, self._create_collectors(process=process))
        )

    def _create_collectors(self, *, process: bool) -> Collection[Collector]:
        """Create the collectors of incidents, the build and the process."""
        registry = _Registry()
        counter = partial(Counter, labelnames=["reason"], registry=registry)
        self._incidents = {
            ConnectionClosed: counter(
                "telnyx_exporter_connections_closed_total",
                "Number of client connections that the exporter closed at a limit or a timeout, by reason.",
            ),
            RequestRefused: counter(
                "telnyx_exporter_requests_refused_total",
                "Number of client requests that the exporter refused, by reason.",
            ),
            HandshakeFailed: counter(
                "telnyx_exporter_tls_handshake_failures_total",
                "Number of failed TLS handshakes with clients, by reason.",
            ),
        }
        for incident in (*ConnectionClosed, *RequestRefused, *HandshakeFailed):
            self._incidents[type(incident)].labels(incident.value)
        build = Info("telnyx_exporter_build", "Version and build of the exporter.", registry=registry)
        build.info(BUILD_INFO)
        if process:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=registry)
        return registry.collectors

    def account(self, name: str = "") -> AccountTelemetry:
        """Return the telemetry of an account. It is created if it does not exist."""
        if name not in self._accounts:
            self._accounts[name] = AccountTelemetry(name)
        return self._accounts[name]

    def rate_limit(self, account: str) -> RateLimit:
        """Return the rate limit that Telnyx stated last for an account. It is unknown if there is no such account."""
        found = self._accounts.get(account)
        return RateLimit() if found is None else found.rate_limit

    def remove_account(self, name: str) -> None:
        """Remove an account, with all its series and counters, if it exists."""
        self._accounts.pop(name, None)

    def set_filter(self, is_exposed: Callable[[str], bool]) -> None:
        """Change which metrics are exposed."""
        self._is_exposed = cache(lambda name: name in ALWAYS_EXPOSED or is_exposed(name))

    def record_config_loaded(self, source: str, at: float) -> None:
        """Record that this configuration source was loaded `at` this Unix time."""
        self._invalid_sources.discard(source)
        self._config_loaded.value = at
        self._update_validity()

    def record_config_error(self, source: str) -> None:
        """Record that this configuration source is invalid."""
        self._invalid_sources.add(source)
        self._update_validity()

    def _update_validity(self) -> None:
        if self._config_loaded.value is not None:
            self._config_valid.value = float(not self._invalid_sources)

    def record_shard(self, ordinal: int, total: int) -> None:
        """Record the number of this shard and the number of all shards."""
        self._shard.value, self._total_shards.value = ordinal, total

    def record_key_files(self, files: int, accounts: int) -> None:
        """Record the number of API key files of all shards, and the number of accounts of this one."""
        self._key_files.value, self._account_count.value = files, accounts

    def count_incident(self, incident: Incident) -> None:
        """Count an incident that a client caused."""
        self._incidents[type(incident)].labels(incident.value).inc()

    def collect(self) -> Iterator[Metric]:
        """Return all metric families, whether they are exposed or not."""
        return self._renderer.collect(self._all_accounts)

    def render(self, form: Format, accounts: Sequence[AccountMetrics] | None = None) -> bytes:
        """Render the metrics of the exporter and of these accounts, or of all, with the end of the document."""
        return self._renderer.render(form, self._is_exposed, self._all_accounts if accounts is None else accounts)

    @property
    def _all_accounts(self) -> Sequence[AccountMetrics]:
        return [account.metrics for account in self._accounts.values()]


class _Registry(CollectorRegistry):
    """A registry that makes its collectors available, in the order of registration."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        """Register a collector."""
        super().register(collector)
        self.collectors.append(collector)
