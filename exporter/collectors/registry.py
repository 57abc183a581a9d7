"""The list of all collectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.collectors import credential_connections

if TYPE_CHECKING:
    from exporter.collectors.collector import Collector

COLLECTORS: tuple[Collector[Any], ...] = (credential_connections.COLLECTOR,)
