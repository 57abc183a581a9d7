"""The index of a page: a small record for each row, which is kept after the row is discarded."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Self


class IndexRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The attributes of a row that later steps need. Collectors add fields."""

    id: str
    name: str

    def changes_since(self, _previous: Self) -> Iterable[str]:
        """Return the changes that the log mentions, such as `disabled`."""
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

    __slots__ = ("_data", "_record_type")

    def __init__(self, record_type: type[RecordT], records: Collection[RecordT]) -> None:
        self._record_type = record_type
        self._data = isal_zlib.compress(msgspec.json.encode(records), 1)

    @property
    def records(self) -> tuple[RecordT, ...]:
        """The records, in the order of the page."""
        records: tuple[RecordT, ...] = _decoder(self._record_type).decode(isal_zlib.decompress(self._data))
        return records


@cache
def _decoder(record_type: type[IndexRecord]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(tuple[record_type, ...])  # type: ignore[valid-type]  # a variable, but its value is a type
