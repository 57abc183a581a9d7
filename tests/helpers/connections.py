"""Credential connections for tests: decoding, and collectors with other metric families."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import get_type_hints

from hypothesis import strategies as st

from exporter.collectors.credential_connections import (
    COLLECTOR,
    Connection,
    Inbound,
    JitterBuffer,
    NoiseSuppression,
    Outbound,
    Rtcp,
)
from exporter.exposition.formats import Format
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import response_body
from exporter.sandbox import Account
from exporter.telnyx.lists.pages import PageDecoder
from exporter.telnyx.lists.snapshots import Snapshot

GOLDEN = Path(__file__).parents[1] / "golden"


def merge(rows):
    """Return an object with all fields of these objects. The first value that is not empty counts."""
    merged = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if row.get(name) not in (None, [])]
        merged[name] = merge(values) if values and isinstance(values[0], dict) else next(iter(values), None)
    return merged


FULL = merge([json.loads((GOLDEN / "connection.json").read_text("utf-8")), *Account(100, step=0).rows])
"""A row with all fields: those of `connection.json`, and any others with an example of the sandbox."""
PARTS = {
    "inbound": Inbound,
    "outbound": Outbound,
    "jitter_buffer": JitterBuffer,
    "noise_suppression_details": NoiseSuppression,
    "rtcp_settings": Rtcp,
}
"""The structs of nested objects, by field."""

decode_page = PageDecoder(Connection)


def decode(*rows):
    """Return the connections of rows that are in the API's format."""
    return decode_page(json.dumps({"data": rows}).encode()).rows


def render(*pages, renderer=None, collector=COLLECTOR, **details):
    """Return the document of a snapshot that has these pages, each of them a sequence of connections."""
    renderer = renderer or Renderer(collector)
    return renderer.render(Snapshot(tuple(map(renderer.render_page, pages)), sum(map(len, pages)), **details))


def text_of(document, form=Format.TEXT):
    """Return the uncompressed document as bytes."""
    return b"".join(response_body(document, form, b"", gzip=False).pieces)


def collector_with(*row_families, snapshot_families=()):
    """Return a collector of connections with these metric families."""
    return replace(COLLECTOR, row_families=row_families, snapshot_families=tuple(snapshot_families))


def arbitrary_connections(text, of_type=st.from_type):
    """Return a strategy for connections with any values, of this text and of the values of `of_type` for each field."""

    def structs(kind, **given):
        fields = {name: given.get(name, of_type(hint)) for name, hint in get_type_hints(kind).items()}
        return st.builds(kind, **fields)

    return structs(
        Connection,
        id=text.filter(bool),
        webhook_event_url=st.none() | text | text.map("https://{}".format),
        created_at=st.none() | text | st.datetimes().map(datetime.isoformat),
        **{name: st.none() | structs(part) for name, part in PARTS.items()},
    )
