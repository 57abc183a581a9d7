import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.formats import Format
from exporter.exposition.negotiation import accepts_gzip, choose_format

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
    "escaping=allow-utf-8;q=0.7,"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param(PROMETHEUS_2, Format.OPENMETRICS, id="prometheus-2"),
        pytest.param(PROMETHEUS_3, Format.OPENMETRICS, id="prometheus-3"),
        pytest.param(PROTOBUF + PROMETHEUS_3, Format.OPENMETRICS, id="prometheus-3-native-histograms"),
        pytest.param(
            "text/plain;version=1.0.0;escaping=underscores;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
            Format.TEXT_1,
            id="prometheus-3-text-only",
        ),
        pytest.param("text/plain;version=0.0.4;q=0.5,*/*;q=0.4", Format.TEXT, id="prometheus-text-0.0.4"),
        pytest.param(BROWSER, Format.TEXT, id="browser"),
        pytest.param("*/*", Format.TEXT, id="curl"),
        pytest.param("", Format.TEXT, id="absent"),
        pytest.param("text/plain", Format.TEXT, id="no-version"),
        pytest.param("text/*", Format.TEXT, id="any-text"),
        pytest.param("application/openmetrics-text", Format.OPENMETRICS, id="openmetrics-no-version"),
        pytest.param("application/openmetrics-text; version=0.0.1", Format.OPENMETRICS, id="openmetrics-0.0.1"),
        pytest.param("Application/OpenMetrics-Text ; Version = 1.0.0", Format.OPENMETRICS, id="case-and-spaces"),
        pytest.param('text/plain; version="1.0.0"', Format.TEXT_1, id="quoted-version"),
    ],
)
def test_scrapers_get_their_preferred_format(accept, form):
    """Real scrapers get the format that they prefer among those that the exporter supports."""
    assert choose_format(accept) is form


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param("text/plain;q=0.1, application/openmetrics-text;q=0.9", Format.OPENMETRICS, id="higher-wins"),
        pytest.param("application/openmetrics-text;q=0.1, text/plain;q=0.9", Format.TEXT, id="lower-loses"),
        pytest.param("application/openmetrics-text;q=0.5, */*;q=0.8", Format.TEXT, id="wildcard-wins"),
        pytest.param("application/openmetrics-text;q=0.999, text/plain", Format.TEXT, id="no-quality-is-one"),
        pytest.param("application/openmetrics-text, text/plain;q=1.000", Format.OPENMETRICS, id="tie-first"),
        pytest.param("text/plain;version=1.0.0, application/openmetrics-text", Format.TEXT_1, id="tie-other-first"),
        pytest.param("application/openmetrics-text;q=0", Format.TEXT, id="zero"),
        pytest.param("application/openmetrics-text;q=0.000, text/plain;q=0.001", Format.TEXT, id="zero-long"),
    ],
)
def test_the_highest_quality_wins(accept, form):
    """The format with the highest q-value wins, or the first of them in a tie. A q-value of 0 excludes a format."""
    assert choose_format(accept) is form


@pytest.mark.parametrize(
    "accept",
    [
        pytest.param("application/openmetrics-text;version=2.0.0", id="unknown-openmetrics"),
        pytest.param("text/plain;version=0.0.3", id="unknown-text"),
        pytest.param("application/openmetrics-text;version=1.0.0;version=9", id="repeated-version"),
        pytest.param("application/json", id="unknown-type"),
        pytest.param("application/openmetrics-text;q=2", id="quality-above-one"),
        pytest.param("application/openmetrics-text;q=-1", id="quality-below-zero"),
        pytest.param("application/openmetrics-text;q=nan", id="quality-not-a-number"),
        pytest.param("application/openmetrics-text;q=1e0", id="quality-with-exponent"),
        pytest.param("application/openmetrics-text;q=0.1234", id="quality-too-long"),
        pytest.param("application/openmetrics-text;q=0.\u0661", id="quality-in-arabic-digits"),
        pytest.param("application/openmetrics-text;q=", id="quality-empty"),
        pytest.param(";;;,,,===", id="garbage"),
        pytest.param("openmetrics", id="not-a-media-type"),
    ],
)
def test_format_falls_back_to_text(accept):
    """If the header is invalid or contains no supported format, the response is Prometheus text 0.0.4."""
    assert choose_format(accept) is Format.TEXT


@pytest.mark.parametrize(
    ("accept_encoding", "gzip"),
    [
        pytest.param("gzip", True, id="prometheus"),
        pytest.param("gzip, deflate, br, zstd", True, id="browser"),
        pytest.param("GZip", True, id="upper-case"),
        pytest.param("x-gzip", True, id="old-name"),
        pytest.param("*", True, id="any"),
        pytest.param("br;q=1.0, *;q=0.5", True, id="any-other"),
        pytest.param("identity;q=0.5, gzip;q=1.0", True, id="preferred"),
        pytest.param("identity, gzip", True, id="tie"),
        pytest.param("gzip;q=0.001", True, id="low-quality"),
        pytest.param("identity;q=0, gzip;q=0.1", True, id="identity-excluded"),
        pytest.param("", False, id="absent"),
        pytest.param("identity", False, id="identity"),
        pytest.param("deflate, br", False, id="others"),
        pytest.param("gzip;q=0", False, id="excluded"),
        pytest.param("gzip;q=0, *", False, id="excluded-by-name"),
        pytest.param("*;q=0", False, id="any-excluded"),
        pytest.param("identity;q=1, gzip;q=0.5", False, id="identity-preferred"),
        pytest.param("identity, *;q=0.5", False, id="identity-preferred-to-any"),
        pytest.param("gzip;q=yes", False, id="quality-not-a-number"),
        pytest.param("gzipped", False, id="longer-name"),
        pytest.param(",;=,", False, id="garbage"),
    ],
)
def test_gzip(accept_encoding, gzip):
    """A response is compressed if the scraper accepts gzip and doesn't prefer an uncompressed response."""
    assert accepts_gzip(accept_encoding) is gzip


def test_the_end_of_a_long_header_is_ignored():
    """The first 20 items and parameters decide, because thousands of them would delay other requests."""
    assert choose_format("x," * 19 + "application/openmetrics-text,y") is Format.OPENMETRICS
    assert choose_format("x," * 20 + "application/openmetrics-text") is Format.TEXT
    assert accepts_gzip("gzip" + ";x" * 18 + ";q=1;y")
    assert accepts_gzip("gzip" + ";x" * 20 + ";q=0")
    assert not accepts_gzip("x," * 20 + "gzip")


HEADERS = st.text() | st.lists(
    st.sampled_from([*'*/,;=". \t', "q", "0.5", "1", "version", "1.0.0", "text", "plain", "gzip", "identity"])
).map("".join)


@given(HEADERS)
def test_any_accept_has_a_format(header):
    """Any `Accept` header results in a format."""
    assert choose_format(header) in Format


@given(HEADERS)
def test_any_accept_encoding_has_a_result(header):
    """Any `Accept-Encoding` header results in a decision."""
    assert accepts_gzip(header) in {True, False}
