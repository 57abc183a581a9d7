"""How many connections of each kind the account has, and how many it can have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.collectors.collector import Collector, ObjectEndpoint
from exporter.collectors.families import MultiGauge
from exporter.telnyx.structs import ApiObject, Int

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.collectors.families import Sample


class ConnectionCounts(ApiObject, frozen=True, gc=False):
    """Numbers of connections by kind, and limits. Telnyx can add kinds and limits, so any name is decoded."""

    counts: dict[str, Int | None] | None = None
    limits: dict[str, Int | None] | None = None


def _counts(row: ConnectionCounts) -> Iterable[Sample]:
    return [((kind,), count) for kind, count in (row.counts or {}).items() if count is not None]


def _limits(row: ConnectionCounts) -> Iterable[Sample]:
    limits = {name.removesuffix("_limit"): limit for name, limit in (row.limits or {}).items()}
    return [((scope,), limit) for scope, limit in limits.items() if limit is not None]


COLLECTOR = Collector(
    name="connection-counts",
    title="Connection counts",
    endpoint=ObjectEndpoint("/connections/count"),
    row_type=ConnectionCounts,
    identity_labels={},
    row_families=(
        MultiGauge(
            "telnyx_account_connections",
            "Number of connections of the account by kind, such as credential_connections.",
            ("kind",),
            _counts,
        ),
        MultiGauge(
            "telnyx_account_connections_limit",
            "Maximum number of connections. The scope is global, standard, texml or uac.",
            ("scope",),
            _limits,
        ),
    ),
    default_ttl=300.0,
)
