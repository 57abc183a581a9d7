"""The status page, which shows a person whether the exporter works."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse

from exporter import __version__
from exporter.config.web.paths import HEALTHY, READY, RUNBOOKS
from exporter.telnyx.errors import Internal, TelnyxError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from exporter.account.cached_collector import CollectorState
    from exporter.accounts.account_set import AccountSet
    from exporter.config.web.paths import WebPaths

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
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 52rem; margin: 0 auto; padding: 1.5rem 1rem; }}
h1 {{ font-size: 1.4rem; margin: 0 0 1rem; }}
.state {{ border-left: .3rem solid var(--{tone}); padding: .5rem 1rem; margin: 1rem 0; }}
.state strong {{ color: var(--{tone}); }}
.state p {{ margin: .25rem 0; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; font-weight: inherit; padding: .2rem 1.5rem .2rem 0; vertical-align: top; }}
thead {{ opacity: .75; }}
nav {{ border-top: 1px solid var(--line); padding-top: 1rem; display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; }}
</style>
</head>
<body>
<h1>Telnyx exporter</h1>
<div class="state" role="status"><p><strong>{title}</strong></p>{detail}</div>
<table>
<thead><tr>{account_head}<th>Collector</th><th>Rows</th><th>Last read</th></tr></thead>
<tbody>{rows}</tbody>
</table>
<p>Version {version}</p>
<nav><a href="{metrics}">Metrics</a> <a href="{runbooks}">Runbooks</a> <a href="{healthy}">Healthy</a>
<a href="{ready}">Ready</a></nav>
</body>
</html>
"""


class StatusEndpoint:
    """Serves the page."""

    def __init__(self, current_accounts: Callable[[], AccountSet], paths: WebPaths, headers: Mapping[str, str]) -> None:
        self._current_accounts = current_accounts
        self._paths = paths
        self._headers = headers

    async def page(self, _: Request) -> Response:
        """Return the page for the current states of the collectors."""
        accounts = self._current_accounts()
        page = render_page(accounts.states(), self._paths, time.time(), has_keys=accounts.total_accounts > 0)
        return HTMLResponse(page, headers=self._headers)


def render_page(states: Sequence[CollectorState], paths: WebPaths, now: float, *, has_keys: bool = True) -> str:
    """Render the page for the states of the collectors. `now` is the Unix time in seconds.

    `has_keys` is whether any shard has an account.
    """
    failing = [state for state in states if state.entry.error is not None]
    has_accounts = any(state.account for state in states)
    title, tone = "Connected to Telnyx", "good"
    if failing:
        title, tone = "The last refresh failed", "bad"
        if len(states) > 1:
            title = f"The last refresh of {len(failing)} of {len(states)} collectors failed"
    elif not has_keys:
        title, tone = "No API key file matches --telnyx.api-key-files", "bad"
    elif not states:
        title = "No accounts in this shard"
    elif all(state.entry.value is None for state in states):
        title = "No current data from Telnyx"
    return _PAGE.format(
        title=title,
        tone=tone,
        detail="".join(map(_failure, failing)),
        account_head="<th>Account</th>" if has_accounts else "",
        rows="".join(_row(state, now, has_accounts=has_accounts) for state in states),
        version=escape(__version__),
        metrics=escape(paths.link(paths.telemetry_path)),
        runbooks=escape(paths.link(RUNBOOKS)),
        healthy=escape(paths.link(HEALTHY)),
        ready=escape(paths.link(READY)),
    )


def _failure(state: CollectorState) -> str:
    error = state.entry.error
    cause = error if isinstance(error, TelnyxError) else Internal()
    name = f"{state.account} {state.name}" if state.account else state.name
    when = f"in {state.seconds_until_refresh:.0f} s"
    if not state.account:
        when = f"at the first scrape {when} or later"
    return (
        f"<p><b>{escape(name)}</b>: {escape(cause.reason)} ({escape(str(cause))})</p>"
        f"<p>{escape(cause.advice)}</p>"
        f"<p>Next attempt: {when}.</p>"
    )


def _row(state: CollectorState, now: float, *, has_accounts: bool) -> str:
    view = state.entry.value
    rows = "unknown"
    last = "never, or expired" if state.entry.error else "not yet, or expired: the next scrape refreshes it"
    if view is not None and view.refreshed_at:
        age = max(0.0, now - view.refreshed_at)
        rows = f"{view.row_count}{' when last read' if state.entry.error else ''}"
        last = f"{datetime.fromtimestamp(view.refreshed_at, UTC):%Y-%m-%d %H:%M:%S} UTC, {age:.0f} s ago"
    account = f"<th>{escape(state.account)}</th>" if has_accounts else ""
    return f"<tr>{account}<th>{escape(state.name)}</th><td>{rows}</td><td>{last}</td></tr>"
