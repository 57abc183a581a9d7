"""Reads one list of the Telnyx API, and decodes only the pages that changed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol

from exporter.telnyx.errors import Malformed, RequestTimeout
from exporter.telnyx.lists.pages import PageDecoder, RowT
from exporter.telnyx.lists.pagination import read_list
from exporter.telnyx.lists.snapshots import ContentT, ProcessedPage, process

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.telnyx.client import Client
    from exporter.telnyx.lists.snapshots import PageProcessor, Snapshot


class ListObserver(Protocol):
    """Receives events about reading a list."""

    def record_list_restart(self) -> None:
        """Record that reading restarted because the list changed or contradicted its own totals."""


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


class _CachedPage(NamedTuple, Generic[ContentT]):
    """A page and the SHA-256 digest of its body. A page with the same digest is not processed again."""

    digest: bytes
    page: ProcessedPage[ContentT]


class ListReader(Generic[RowT, ContentT]):
    """Reads a list. The client's timeout bounds a whole `fetch`, including retries and waits.

    New and changed pages are decoded and processed in a worker thread when they arrive, while others are on the way.
    """

    def __init__(
        self,
        client: Client,
        query: ListQuery[RowT],
        processor: PageProcessor[RowT, ContentT],
        observer: ListObserver,
    ) -> None:
        self._client = client
        self._query = query
        self._processor = processor
        self._observer = observer
        self._decode = PageDecoder(query.row_type)
        self._cached: dict[int, _CachedPage[ContentT]] = {}

    async def fetch(self) -> Snapshot[ContentT]:
        """Read the whole list. Raises `TelnyxError`."""
        session = self._client.session()
        pages: dict[int, _CachedPage[ContentT]] = {}

        async def read_page(number: int) -> ProcessedPage[ContentT]:
            body = await session.get(self._query.path, self._params(number))
            digest = hashlib.sha256(body).digest()
            for known in (pages.get(number), self._cached.get(number)):
                if known is not None and known.digest == digest:
                    pages[number] = known
                    break
            else:
                pages[number] = _CachedPage(digest, await asyncio.to_thread(self._process, body, number))
            return pages[number].page

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._client.timeout):
                snapshot = await read_list(
                    read_page,
                    self._processor.remove_rows,
                    concurrency=self._client.concurrency,
                    on_restart=self._observer.record_list_restart,
                )
                self._cached = pages
                return snapshot
        raise session.retrying or RequestTimeout(f"reading the list took longer than {self._client.timeout:g} s")

    def _params(self, number: int) -> dict[str, str | int]:
        return {"page[number]": number, "page[size]": self._query.page_size, **self._query.params}

    def _process(self, body: bytes, number: int) -> ProcessedPage[ContentT]:
        try:
            page = self._decode(body)
        except ValueError as error:
            problem = str(error)
        else:
            return process(page, self._processor)
        raise Malformed(f"page {number} can't be decoded: {problem}")
