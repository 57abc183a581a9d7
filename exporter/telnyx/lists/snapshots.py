"""Lists and pages whose rows were processed and discarded."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from exporter.telnyx.lists.pages import Meta, RowT, UnreadableRow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from exporter.telnyx.lists.pages import Page

ContentT = TypeVar("ContentT")
_ResultT = TypeVar("_ResultT")
_InputT_contra = TypeVar("_InputT_contra", contravariant=True)


class PageProcessor(Protocol[_InputT_contra, ContentT]):
    """Turns the rows of a page into its content. The rows are then discarded."""

    def render_page(self, rows: Sequence[_InputT_contra]) -> ContentT:
        """Return the content for these rows, which have distinct ids."""

    def remove_rows(self, page: ContentT, ids: Collection[str]) -> ContentT:
        """Return the content without the rows that have these ids."""


class ProcessedPage(msgspec.Struct, Generic[ContentT], frozen=True):
    """A page whose rows were processed."""

    content: ContentT
    meta: Meta
    encoded_rows: bytes
    """`rows` as JSON, which takes a quarter of the memory."""

    @property
    def rows(self) -> tuple[str | UnreadableRow, ...]:
        """The id of each row in order, or the row itself if it is unreadable."""
        return _rows.decode(self.encoded_rows)


class Snapshot(msgspec.Struct, Generic[ContentT], frozen=True):
    """A whole list, as one refresh read it. It contains each id once."""

    pages: tuple[ContentT, ...]
    """The content of each page that has rows. A page that did not change is the same object as in the last snapshot."""
    row_count: int
    """Number of rows, without the unreadable ones."""
    unreadable: tuple[UnreadableRow, ...] = ()
    """Rows that were left out because they could not be decoded."""
    missing: int = 0
    """Rows that the list claims to have but that no page contained."""


_rows = msgspec.json.Decoder(tuple[str | UnreadableRow, ...])


def process(page: Page[RowT], processor: PageProcessor[RowT, ContentT]) -> ProcessedPage[ContentT]:
    """Process the rows of a page. If several have the same id, the first one counts."""
    rows: dict[str, RowT] = {}
    for row in page.rows:
        if not isinstance(row, UnreadableRow):
            rows.setdefault(row.id, row)
    ids = [row if isinstance(row, UnreadableRow) else row.id for row in page.rows]
    return ProcessedPage(processor.render_page(tuple(rows.values())), page.meta, msgspec.json.encode(ids))


class ProcessedBody(NamedTuple, Generic[_ResultT]):
    """The result of processing a response body, and the SHA-256 digest of that body."""

    digest: bytes
    result: _ResultT


async def process_body(
    body: bytes, process: Callable[[bytes], _ResultT], known: Iterable[ProcessedBody[_ResultT] | None]
) -> ProcessedBody[_ResultT]:
    """Return the known result of the same body, or process the body in a worker thread."""
    digest = hashlib.sha256(body).digest()
    for one in known:
        if one is not None and one.digest == digest:
            return one
    return ProcessedBody(digest, await asyncio.to_thread(process, body))
