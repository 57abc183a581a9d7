from dataclasses import replace

import pytest
from connections import collector_with

from exporter.collectors.credential_connections import COLLECTOR, Connection
from exporter.collectors.families import Gauge, SnapshotGauge
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Format
from exporter.telnyx.pages import Snapshot

FIRST = (Connection(id="1", active=True), Connection(id="2", active=False))
SECOND = (Connection(id="3", active=True),)


@pytest.fixture
def rendered_ids():
    """Return a list that records the ids of the connections that the renderer rendered, in order."""
    return []


@pytest.fixture
def renderer(rendered_ids):
    """Return a renderer whose gauge adds each connection that it renders to `rendered_ids`."""

    def value(connection):
        rendered_ids.append(connection.id)
        return int(connection.active)

    gauge = Gauge("telnyx_connection_seen", "Seen.", (), lambda connection: connection, value)
    size = SnapshotGauge("telnyx_size", "Size.", (), lambda snapshot: [((), snapshot.row_count)])
    return Renderer(collector_with(gauge, snapshot_families=(size,)))


def lines(document):
    return [line for line in document.encode(Format.TEXT, gzip=False).data.decode().splitlines() if line[0] != "#"]


def test_only_changed_pages_are_rendered(renderer, rendered_ids):
    """A page that was in the last snapshot is not rendered again. The document contains all pages."""
    renderer(Snapshot((FIRST, SECOND)))
    rendered_ids.clear()
    document = renderer(Snapshot((FIRST, (Connection(id="3", active=False), Connection(id="4", active=True)))))
    assert rendered_ids == ["3", "4"]
    assert [line[-1] for line in lines(document)] == ["4", "1", "0", "0", "1"]


def test_only_pages_of_the_last_snapshot_are_cached(renderer, rendered_ids):
    """The cache contains only the pages of the last snapshot. Other pages are rendered again."""
    renderer(Snapshot((FIRST, SECOND)))
    renderer(Snapshot((FIRST,)))
    rendered_ids.clear()
    assert len(lines(renderer(Snapshot((FIRST, SECOND))))) == 4
    assert rendered_ids == ["3"]


def test_unchanged_snapshot_is_the_same_document(renderer):
    """If nothing changed, the renderer returns the previous document."""
    document = renderer(Snapshot((FIRST, SECOND)))
    assert renderer(Snapshot((FIRST, SECOND))) is document


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param((SECOND, FIRST), id="in another order"),
        pytest.param((FIRST,), id="fewer"),
        pytest.param((), id="none"),
        pytest.param((FIRST, SECOND, (Connection(id="9", active=True),)), id="more"),
    ],
)
def test_changed_snapshot_is_another_document(renderer, pages):
    """If pages are reordered, removed or added, the renderer returns a new document with the new pages."""
    first = renderer(Snapshot((FIRST, SECOND)))
    second = renderer(Snapshot(pages))
    assert second is not first
    assert lines(second) == lines(Renderer(renderer._collector)(Snapshot(pages)))


def test_counts_follow_the_snapshot():
    """Counts of the whole list are updated even if no page changed."""
    renderer = Renderer(COLLECTOR)
    first = renderer(Snapshot((FIRST,)))
    second = renderer(Snapshot((FIRST,), missing=3))
    assert second is not first
    assert "telnyx_connections_missing 3" in lines(second)


def test_equal_pages_are_rendered_separately():
    """The cache compares pages by identity. An equal page is rendered again, to the same lines."""
    renderer = Renderer(COLLECTOR)
    first = renderer(Snapshot((FIRST,)))
    copy = tuple(copy_connection(connection) for connection in FIRST)
    assert lines(renderer(Snapshot((copy,)))) == lines(first)


def copy_connection(connection):
    return Connection(id=connection.id, active=connection.active)


def test_a_sensitive_label_does_not_change_the_declared_family():
    """Enabling a sensitive label creates a new family instead."""
    selected = COLLECTOR.select(sensitive_labels=("user_name",)).row_families[0]
    declared = COLLECTOR.row_families[0]
    assert replace(selected, labels=declared.labels, attributes=declared.attributes) == declared
