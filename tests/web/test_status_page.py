import time
from html.parser import HTMLParser

import pytest

from exporter import __version__
from exporter.cache import Entry
from exporter.exposition.response import EMPTY
from exporter.refresh import View
from exporter.telnyx.errors import ConnectionFailed, TelnyxError, Unauthorized
from exporter.web.status_page import render_page

VIEW = View(EMPTY, 55, 1_517_610_327.521)  # 2018-02-02T22:25:27Z
VOID = {"meta"}


class Page(HTMLParser):
    """The text, the links and the elements of a page; its elements must be closed in their order."""

    def __init__(self, html):
        super().__init__()
        self.text, self.links, self.elements, self._open = [], {}, [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        """Take the begin of an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        """Take the end of an element."""
        assert self._open.pop() == tag

    def handle_data(self, data):
        """Take text, and what it is the text of."""
        if data.strip() and self._open[-1] != "style":
            self.text.append(data)
        if self._open and self._open[-1] == "a":
            self.links[data] = self.elements[-1][1]["href"]


def entry(view=VIEW, age=12.4, *, stale=False, error=None):
    """Return what a cache may have to say."""
    return Entry(view, None if view is None else age, stale=stale, error=error, hit=False)


def shown(what, metrics_path="/metrics"):
    """Return the state, its details, and the facts of the page for an entry."""
    html = render_page(what, metrics_path, backoff=47.2)
    assert html.startswith("<!DOCTYPE html>\n")
    text = Page(html).text
    title, heading, state, *details = text[: text.index("Connections")]
    assert (title, heading) == (f"Telnyx exporter: {state}", "Telnyx exporter")
    facts = text[text.index("Connections") : text.index("Metrics")]
    return state, details, dict(zip(facts[::2], facts[1::2], strict=True))


def facts(connections, last):
    """Return the facts that a page must show."""
    return {"Connections": connections, "Last read": last, "Version": __version__}


NEXT = "Next attempt: at the first scrape after 47 s."
NEVER = facts("unknown", "never, or longer ago than --cache.max-stale")
READ = facts("55", "2018-02-02 22:25:27 UTC, 12 s ago")


@pytest.fixture
def elsewhere(monkeypatch):
    """Let the machine be where it is not UTC."""
    monkeypatch.setenv("TZ", "Elsewhere-13")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        pytest.param(entry(None), ("No current data from Telnyx", [], NEVER), id="never-read"),
        pytest.param(entry(), ("Connected to Telnyx", [], READ), id="fine"),
        pytest.param(entry(stale=True), ("Connected to Telnyx", [], READ), id="stale-as-nobody-asked"),
        pytest.param(
            entry(stale=True, error=Unauthorized(401, "10009")),
            (
                "Can't reach the Telnyx API",
                ["Reason: unauthorized (HTTP status 401, Telnyx error 10009)", Unauthorized.advice, NEXT],
                facts("55 when last read", READ["Last read"]),
            ),
            id="failing-with-value",
        ),
        pytest.param(
            entry(None, error=ConnectionFailed("ConnectError")),
            ("Can't reach the Telnyx API", ["Reason: connection (ConnectError)", ConnectionFailed.advice, NEXT], NEVER),
            id="failing-without-value-or-too-old",
        ),
    ],
)
def test_states(elsewhere, what, expected):
    """The page says whether Telnyx can be read, else why not and what to do, and how old what it knows is."""
    assert shown(what) == expected


@pytest.mark.parametrize(
    ("what", "tone"),
    [
        pytest.param(entry(), "good", id="fine"),
        pytest.param(entry(error=Unauthorized(401)), "bad", id="failing"),
    ],
)
def test_tone(what, tone):
    """The colour of the page says at first sight whether all is well."""
    html = render_page(what, "/metrics")
    assert f".state strong {{ color: var(--{tone}); }}" in html
    assert f"--{tone}: #" in html


def test_fault_of_ours_is_not_quoted():
    """An exception that is not one of ours is shown as internal, without its text, which could hold a secret."""
    html = render_page(entry(error=ValueError("KEY0123-secret")), "/metrics")
    assert "Reason: internal" in html
    assert "KEY0123" not in html


def test_links():
    """The page links the metrics, at whatever path they are served, and both health checks."""
    links = Page(render_page(entry(), "/telnyx/metrics")).links
    assert links == {"Metrics": "/telnyx/metrics", "Healthy": "/-/healthy", "Ready": "/-/ready"}


HOSTILE = """</title></p><script>alert('1')</script>" onload="x" {version} &amp; %s"""


def test_what_is_inserted_is_escaped():
    """Neither an error nor the path of the metrics can add an element, an attribute or a field to the page."""

    class Hostile(TelnyxError):
        reason = HOSTILE
        advice = HOSTILE

    harmless = Page(render_page(entry(error=Unauthorized(401)), "/metrics"))
    hostile = Page(render_page(entry(error=Hostile(HOSTILE)), HOSTILE))
    assert [(tag, sorted(attrs)) for tag, attrs in hostile.elements] == [
        (tag, sorted(attrs)) for tag, attrs in harmless.elements
    ]
    assert hostile.links["Metrics"] == HOSTILE
    assert f"Reason: {HOSTILE} ({HOSTILE})" in hostile.text
    assert HOSTILE in hostile.text


def test_page_needs_nothing_from_elsewhere():
    """The page loads no script, image, font or style from anywhere, as its content security policy demands."""
    elements = Page(render_page(entry(), "/metrics")).elements
    assert {tag for tag, _ in elements}.isdisjoint({"script", "img", "link", "iframe", "object"})
    assert not any({"src", "onclick", "style"} & set(attrs) for _, attrs in elements)
