"""Renders the exporter's own metrics, which are collectors of prometheus-client.

Its own `generate_latest` sorts and escapes the labels of each sample each time. Here, the text of a sample up to its
number is rendered once and kept. There are no timestamps, exemplars or native histograms.

Some metrics belong to the exporter, others to an account. Those of an account get the label `account` here. Their lines
are kept until they change, because a scrape of many accounts has many of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from prometheus_client import Counter, Histogram

from exporter.exposition.formats import SAMPLE_SUFFIXES, end_of, escape, header

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric
    from prometheus_client.registry import Collector

    from exporter.exposition.formats import Format

_NUMBERS = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def family_name(metric: Metric) -> str:
    """Return the name of a prometheus-client metric in the Prometheus text format."""
    return metric.name + SAMPLE_SUFFIXES.get(metric.type, "")


class FamilyCollector(Protocol):
    """A collector of one metric family."""

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples."""

    def collect(self) -> Iterable[Metric]:
        """Return the family, or nothing if it does not exist at present."""


class AccountMetrics:
    """The metrics of one account. Its collectors have no label `account`, and neither has an account without a name."""

    def __init__(self, account: str, collectors: Sequence[FamilyCollector]) -> None:
        self.collectors = collectors
        self.labels = {"account": account} if account else {}
        self._lines = _Lines(self.labels)
        self._texts: dict[FamilyCollector, str | None] = {}
        """The lines of the collectors that have not changed since."""

    def record_change(self, collector: FamilyCollector) -> None:
        """Record that the samples of a collector changed."""
        self._texts.pop(collector, None)

    def text(self, collector: FamilyCollector) -> str | None:
        """Return the lines of a collector, or None if its family does not exist at present."""
        if collector not in self._texts:
            metric = next(iter(_families(collector)), None)
            self._texts[collector] = None if metric is None else "".join(self._lines.render(collector, metric))
        return self._texts[collector]


Section: TypeAlias = "slice | Collection[Collector]"
"""Some collectors of each account, by their positions, or collectors of the exporter."""


class OwnMetricsRenderer:
    """Renders the metrics of sections, in their order."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self._sections = sections
        self._lines = _Lines({})
        self._headers: dict[tuple[Format, str], str] = {}

    def render(self, form: Format, is_exposed: Callable[[str], bool], accounts: Sequence[AccountMetrics] = ()) -> bytes:
        """Render the metrics whose name in the Prometheus text format is exposed."""
        parts: list[str] = []
        for name, metric, lines in self._exposed_families(is_exposed, accounts):
            parts.append(self._header(form, name, metric))
            parts += lines
        return "".join(parts).encode() + end_of(form)

    def collect(self, accounts: Sequence[AccountMetrics]) -> Iterator[Metric]:
        """Return all metrics, as prometheus-client's own rendering needs them."""
        for section in self._sections:
            if isinstance(section, slice):
                for collectors in _columns(section, accounts):
                    yield from _join(accounts, collectors)
            else:
                for collector in section:
                    yield from collector.collect()

    def _exposed_families(
        self, is_exposed: Callable[[str], bool], accounts: Sequence[AccountMetrics]
    ) -> Iterator[tuple[str, Metric, Iterable[str]]]:
        """Yield name, metric and lines of each family that exists and is exposed."""
        for section in self._sections:
            if isinstance(section, slice):
                for collectors in _columns(section, accounts):
                    metric = next(iter(collectors[0].describe()))
                    if is_exposed(name := family_name(metric)):
                        texts = [account.text(one) for account, one in zip(accounts, collectors, strict=True)]
                        existing = [text for text in texts if text is not None]
                        if existing:
                            yield name, metric, existing
            else:
                for collector in section:
                    for metric in _families(collector):
                        if is_exposed(name := family_name(metric)):
                            yield name, metric, self._lines.render(collector, metric)

    def _header(self, form: Format, name: str, metric: Metric) -> str:
        if (form, name) not in self._headers:
            self._headers[form, name] = header(
                form, name=name, help_text=metric.documentation, family_type=metric.type, unit=metric.unit
            )
        return self._headers[form, name]


def _columns(section: slice, accounts: Sequence[AccountMetrics]) -> Iterator[Sequence[FamilyCollector]]:
    """Yield the collectors of each family of the section: one of each account."""
    return zip(*(account.collectors[section] for account in accounts), strict=True)


def _join(accounts: Sequence[AccountMetrics], collectors: Sequence[FamilyCollector]) -> Iterator[Metric]:
    """Yield the family of these collectors, with the label of the accounts, if it exists."""
    joined: Metric | None = None
    for account, collector in zip(accounts, collectors, strict=True):
        for metric in collector.collect():
            metric.samples = [sample._replace(labels=account.labels | sample.labels) for sample in metric.samples]
            if joined is None:
                joined = metric
            else:
                joined.samples += metric.samples
    if joined is not None:
        yield joined


def _families(collector: Any) -> Iterable[Metric]:
    """Return the families of a collector. Some need no samples, because `_Lines` reads their numbers."""
    metrics: Iterable[Metric] = collector.describe() if type(collector) in _READ_DIRECTLY else collector.collect()
    return metrics


_READ_DIRECTLY = (Counter, Histogram)
"""Collectors whose `collect` takes long. `isinstance` would take long, too, because their base class is a protocol."""


class _Lines:
    """Renders the lines of collectors. These labels come first.

    `collect` of a `Counter` and of a `Histogram` creates an object for each sample. With many labels or accounts, most
    of the time would go into these. Only private attributes have the numbers themselves.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._beginnings: dict[tuple[Any, ...], str] = {}
        """The text of a sample up to its number, by its name and label values."""

    def render(self, collector: Collector | FamilyCollector, metric: Metric) -> Iterable[str]:
        """Return the lines of this metric of a collector."""
        if type(collector) is Counter:
            return self._counter_lines(collector)
        return self._histogram_lines(collector) if type(collector) is Histogram else self._metric_lines(metric)

    def _metric_lines(self, metric: Metric) -> Iterable[str]:
        beginnings = self._beginnings
        for sample in metric.samples:
            key = (sample.name, *sample.labels.values())
            yield (beginnings.get(key) or self._beginning(key, sample.labels)) + _number(sample.value)

    def _counter_lines(self, counter: Any) -> Iterable[str]:
        beginnings, labels, name = self._beginnings, counter._labelnames, f"{counter._name}_total"  # noqa: SLF001
        for values, child in tuple(counter._metrics.items()) if labels else (((), counter),):  # noqa: SLF001
            key = (name, *values)
            beginning = beginnings.get(key) or self._beginning(key, dict(zip(labels, values, strict=True)))
            yield beginning + _number(child._value.get())  # noqa: SLF001

    def _histogram_lines(self, histogram: Any) -> Iterable[str]:
        name, labels = histogram._name, histogram._labelnames  # noqa: SLF001
        for values, child in tuple(histogram._metrics.items()) if labels else (((), histogram),):  # noqa: SLF001
            pairs, total = dict(zip(labels, values, strict=True)), 0.0
            for bound, bucket in zip(child._upper_bounds, child._buckets, strict=True):  # noqa: SLF001
                total += bucket.get()
                key = (f"{name}_bucket", *values, bound)
                beginning = self._beginnings.get(key)
                yield (beginning or self._beginning(key, pairs | {"le": _text(bound)})) + _number(total)
            for suffix, number in (("_count", total), ("_sum", child._sum.get())):  # noqa: SLF001
                key = (name + suffix, *values)
                yield (self._beginnings.get(key) or self._beginning(key, pairs)) + _number(number)

    def _beginning(self, key: tuple[Any, ...], labels: Mapping[str, str]) -> str:
        pairs = ",".join(f'{label}="{escape(value)}"' for label, value in {**self._labels, **labels}.items())
        self._beginnings[key] = f"{key[0]}{{{pairs}}} " if pairs else f"{key[0]} "
        return self._beginnings[key]


def _number(value: float) -> str:
    return f"{_text(value)}\n"


def _text(value: float) -> str:
    text = repr(float(value))
    return _NUMBERS.get(text, text)
