"""The routes: metrics, landing page, health, reload."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Protocol

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from exporter.exposition.negotiation import accepts_gzip, choose_format
from exporter.exposition.response import EMPTY, Format, assemble
from exporter.web.status_page import page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from exporter.cache import Cache, Entry
    from exporter.refresh import View

DEFAULT_TIMEOUT = 10.0
"""Seconds that a scrape waits when the scraper does not say how long it does."""
MARGIN = 0.5
"""Seconds that an answer is given to travel before the scraper gives up."""

_SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Live(Protocol):
    """The exporter's own metrics."""

    def scraped(self, entry: Entry[View]) -> None:
        """Count a scrape by what the cache had for it."""

    def render(self, form: Format) -> bytes:
        """Return the metrics as they are now."""


def create_app(
    current: Callable[[], Cache[View]],
    live: Live,
    *,
    metrics_path: str = "/metrics",
    reload: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    """Return the application that serves what the cache that is `current` holds.

    `reload` reads the configuration again, or raises `ValueError`; without it nobody can ask for that.
    """

    async def landing(_: Request) -> Response:
        cache = current()
        return HTMLResponse(page(cache.peek(), metrics_path, pause=cache.pause), headers=_SECURITY_HEADERS)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        # A probe may be the first to ask, and who is not ready may never be scraped: so it brings a refresh about.
        entry = await current().get(0.0)
        return PlainTextResponse("not ready\n", 503) if entry.value is None else PlainTextResponse("ready\n")

    async def reload_now(_: Request) -> Response:
        if reload is None:
            return PlainTextResponse("off: --web.enable-lifecycle turns it on, SIGHUP works anyway\n", 403)
        try:
            await reload()
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 500)
        return PlainTextResponse("reloaded\n")

    app = Starlette(
        routes=[
            Route(metrics_path, _Metrics(current, live), methods=["GET"]),
            Route("/", landing),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/reload", reload_now, methods=["POST"]),
        ]
    )
    app.router.redirect_slashes = False  # a redirect would lead to whatever host the request names
    return app


class _Metrics:
    """The scrape: it waits for a fresh snapshot no longer than the scraper does, and then sends what there is."""

    def __init__(self, current: Callable[[], Cache[View]], live: Live) -> None:
        self._current = current
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI's signature
        headers = Headers(scope=scope)
        form = choose_format(headers.get("accept", ""))
        gzip = accepts_gzip(headers.get("accept-encoding", ""))
        entry = await self._current().get(patience(headers.get("x-prometheus-scrape-timeout-seconds", "")))
        self._live.scraped(entry)
        document = EMPTY if entry.value is None else entry.value.document
        if (form, gzip) not in document.made:
            await asyncio.to_thread(document.part, form, gzip=gzip)
        pieces = assemble(document.part(form, gzip=gzip), self._live.render(form), gzip=gzip)
        answer = [
            (b"content-type", form.value.encode()),
            (b"content-length", str(sum(map(len, pieces))).encode()),
            (b"vary", b"accept, accept-encoding"),
            *([(b"content-encoding", b"gzip")] if gzip else []),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": answer})
        first, last = pieces
        await send({"type": "http.response.body", "body": first, "more_body": True})
        await send({"type": "http.response.body", "body": last})


def patience(header: str) -> float:
    """Return the seconds that a scrape may wait, from the scraper's own `X-Prometheus-Scrape-Timeout-Seconds`."""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,9})?", header, re.ASCII):
        return DEFAULT_TIMEOUT
    seconds = float(header)
    return max(seconds - MARGIN, seconds / 2)
