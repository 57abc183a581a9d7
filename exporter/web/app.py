"""The HTTP routes: metrics, status page, runbooks, health checks, reload."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route

from exporter.config.web.paths import HEALTHY, NO_PREFIX, READY, RELOAD, RUNBOOKS, STATUS
from exporter.exposition.formats import end_of
from exporter.exposition.negotiation import accepts_gzip, choose_format
from exporter.exposition.response import PIECE_BYTES, response_body
from exporter.server.connections import MAX_UNREAD
from exporter.web.pages.links_page import LinksEndpoint
from exporter.web.pages.runbooks import RunbookEndpoint
from exporter.web.pages.status.endpoint import StatusEndpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from exporter.accounts.account_set import AccountSet
    from exporter.config.web.paths import WebPaths
    from exporter.exposition.formats import Format
    from exporter.exposition.own_metrics import AccountMetrics
    from exporter.exposition.response import Piece
    from exporter.web.pages.status.endpoint import ReadStatus

DEFAULT_TIMEOUT = 10.0
"""Seconds that a scrape waits for a refresh if the scraper does not send its timeout."""
TIMEOUT_MARGIN = 0.5
"""Seconds reserved for sending the response before the scraper's timeout."""

_SMALL_BODY = 2**20
"""Bytes that can be decompressed without delaying other requests noticeably."""
_MAX_DECOMPRESSIONS = MAX_UNREAD + 8
"""Bodies of several pieces that are decompressed at the same time: more than those whose clients don't read."""

OWN_METRICS = "exporter"
"""The value of `collect[]` that selects the exporter's own metrics."""


class ExporterMetrics(Protocol):
    """The exporter's own metrics."""

    def render(self, form: Format, accounts: Sequence[AccountMetrics]) -> bytes:
        """Render the current metrics of the exporter and of these accounts."""


def create_app(
    current_accounts: Callable[[], AccountSet],
    own_metrics: ExporterMetrics,
    *,
    read_status: ReadStatus | None = None,
    paths: WebPaths = NO_PREFIX,
    reload: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    """Return the application. For each request it calls `current_accounts`.

    If `read_status` is None, the page at `/` has only links, and there is no status as JSON.
    `reload` reloads the configuration, or raises `ValueError`. If it is None, reloading over HTTP is disabled.
    """

    async def redirect(_: Request) -> Response:
        return RedirectResponse(paths.page, 302)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        # Kubernetes may probe before the first scrape, and Prometheus may not scrape a pod that is not ready: refresh.
        accounts = current_accounts()
        if accounts.is_ready:
            return PlainTextResponse("ready\n")
        accounts.start_refreshes()
        return PlainTextResponse("not ready\n", 503)

    async def reload_config(_: Request) -> Response:
        if reload is None:
            return PlainTextResponse(
                "reloading over HTTP is disabled: set --web.enable-lifecycle, or send SIGHUP\n", 403
            )
        try:
            await reload()
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 500)
        return PlainTextResponse("reloaded\n")

    status = LinksEndpoint(paths) if read_status is None else StatusEndpoint(read_status, paths)
    runbooks = RunbookEndpoint(paths)
    routes = [
        Route(paths.metrics, _MetricsEndpoint(current_accounts, own_metrics), methods=["GET"]),
        Route(paths.page, status.page),
        Route(paths.route(STATUS), status.json),
        Route(paths.route(RUNBOOKS).rstrip("/"), runbooks.redirect),
        Route(paths.route(RUNBOOKS) + "{name:path}", runbooks.page),
        Route(paths.route(HEALTHY), healthy),
        Route(paths.route(READY), ready),
        Route(paths.route(RELOAD), reload_config, methods=["POST"]),
    ]
    if paths.route_prefix:
        routes += [Route(paths.route_prefix, status.page), Route("/", redirect)]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False  # a redirect would go to the request's Host, which the client chooses
    return app


class _MetricsEndpoint:
    """Serves a scrape: waits for fresh data as long as the scraper does, then sends the current state."""

    def __init__(self, current_accounts: Callable[[], AccountSet], own_metrics: ExporterMetrics) -> None:
        self._current_accounts = current_accounts
        self._own_metrics = _SharedTexts(own_metrics)
        self._decompressions = asyncio.Semaphore(_MAX_DECOMPRESSIONS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        accounts = self._current_accounts()
        chosen, collectors = _selection(scope["query_string"])
        for name in chosen or ():
            if problem := accounts.why_missing(name):
                await PlainTextResponse(f"{problem}\n", 404)(scope, receive, send)
                return
        if collectors is not None and not collectors <= {*accounts.collectors, OWN_METRICS}:
            known = ", ".join((*accounts.collectors, OWN_METRICS))
            await PlainTextResponse(f"collect[] must be one of the enabled collectors: {known}\n", 400)(
                scope, receive, send
            )
            return
        form = choose_format(headers.get("accept", ""))
        gzip = accepts_gzip(headers.get("accept-encoding", ""))
        timeout = scrape_timeout(headers.get("x-prometheus-scrape-timeout-seconds", ""))
        document = await accounts.scrape(timeout, chosen, collectors)
        has_own = collectors is None or OWN_METRICS in collectors
        # The accounts may have changed. Those of the document are shown: each is there completely or not at all.
        own_metrics = self._own_metrics.render(form, accounts.own_metrics(chosen)) if has_own else end_of(form)
        body = response_body(document, form, own_metrics, gzip=gzip)
        response_headers = [
            (b"content-type", form.value.encode()),
            (b"content-length", str(body.length).encode()),
            (b"vary", b"accept, accept-encoding"),
            *([(b"content-encoding", b"gzip")] if gzip else []),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": response_headers})
        if scope["method"] != "HEAD":
            is_decompressed_in_pieces = not gzip and body.length > PIECE_BYTES
            async with self._decompressions if is_decompressed_in_pieces else contextlib.nullcontext():
                await _send_pieces(send, body.pieces, in_thread=not gzip and body.length > _SMALL_BODY)
        await send({"type": "http.response.body", "body": b""})


class _SharedTexts:
    """The exporter's own metrics, rendered once for all scrapes of the same turn of the event loop.

    Hundreds of scrapes can arrive in one turn, and to render is the largest part of the work for each.
    """

    def __init__(self, own_metrics: ExporterMetrics) -> None:
        self._own_metrics = own_metrics
        self._texts: dict[tuple[Format, Sequence[AccountMetrics]], bytes] = {}

    def render(self, form: Format, accounts: Sequence[AccountMetrics]) -> bytes:
        """Return the metrics of the exporter and of these accounts."""
        if not self._texts:
            asyncio.get_running_loop().call_soon(self._texts.clear)
        if (text := self._texts.get((form, accounts))) is None:
            text = self._texts[form, accounts] = self._own_metrics.render(form, accounts)
        return text


class _Selection(NamedTuple):
    """The accounts and collectors that the query selects. None means all."""

    accounts: frozenset[str] | None
    collectors: frozenset[str] | None


def _selection(query: bytes) -> _Selection:
    """Return the names in the parameters `account` and `collect[]`."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True) if query else ()
    accounts, collectors = (
        frozenset(value for name, value in pairs if name == parameter) for parameter in ("account", "collect[]")
    )
    return _Selection(accounts or None, collectors or None)


async def _send_pieces(send: Send, pieces: Iterator[Piece], *, in_thread: bool) -> None:
    """Send the pieces of a body. `send` waits until the transport has sent most of the last one.

    With `in_thread`, a worker thread creates them.
    """
    while (piece := await asyncio.to_thread(next, pieces, None) if in_thread else next(pieces, None)) is not None:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)  # if the client reads as fast as the exporter sends, other requests would wait


def scrape_timeout(header: str) -> float:
    """Parse `X-Prometheus-Scrape-Timeout-Seconds` and return the seconds that a scrape may wait for a refresh."""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,9})?", header, re.ASCII):
        return DEFAULT_TIMEOUT
    seconds = float(header)
    return max(seconds - TIMEOUT_MARGIN, seconds / 2)
