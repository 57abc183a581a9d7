"""Texts from outside on the status page, which must never change its structure."""

import dataclasses
import itertools
from collections.abc import Mapping

import msgspec
import pytest
from html_page import Page
from hypothesis import assume, given
from hypothesis import strategies as st
from statuses import NOW, busy_status, connection, fleet_status, status, table

from exporter.config.web.paths import NO_PREFIX
from exporter.status.query import Query
from exporter.web.pages.status.renderer import render
from exporter.web.pages.status.words import parse_time, shorten, with_flags

STATUSES = [
    dataclasses.replace(busy_status(), connections=table(3)),
    dataclasses.replace(fleet_status(2), connections=table(3, account="x")),
    status(table((connection(0), connection(1, site="x", encryption="x", updated_at="x")))),
    status(missing="x"),
]
"""Statuses that together have everything that the page can show."""
QUERIES = [Query(*["x"] * 8), Query("", *["x"] * 7)]
"""A query for an account, and one for all."""
CASES = list(itertools.product(STATUSES, QUERIES))

OWN = {"kind", "change", "collector", "reason", "sort"}
"""Fields whose values are the exporter's own words, and decide what the page shows."""


def with_text(value, text):
    """Return a copy of a value in which each text is this one, except for empty ones and the exporter's own words."""
    if isinstance(value, str):
        return value and text
    if isinstance(value, tuple | list):
        return tuple(with_text(each, text) for each in value)
    if isinstance(value, Mapping):
        return dict.fromkeys([text] * len(value), text)
    if isinstance(value, msgspec.Struct):
        names, replace = value.__struct_fields__, msgspec.structs.replace
    elif dataclasses.is_dataclass(value):
        names, replace = value.__dataclass_fields__, dataclasses.replace
    else:
        return value
    return replace(value, **{name: with_text(getattr(value, name), text) for name in names if name not in OWN})


def page_of(case, text):
    """Render a page with this text everywhere, and read it."""
    shown, query = with_text(CASES[case], text)
    return Page(render(shown, query, NO_PREFIX, NOW).decode())


def structure_of(case, text):
    """Return the elements of a page, with the names of their attributes."""
    return [(tag, sorted(attrs)) for tag, attrs in page_of(case, text).elements]


HARMLESS = [structure_of(case, "x") for case in range(len(CASES))]


@pytest.mark.parametrize(
    "text",
    [
        "</title></style><script>alert(1)</script>",
        "\" onload='x' style=\"y",
        "{{ 7*7 }} {% raw %} %s {0} &amp; &#60;",
        "<!-- --> <![CDATA[ ]]> \x00\x1b\r\n\u2028",
        "\u202eevil\u2066",
    ],
)
def test_hostile_texts(text):
    """Markup, attributes, template expressions and control characters in any field add nothing to the page."""
    for case, harmless in enumerate(HARMLESS):
        assert structure_of(case, text) == harmless


@given(st.sampled_from(range(len(CASES))), st.text(min_size=1, max_size=150))
def test_any_text(case, text):
    """No text in any field changes the structure of the page."""
    assume(parse_time(text) is None and len(with_flags(text)) == 1)
    assert structure_of(case, text) == HARMLESS[case]


@given(st.text(alphabet=st.characters(exclude_categories=("C", "Z")), min_size=1))
def test_texts_are_shown_as_they_are(text):
    """The page shows a name as it is, only shorter if it is very long. The form has the whole value."""
    shown = status(table((connection(name=text, site=text),)))
    page = Page(render(shown, Query(q=text), NO_PREFIX, NOW).decode())
    name, _, _, site, _ = page.root.one(id="connections").one("tbody").all("bdi")
    assert name.text == site.text == shorten(text)
    assert page.root.one("input", id="q").attrs["value"] == text


@pytest.mark.parametrize("case", range(len(CASES)))
def test_texts_keep_their_direction(case):
    """Each text of Telnyx is isolated, so that a control character in it does not reverse what follows."""
    page = page_of(case, "\u202eevil")
    elements = [*page.root.all(class_="names"), *page.root.all(class_="where")]
    for rows in page.root.all("table", **{"aria-labelledby": "connections-title"}):
        elements += rows.all("tr")
    for element in elements:
        texts = [text for each in element.all() if each.tag != "bdi" for text in each.content if isinstance(text, str)]
        assert not [text for text in texts if "evil" in text]
