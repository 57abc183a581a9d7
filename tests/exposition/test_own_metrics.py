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
from exporter.exposition.own_metrics import AccountMetrics, OwnMetricsRenderer
from exporter.telemetry.latest_value import LatestValue

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
    renderer = renderer or OwnMetricsRenderer([collectors])
    rendered = renderer.render(form, lambda _: True)
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
    """For any help, labels and numbers, parsers read the same metrics as from prometheus-client's own rendering."""
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
    rendered = OwnMetricsRenderer([[Values(family)]]).render(form, lambda _: True)
    ((sample,),) = (parsed.samples for parsed in parse(rendered, form))
    assert sample.value == number or (math.isnan(number) and rendered.splitlines()[2] == b"a NaN")


@FORMATS
def test_new_values_are_rendered(form):
    """A cached text of labels has no effect on numbers. New label values and other formats are rendered, too."""
    counter, gauge = Counter("a_total", "A.", ["x"], registry=None), Gauge("b", "B.", ["x"], registry=None)
    renderer = OwnMetricsRenderer([[counter, gauge]])
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
    rendered = OwnMetricsRenderer([collectors]).render(form, lambda name: names.append(name) or name == "b")
    assert names == ["a_total", "b", "c_info"]
    assert [family.name for family in parse(rendered, form)] == ["b"]


# Accounts


class Merged:
    """The families of a renderer, with the labels of the accounts, for prometheus-client's own rendering."""

    def __init__(self, renderer, accounts):
        self._renderer, self._accounts = renderer, accounts

    def collect(self):
        """Return the families."""
        return self._renderer.collect(self._accounts)


def check_accounts(form, renderer, accounts):
    """Check that prometheus-client reads the same as from its own rendering, and return what it reads."""
    rendered = renderer.render(form, lambda _: True, accounts)
    generate = generate_openmetrics if form is Format.OPENMETRICS else generate_text
    found = parse(rendered, form)
    assert found == parse(generate(Merged(renderer, accounts)), form)
    return found


def account_metrics(account, number=1.0, label="x"):
    """Return the metrics of an account: a counter with labels, one without, a histogram, and two gauges."""
    counter = Counter("a_total", "A.", ["x"], registry=None)
    plain = Counter("b_total", "B.", registry=None)
    histogram = Histogram("c_seconds", "C.", buckets=(0.1, 5.0), registry=None)
    gauge = LatestValue("d", "D.", number)
    absent = LatestValue("e", "E.")
    counter.labels(label).inc(number)
    plain.inc(number)
    histogram.observe(number)
    return AccountMetrics(account, (counter, plain, histogram, gauge, absent))


SECTIONS = (slice(2), [Values(GaugeMetricFamily("middle", "Middle.", 5))], slice(2, None))


@FORMATS
@given(
    accounts=st.dictionaries(TEXT.filter(bool), st.tuples(NUMBERS, TEXT), max_size=3).map(dict.items),
)
@settings(max_examples=60)
def test_each_account_has_its_lines(form, accounts):
    """For any accounts, labels and numbers, each parser reads each family once, with all accounts."""
    metrics = [account_metrics(account, *values) for account, values in accounts]
    found = check_accounts(form, OwnMetricsRenderer(SECTIONS), metrics)
    names = [family.name for family in found]
    assert names == (["a", "b", "middle", "c_seconds", "d"] if metrics else ["middle"])
    for family in found:
        read = [sample.labels.get("account") for sample in family.samples]
        expected = [None] if family.name == "middle" else [account for account, _ in accounts]
        assert list(dict.fromkeys(read)) == expected


@FORMATS
def test_the_account_is_the_first_label(form):
    """The label `account` comes before all others. An account without a name is no label."""
    metrics = [account_metrics("emea"), account_metrics("")]
    rendered = OwnMetricsRenderer([slice(None)]).render(form, lambda _: True, metrics)
    assert [line for line in rendered.decode().splitlines() if line[0] != "#"][:5] == [
        'a_total{account="emea",x="x"} 1.0',
        'a_total{x="x"} 1.0',
        'b_total{account="emea"} 1.0',
        "b_total 1.0",
        'c_seconds_bucket{account="emea",le="0.1"} 0.0',
    ]


@FORMATS
def test_lines_are_kept_until_a_change_is_recorded(form):
    """A recorded change is rendered. Without one, the text of the last time is used."""
    metrics = account_metrics("emea")
    renderer = OwnMetricsRenderer([slice(None)])
    counter, plain, histogram, gauge, absent = metrics.collectors
    check_accounts(form, renderer, [metrics])
    plain.inc()
    assert b'b_total{account="emea"} 1.0\n' in renderer.render(form, lambda _: True, [metrics])
    counter.labels("y").inc()
    histogram.observe(7)
    gauge.value = None
    absent.value = 1
    for collector in metrics.collectors:
        metrics.record_change(collector)
    check_accounts(form, renderer, [metrics])


@FORMATS
def test_a_family_that_only_some_accounts_have(form):
    """A family has the accounts that have a value, and no header if there are none."""
    metrics = [account_metrics(account) for account in ("first", "second", "third")]
    *_, gauge, absent = metrics[1].collectors
    absent.value = 3
    gauge.value = None
    renderer = OwnMetricsRenderer([slice(3, None)])
    found = check_accounts(form, renderer, metrics)
    assert [(sample.name, sample.labels["account"]) for family in found for sample in family.samples] == [
        ("d", "first"),
        ("d", "third"),
        ("e", "second"),
    ]
    assert [family.name for family in check_accounts(form, renderer, metrics[:1])] == ["d"]


def test_only_exposed_families_of_accounts_are_rendered():
    """The filter gets the name of each family of the accounts in Prometheus text, once, and hides its lines."""
    names = []
    rendered = OwnMetricsRenderer([slice(None)]).render(
        Format.TEXT,
        lambda name: names.append(name) or name == "b_total",
        [account_metrics("first"), account_metrics("second")],
    )
    assert names == ["a_total", "b_total", "c_seconds", "d", "e"]
    assert [line for line in rendered.decode().splitlines() if line[0] != "#"] == [
        'b_total{account="first"} 1.0',
        'b_total{account="second"} 1.0',
    ]
