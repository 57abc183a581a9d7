"""Renders the exporter's own metrics, which are collectors of prometheus-client.

Its own `generate_latest` sorts and escapes the labels of each sample each time. Here, the text of a sample up to its
number is rendered once and kept. There are no timestamps, exemplars or native histograms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import Counter

from exporter.exposition.formats import SAMPLE_SUFFIXES, end_of, escape, header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prometheus_client import Metric
    from prometheus_client.registry import Collector

    from exporter.exposition.formats import Format

_NUMBERS = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def family_name(metric: Metric) -> str:
    """Return the name of a prometheus-client metric in the Prometheus text format."""
    return metric.name + SAMPLE_SUFFIXES.get(metric.type, "")


class OwnMetricsRenderer:
    """Renders the metrics of collectors, in their order."""

    def __init__(self, collectors: Sequence[Collector]) -> None:
        self._collectors = collectors
        self._headers: dict[tuple[Format, str], str] = {}
        self._beginnings: dict[tuple[str, ...], str] = {}
        """The text of a sample up to its number, by its name and label values."""

    def render(self, form: Format, is_exposed: Callable[[str], bool]) -> bytes:
        """Render the metrics whose name in the Prometheus text format is exposed."""
        parts: list[str] = []
        for collector in self._collectors:
            counter = collector if isinstance(collector, Counter) else None
            for metric in counter.describe() if counter else collector.collect():
                name = family_name(metric)
                if is_exposed(name):
                    parts.append(self._header(form, name, metric))
                    parts += self._counter_lines(counter, name) if counter else self._lines(metric)
        return "".join(parts).encode() + end_of(form)

    def _header(self, form: Format, name: str, metric: Metric) -> str:
        if (form, name) not in self._headers:
            self._headers[form, name] = header(
                form, name=name, help_text=metric.documentation, family_type=metric.type, unit=metric.unit
            )
        return self._headers[form, name]

    def _lines(self, metric: Metric) -> Iterable[str]:
        beginnings = self._beginnings
        for sample in metric.samples:
            key = (sample.name, *sample.labels.values())
            yield (beginnings.get(key) or self._beginning(key, sample.labels)) + _number(sample.value)

    def _counter_lines(self, counter: Any, name: str) -> Iterable[str]:
        """Return the lines of a `Counter`.

        With many labels, most of the time would go into the objects that `collect` creates for each sample. Only
        private attributes have the numbers themselves.
        """
        beginnings, labels = self._beginnings, counter._labelnames  # noqa: SLF001
        for values, child in tuple(counter._metrics.items()) if labels else (((), counter),):  # noqa: SLF001
            key = (name, *values)
            beginning = beginnings.get(key) or self._beginning(key, dict(zip(labels, values, strict=True)))
            yield beginning + _number(child._value.get())  # noqa: SLF001

    def _beginning(self, key: tuple[str, ...], labels: Mapping[str, str]) -> str:
        pairs = ",".join(f'{label}="{escape(value)}"' for label, value in labels.items())
        self._beginnings[key] = f"{key[0]}{{{pairs}}} " if pairs else f"{key[0]} "
        return self._beginnings[key]


def _number(value: float) -> str:
    text = repr(float(value))
    return f"{_NUMBERS.get(text, text)}\n"
