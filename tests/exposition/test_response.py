import gzip as gzip_module
import os
import subprocess
import zlib

import pytest
from connections import arbitrary_connections, collector_with, render, text_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.collectors.connection_rows import Connection
from exporter.collectors.credential_connections import COLLECTOR
from exporter.collectors.families import Gauge, Info, MultiGauge, RowCount, SnapshotGauge
from exporter.exposition.blocks import compress
from exporter.exposition.formats import Format
from exporter.exposition.response import PIECE_BYTES, Document, FamilyBlocks, response_body
from exporter.telemetry import Telemetry
from exporter.telnyx.lists.pages import UnreadableRow
from exporter.telnyx.lists.snapshots import Snapshot

FORMATS = pytest.mark.parametrize("form", Format, ids=lambda form: form.name)
SELECTION = COLLECTOR.select(
    sensitive_labels=("user_name", "ani_override", "webhook_event_url", "webhook_event_failover_url")
)

ODD = ('"', "\\", "\n", "\r", "\t", "\0", "\x1e", "\x85", "\u2028", "\ufeff", "\u202e", "é", "☎", "𝄞", "{", "}", ",")
TEXT = st.text(st.sampled_from((*ODD, " ", "=", "#", "%", "n", "s")) | st.characters(codec="utf-8"), max_size=12)
INTEGERS = st.integers(-(2**53), 2**53)


def of_type(hint):
    """Return a strategy for values of this field type."""
    kinds = {str: TEXT, int: INTEGERS, tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple)}
    return st.one_of([kinds.get(kind, st.from_type(kind)) for kind in getattr(hint, "__args__", (hint,))])


CONNECTIONS = arbitrary_connections(TEXT, of_type)
SNAPSHOTS = st.builds(
    Snapshot,
    pages=st.lists(CONNECTIONS, max_size=2, unique_by=lambda connection: connection.id).map(
        lambda connections: (tuple(connections[:1]), tuple(connections[1:]))
    ),
    row_count=st.just(0),
    unreadable=st.lists(st.just(UnreadableRow(None, "x")), max_size=2).map(tuple),
    missing=st.integers(0, 3),
)
ANY = settings(
    max_examples=40,
    phases=set(Phase) - {Phase.shrink, Phase.explain},  # these phases would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def parse(data, form):
    """Parse an exposition with the parser for its format, and return the families."""
    if form is Format.OPENMETRICS:
        return list(parse_openmetrics(data.decode()))
    return list(parse_text(data.decode()))


def end_of(form):
    """Return the last line of a format."""
    return b"# EOF\n" if form is Format.OPENMETRICS else b""


def label_text(value):
    """Return the text of a label value."""
    return {True: "true", False: "false", None: ""}.get(value, value)


def samples_of(family, source):
    """Return the samples of a family for a snapshot or a connection, from the family's declaration."""
    if isinstance(family, RowCount):
        records = [COLLECTOR.index_record(connection) for page in source.pages for connection in page]
        counts = dict.fromkeys(family.documented, 0)
        for values in map(family.get_labels, records):
            counts[values] = counts.get(values, 0) + 1
        return counts.items()
    if isinstance(family, Gauge):
        number = family.get_value(family.source(source))
        return [] if number is None else [((), number)]
    if isinstance(family, Info):
        return [(family.get_labels(family.source(source)), 1)]
    return family.samples(source)


class Oracle:
    """A prometheus-client collector of the same families."""

    def __init__(self, snapshot):
        self._snapshot = snapshot

    def collect(self):
        """Yield the families in order."""
        for family in SELECTION.snapshot_families:
            yield self._metric(family, [({}, self._snapshot)])
        for family in SELECTION.row_families:
            identities = [
                ({"connection_id": connection.id, "connection_name": connection.connection_name or ""}, connection)
                for page in self._snapshot.pages
                for connection in page
            ]
            yield self._metric(family, identities)

    def _metric(self, family, sources):
        name = family.name.removesuffix("_info") if family.type == "info" else family.name
        metric = Metric(name, family.help, family.type, family.unit)
        for labels, source in sources:
            for values, number in samples_of(family, source):
                other_labels = zip(family.labels, map(label_text, values), strict=True)
                metric.add_sample(family.name, {**labels, **dict(other_labels)}, number)
        return metric


# Text in labels


TAGGED = MultiGauge(
    "telnyx_connection_texts_info",
    "Texts.",
    ("first", "second"),
    lambda connection: [((connection.user_name, connection.record_type), 1)],
)


def round_trip(form, *texts):
    """Render a connection with these texts as its id, name and two labels, and return the texts that a parser reads."""
    connection = Connection(**dict(zip(("id", "connection_name", "user_name", "record_type"), texts, strict=True)))
    document = render([connection], collector=collector_with(TAGGED))
    (family,) = parse(text_of(document, form) + end_of(form), form)
    (sample,) = family.samples
    assert list(sample.labels) == ["connection_id", "connection_name", "first", "second"]
    return tuple(sample.labels.values())


@FORMATS
@pytest.mark.parametrize("text", [*ODD, "", "\\n", '\\"', "\\\\", '"} 1\nx{a="', "%s%%", "# EOF\n", " a "], ids=ascii)
def test_special_characters_are_parsed_exactly(form, text):
    """Characters that have a meaning in a format or for a parser are parsed exactly, from every label."""
    assert round_trip(form, *[text] * 4) == (text,) * 4


@FORMATS
@given(texts=st.tuples(TEXT, TEXT, TEXT, TEXT))
def test_any_text_is_parsed_exactly(form, texts):
    """Any text in any label is parsed exactly."""
    assert round_trip(form, *texts) == texts


@FORMATS
@given(snapshot=SNAPSHOTS)
@ANY
def test_rendering_matches_prometheus_client(form, snapshot):
    """For any connections, parsers get the same result as from prometheus-client's rendering of the families."""
    generate = generate_openmetrics if form is Format.OPENMETRICS else generate_latest
    details = {"unreadable": snapshot.unreadable, "missing": snapshot.missing}
    document = render(*snapshot.pages, collector=SELECTION, **details)
    assert parse(text_of(document, form) + end_of(form), form) == parse(generate(Oracle(snapshot)), form)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(True, "true", id="true"),
        pytest.param(False, "false", id="false"),
        pytest.param(None, "", id="none"),
        pytest.param("", "", id="empty"),
        pytest.param("True", "True", id="text"),
    ],
)
def test_label_values(value, text):
    """Booleans are exposed in lower case and None as empty text, however often each value occurs."""
    assert round_trip(Format.TEXT, "1", "", value, value)[2:] == (text, text)
    family = SnapshotGauge("telnyx_state", "State.", ("a", "b", "c"), lambda _: [((value, True, "True"), 1)])
    line = text_of(render(collector=collector_with(snapshot_families=[family]))).splitlines()[-1]
    assert line.decode() == f'telnyx_state{{a="{text}",b="true",c="True"}} 1'


def test_headers():
    """OpenMetrics headers declare info families and units. In Prometheus text, all families are gauges."""
    families = (
        SnapshotGauge("telnyx_state_info", "State.", (), lambda _: [((), 1)]),
        SnapshotGauge("telnyx_age_seconds", "Age.", (), lambda _: [((), 1.5)]),
    )
    document = render(collector=collector_with(snapshot_families=families))
    for form in (Format.TEXT, Format.TEXT_1):
        assert text_of(document, form).decode() == (
            "# HELP telnyx_state_info State.\n# TYPE telnyx_state_info gauge\ntelnyx_state_info 1\n"
            "# HELP telnyx_age_seconds Age.\n# TYPE telnyx_age_seconds gauge\ntelnyx_age_seconds 1.5\n"
        )
    assert text_of(document, Format.OPENMETRICS).decode() == (
        "# HELP telnyx_state State.\n# TYPE telnyx_state info\ntelnyx_state_info 1\n"
        "# HELP telnyx_age_seconds Age.\n# TYPE telnyx_age_seconds gauge\n# UNIT telnyx_age_seconds seconds\n"
        "telnyx_age_seconds 1.5\n"
    )


# Whole responses

FIFTY = [Connection(id=str(number), connection_name=f"Café {number}", tags=("a", "b")) for number in range(50)]
NAMED_AT_LENGTH = [Connection(id=str(number), connection_name=os.urandom(50_000).hex()) for number in range(4)]
DOCUMENTS = {
    "empty": Document(),
    "no connections": render(),
    "one page": render(FIFTY, collector=SELECTION),
    "many pages": render(*([connection] for connection in FIFTY), collector=SELECTION),
    "large": render(NAMED_AT_LENGTH, FIFTY[20:], collector=SELECTION),
}
DOCUMENT = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
GZIP = pytest.mark.parametrize("gzip", [False, True], ids=["identity", "gzip"])


def response(document, form, own_metrics, *, gzip):
    """Return the bytes of a response, and check that they have the stated length."""
    body = response_body(document, form, own_metrics, gzip=gzip)
    data = b"".join(body.pieces)
    assert len(data) == body.length
    return data


@FORMATS
@DOCUMENT
@GZIP
def test_response_is_valid(document, form, gzip):
    """The document and the exporter's own metrics after it are one valid exposition, compressed or not."""
    own_metrics = Telemetry().render(form)
    data = response(document, form, own_metrics, gzip=gzip)
    families = parse(gzip_module.decompress(data) if gzip else data, form)
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    assert "telnyx_up" in names
    assert ("telnyx_connections" in names) is (document is not DOCUMENTS["empty"])


@FORMATS
@DOCUMENT
@pytest.mark.parametrize(
    "own_metrics",
    [b"", b"x", b"# EOF\n", bytes(range(256)) * 1000],
    ids=["empty", "one byte", "end", "large"],
)
def test_gzip_is_one_member(document, form, own_metrics):
    """A gzip response is a single member without data after it, and has the same text as the uncompressed response."""
    plain = response(document, form, own_metrics, gzip=False)
    data = response(document, form, own_metrics, gzip=True)
    assert gzip_module.decompress(data) == plain
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert decompressor.decompress(data) == plain
    assert decompressor.eof
    assert (decompressor.unused_data, decompressor.unconsumed_tail) == (b"", b"")


@DOCUMENT
def test_the_gzip_command_accepts_the_response(document):
    """The command `gzip`, which checks the CRC and the length, decompresses the response without a warning."""
    data = response(document, Format.TEXT, b"own 1\n", gzip=True)
    result = subprocess.run(["gzip", "--decompress", "--stdout"], input=data, capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (response(document, Format.TEXT, b"own 1\n", gzip=False), b"")


@GZIP
def test_pages_do_not_show(gzip):
    """The response for a list is the same, however the list is divided into pages."""
    first, second = DOCUMENTS["one page"], DOCUMENTS["many pages"]
    texts = [response(document, Format.TEXT, b"", gzip=gzip) for document in (first, second)]
    assert len(set(map(gzip_module.decompress, texts) if gzip else texts)) == 1


@given(all_own_metrics=st.lists(st.binary(), max_size=4), text=TEXT)
def test_a_document_can_be_sent_again(all_own_metrics, text):
    """Each response has the same document, whatever own metrics follow it, and however much of others was sent."""
    document = render([Connection(id="1", connection_name=text)], collector=SELECTION)
    for own_metrics in all_own_metrics:
        next(response_body(document, Format.TEXT, own_metrics, gzip=True).pieces)
        data = response(document, Format.TEXT, own_metrics, gzip=True)
        assert gzip_module.decompress(data) == text_of(document) + own_metrics


@GZIP
def test_pieces_are_bounded(gzip):
    """A body of many blocks is sent in few pieces, and none of them is large."""
    texts = [os.urandom(size) for size in (10, 1000, PIECE_BYTES // 4, PIECE_BYTES // 4 + 1, PIECE_BYTES * 3, 5) * 20]
    family = SnapshotGauge("telnyx_noise", "Noise.", (), lambda _: ())
    body = response_body(Document([FamilyBlocks(family, compress(*texts))]), Format.TEXT, b"", gzip=gzip)
    pieces = list(body.pieces)
    assert min(map(len, pieces)) > 0
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert len(pieces) < 160
    assert sum(map(len, pieces)) == body.length


# Several sources


def source(name, text, *, help_text="Help."):
    """Return a source with one family that has this text."""
    return [FamilyBlocks(SnapshotGauge(name, help_text, (), lambda _: ()), compress(text))]


@FORMATS
def test_sources_can_share_families(form):
    """A family that several sources have is one family of the response, with one header and the samples of all."""
    first = [*source("telnyx_a", b'telnyx_a{account="1"} 1\n'), *source("telnyx_b", b'telnyx_b{account="1"} 2\n')]
    second = [*source("telnyx_c", b"telnyx_c 3\n"), *source("telnyx_a", b'telnyx_a{account="2"} 4\n')]
    document = Document(first, second, source("telnyx_a", b""))
    families = parse(text_of(document, form) + end_of(form), form)
    assert [(family.name, [sample.value for sample in family.samples]) for family in families] == [
        ("telnyx_a", [1, 4]),
        ("telnyx_b", [2]),
        ("telnyx_c", [3]),
    ]
    assert gzip_module.decompress(response(document, form, b"", gzip=True)) == text_of(document, form)


def test_the_header_of_the_first_source_counts():
    """If the help texts of two sources differ, the response has that of the first one."""
    document = Document(source("telnyx_a", b"", help_text="One."), source("telnyx_a", b"", help_text="Two."))
    assert text_of(document).splitlines() == [b"# HELP telnyx_a One.", b"# TYPE telnyx_a gauge"]
