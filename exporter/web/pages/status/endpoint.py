"""The endpoints of the status: a page for people, and JSON."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from exporter.status.query import Query
from exporter.web.pages.status.renderer import render, style
from exporter.web.pages.style import page_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from starlette.requests import Request

    from exporter.config.web.paths import WebPaths
    from exporter.status.status import Status

MAX_WAITING = 8
"""Requests that wait while another one reads the status."""

_BUSY = "too many requests for the status at the same time: try again in a second"
_RETRY = {"retry-after": "1"}


class ReadStatus(Protocol):
    """Reads the present status."""

    def __call__(self, query: Query, *, with_table: bool = True) -> Awaitable[Status]:
        """Return the status that the query selects, or without the table, which costs less."""


class StatusEndpoint:
    """Serves the status as a page and as JSON. One request at a time reads it, so clients can't pile up work."""

    def __init__(self, read_status: ReadStatus, paths: WebPaths) -> None:
        self._read_status = read_status
        self._paths = paths
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._renderer = ThreadPoolExecutor(1, "status-page")
        """Its only thread, so that clients who disconnect can't make it render several pages at once."""

    async def page(self, request: Request) -> Response:
        """Return the page."""
        query = Query.parse(request.scope["query_string"])
        if self._is_busy:
            return PlainTextResponse(f"{_BUSY}\n", 503, {**page_headers(), **_RETRY})
        async with self._turn():
            status = await self._read_status(query)
            # The first page imports Jinja2 and compiles the templates, so that an exporter without visitors never does.
            work = partial(render, status, query, self._paths, datetime.now(UTC))
            page = await asyncio.get_running_loop().run_in_executor(self._renderer, work)
        return HTMLResponse(page, headers=page_headers(style()))

    async def json(self, request: Request) -> Response:
        """Return the report as JSON. The only parameter is `account`."""
        query = Query.parse(request.scope["query_string"])
        if self._is_busy:
            return _json({"error": _BUSY}, 503, _RETRY)
        async with self._turn():
            status = await self._read_status(query, with_table=False)
        return _json({"error": status.missing}, 404) if status.missing else _json(status.report)

    @property
    def _is_busy(self) -> bool:
        return self._waiting >= MAX_WAITING

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until no other request reads the status."""
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._lock.release()


def _json(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(content) + b"\n",
        status,
        {**page_headers(), **(headers or {})},
        media_type="application/json",
    )
