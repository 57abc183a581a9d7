"""Generates the Grafana dashboards: all connections, one connection, and the exporter.

To write the files, run `make generate` or this script in a checkout. `--check` only compares them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from connection_dashboard import connection
from connections_dashboard import connections
from exporter_dashboard import exporter
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER = Path(__file__).with_name("dashboards")
BUILDERS = (connections, connection, exporter)


def main() -> None:
    """Write the files. With `--check`, exit with a message that names those that are out of date."""
    outdated = []
    for dashboard in (build() for build in BUILDERS):
        path = FOLDER / f"{dashboard.uid}.json"
        text = json.dumps(dashboard, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        elif path.read_text() != text:
            outdated.append(f"grafana/dashboards/{path.name}")
    if outdated:
        sys.exit(f"out of date: {', '.join(outdated)}: run `make generate`")


if __name__ == "__main__":
    main()
