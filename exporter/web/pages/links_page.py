"""The page that replaces the status page if `--web.disable-status-page` is set: links, and no data."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, PlainTextResponse

from exporter.config.web.paths import HEALTHY, READY, RUNBOOKS
from exporter.web.pages.style import BASE_STYLE, page_headers

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from exporter.config.web.paths import WebPaths

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Telnyx exporter</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Telnyx exporter</h1>
<p>The status page is turned off (<code>--web.disable-status-page</code>).</p>
<nav aria-label="Exporter">
<ul>
<li><a href="{metrics}">Metrics</a></li>
<li><a href="{runbooks}">Runbooks</a></li>
<li><a href="{healthy}">Healthy</a></li>
<li><a href="{ready}">Ready</a></li>
</ul>
</nav>
</main>
</body>
</html>
"""


class LinksEndpoint:
    """Serves the page, and the response at the path of the status as JSON."""

    def __init__(self, paths: WebPaths) -> None:
        style = BASE_STYLE.read_text("utf-8")
        self._headers = page_headers(style)
        self._page = _PAGE.format(
            style=style,
            metrics=escape(paths.link(paths.telemetry_path)),
            runbooks=escape(paths.link(RUNBOOKS)),
            healthy=escape(paths.link(HEALTHY)),
            ready=escape(paths.link(READY)),
        )

    async def page(self, _: Request) -> Response:
        """Return the page."""
        return HTMLResponse(self._page, headers=self._headers)

    async def json(self, _: Request) -> Response:
        """Return status 404 with the reason."""
        text = "the status page is turned off: remove --web.disable-status-page\n"
        return PlainTextResponse(text, 404, page_headers())
