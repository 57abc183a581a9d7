"""Rows for tests: a documented one of each collector, decoding, and collectors with other metric families."""

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import get_type_hints

import msgspec
from hypothesis import strategies as st

from exporter.collectors.collector import ObjectEndpoint
from exporter.collectors.connection_rows import Connection, Inbound, JitterBuffer, NoiseSuppression, Outbound, Rtcp
from exporter.collectors.credential_connections import COLLECTOR, CredentialConnection
from exporter.collectors.registry import COLLECTORS
from exporter.exposition.formats import Format
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Document, response_body
from exporter.sandbox import Account
from exporter.telnyx.lists.pages import PageDecoder
from exporter.telnyx.lists.snapshots import Snapshot

GOLDEN = Path(__file__).parents[1] / "golden"
CONNECTION_COLLECTORS = [collector for collector in COLLECTORS if issubclass(collector.row_type, Connection)]
"""The collectors of all types of connections, credential connections first."""
DOCUMENTED_COLLECTORS = [collector for collector in COLLECTORS if (GOLDEN / f"{collector.name}.json").exists()]
"""The collectors that have a documented row."""


def merge(rows):
    """Return an object with all fields of these objects. The first value that is not empty counts."""
    merged = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if row.get(name) not in (None, [])]
        merged[name] = merge(values) if values and isinstance(values[0], dict) else next(iter(values), None)
    return merged


def documented_row(name):
    """Return a row, or an object, with all fields that Telnyx documents, of the collector with this name."""
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))


FULL = merge([documented_row("credential-connections"), *Account(100, step=0).rows])
"""A credential connection with all fields: the documented ones, and any others with an example of the sandbox."""
PARTS = {
    "inbound": Inbound,
    "outbound": Outbound,
    "jitter_buffer": JitterBuffer,
    "noise_suppression_details": NoiseSuppression,
    "rtcp_settings": Rtcp,
}
"""The structs of nested objects, by field."""

decode_page = PageDecoder(CredentialConnection)


def decode(*rows, collector=COLLECTOR):
    """Return the structs of rows that are in the API's format, or of the only object."""
    if isinstance(collector.endpoint, ObjectEndpoint):
        return tuple(msgspec.json.decode(json.dumps(row), type=collector.row_type) for row in rows)
    return PageDecoder(collector.row_type)(json.dumps({"data": rows}).encode()).rows


def render(*pages, renderer=None, collector=COLLECTOR, **details):
    """Return the document of a snapshot that has these pages, each of them a sequence of connections."""
    return Document(render_families(*pages, renderer=renderer, collector=collector, **details))


def render_families(*pages, renderer=None, collector=COLLECTOR, **details):
    """Return the metric families of a snapshot that has these pages, each of them a sequence of connections."""
    renderer = renderer or Renderer(collector)
    return renderer.render(Snapshot(tuple(map(renderer.render_page, pages)), sum(map(len, pages)), **details))


def text_of(document, form=Format.TEXT):
    """Return the uncompressed document as bytes."""
    return b"".join(response_body(document, form, b"", gzip=False).pieces)


def exposed(connections, *families, collector=COLLECTOR, sensitive=(), form=Format.TEXT, **details):
    """Return the exposition of these families, or of all families if none are given."""
    selection = collector.select(lambda name: not families or name in families, sensitive)
    return text_of(render(connections, collector=selection, **details), form).decode()


def samples(connections, *families, **details):
    """Return the lines of the exposition without comments."""
    lines = exposed(connections, *families, **details).split("\n")
    return [line for line in lines if line and not line.startswith("#")]


def labels_of(line):
    """Return the labels of a sample line. No value may contain quotes."""
    return dict(re.findall(r'(\w+)="([^"]*)"', line))


def collector_with(*row_families, snapshot_families=()):
    """Return a collector of connections with these metric families."""
    return replace(COLLECTOR, row_families=row_families, snapshot_families=tuple(snapshot_families))


def arbitrary_connections(text, of_type=st.from_type):
    """Return a strategy for connections with any values, of this text and of the values of `of_type` for each field."""

    def structs(kind, **given):
        hints = get_type_hints(kind)
        return st.builds(kind, **{name: given.get(name, of_type(hints[name])) for name in kind.__struct_fields__})

    return structs(
        CredentialConnection,
        id=text.filter(bool),
        webhook_event_url=st.none() | text | text.map("https://{}".format),
        created_at=st.none() | text | st.datetimes().map(datetime.isoformat),
        **{name: st.none() | structs(part) for name, part in PARTS.items()},
    )
