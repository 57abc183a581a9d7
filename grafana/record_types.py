"""The types of connections."""

from __future__ import annotations

from exporter.collectors.connection_rows import Connection
from exporter.collectors.registry import COLLECTORS

_COLLECTORS = [collector for collector in COLLECTORS if issubclass(collector.row_type, Connection)]

RECORD_TYPES = {collector.row_type.documented_type: collector.title for collector in _COLLECTORS}
"""Each record type in words, such as `IP connections`."""
RECORD_TYPE = {record_type: title.removesuffix("s") for record_type, title in RECORD_TYPES.items()}
"""The record type of one connection in words, such as `IP connection`."""

CONNECTION_FAMILIES = {family.name: family for collector in _COLLECTORS for family in collector.row_families}
"""The metric families that at least one type has, by name."""


def types_with(metric: str) -> str:
    """Return a regular expression for the record types that have this metric."""
    return "|".join(
        collector.row_type.documented_type
        for collector in _COLLECTORS
        if metric in {family.name for family in collector.row_families}
    )
