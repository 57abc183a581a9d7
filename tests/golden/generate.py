"""Writes the expected expositions in this folder from `connection.json` and from a connection with only an id.

Run `python tests/golden/generate.py` and review the difference like code. A test compares with these files.
"""

from __future__ import annotations

import json
from pathlib import Path

from exporter.collectors.credential_connections import COLLECTOR, Connection
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Format
from exporter.telnyx.pages import PageDecoder, Snapshot

FOLDER = Path(__file__).parent
FORMATS = {"prom": Format.TEXT, "om": Format.OPENMETRICS}
ROWS = {"full": json.loads((FOLDER / "connection.json").read_text("utf-8")), "bare": {"id": "42"}}


def exposition(name: str, suffix: str) -> str:
    """Return the exposition of a row in a format, both by their part of the file name."""
    rows = PageDecoder(Connection)(json.dumps({"data": [ROWS[name]]}).encode()).rows
    document = Renderer(COLLECTOR)(Snapshot((rows,)))  # type: ignore[arg-type]  # all rows are readable
    return document.encode(FORMATS[suffix], gzip=False).data.decode()


if __name__ == "__main__":
    for name in ROWS:
        for suffix in FORMATS:
            (FOLDER / f"{name}.{suffix}").write_text(exposition(name, suffix), "utf-8")
