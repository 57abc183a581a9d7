"""The list of all collectors, and which of them the settings enable."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from exporter.config.flags import UsageError
from exporter.config.settings import CollectorSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.collectors.collector import Collector
    from exporter.config.settings import Settings

PRIMARY = "credential-connections"
"""The collector that scrapes wait for, and that `telnyx_up` and the metrics of refreshes describe."""

_NAMES = (
    PRIMARY,
    "ip-connections",
    "fqdn-connections",
    "uac-connections",
    "external-connections",
    "call-control-applications",
    "texml-applications",
    "fax-applications",
    "outbound-voice-profiles",
    "balance",
    "spend-limits",
    "connection-counts",
    "endpoints",
    "phone-numbers",
    "telephony-credentials",
    "registrations",
    "active-calls",
)
"""The names of all collectors. Each has a module of the same name with its `COLLECTOR`.

A collector comes after those whose connections it needs to know.
"""

COLLECTORS: tuple[Collector[Any], ...] = tuple(
    import_module(f"exporter.collectors.{name.replace('-', '_')}").COLLECTOR for name in _NAMES
)


def enabled_collectors(
    settings: Settings, collectors: Sequence[Collector[Any]] = COLLECTORS
) -> tuple[tuple[Collector[Any], CollectorSettings], ...]:
    """Return the enabled collectors, each with its settings, of which the TTL is not None.

    Raises `UsageError` if there is none, if the user switched on a collector that does not have the filters, or one
    that needs another collector. A collector that is only on by default, or because of `--demo`, is left out then.
    """
    filters = [name for name, value in settings.telnyx.filter if value]
    enabled: list[tuple[Collector[Any], CollectorSettings]] = []
    unfiltered = []
    for collector in collectors:
        user = settings.collectors.get(collector.name, CollectorSettings())
        has_filters = not (filters and collector.ignores_filters)
        if user.enabled and not has_filters:
            unfiltered.append(collector.name)
        by_default = (settings.demo or collector.on_by_default) and has_filters
        is_enabled = by_default if user.enabled is None else user.enabled
        needed = collector.connections_of
        lacks_connections = bool(needed) and not any(each.name in needed for each, _ in enabled)
        if user.enabled and lacks_connections:
            raise UsageError(f"--collector.{collector.name}: needs {_any_of(needed)}")
        if is_enabled and not lacks_connections:
            ttls = (user.ttl, collector.default_ttl, settings.cache.ttl)
            ttl = next(ttl for ttl in ttls if ttl is not None)
            enabled.append((collector, user.model_copy(update={"ttl": ttl})))
    if unfiltered:
        flag = f"--telnyx.filter.{filters[0].replace('_', '-')}"
        negations = " ".join(f"--no-collector.{name}" for name in unfiltered)
        raise UsageError(
            f"{flag}: Telnyx has no such filter for {', '.join(unfiltered)}: set {negations}, or remove the filter"
        )
    if not enabled:
        raise UsageError("no collector is enabled: set at least one, such as --collector.credential-connections")
    for changing, _ in tuple(enabled):
        enabled = [(changing.changes_to.get(each.name, _same)(each), options) for each, options in enabled]
    return tuple(enabled)


def _any_of(names: Sequence[str]) -> str:
    flags = [f"--collector.{name}" for name in names]
    return " or ".join(flags) if len(flags) < 3 else f"one of {', '.join(flags)}"  # noqa: PLR2004 -- more are hard to read


def _same(collector: Collector[Any]) -> Collector[Any]:
    return collector
