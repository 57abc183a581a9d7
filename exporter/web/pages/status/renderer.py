"""Renders the status page from the templates beside this module."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.status import query as choices
from exporter.web.pages.status import view, words
from exporter.web.pages.status.links import Links
from exporter.web.pages.style import BASE_STYLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import jinja2

    from exporter.config.web.paths import WebPaths
    from exporter.status.query import Query
    from exporter.status.status import Status

_FOLDER = Path(__file__).parent


def render(status: Status, query: Query, paths: WebPaths, now: datetime) -> bytes:
    """Render the page. `now` is in UTC. The first call imports Jinja2 and compiles the templates."""
    has_accounts = len(status.accounts) > 1 and not query.account
    page = _template().render(
        status=status,
        report=status.report,
        table=status.connections,
        query=query,
        now=now,
        links=Links(query, paths),
        sections=view.sections(status),
        knowledge=view.knowledge(status.report),
        has_accounts=has_accounts,
        columns={name: title for name, title in view.COLUMNS.items() if name != "account" or has_accounts},
        titles={collector.collector: collector.title for collector in status.report.collectors},
        project_links=project_links(),
        style=style(),
    )
    return page.encode("utf-8", "replace")  # a command line can contain bytes that are no text


@functools.cache
def style() -> str:
    """Return the text of the page's `<style>` element."""
    return "".join(path.read_text("utf-8") for path in (BASE_STYLE, _FOLDER / "style.css"))


@functools.cache
def project_links() -> Sequence[tuple[str, str]]:
    """Return the labels and URLs that the metadata of the installed package contains."""
    try:
        entries = metadata("telnyx-exporter").get_all("Project-URL") or ()
    except PackageNotFoundError:  # runs from a source tree
        return ()
    pairs = (entry.partition(",") for entry in entries)
    return [(label.strip(), url.strip()) for label, _, url in pairs if url.strip().startswith("https://")]


@functools.cache
def _template() -> jinja2.Template:
    import jinja2  # noqa: PLC0415 -- an exporter whose page nobody opens needs neither its time nor its memory

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "words": words.words,
        "shorten": words.shorten,
        "with_flags": words.with_flags,
        "naming": words.naming,
        "plural": words.plural,
        "number": words.number,
        "span": words.span,
        "duration": words.duration,
        "ago": words.ago,
        "utc": words.utc,
        "machine_time": words.machine_time,
        "parse_time": words.parse_time,
    }
    environment.globals |= {"choices": choices, "view": view, "words": words}
    return environment.get_template("page.html")
