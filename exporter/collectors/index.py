"""The index of a page: a small record for each row, which is kept after the row is discarded."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Self


class Difference(NamedTuple):
    """A change of a row that the log mentions."""

    kind: str
    """Such as `disabled`."""
    detail: str = ""
    """The values before and after, such as `outbound 10 to 20`. Empty if the kind says it all."""


def values_changed(*values: tuple[str, object, object]) -> str:
    """Return which values changed, such as `inbound none to 10`. Each has a name, the value before, and that after."""
    return ", ".join(
        f"{name} {_in_words(before)} to {_in_words(after)}".lstrip()
        for name, before, after in values
        if before != after
    )


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.10g}"
    return "none" if value in {None, ""} else str(value)


class IndexRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The attributes of a row that later steps need. Collectors add fields."""

    id: str
    name: str

    def changes_since(self, _previous: Self) -> Iterable[Difference]:
        """Return the changes that the log mentions."""
        return ()

    def __repr__(self) -> str:
        """Return only the type, because fields can contain personal data."""
        return f"<{type(self).__name__}>"


def id_and_name(row: Any) -> IndexRecord:
    """Return the index record of a row or object, of which an object has neither `id` nor `name`."""
    return IndexRecord(getattr(row, "id", ""), getattr(row, "name", None) or "")


RecordT = TypeVar("RecordT", bound=IndexRecord)


class PageIndex(Generic[RecordT]):
    """The records of a page in compressed form."""

    __slots__ = ("__weakref__", "_data", "record_type")

    def __init__(self, record_type: type[RecordT], records: Collection[RecordT]) -> None:
        self.record_type = record_type
        self._data = isal_zlib.compress(msgspec.json.encode(records), 1)

    @property
    def records(self) -> tuple[RecordT, ...]:
        """The records, in the order of the page."""
        records: tuple[RecordT, ...] = _decoder(self.record_type).decode(isal_zlib.decompress(self._data))
        return records


@cache
def _decoder(record_type: type[IndexRecord]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(tuple[record_type, ...])  # type: ignore[valid-type]  # a variable, but its value is a type
