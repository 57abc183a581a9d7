from dataclasses import replace

import pytest
from collectors import view_of
from html_page import Page

from exporter import __version__
from exporter.account.cached_collector import CollectorState
from exporter.cache import Entry
from exporter.config.web.paths import NO_PREFIX, WebPaths
from exporter.telnyx.errors import ConnectionFailed, TelnyxError, Unauthorized
from exporter.web.pages.status_page import render_page

VIEW = view_of(row_count=55, refreshed_at=1_517_610_327.521)  # 2018-02-02T22:25:27Z


def entry(view=VIEW, age=12.4, *, stale=False, error=None):
    """Return a cache entry."""
    return Entry(view, None if view is None else age, stale=stale, error=error, hit=False)


def states_of(*entries, names=("credential-connections", "ip-connections", "fax-applications")):
    """Return the states of collectors with these cache entries."""
    return [CollectorState(name, state, 47.2) for name, state in zip(names, entries, strict=False)]


def page_of(*entries, paths=NO_PREFIX):
    """Render the page of collectors with these cache entries."""
    return render_page(states_of(*entries), paths, VIEW.refreshed_at + 12.4)


def rendered(*entries):
    """Render the page, and return its state, the details about errors, and the rows of its table."""
    html = page_of(*entries)
    assert html.startswith("<!DOCTYPE html>\n")
    text = Page(html).text
    title, heading, state, *details = text[: text.index("Collector")]
    assert (title, heading) == (f"Telnyx exporter: {state}", "Telnyx exporter")
    cells = text[text.index("Last read") + 1 : text.index(f"Version {__version__}")]
    return state, details, [tuple(cells[start : start + 3]) for start in range(0, len(cells), 3)]


def row(rows, last, name="credential-connections"):
    """Return the expected row of the table."""
    return (name, rows, last)


NAME = "credential-connections"
NEXT = "Next attempt: at the first scrape in 47 s or later."
NOT_YET = row("unknown", "not yet, or expired: the next scrape refreshes it")
FAILED = row("unknown", "never, or expired")
REFRESHED = row("55", "2018-02-02 22:25:27 UTC, 12 s ago")


@pytest.mark.parametrize(
    ("cache_entry", "expected"),
    [
        pytest.param(entry(None), ("No current data from Telnyx", [], [NOT_YET]), id="never-refreshed"),
        pytest.param(entry(), ("Connected to Telnyx", [], [REFRESHED]), id="fine"),
        pytest.param(entry(stale=True), ("Connected to Telnyx", [], [REFRESHED]), id="stale-without-scrapes"),
        pytest.param(
            entry(stale=True, error=Unauthorized(401, "10009")),
            (
                "The last refresh failed",
                [NAME, ": unauthorized (HTTP status 401, Telnyx error 10009)", Unauthorized.advice, NEXT],
                [row("55 when last read", REFRESHED[2])],
            ),
            id="failing-with-value",
        ),
        pytest.param(
            entry(None, error=ConnectionFailed("ConnectError")),
            (
                "The last refresh failed",
                [NAME, ": connection (ConnectError)", ConnectionFailed.advice, NEXT],
                [FAILED],
            ),
            id="failing-without-value",
        ),
    ],
)
def test_states(other_time_zone, cache_entry, expected):
    """The page states whether the Telnyx API is reachable and how old the data is. An error has a reason and advice."""
    assert rendered(cache_entry) == expected


def test_several_collectors():
    """The page has a row for each collector, says how many fail, and names these with their errors."""
    state, details, rows = rendered(entry(), entry(None, error=ConnectionFailed("x")), entry(error=Unauthorized(401)))
    assert state == "The last refresh of 2 of 3 collectors failed"
    assert [text for text in details if text in {"credential-connections", "ip-connections", "fax-applications"}] == [
        "ip-connections",
        "fax-applications",
    ]
    assert rows == [
        REFRESHED,
        row(*FAILED[1:], "ip-connections"),
        row("55 when last read", REFRESHED[2], "fax-applications"),
    ]


@pytest.mark.parametrize(
    ("cache_entry", "color"),
    [
        pytest.param(entry(), "good", id="fine"),
        pytest.param(entry(error=Unauthorized(401)), "bad", id="failing"),
    ],
)
def test_color(cache_entry, color):
    """The color of the state shows at a glance whether all is well."""
    html = page_of(cache_entry)
    assert f".state strong {{ color: var(--{color}); }}" in html
    assert f"--{color}: #" in html


def test_unexpected_exception_is_not_quoted():
    """An unexpected exception is shown as internal, without its text, which could contain a secret."""
    html = page_of(entry(error=ValueError("KEY0123-secret")))
    assert "</b>: internal (" in html
    assert "KEY0123" not in html


@pytest.mark.parametrize(
    ("paths", "links"),
    [
        (
            NO_PREFIX,
            {"Metrics": "/metrics", "Runbooks": "/runbooks/", "Healthy": "/-/healthy", "Ready": "/-/ready"},
        ),
        (
            WebPaths("/in", "", "/a/b"),
            {"Metrics": "/a/b", "Runbooks": "/runbooks/", "Healthy": "/-/healthy", "Ready": "/-/ready"},
        ),
        (
            WebPaths("", "/out", "/m"),
            {
                "Metrics": "/out/m",
                "Runbooks": "/out/runbooks/",
                "Healthy": "/out/-/healthy",
                "Ready": "/out/-/ready",
            },
        ),
    ],
    ids=["default", "only inside", "only outside"],
)
def test_links(paths, links):
    """The page links to the metrics, the runbooks and both health checks, at the paths that browsers see."""
    assert Page(page_of(entry(), paths=paths)).links == links


HOSTILE = """</title></p><script>alert('1')</script>" onload="x" {version} &amp; %s"""


def test_inserted_text_is_escaped():
    """Neither an error nor the metrics path can add an element, an attribute or a template field to the page."""

    class Hostile(TelnyxError):
        reason = HOSTILE
        advice = HOSTILE

    harmless = Page(page_of(entry(error=Unauthorized(401))))
    hostile = Page(page_of(entry(error=Hostile(HOSTILE)), paths=WebPaths(telemetry_path=HOSTILE)))
    assert [(tag, sorted(attrs)) for tag, attrs in hostile.elements] == [
        (tag, sorted(attrs)) for tag, attrs in harmless.elements
    ]
    assert hostile.links["Metrics"] == HOSTILE
    assert f": {HOSTILE} ({HOSTILE})" in hostile.text
    assert HOSTILE in hostile.text


def test_nothing_was_read_yet():
    """A collector that reads in the background, and has not read anything yet, has no number of rows."""
    assert rendered(entry(view_of(refreshed_at=0.0)))[2] == [NOT_YET]


def test_some_collectors_have_no_data_yet():
    """If a collector has data and none fails, the exporter is connected, even if another one was not read yet."""
    state, _, rows = rendered(entry(), entry(None))
    assert state == "Connected to Telnyx"
    assert rows == [REFRESHED, row(*NOT_YET[1:], "ip-connections")]


def test_page_loads_no_other_resources():
    """The page loads no script, image, font or style, as its content security policy requires."""
    elements = Page(page_of(entry())).elements
    assert {tag for tag, _ in elements}.isdisjoint({"script", "img", "link", "iframe", "object"})
    assert not any({"src", "onclick", "style"} & set(attrs) for _, attrs in elements)


def test_accounts():
    """If accounts have names, each row has the account, and so has each error."""
    entries = (entry(), entry(error=Unauthorized(401)))
    states = [replace(state, account=name) for name, state in zip("xy", states_of(*entries), strict=True)]
    text = Page(render_page(states, NO_PREFIX, VIEW.refreshed_at + 12.4)).text
    assert text[text.index("Account") : text.index("Last read") + 4] == [
        *("Account", "Collector", "Rows", "Last read"),
        *("x", "credential-connections", "55"),
    ]
    assert "y ip-connections" in text
    assert "Next attempt: in 47 s." in text


@pytest.mark.parametrize(
    ("has_keys", "title", "tone"),
    [
        (True, "No accounts in this shard", "good"),
        (False, "No API key file matches --telnyx.api-key-files", "bad"),
    ],
    ids=["empty shard", "no file"],
)
def test_no_account(has_keys, title, tone):
    """A shard without accounts is normal. If no shard has an account, nothing is monitored, so it is an error."""
    html = render_page([], NO_PREFIX, 0.0, has_keys=has_keys)
    text = Page(html).text
    assert title in text
    assert "Account" not in text
    assert f"color: var(--{tone})" in html
