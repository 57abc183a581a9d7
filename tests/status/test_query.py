import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.status.problems import CONNECTION_PROBLEMS
from exporter.status.query import REGISTRATIONS, SORTS, STATES, Query

TEXT = st.text(st.characters(codec="utf-8"), max_size=20).map(str.strip)
QUERIES = st.builds(
    Query,
    account=TEXT,
    q=TEXT,
    state=st.sampled_from(("", *STATES)),
    registration=st.sampled_from(("", *REGISTRATIONS)),
    type=TEXT,
    site=TEXT,
    encryption=TEXT,
    problem=st.sampled_from(("", *CONNECTION_PROBLEMS)),
    sort=st.sampled_from([direction + column for column in SORTS for direction in ("", "-")]),
    page=st.integers(1, 10**6),
)


@given(QUERIES)
def test_a_link_selects_what_it_was_made_for(query):
    """The parameters of a link are parsed to the query that made it."""
    assert Query.parse(query.link().removeprefix("?").encode()) == query


@given(st.binary(max_size=60))
def test_any_text_is_a_query(text):
    """No URL is an error, and what is parsed can be linked again."""
    query = Query.parse(text)
    assert Query.parse(query.link().removeprefix("?").encode()) == query


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"page=0",
        b"page=-1",
        b"page=1.5",
        b"page=x",
        "page=\N{SUPERSCRIPT TWO}".encode(),
        b"page=",
        b"sort=",
        b"sort=-",
        b"sort=--name",
        b"sort=login",
        b"state=on",
        b"state=-active",
        b"registration=unknown",
        b"problem=spend_blocked",
        b"unknown=1",
        b"q=&site=",
        b"q=+",
        b"q=a&" * 101,
    ],
)
def test_values_without_a_meaning_are_ignored(text):
    """A value that the parameter does not have means the same as no value."""
    assert Query.parse(text) == Query()


def test_the_last_value_counts():
    """If a parameter occurs several times, the last one counts."""
    assert Query.parse(b"q=a&page=3&q=b").q == "b"


def test_values_are_bounded():
    """Long values are cut, and so are page numbers, so that a link is never much longer than the URL of the request."""
    query = Query.parse(b"q=" + b"x" * 10_000 + b"&page=" + b"9" * 10_000)
    assert (len(query.q), query.page) == (200, 10**9)


def test_a_link_has_only_what_differs_from_the_defaults():
    """Links are short, so that people can read and share them."""
    query = Query(q="a b&c", sort="-name", page=3)
    assert query.link() == "?q=a+b%26c&sort=-name&page=3"
    assert query.link(page=1, sort="name") == "?q=a+b%26c"
    assert Query().link() == "?"


def test_sort():
    """A minus before the column reverses the order."""
    assert (Query(sort="-site").sort_column, Query(sort="-site").is_descending) == ("site", True)
    assert (Query().sort_column, Query().is_descending) == ("name", False)


@pytest.mark.parametrize("name", ["q", "state", "registration", "type", "site", "encryption", "problem"])
def test_filters(name):
    """Each filter of the table counts as one. The account narrows the whole page, so it does not."""
    assert Query(**{name: "x"}).has_filters
    assert not Query(account="a", sort="-name", page=2).has_filters
