"""A gauge that has no sample while its value is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric


class LatestValue(Collector):
    """A gauge with the latest value, or without a sample if that is None."""

    def __init__(self, name: str, help_text: str, value: float | None = None) -> None:
        self.value = value
        self._name = name
        self._help = help_text

    def describe(self) -> Iterator[Metric]:
        """Return the family without a sample."""
        yield GaugeMetricFamily(self._name, self._help)

    def collect(self) -> Iterator[Metric]:
        """Return the family if it has a value."""
        if self.value is not None:
            yield GaugeMetricFamily(self._name, self._help, self.value)
