import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client import generate_latest as generate_text
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.exposition.formats import Format
from exporter.exposition.own_metrics import OwnMetricsRenderer

FORMATS = pytest.mark.parametrize("form", Format, ids=lambda form: form.name)
TEXT = st.text(st.sampled_from(('"', "\\", "\n", "\r", "{", "}", ",", " ", "é", "☎")) | st.characters(codec="utf-8"))
NUMBERS = st.floats(0, allow_infinity=True) | st.integers(0, 2**60)


@pytest.fixture(autouse=True)
def no_created_series():
    """Leave out the `_created` series, as `Telemetry` does."""
    disable_created_metrics()


def parse(data, form):
    """Return the families of an exposition. Labels have no order."""
    return list((parse_openmetrics if form is Format.OPENMETRICS else parse_text)(data.decode()))


def check(form, collectors, renderer=None):
    """Check that prometheus-client reads the same from the rendered collectors as from its own rendering."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    rendered = (renderer or OwnMetricsRenderer(collectors)).render(form, lambda _: True)
    generate = generate_openmetrics if form is Format.OPENMETRICS else generate_text
    assert parse(rendered, form) == parse(generate(registry), form)


class Values:
    """A collector of any metric families."""

    def __init__(self, *families):
        self._families = families

    def collect(self):
        """Return the families."""
        return self._families


@FORMATS
@given(
    texts=st.lists(st.tuples(TEXT, TEXT), max_size=4),
    numbers=st.lists(NUMBERS, min_size=4, max_size=4),
    help_text=TEXT.map(str.strip),
)
@settings(max_examples=60)
def test_rendering_matches_prometheus_client(form, texts, numbers, help_text):
    """Whatever help, labels and numbers metrics have, they are read back like prometheus-client's own rendering."""
    counter = Counter("a_total", help_text, ["x", "y"], registry=None)
    plain = Counter("b_total", "B.", registry=None)
    histogram = Histogram("c_seconds", "C.", ["x"], buckets=(0.1, 5.0), registry=None, unit="seconds")
    gauge = Gauge("d", "D.", ["y", "x"], registry=None)
    info = Info("e", "E.", registry=None)
    for (first, second), number in zip(texts, numbers, strict=False):
        counter.labels(first, second).inc(number)
        plain.inc(number)
        histogram.labels(first).observe(number)
        gauge.labels(first, second).set(-number)
        info.info({"x": first, "y": second})
    check(form, [counter, plain, histogram, gauge, info])


@FORMATS
@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, 0, -0.0, 1e300, 5e-324, 2**53, True])
def test_special_numbers(form, number):
    """Infinities are read back, and so are the largest and the smallest numbers. NaN is `NaN`."""
    family = GaugeMetricFamily("a", "A.", number)
    rendered = OwnMetricsRenderer([Values(family)]).render(form, lambda _: True)
    ((sample,),) = (parsed.samples for parsed in parse(rendered, form))
    assert sample.value == number or (math.isnan(number) and rendered.splitlines()[2] == b"a NaN")


@FORMATS
def test_new_values_are_rendered(form):
    """A cached text of labels has no effect on numbers. New label values and other formats are rendered, too."""
    counter, gauge = Counter("a_total", "A.", ["x"], registry=None), Gauge("b", "B.", ["x"], registry=None)
    renderer = OwnMetricsRenderer([counter, gauge])
    for number in range(3):
        counter.labels("first").inc()
        counter.labels(str(number)).inc(number)
        gauge.labels("first").set(number)
        check(form, [counter, gauge], renderer)
    counter.remove("first")
    gauge.clear()
    for other in Format:
        check(other, [counter, gauge], renderer)


@FORMATS
def test_names_are_not_confused(form):
    """Samples of different metrics with the same label values are rendered separately."""
    check(form, [Counter(f"{name}_total", "H.", ["x"], registry=None) for name in "ab"])
    counters = [Counter(f"{name}_total", "H.", ["x", "y"], registry=None) for name in "ab"]
    for number, counter in enumerate(counters):
        counter.labels("1", "2").inc(number)
        counter.labels("2", "1").inc(number + 5)
    check(form, counters)


@FORMATS
def test_other_collectors(form):
    """A collector that creates its families itself, such as prometheus-client's own, is rendered like others."""
    check(form, [Values(CounterMetricFamily("a", "A.", 3), GaugeMetricFamily("b", "B.", 4))])
    check(form, [])


@FORMATS
def test_only_exposed_families_are_rendered(form):
    """The filter gets the name of each family in Prometheus text."""
    collectors = [
        Counter("a_total", "A.", registry=None),
        Gauge("b", "B.", registry=None),
        Info("c", "C.", registry=None),
    ]
    names = []
    rendered = OwnMetricsRenderer(collectors).render(form, lambda name: names.append(name) or name == "b")
    assert names == ["a_total", "b", "c_info"]
    assert [family.name for family in parse(rendered, form)] == ["b"]
