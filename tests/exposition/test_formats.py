import pytest

from exporter.exposition.formats import Format, escape, header

TEXT_FORMATS = pytest.mark.parametrize("form", [Format.TEXT, Format.TEXT_1], ids=["TEXT", "TEXT_1"])


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        (Format.TEXT, "text/plain; version=0.0.4; charset=utf-8"),
        (Format.TEXT_1, "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        (Format.OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_content_types(form, content_type):
    """Each format has its content type, with the version."""
    assert form.value == content_type


@TEXT_FORMATS
@pytest.mark.parametrize(
    ("name", "family_type", "declared"),
    [("a_total", "counter", "counter"), ("a_info", "info", "gauge"), ("a_seconds", "gauge", "gauge")],
)
def test_text_headers(form, name, family_type, declared):
    """Prometheus text has the name of the samples. It has no units, and infos are gauges."""
    lines = header(form, name=name, help_text='A "b"\\c\nd.', family_type=family_type, unit="seconds")
    assert lines == f'# HELP {name} A "b"\\\\c\\nd.\n# TYPE {name} {declared}\n'


@pytest.mark.parametrize(
    ("name", "family_type", "unit", "lines"),
    [
        ("a_total", "counter", "", "# HELP a H.\n# TYPE a counter\n"),
        ("a_info", "info", "", "# HELP a H.\n# TYPE a info\n"),
        ("a_info", "gauge", "", "# HELP a_info H.\n# TYPE a_info gauge\n"),
        ("a_seconds", "gauge", "seconds", "# HELP a_seconds H.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\n"),
    ],
)
def test_openmetrics_headers(name, family_type, unit, lines):
    """OpenMetrics has units and infos. The name of a counter or an info has no suffix."""
    assert header(Format.OPENMETRICS, name=name, help_text="H.", family_type=family_type, unit=unit) == lines


def test_openmetrics_help_is_escaped():
    """In OpenMetrics, quotes in a help text are escaped, too."""
    lines = header(Format.OPENMETRICS, name="a", help_text='A "b"\\c\nd.', family_type="gauge")
    assert lines.startswith('# HELP a A \\"b\\"\\\\c\\nd.\n')


def test_label_values_are_escaped():
    """A label value has no unescaped quote, backslash or line feed."""
    assert escape('a"b\\c\nd\re') == 'a\\"b\\\\c\\nd\re'
