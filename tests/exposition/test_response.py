import gzip as gzip_module
import threading
import zlib

import pytest
from connections import arbitrary_connections, collector_with
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.collectors.credential_connections import (
    COLLECTOR,
    Connection,
)
from exporter.collectors.families import Gauge, Info, MultiGauge, SnapshotGauge
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import EMPTY, Document, EncodedDocument, Format, response_body
from exporter.telemetry import Telemetry
from exporter.telnyx.pages import Snapshot, UnreadableRow

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
    unreadable=st.lists(st.just(UnreadableRow(None, "x")), max_size=2).map(tuple),
    missing=st.integers(0, 3),
)
ANY = settings(
    deadline=None,
    max_examples=40,
    phases=set(Phase) - {Phase.shrink, Phase.explain},  # these phases would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def parse(data, form):
    """Parse an exposition with the parser for its format, and return the families."""
    if form is Format.OPENMETRICS:
        return list(parse_openmetrics(data.decode()))
    return list(parse_text(data.decode()))


def label_text(value):
    """Return the text of a label value."""
    return {True: "true", False: "false", None: ""}.get(value, value)


def samples_of(family, source):
    """Return the samples of a family for a snapshot or a connection, from the family's declaration."""
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
                for connection in self._snapshot.rows
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
    document = Renderer(collector_with(TAGGED))(Snapshot(((connection,),)))
    end = b"# EOF\n" if form is Format.OPENMETRICS else b""
    (family,) = parse(document.encode(form, gzip=False).data + end, form)
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
@settings(deadline=None)
def test_any_text_is_parsed_exactly(form, texts):
    """Any text in any label is parsed exactly."""
    assert round_trip(form, *texts) == texts


@FORMATS
@given(snapshot=SNAPSHOTS)
@ANY
def test_rendering_matches_prometheus_client(form, snapshot):
    """Whatever the connections, parsing gives the same result as for prometheus-client's rendering of the families."""
    end = b"# EOF\n" if form is Format.OPENMETRICS else b""
    generate = generate_openmetrics if form is Format.OPENMETRICS else generate_latest
    rendered = Renderer(SELECTION)(snapshot).encode(form, gzip=False).data + end
    assert parse(rendered, form) == parse(generate(Oracle(snapshot)), form)


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
    document = Renderer(collector_with(snapshot_families=[family]))(Snapshot(()))
    line = document.encode(Format.TEXT, gzip=False).data.splitlines()[-1]
    assert line.decode() == f'telnyx_state{{a="{text}",b="true",c="True"}} 1'


def test_headers():
    """OpenMetrics headers declare info families and units. In Prometheus text, all families are gauges."""
    families = (
        SnapshotGauge("telnyx_state_info", "State.", (), lambda _: [((), 1)]),
        SnapshotGauge("telnyx_age_seconds", "Age.", (), lambda _: [((), 1.5)]),
    )
    document = Renderer(collector_with(snapshot_families=families))(Snapshot(()))
    for form in (Format.TEXT, Format.TEXT_1):
        assert document.encode(form, gzip=False).data.decode() == (
            "# HELP telnyx_state_info State.\n# TYPE telnyx_state_info gauge\ntelnyx_state_info 1\n"
            "# HELP telnyx_age_seconds Age.\n# TYPE telnyx_age_seconds gauge\ntelnyx_age_seconds 1.5\n"
        )
    assert document.encode(Format.OPENMETRICS, gzip=False).data.decode() == (
        "# HELP telnyx_state State.\n# TYPE telnyx_state info\ntelnyx_state_info 1\n"
        "# HELP telnyx_age_seconds Age.\n# TYPE telnyx_age_seconds gauge\n# UNIT telnyx_age_seconds seconds\n"
        "telnyx_age_seconds 1.5\n"
    )


# Whole responses

SNAPSHOT = Snapshot(
    (tuple(Connection(id=str(number), connection_name=f"Café {number}", tags=("a", "b")) for number in range(50)),)
)
DOCUMENTS = pytest.mark.parametrize(
    "document", [pytest.param(EMPTY, id="empty"), pytest.param(Renderer(SELECTION)(SNAPSHOT), id="fifty")]
)


def response(document, form, own_metrics, *, gzip):
    """Return the bytes of a response."""
    return b"".join(response_body(document.encode(form, gzip=gzip), own_metrics, gzip=gzip))


@FORMATS
@DOCUMENTS
@pytest.mark.parametrize("gzip", [False, True], ids=["identity", "gzip"])
def test_response_is_valid(document, form, gzip):
    """The document and the exporter's own metrics after it are one valid exposition, compressed or not."""
    own_metrics = Telemetry().render(form)
    data = response(document, form, own_metrics, gzip=gzip)
    families = parse(gzip_module.decompress(data) if gzip else data, form)
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    assert "telnyx_up" in names
    assert ("telnyx_connections" in names) is (document is not EMPTY)


@FORMATS
@DOCUMENTS
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


@given(all_own_metrics=st.lists(st.binary(), max_size=4), text=TEXT)
@settings(deadline=None)
def test_encoded_document_is_reused(all_own_metrics, text):
    """Each response contains the same encoded document, unchanged, whatever own metrics follow it."""
    document = Renderer(SELECTION)(Snapshot(((Connection(id="1", connection_name=text),),)))
    encoded = document.encode(Format.TEXT, gzip=True)
    for own_metrics in all_own_metrics:
        first, rest = response_body(encoded, own_metrics, gzip=True)
        assert first is encoded.data
        assert gzip_module.decompress(first + rest) == document.encode(Format.TEXT, gzip=False).data + own_metrics


def test_gzip_ratio():
    """Gzip compresses the series of many connections to less than a tenth of their size."""
    document = Renderer(SELECTION)(SNAPSHOT)
    plain, compressed = (len(document.encode(Format.TEXT, gzip=gzip).data) for gzip in (False, True))
    assert compressed < plain / 10


# Caching of encoded documents


def test_empty_document():
    """Without a snapshot, the document is empty and still valid."""
    assert EMPTY.encode(Format.TEXT, gzip=False) == EncodedDocument(b"")
    assert gzip_module.decompress(response(EMPTY, Format.TEXT, b"", gzip=True)) == b""


def test_documents_are_encoded_on_demand():
    """The first call encodes the document in that format and encoding only, caches it and lists it in `encodings`."""
    document = Document()
    assert set(document.encodings) == set()
    encoded = document.encode(Format.TEXT, gzip=True)
    assert set(document.encodings) == {(Format.TEXT, True)}
    assert document.encode(Format.TEXT, gzip=True) is encoded
    document.encode(Format.TEXT, gzip=False)
    document.encode(Format.OPENMETRICS, gzip=True)
    assert set(document.encodings) == {(Format.TEXT, True), (Format.TEXT, False), (Format.OPENMETRICS, True)}


def test_concurrent_threads_share_one_encoding():
    """If many threads request an encoding at the same time, it is created once, and all of them get the same object."""
    document = Renderer(SELECTION)(SNAPSHOT)
    start, results = threading.Barrier(16), []

    def encode():
        start.wait()
        results.append(document.encode(Format.TEXT, gzip=True))

    threads = [threading.Thread(target=encode) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 16
    assert len(set(map(id, results))) == 1


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (Format.TEXT, "text/plain; version=0.0.4; charset=utf-8"),
        (Format.TEXT_1, "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        (Format.OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_content_types(form, kind):
    """Each format has its content type, with the version."""
    assert form.value == kind


def test_a_waiting_thread_uses_the_result_of_another(monkeypatch):
    """A thread that waits while another one creates the same encoding uses that one and creates none."""
    document, theirs = Document(), EncodedDocument(b"theirs")

    class LockHeldByAnotherThread:
        def __enter__(self):
            document._encoded[Format.TEXT, False] = theirs

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(document, "_lock", LockHeldByAnotherThread())
    assert document.encode(Format.TEXT, gzip=False) is theirs
