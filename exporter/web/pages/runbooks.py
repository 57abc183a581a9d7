"""The runbooks of the alerts, as HTML pages. `docs/runbook_pages.py` renders them when the package is built."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse

from exporter.config.web.paths import RUNBOOKS
from exporter.web.pages.style import page_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from exporter.config.web.paths import WebPaths

PAGES = Path(__file__).with_name("html")
"""The folder of the pages in the package."""

_INDEX = "index"
_NOT_INSTALLED = "this installation has no runbooks: run `make generate` in the source tree, then restart it\n"


class RunbookEndpoint:
    """Serves the index of the runbooks and each runbook. The first request loads all pages into memory."""

    def __init__(self, paths: WebPaths, folder: Path = PAGES) -> None:
        self._folder = folder
        self._not_found = f"there is no such runbook: {paths.link(RUNBOOKS)} lists all\n"
        self._pages: Mapping[str, _Page] | None = None

    async def page(self, request: Request) -> Response:
        """Return the page whose name is in the path. The empty name is the index."""
        if self._pages is None:
            self._pages = await asyncio.to_thread(_load, self._folder)
        page = self._pages.get(request.path_params["name"])
        if page is not None:
            return HTMLResponse(page.html, headers=page.headers)
        return PlainTextResponse(self._not_found if self._pages else _NOT_INSTALLED, 404, page_headers())

    async def redirect(self, _: Request) -> Response:
        """Redirect to the index. The target is relative, so neither `Host` nor a reverse proxy can change it."""
        return RedirectResponse(RUNBOOKS.lstrip("/"), 302)


class _Page(NamedTuple):
    html: str
    headers: Mapping[str, str]


def _load(folder: Path) -> dict[str, _Page]:
    """Return the pages in a folder by name, the index with an empty name."""
    pages = {}
    for path in folder.glob("*.html"):
        html = path.read_text("utf-8")
        style = html.partition("<style>")[2].partition("</style>")[0]
        pages["" if path.stem == _INDEX else path.stem] = _Page(html, page_headers(style))
    return pages
