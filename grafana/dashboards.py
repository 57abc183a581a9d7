"""Generates the Grafana dashboards. `make generate` writes them."""

from __future__ import annotations

import json

from connection_dashboard import connection
from connections_dashboard import connections
from exporter_dashboard import exporter
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from money_dashboard import money
from trunks_dashboard import trunks


def files() -> dict[str, str]:
    """Return the content of the files by their paths in the repository."""
    return {
        f"grafana/dashboards/{dashboard.uid}.json": json.dumps(dashboard, cls=JSONEncoder, indent=2, ensure_ascii=False)
        + "\n"
        for dashboard in (connections(), connection(), trunks(), money(), exporter())
    }
