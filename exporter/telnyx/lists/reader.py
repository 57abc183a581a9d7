"""Reads one list of the Telnyx API, and decodes only the pages that changed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol

from exporter.telnyx.budget import UNLIMITED
from exporter.telnyx.errors import Malformed, TelnyxError
from exporter.telnyx.lists.pages import PageDecoder, RowT
from exporter.telnyx.lists.pagination import read_list, read_page_as_list
from exporter.telnyx.lists.progress import NO_PROGRESS
from exporter.telnyx.lists.snapshots import ContentT, ProcessedPage, Snapshot, process, process_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from exporter.telnyx.budget import Limiter
    from exporter.telnyx.http.client import Client
    from exporter.telnyx.lists.pages import Page
    from exporter.telnyx.lists.progress import Progress
    from exporter.telnyx.lists.snapshots import PageProcessor, ProcessedBody


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery(Generic[RowT]):
    """A list to read."""

    path: str
    """Path of the endpoint below the base URL, such as `/credential_connections`."""
    row_type: type[RowT]
    page_size: int
    params: Mapping[str, str]
    """Query parameters for filters and the sort order."""
    ordered: bool
    """Whether the rows are sorted by creation time, oldest first."""
    paged: bool = True
    """Whether the list has pages. Otherwise one response contains all rows."""


class Reader(Protocol[ContentT]):
    """Reads an endpoint."""

    async def fetch(self) -> Snapshot[ContentT]:
        """Read the whole endpoint. Raises `TelnyxError`."""

    async def check(self) -> None:
        """Send one request, without retries. Raises `TelnyxError`."""


class ListReader(Generic[RowT, ContentT]):
    """Reads a list. The client's timeout bounds a whole `fetch`, including retries and the waits that Telnyx asks for.

    New and changed pages are decoded and processed in a worker thread when they arrive, while others are on the way.
    `on_restart` is called when reading restarts because the list changed or contradicted its own totals.
    """

    def __init__(
        self,
        client: Client,
        query: ListQuery[RowT],
        processor: PageProcessor[RowT, ContentT],
        *,
        on_restart: Callable[[], None] = lambda: None,
        limiter: Limiter = UNLIMITED,
        progress: Progress = NO_PROGRESS,
    ) -> None:
        self._client = client
        self._progress = progress
        self._query = query
        self._processor = processor
        self._on_restart = on_restart
        self._limiter = limiter
        self._decode = PageDecoder(query.row_type)
        self._cached: dict[int, ProcessedBody[ProcessedPage[ContentT]]] = {}

    async def fetch(self) -> Snapshot[ContentT]:
        """Read the whole list. Raises `TelnyxError`."""
        self._progress.record_progress(0, None)
        session = self._client.session(self._limiter)
        pages: dict[int, ProcessedBody[ProcessedPage[ContentT]]] = {}

        async def read_page(number: int) -> ProcessedPage[ContentT]:
            body = await session.get(self._query.path, self._params(number))
            known = (pages.get(number), self._cached.get(number))
            pages[number] = await process_body(body, partial(self._process, number), known)
            return pages[number].result

        snapshot = await session.run(
            read_list(
                read_page,
                self._processor.remove_rows,
                ordered=self._query.ordered,
                concurrency=self._client.concurrency,
                on_restart=self._on_restart,
                progress=self._progress,
            )
            if self._query.paged
            else read_page_as_list(read_page, self._progress)
        )
        self._cached = pages
        return snapshot

    async def check(self) -> None:
        """Request one row, once and without retries. Raises `TelnyxError`."""
        self._decode_page(1, await self._client.send_once(self._query.path, self._params(1, size=1)))

    def _params(self, number: int, size: int | None = None) -> Mapping[str, str | int]:
        if not self._query.paged:
            return self._query.params
        return {"page[number]": number, "page[size]": size or self._query.page_size, **self._query.params}

    def _process(self, number: int, body: bytes) -> ProcessedPage[ContentT]:
        return process(self._decode_page(number, body), self._processor)

    def _decode_page(self, number: int, body: bytes) -> Page[RowT]:
        try:
            return self._decode(body)
        except ValueError as error:
            problem = str(error)
        raise Malformed(f"page {number} can't be decoded: {problem}")


class JoinedReader(Generic[ContentT]):
    """Reads several lists as one, one after the other."""

    def __init__(self, readers: Mapping[str, Reader[ContentT]]) -> None:
        """`readers` are those of the lists by path."""
        self._readers = readers

    async def fetch(self) -> Snapshot[ContentT]:
        """Read all lists. Raises `TelnyxError`."""
        snapshots = []
        for path, reader in self._readers.items():
            with _naming(path):
                snapshots.append(await reader.fetch())
        return Snapshot(
            pages=tuple(page for snapshot in snapshots for page in snapshot.pages),
            row_count=sum(snapshot.row_count for snapshot in snapshots),
            unreadable=tuple(row for snapshot in snapshots for row in snapshot.unreadable),
            missing=sum(snapshot.missing for snapshot in snapshots),
        )

    async def check(self) -> None:
        """Request one row of each list. Raises `TelnyxError`."""
        for path, reader in self._readers.items():
            with _naming(path):
                await reader.check()


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Name the path in the message of an error."""
    try:
        yield
    except TelnyxError as error:
        error.args = (f"GET {path}: {error}",)
        raise
