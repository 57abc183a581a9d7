"""Credential connections for tests: decoding, and collectors with other metric families."""

import json
from dataclasses import replace
from pathlib import Path

from exporter.collectors.credential_connections import (
    COLLECTOR,
    Connection,
    Inbound,
    JitterBuffer,
    NoiseSuppression,
    Outbound,
    Rtcp,
)
from exporter.telnyx.pages import PageDecoder, Snapshot

GOLDEN = Path(__file__).parents[1] / "golden"
FULL = json.loads((GOLDEN / "connection.json").read_text("utf-8"))
"""A row with all fields."""
PARTS = {
    "inbound": Inbound,
    "outbound": Outbound,
    "jitter_buffer": JitterBuffer,
    "noise_suppression_details": NoiseSuppression,
    "rtcp_settings": Rtcp,
}
"""The structs of nested objects, by field."""

decode_page = PageDecoder(Connection)


def snapshot_of(*rows):
    """Return a snapshot of rows that are in the API's format."""
    return Snapshot((decode_page(json.dumps({"data": rows}).encode()).rows,))


def collector_with(*row_families, snapshot_families=()):
    """Return a collector of connections with these metric families."""
    return replace(COLLECTOR, row_families=row_families, snapshot_families=tuple(snapshot_families))
