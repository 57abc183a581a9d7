"""Decoding of list pages: `{"data": [row, ...], "meta": {...}}`."""

from __future__ import annotations

import re
from typing import Generic, TypeVar

import msgspec

from exporter.telnyx.structs import ApiObject, Id, Int, ids_to_text

RowT = TypeVar("RowT", bound=ApiObject)


class UnreadableRow(msgspec.Struct, frozen=True, gc=False):
    """A row that could not be decoded: its id, if that could be decoded, and the decoder's error message."""

    id: str | None
    problem: str


class Meta(msgspec.Struct, frozen=True, gc=False):
    """A page's statements about the list. Telnyx guarantees none of them."""

    total_pages: Int | None = None
    total_results: Int | None = None
    page_number: Int | None = None
    page_size: Int | None = None


class Page(msgspec.Struct, Generic[RowT], frozen=True):
    """One page of a list, with its rows in order."""

    rows: tuple[RowT | UnreadableRow, ...]
    meta: Meta


class _StrictPage(msgspec.Struct, Generic[RowT], frozen=True):
    data: tuple[RowT, ...]
    meta: Meta | None = None


class _LenientPage(msgspec.Struct, frozen=True):
    data: tuple[msgspec.Raw, ...]
    meta: Meta | None = None


class _IdOnly(msgspec.Struct, frozen=True):
    id: Id | None = None

    def __post_init__(self) -> None:
        ids_to_text(self, "id")


_lenient_page = msgspec.json.Decoder(_LenientPage, strict=False)
_id_only = msgspec.json.Decoder(_IdOnly)

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder raises if a body is invalid."""
_NO_META = Meta()

_ESCAPE = re.compile(
    rb"\\(?:"
    rb"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|"  # a surrogate pair, which is one character: keep
    rb"(u[dD][89a-fA-F][0-9a-fA-F]{2})|"  # a lone surrogate: group 1
    rb".)",  # any other escape, for example a backslash: keep
    re.DOTALL,
)


def replace_lone_surrogates(body: bytes) -> bytes:
    """Replace lone surrogates with U+FFFD. They are valid JSON but not valid Unicode."""
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], body)


class PageDecoder(Generic[RowT]):
    """Decodes the pages of one list."""

    def __init__(self, row_type: type[RowT]) -> None:
        self._page: msgspec.json.Decoder[_StrictPage[RowT]] = msgspec.json.Decoder(
            _StrictPage[row_type]  # type: ignore[valid-type]  # a variable, but its value is a type
        )
        self._row = msgspec.json.Decoder(row_type, strict=False)

    def __call__(self, body: bytes) -> Page[RowT]:
        """Decode a response body.

        First the whole page is decoded strictly. If that fails or an id is empty, each row is decoded separately:
        numbers may then be text, and a row that can't be decoded becomes an `UnreadableRow`. Raises `ValueError` if the
        body is not a page.
        """
        try:
            page = self._page.decode(body)
        except DECODE_ERRORS:
            return self._decode_rows(body)
        if not all(row.id for row in page.data):
            return self._decode_rows(body)
        return Page(page.data, page.meta or _NO_META)

    def _decode_rows(self, body: bytes) -> Page[RowT]:
        problem = ""
        try:
            page = _lenient_page.decode(replace_lone_surrogates(body))
        except DECODE_ERRORS as error:
            problem = str(error)
        if problem:  # raised outside the handler, so that no `__context__` keeps the body in memory
            raise ValueError(problem)
        return Page(tuple(map(self._decode_row, page.data)), page.meta or _NO_META)

    def _decode_row(self, raw: msgspec.Raw) -> RowT | UnreadableRow:
        try:
            row = self._row.decode(raw)
        except DECODE_ERRORS as error:
            return UnreadableRow(_decode_id(raw), str(error))
        return row if row.id else UnreadableRow(None, "the id is empty")


def _decode_id(raw: msgspec.Raw) -> str | None:
    try:
        return _id_only.decode(raw).id or None
    except DECODE_ERRORS:
        return None
