"""Credential connections for tests: decoding, and collectors with other metric families."""

import json
from dataclasses import replace

from exporter.collectors.credential_connections import COLLECTOR, Connection
from exporter.telnyx.pages import PageDecoder, Snapshot

decode_page = PageDecoder(Connection)


def snapshot_of(*rows):
    """Return a snapshot of rows that are in the API's format."""
    return Snapshot((decode_page(json.dumps({"data": rows}).encode()).rows,))


def collector_with(*row_families, snapshot_families=()):
    """Return a collector of connections with these metric families."""
    return replace(COLLECTOR, row_families=row_families, snapshot_families=tuple(snapshot_families))
