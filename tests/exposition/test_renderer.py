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
def asked():
    """Return the ids of the connections that were looked at, in order."""
    return []


@pytest.fixture
def renderer(asked):
    """Return a renderer of one gauge, which notes what it looks at."""

    def value(connection):
        asked.append(connection.id)
        return int(connection.active)

    gauge = Gauge("telnyx_connection_seen", "Seen.", (), lambda connection: connection, value)
    size = SnapshotGauge("telnyx_size", "Size.", (), lambda snapshot: [((), snapshot.row_count)])
    return Renderer(collector_with(gauge, snapshot_families=(size,)))


def lines(document):
    return [line for line in document.encode(Format.TEXT, gzip=False).data.decode().splitlines() if line[0] != "#"]


def test_only_what_changed_is_rendered(renderer, asked):
    """A chunk that the last snapshot had is not looked at again; the others are, and all are shown."""
    renderer(Snapshot((FIRST, SECOND)))
    asked.clear()
    document = renderer(Snapshot((FIRST, (Connection(id="3", active=False), Connection(id="4", active=True)))))
    assert asked == ["3", "4"]
    assert [line[-1] for line in lines(document)] == ["4", "1", "0", "0", "1"]


def test_what_is_gone_is_forgotten(renderer, asked):
    """Only the chunks of the last snapshot are kept."""
    renderer(Snapshot((FIRST, SECOND)))
    renderer(Snapshot((FIRST,)))
    asked.clear()
    assert len(lines(renderer(Snapshot((FIRST, SECOND))))) == 4
    assert asked == ["3"]


def test_unchanged_snapshot_is_the_same_document(renderer):
    """Nothing is put together again for a snapshot in which nothing changed."""
    document = renderer(Snapshot((FIRST, SECOND)))
    assert renderer(Snapshot((FIRST, SECOND))) is document


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param((SECOND, FIRST), id="in another order"),
        pytest.param((FIRST,), id="fewer"),
        pytest.param((), id="none"),
        pytest.param((FIRST, SECOND, (Connection(id="9", active=True),)), id="more"),
    ],
)
def test_changed_snapshot_is_another_document(renderer, chunks):
    """A snapshot with the same chunks otherwise put together is shown as it is."""
    first = renderer(Snapshot((FIRST, SECOND)))
    second = renderer(Snapshot(chunks))
    assert second is not first
    assert lines(second) == lines(Renderer(renderer._collector)(Snapshot(chunks)))


def test_counts_follow_the_snapshot():
    """What is counted of the whole list is new where only that changed."""
    renderer = Renderer(COLLECTOR)
    first = renderer(Snapshot((FIRST,)))
    second = renderer(Snapshot((FIRST,), missing=3))
    assert second is not first
    assert "telnyx_connections_missing 3" in lines(second)


def test_chunks_of_equal_connections_are_told_apart():
    """A chunk is known by being the same object; one that is merely equal is rendered, to the same lines."""
    renderer = Renderer(COLLECTOR)
    first = renderer(Snapshot((FIRST,)))
    copy = tuple(replace_connection(connection) for connection in FIRST)
    assert lines(renderer(Snapshot((copy,)))) == lines(first)


def replace_connection(connection):
    return Connection(id=connection.id, active=connection.active)


def test_families_stay_as_they_were_declared():
    """Showing a sensitive label makes another family."""
    shown = COLLECTOR.select(sensitive_labels=("user_name",)).row_families[0]
    hidden = COLLECTOR.row_families[0]
    assert replace(shown, labels=hidden.labels, attributes=hidden.attributes) == hidden
