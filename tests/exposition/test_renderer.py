import zlib
from dataclasses import replace

import pytest
from connections import (
    INDEPENDENT_COLLECTORS,
    arbitrary_connections,
    collector_with,
    decode,
    documented_row,
    render,
    text_of,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replace_fields

from exporter.collectors.connection_rows import Connection
from exporter.collectors.credential_connections import COLLECTOR
from exporter.collectors.families import Gauge, MultiGauge, SnapshotGauge, gauge, info, whole_row
from exporter.exposition import renderer as renderer_module
from exporter.exposition.blocks import decompress
from exporter.exposition.renderer import Renderer, render_families
from exporter.exposition.response import Document
from exporter.telnyx.lists.snapshots import Snapshot

FIRST = (Connection(id="1", active=True), Connection(id="2", active=False))
SECOND = (Connection(id="3", active=True),)
RENDERER = Renderer(COLLECTOR)


@pytest.fixture
def renderer():
    """Return a renderer of two families: the state of each connection, and the number of connections."""
    gauge = Gauge("telnyx_connection_seen", "Seen.", (), lambda row: row, lambda row: int(row.active))
    size = SnapshotGauge("telnyx_size", "Size.", (), lambda snapshot: [((), snapshot.row_count)])
    return Renderer(collector_with(gauge, snapshot_families=(size,)))


def snapshot_of(*pages):
    """Return a snapshot of rendered pages."""
    return Snapshot(pages, sum(len(page.index.records) for page in pages))


def lines(document):
    """Return the lines of a document without headers."""
    return [line for line in text_of(document).decode().splitlines() if line[0] != "#"]


def content_of(page):
    """Return the text of each block, the index records and the counts of a page."""
    texts = [b"".join(decompress(block)) for block in page.blocks]
    crcs = [(block.crc, block.length) for block in page.blocks]
    assert crcs == [(zlib.crc32(text), len(text)) for text in texts]
    return texts, page.index.records, page.counts


# Joining pages


def test_pages_are_joined_in_order(renderer):
    """A document has the samples of all pages in order, and the families about the whole list."""
    document = Document(renderer.render(snapshot_of(renderer.render_page(FIRST), renderer.render_page(SECOND))))
    labels = 'telnyx_connection_seen{connection_id="%s",connection_name=""} %s'
    assert lines(document) == ["telnyx_size 3", labels % (1, 1), labels % (2, 0), labels % (3, 1)]


def test_an_empty_list(renderer):
    """A list without pages has headers only, and the families about the whole list."""
    assert lines(Document(renderer.render(snapshot_of()))) == ["telnyx_size 0"]


def test_each_document_is_its_snapshot(renderer, monkeypatch):
    """After any pages are added, removed, moved or replaced, a document has exactly the pages of its snapshot."""
    monkeypatch.setattr(renderer_module, "_BATCH_PAGES", 2)
    pages = [renderer.render_page([Connection(id=str(number), active=True)]) for number in range(5)]
    other = renderer.render_page([Connection(id="x", active=True)])
    versions = [pages, pages, [*pages[:2], other, *pages[3:]], pages[1:], pages[:1], [], pages[::-1], [*pages, other]]
    documents = [Document(renderer.render(snapshot_of(*version))) for version in versions]
    for version, document in zip(versions, documents, strict=True):
        fresh = Renderer(renderer._collector)
        expected = Document(fresh.render(snapshot_of(*(fresh.render_page(page_rows(page)) for page in version))))
        assert text_of(document) == text_of(expected)


def page_rows(page):
    """Return the connections of a page, from its index."""
    return [Connection(id=record.id, active=True) for record in page.index.records]


def test_unchanged_batches_are_not_joined_again(renderer, monkeypatch):
    """If a page changes, only the batch of pages that has it is joined again."""
    monkeypatch.setattr(renderer_module, "_BATCH_PAGES", 2)
    pages = [renderer.render_page([Connection(id=str(number), active=True)]) for number in range(6)]
    renderer.render(snapshot_of(*pages))
    buffers = [page.blocks[0].data.obj for page in pages]
    pages[2] = renderer.render_page([Connection(id="x", active=True)])
    renderer.render(snapshot_of(*pages))
    same = [page.blocks[0].data.obj is buffer for page, buffer in zip(pages, buffers, strict=True)]
    assert same == [True, True, False, False, True, True]


def test_counts_follow_the_snapshot():
    """Counts of the whole list are updated even if no page changed."""
    page = RENDERER.render_page(FIRST)
    assert "telnyx_connections_missing 3" in lines(Document(RENDERER.render(Snapshot((page,), 2, missing=3))))
    assert "telnyx_connections_missing 0" in lines(Document(RENDERER.render(Snapshot((page,), 2))))


def test_counts_of_all_pages_are_added():
    """The number of connections of a kind is that of all pages."""
    document = render(FIRST, SECOND)
    kind = 'telnyx_connections{record_type="",active="true",anchorsite="",encrypted_media="none"} 2'
    assert kind in lines(document)


def test_cached_suffixes_are_bounded(monkeypatch):
    """However many distinct values the rows have, each line is right, and few ends of lines are cached."""
    monkeypatch.setattr(renderer_module, "_MAX_SUFFIXES", 3)
    renderer = Renderer(COLLECTOR)
    rows = [
        Connection(id=str(number), webhook_timeout_secs=number % 5, tags=(f"t{number}", "a")) for number in range(50)
    ]
    assert text_of(render(rows[:20], rows[20:], renderer=renderer)) == text_of(render(rows))
    assert max(map(len, renderer._suffixes.values())) == 3


# Identity labels

FAMILIES = (
    gauge("telnyx_account_balance", "Balance.", whole_row, "webhook_timeout_secs"),
    info("telnyx_account_info", "Settings.", whole_row, "currency=record_type"),
    info("telnyx_account_state_info", "States.", whole_row, "active", "name=connection_name"),
    MultiGauge("telnyx_account_tag", "Tags.", ("tag",), lambda row: [((tag,), 1) for tag in row.tags]),
    MultiGauge("telnyx_account_tags", "Number of tags.", (), lambda row: [((), len(row.tags))]),
)
ROW = Connection(id="7", connection_name='a"b', webhook_timeout_secs=5, record_type="USD", active=True, tags=("x", "y"))
OTHER_ROW = replace_fields(ROW, id='7"')


def renderer_with(identity_labels):
    """Return a renderer of FAMILIES with these identity labels."""
    return Renderer(replace(collector_with(*FAMILIES), identity_labels=identity_labels))


def test_a_single_object_has_no_identity_labels():
    """Without identity labels, the lines have the labels of the family, or no braces if there are none."""
    assert lines(render([ROW], renderer=renderer_with({}))) == [
        "telnyx_account_balance 5",
        'telnyx_account_info{currency="USD"} 1',
        r'telnyx_account_state_info{active="true",name="a\"b"} 1',
        'telnyx_account_tag{tag="x"} 1',
        'telnyx_account_tag{tag="y"} 1',
        "telnyx_account_tags 2",
    ]


ONE_LABEL = [
    'telnyx_account_balance{id="7"} 5',
    'telnyx_account_info{id="7",currency="USD"} 1',
    r'telnyx_account_state_info{id="7",active="true",name="a\"b"} 1',
    'telnyx_account_tag{id="7",tag="x"} 1',
    'telnyx_account_tag{id="7",tag="y"} 1',
    'telnyx_account_tags{id="7"} 2',
]


def test_one_identity_label():
    """A resource can have one identity label."""
    assert lines(render([ROW], renderer=renderer_with({"id": "id"}))) == ONE_LABEL


def test_rows_with_one_identity_label_can_be_removed():
    """Removing a row removes its lines, whether or not another label follows the id."""
    renderer = renderer_with({"id": "id"})
    page = renderer.render_page([ROW, OTHER_ROW])
    assert content_of(renderer.remove_rows(page, {OTHER_ROW.id})) == content_of(renderer.render_page([ROW]))
    assert content_of(renderer.remove_rows(page, {ROW.id})) == content_of(renderer.render_page([OTHER_ROW]))


# The account

ACCOUNTS = pytest.mark.parametrize(
    ("account", "escaped"),
    [("emea", "emea"), ('a"b\\\n', r"a\"b\\\n"), ("100%s", "100%s"), ("%(x)d%%", "%(x)d%%"), ("é", "é")],
)


def labelled(line, escaped):
    """Return a line whose first label is the account."""
    name, brace, rest = line.partition("{")
    if brace and line.index("{") < line.index(" "):
        return f'{name}{{account="{escaped}",{rest}'
    name, number = line.split(" ")
    return f'{name}{{account="{escaped}"}} {number}'


@ACCOUNTS
@pytest.mark.parametrize("collector", INDEPENDENT_COLLECTORS, ids=lambda collector: collector.name)
def test_the_account_is_the_first_label_of_every_line(collector, account, escaped):
    """An account's name comes first on every line of every collector. Nothing else changes."""
    rows = decode(documented_row(collector.name), collector=collector)
    plain = lines(render(rows, collector=collector))
    document = render(rows, renderer=Renderer(collector, account))
    assert lines(document) == [labelled(line, escaped) for line in plain]


@ACCOUNTS
@pytest.mark.parametrize("identity_labels", [{}, {"id": "id"}, {"id": "id", "name": "connection_name"}])
def test_the_account_comes_before_any_identity_labels(identity_labels, account, escaped):
    """The account comes first, whether or not a line has identity labels or other labels."""
    collector = replace(collector_with(*FAMILIES), identity_labels=identity_labels)
    plain = lines(render([ROW], renderer=Renderer(collector)))
    assert lines(render([ROW], renderer=Renderer(collector, account))) == [labelled(line, escaped) for line in plain]


@ACCOUNTS
def test_the_account_of_a_family_without_identity_labels(account, escaped):
    """A family that is rendered alone has the account, too."""
    for labels, values in (((), ()), (("x",), ("1",))):
        family = SnapshotGauge("telnyx_size", "Size.", labels, lambda _: ())
        plain = lines(Document(render_families([family], [[(values, 5)]])))
        found = lines(Document(render_families([family], [[(values, 5)]], account)))
        assert found == [labelled(line, escaped) for line in plain]


# What remains of a page


def test_a_page_has_an_index():
    """The index has the attributes of each row that later steps need."""
    (record,) = RENDERER.render_page([Connection(id="1", connection_name="pbx", active=True)]).index.records
    assert (record.id, record.name, record.active) == ("1", "pbx", True)


ANY = settings(
    max_examples=60,
    phases=set(Phase) - {Phase.shrink, Phase.explain},  # these phases would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
IDS = st.text(st.sampled_from('a"\\\n,}= 1é'), min_size=1, max_size=3)
ROWS = st.lists(arbitrary_connections(IDS), max_size=4, unique_by=lambda row: row.id)


@given(
    rows=ROWS,
    removed=st.lists(IDS, max_size=3),
    chosen=st.sets(st.integers(0, 3)),
    account=st.just("") | st.text(st.sampled_from('a"\\\n,}= 1é%s'), min_size=1, max_size=3),
)
@ANY
def test_removed_rows_leave_no_trace(rows, removed, chosen, account):
    """A page whose rows were removed is the same as one that was rendered without them, whatever the rows contain."""
    renderer = Renderer(COLLECTOR, account)
    ids = {*removed, *(row.id for number, row in enumerate(rows) if number in chosen)}
    page = renderer.remove_rows(renderer.render_page(rows), ids)
    assert content_of(page) == content_of(renderer.render_page([row for row in rows if row.id not in ids]))


def test_rows_can_be_removed_from_a_joined_page():
    """Removing rows from a page doesn't change the page, nor documents that have it."""
    page, other = RENDERER.render_page(FIRST), RENDERER.render_page(SECOND)
    document = Document(RENDERER.render(snapshot_of(page, other)))
    before = text_of(document)
    removed = RENDERER.remove_rows(page, {"1"})
    assert content_of(removed) == content_of(RENDERER.render_page(FIRST[1:]))
    assert content_of(page) == content_of(RENDERER.render_page(FIRST))
    assert text_of(document) == before


def test_a_sensitive_label_does_not_change_the_declared_family():
    """Enabling a sensitive label creates a new family instead."""
    selected = COLLECTOR.select(sensitive_labels=("user_name",)).row_families[0]
    declared = COLLECTOR.row_families[0]
    assert replace(selected, labels=declared.labels, attributes=declared.attributes) == declared
