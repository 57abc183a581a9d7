"""Metric families, and functions that read their values from a row.

A label value is text, a bool (rendered as `true` or `false`) or None (rendered as an empty label). A number that is
None has no sample.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from exporter.telnyx.lists.snapshots import Snapshot

_TYPES = {"info": "info", "total": "counter"}
"""Types of families by the last word of their names. All others are gauges."""

LabelValue: TypeAlias = str | bool | None
Sample: TypeAlias = tuple[tuple[LabelValue, ...], float]
"""The values of a family's labels, and the number."""
Getter: TypeAlias = "Callable[[Any], Any]"
"""Returns the row itself or an object inside it, such as its `inbound` settings."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family: name, help, and the labels that follow the collector's identity labels."""

    name: str
    """As in the Prometheus text format."""
    help: str
    labels: tuple[str, ...]

    @property
    def type(self) -> str:
        """`info` for a family that only carries labels, `counter` for one that counts events, else `gauge`."""
        return _TYPES.get(self.name.rpartition("_")[2], "gauge")

    @property
    def unit(self) -> str:
        """The unit at the end of the name, or an empty text."""
        return "seconds" if self.name.endswith("_seconds") else ""


@dataclass(frozen=True, slots=True)
class SnapshotGauge(Family):
    """Numbers about a whole list. They have no identity labels."""

    samples: Callable[[Snapshot[Any]], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class RowCount(Family):
    """The number of rows with each combination of label values. It has no identity labels."""

    attributes: tuple[str, ...]
    """Attributes of the index record, which are the values of the labels.

    A text must not be None, because None and an empty text are the same label value.
    """
    documented: tuple[tuple[LabelValue, ...], ...]
    """Combinations that are exposed even if no row has them."""

    @property
    def get_labels(self) -> Callable[[Any], tuple[LabelValue, ...]]:
        """Returns the label values of an index record."""
        return attributes_getter(self.attributes)


@dataclass(frozen=True, slots=True)
class ConnectionGauge(Family):
    """Numbers of connections that other collectors have read. The first labels are the connection's id and name."""

    samples: Callable[[Iterable[Any], Iterable[Any]], Iterable[Sample]]
    """Returns the samples for the index records of the list's rows, and those of the connections."""


@dataclass(frozen=True, slots=True)
class Gauge(Family):
    """At most one number per row."""

    source: Getter
    get_value: Callable[[Any], float | None]


@dataclass(frozen=True, slots=True)
class Info(Family):
    """Settings of each row as labels."""

    source: Getter
    attributes: tuple[str, ...]
    """Attributes of the source, which are the values of the labels."""
    sensitive: tuple[str, ...] = ()
    """Labels that are exposed only on request. Their attributes have the same names."""

    @property
    def get_labels(self) -> Callable[[Any], tuple[LabelValue, ...]]:
        """Returns the label values of a source."""
        return attributes_getter(self.attributes)

    def with_sensitive(self, names: Collection[str]) -> Info:
        """Return the family with those of its sensitive labels that are in `names`."""
        added = tuple(name for name in self.sensitive if name in names)
        return replace(self, labels=(*self.labels, *added), attributes=(*self.attributes, *added))


@dataclass(frozen=True, slots=True)
class MultiGauge(Family):
    """Any number of samples per row."""

    samples: Callable[[Any], Iterable[Sample]]


SnapshotFamily: TypeAlias = SnapshotGauge | RowCount | ConnectionGauge
RowFamily: TypeAlias = Gauge | Info | MultiGauge


def gauge(name: str, help_text: str, source: Getter, value: str | Callable[[Any], float | None]) -> Gauge:
    """Declare a gauge whose value is an attribute of the source or a function of it."""
    return Gauge(name, help_text, (), source, attrgetter(value) if isinstance(value, str) else value)


def info(name: str, help_text: str, source: Getter, *labels: str, sensitive: tuple[str, ...] = ()) -> Info:
    """Declare settings as labels. Each is the name of an attribute of the source, or `label=attribute`."""
    pairs = [(label, attribute or label) for label, _, attribute in (label.partition("=") for label in labels)]
    return Info(
        name, help_text, tuple(label for label, _ in pairs), source, tuple(name for _, name in pairs), sensitive
    )


def attributes_getter(names: Collection[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that returns these attributes as a tuple. `attrgetter` returns a tuple only for two or more."""
    if len(names) > 1:
        return attrgetter(*names)
    getters = [attrgetter(name) for name in names]
    return lambda source: tuple([get(source) for get in getters])


def whole_row(row: Any) -> Any:
    """Return the row itself."""
    return row


def nested(field: str, struct_type: type) -> Getter:
    """Return a getter for a nested object. The getter returns an empty instance when the API sends null."""
    get, empty = attrgetter(field), struct_type()
    return lambda row: get(row) or empty


def bool_as_number(attribute: str) -> Callable[[Any], float | None]:
    """Return a function that reads a bool as 1 or 0."""
    get = attrgetter(attribute)
    return lambda source: None if (value := get(source)) is None else int(value)


def decimal(attribute: str) -> Callable[[Any], float | None]:
    """Return a function that reads a `Decimal` as a number. Other text, and infinite numbers, are None."""
    get = attrgetter(attribute)

    def read(source: Any) -> float | None:
        try:
            number = float(get(source))
        except (TypeError, ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    return read


def unix_time(attribute: str) -> Callable[[Any], float | None]:
    """Return a function that reads an ISO 8601 time as Unix seconds. Without a zone it is UTC; invalid text is None."""
    get = attrgetter(attribute)

    def read(source: Any) -> float | None:
        text = get(source)
        if not text:
            return None
        try:
            time = datetime.fromisoformat(text)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None

    return read


def milliseconds_as_seconds(attribute: str) -> Callable[[Any], float | None]:
    """Return a function that reads milliseconds as seconds."""
    get = attrgetter(attribute)
    return lambda source: None if (value := get(source)) is None else value / 1000


_HOST = re.compile(
    r"https?://(?:[^/?#\\\s]*@)?(?P<host>\[[0-9a-f:.]+\]|[\w.-]+)(?::\d*)?(?:[/?#].*)?", re.DOTALL | re.IGNORECASE
)


def host_of(url: str | None) -> str | None:
    """Return the host of an http or https URL, or None for other text. The rest of the URL can contain credentials."""
    match = _HOST.fullmatch(url) if url else None
    return match["host"].lower() if match else None


def name_filter(allow: str, deny: str) -> Callable[[str], bool]:
    """Return a function that decides whether a metric is exposed. Both are regular expressions for its whole name.

    An empty `allow` matches all names. `deny` takes precedence.
    """
    allowed, denied = re.compile(allow or ".*"), re.compile(deny)
    return lambda name: bool(allowed.fullmatch(name)) and not denied.fullmatch(name)
