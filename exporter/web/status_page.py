"""The page at `/`, which shows a person whether the exporter works."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.telnyx.errors import Internal, TelnyxError

if TYPE_CHECKING:
    from exporter.account.refresh import View
    from exporter.cache import Entry

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Telnyx exporter: {title}</title>
<style>
:root {{ color-scheme: light dark; --good: #1a7f37; --bad: #c4320a; --line: #8884; }}
@media (prefers-color-scheme: dark) {{ :root {{ --good: #4ac26b; --bad: #ff8f6b; }} }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 0 auto; padding: 1.5rem 1rem; }}
h1 {{ font-size: 1.4rem; margin: 0 0 1rem; }}
.state {{ border-left: .3rem solid var(--{tone}); padding: .5rem 1rem; margin: 1rem 0; }}
.state strong {{ color: var(--{tone}); }}
.state p {{ margin: .25rem 0; overflow-wrap: anywhere; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1.5rem; margin: 1rem 0; }}
dt {{ opacity: .75; }}
dd {{ margin: 0; font-variant-numeric: tabular-nums; }}
nav {{ border-top: 1px solid var(--line); padding-top: 1rem; display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; }}
</style>
</head>
<body>
<h1>Telnyx exporter</h1>
<div class="state" role="status"><p><strong>{title}</strong></p>{detail}</div>
<dl>
<dt>Connections</dt><dd>{connections}</dd>
<dt>Last read</dt><dd>{last}</dd>
<dt>Version</dt><dd>{version}</dd>
</dl>
<nav><a href="{metrics}">Metrics</a> <a href="/-/healthy">Healthy</a> <a href="/-/ready">Ready</a></nav>
</body>
</html>
"""


def render_page(entry: Entry[View], metrics_path: str, *, seconds_until_refresh: float = 0.0) -> str:
    """Render the page for the state of the cache."""
    view, age, error = entry.value, entry.age, entry.error
    title, tone, detail = "Connected to Telnyx", "good", ""
    if error is not None:
        cause = error if isinstance(error, TelnyxError) else Internal()
        title, tone = "The last refresh failed", "bad"
        detail = (
            f"<p>Reason: {escape(cause.reason)} ({escape(str(cause))})</p><p>{escape(cause.advice)}</p>"
            f"<p>Next attempt: at the first scrape in {seconds_until_refresh:.0f} s or later.</p>"
        )
    elif view is None:
        title = "No current data from Telnyx"
    last = "never, or longer ago than --cache.max-stale"
    if view is not None and age is not None:
        last = f"{datetime.fromtimestamp(view.refreshed_at, UTC):%Y-%m-%d %H:%M:%S} UTC, {age:.0f} s ago"
    return _PAGE.format(
        title=escape(title),
        tone=tone,
        detail=detail,
        connections="unknown" if view is None else f"{view.connection_count}{' when last read' if error else ''}",
        last=last,
        version=escape(__version__),
        metrics=escape(metrics_path),
    )
