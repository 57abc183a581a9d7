"""The status page: its sections, states and links."""

import re
import subprocess
import sys
from email.message import Message
from importlib.metadata import PackageNotFoundError
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from html_page import Page
from statuses import (
    NOW,
    about,
    busy_status,
    change,
    collector,
    connection,
    failing,
    fleet_status,
    problem,
    status,
    table,
    waiting,
)

from exporter.config.web.paths import NO_PREFIX, WebPaths
from exporter.status.query import Query
from exporter.status.report import AccountReport, RowReport, State
from exporter.web.pages.status import renderer

WELL = status(table(2, 2, total=2))
NAMES = ("acme", "globex")
SECTIONS = ["attention", "connections", "changes", "collectors", "about"]


def page_of(shown=WELL, query="", paths=NO_PREFIX):
    """Render the page for a query string, and read it."""
    return Page(renderer.render(shown, Query.parse(query.encode()), paths, NOW).decode())


def section(name, *arguments, **options):
    """Render the page, and return the element with this id."""
    return page_of(*arguments, **options).root.one(id=name)


def texts(elements):
    """Return the texts of elements."""
    return [element.text for element in elements]


def cells(name, *arguments, **options):
    """Return the texts of the table of a section, row by row, with its header."""
    rows = section(name, *arguments, **options).all(role="row")
    return [texts(each for each in row.all() if each.tag in {"th", "td"}) for row in rows]


# The page as a whole


def test_sections():
    """The page has a header, the sections in order, each with its heading, and a footer."""
    page = page_of(busy_status())
    assert {element.attrs["id"] for element in page.root.all("section")} == set(SECTIONS)
    for element in page.root.all("section"):
        assert element.one("h2").attrs["id"] == element.attrs["aria-labelledby"]
    assert texts(page.root.all("h2")) == [  # a collector fails
        *("Collectors", "Needs attention", "Connections", "Changes since the exporter started", "About"),
    ]
    assert [each.tag for each in page.root.one("body").all() if each.tag in {"header", "main", "footer"}] == [
        *("header", "main", "footer"),
    ]
    assert len(set(page.ids)) == len(page.ids)


@pytest.mark.parametrize(
    ("shown", "sections"),
    [
        (WELL, ["attention", "connections", "changes", "collectors", "about"]),
        (busy_status(), ["collectors", "attention", "connections", "changes", "about"]),
        (status(missing="there is none"), ["about"]),
    ],
    ids=["well", "failing", "unknown account"],
)
def test_what_is_wrong_with_the_exporter_comes_first(shown, sections):
    """If a collector fails, the collectors come first. The links at the top have the same order as the sections."""
    page = page_of(shown)
    assert [element.attrs["id"] for element in page.root.all("section")] == sections
    links = [link.attrs["href"].removeprefix("#") for link in page.root.one("nav", class_="contents").all("a")]
    assert [link for link in links if link in SECTIONS] == (sections if len(sections) > 1 else [])


def test_headings_are_in_order():
    """There is one heading of the first level, and no level is left out."""
    levels = [int(tag[1]) for tag, _ in page_of(busy_status()).elements if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(level <= previous + 1 for previous, level in pairwise(levels))


@pytest.mark.parametrize("shown", [WELL, busy_status(), fleet_status(5), status(missing="there is none")])
def test_page_loads_nothing(shown):
    """The page has no script, image, frame or link to a file, and no style or handler in an attribute."""
    elements = page_of(shown).elements
    assert {tag for tag, _ in elements}.isdisjoint({"script", "img", "link", "iframe", "object", "embed", "svg"})
    for _, attrs in elements:
        assert not [name for name in attrs if name in {"src", "style", "srcset"} or name.startswith("on")]
    assert [tag for tag, _ in elements].count("style") == 1


@pytest.mark.parametrize("shown", [WELL, busy_status(), fleet_status(5)])
def test_fields_have_labels(shown):
    """Each field has a label, and each link and button has a text."""
    page = page_of(shown)
    labels = {element.attrs["for"] for element in page.root.all("label")}
    fields = [each for tag in ("input", "select") for each in page.root.all(tag) if each.attrs.get("type") != "hidden"]
    assert {field.attrs["id"] for field in fields} == labels
    assert all(texts(page.root.all("a") + page.root.all("button")))


@pytest.mark.parametrize("name", ["connections", "collectors"])
def test_tables_have_explicit_roles(name):
    """Tables have the roles that they lose when the style makes cards of their rows."""
    element = section(name, busy_status()).one("table")
    assert element.attrs["role"] == "table"
    assert {each.attrs["role"] for tag in ("thead", "tbody") for each in element.all(tag)} == {"rowgroup"}
    assert {each.attrs["role"] for each in element.all("tr")} == {"row"}
    assert {each.attrs["role"] for each in element.all("th", scope="col")} == {"columnheader"}
    assert {each.attrs["role"] for each in element.all("th", scope="row")} == {"rowheader"}
    assert {each.attrs["role"] for each in element.all("td")} == {"cell"}
    assert len(element.all("th", scope="col")) == len(element.all("tr")[1].all("td")) + 1


def test_skip_link():
    """The first link skips the header."""
    page = page_of()
    assert page.targets[0] == "#main"
    assert page.root.one("main").attrs["id"] == "main"


# Header


@pytest.mark.parametrize(
    ("ok", "title", "tone"),
    [(True, "OK: All is well - Telnyx exporter", "good"), (False, "Problem: All is well - Telnyx exporter", "bad")],
)
def test_state(ok, title, tone):
    """The title begins with the state, and the header has it in one sentence, with a color."""
    page = page_of(status(ok=ok, summary="All is well."))
    assert page.first_text("title") == title
    assert page.root.one(role="status").text == "All is well."
    assert page.root.one(id="header").all(class_="summary")[0].attrs["class"] == f"summary {tone}"


def test_demo():
    """A demo says that the account is simulated."""
    assert "the account is simulated" in section("header", status(about=about(demo=True))).text
    assert "simulated" not in page_of().root.text


PREFIX = WebPaths("/in", "/out", "/a/b")


@pytest.mark.parametrize(("paths", "prefix", "metrics"), [(NO_PREFIX, "", "/metrics"), (PREFIX, "/out", "/out/a/b")])
def test_links(paths, prefix, metrics):
    """All links have the paths that browsers see."""
    page = page_of(busy_status(), "q=x&state=active", paths)
    links = page.root.one("nav", **{"aria-label": "Exporter"}).all("a")
    assert {link.text: link.attrs["href"] for link in links} == {
        "Metrics": metrics,
        "Runbooks": f"{prefix}/runbooks/",
        "Status as JSON": f"{prefix}/api/v1/status",
        "Healthy": f"{prefix}/-/healthy",
        "Ready": f"{prefix}/-/ready",
    }
    assert all(target.startswith((f"{prefix}/", "#")) for target in page.targets)
    assert {form.attrs["action"].partition("#")[0] for form in page.root.all("form")} == {f"{prefix}/"}


def test_fragments_lead_to_sections():
    """Each link within the page leads to an element of it."""
    page = page_of(busy_status(), "q=x")
    fragments = {urlsplit(target).fragment for target in page.targets} - {""}
    assert fragments == {"main", "rate-limit", *SECTIONS}
    assert fragments <= set(page.ids)


def test_reload_keeps_the_parameters():
    """The link that reloads the page keeps all parameters."""
    assert page_of(query="q=a+b&page=2&sort=-site").links["Reload"] == "/?q=a+b&sort=-site&page=2"


def test_one_account_cannot_be_chosen():
    """With one account, nothing asks for an account, and no table has a column for it."""
    for names in ((), ("acme",)):
        page = page_of(status(names=names))
        assert not page.root.all(name="account")
        assert "Account" not in texts(page.root.all(role="columnheader"))


def test_account_can_be_chosen():
    """With several accounts, a form at the top narrows the page to one of them, and keeps the filters."""
    form = section("header", status(names=NAMES), "q=fax&sort=-site&page=3").one("form")
    assert texts(form.one("select", name="account").all("option")) == ["All 2 accounts", "acme", "globex"]
    hidden = {each.attrs["name"]: each.attrs["value"] for each in form.all("input", type="hidden")}
    assert hidden == {"q": "fax", "sort": "-site"}


def test_chosen_account():
    """The chosen account is selected in both forms. The other links keep it, and so does the link to the JSON."""
    page = page_of(status(names=NAMES), "account=globex")
    for form in page.root.all("form"):
        (selected,) = [each for each in form.one(name="account").all("option") if "selected" in each.attrs]
        assert selected.attrs["value"] == "globex"
    assert page.links["Status as JSON"] == "/api/v1/status?account=globex"
    assert "Account" not in texts(page.root.all(role="columnheader"))


def test_unknown_account():
    """If there is no such account, the page says why, offers the others, and shows no data."""
    page = page_of(status(names=NAMES, missing="there is no account 'x'"), "account=x&page=2")
    assert page.first_text("title") == "Unknown account - Telnyx exporter"
    assert page.root.one(role="status").text == "There is no account 'x'."
    assert page.links["Show all accounts"] == "/"
    assert [each.attrs["id"] for each in page.root.all("section")] == ["about"]


# Needs attention


def test_nothing_needs_attention():
    """Without problems, there is one sentence."""
    assert section("attention").text == "Needs attention Nothing needs attention."


READ_BEFORE = {"last_success": NOW}


@pytest.mark.parametrize(
    ("collectors", "text", "count"),
    [
        ((waiting("balance"), waiting("endpoints")), "Unknown, because nothing has been read yet.", "-Unknown"),
        ((waiting("balance", **READ_BEFORE),), "Unknown, because all data has expired.", "-Unknown"),
        (
            (waiting("balance"), collector()),
            "Nothing needs attention. 1 collector has no data, so problems can be missing.",
            "0",
        ),
        (
            (waiting("balance"), waiting("endpoints"), collector()),
            "Nothing needs attention. 2 collectors have no data, so problems can be missing.",
            "0",
        ),
    ],
)
def test_unknown_problems(collectors, text, count):
    """Without data, nothing says that nothing needs attention."""
    page = page_of(status(collectors=collectors))
    assert page.root.one(id="attention").text == f"Needs attention {text}"
    assert page.root.one(class_="contents").one("a", href="#attention").text == f"Needs attention {count}"


def test_known_problems_are_not_all():
    """If some collectors have no data, a sentence below the problems says that there can be others."""
    shown = status(attention=(problem(),), collectors=(waiting("balance"), collector()))
    assert section("attention", shown).text.endswith("1 collector has no data, so problems can be missing.")


def test_nothing_is_known():
    """Without any data, the page does not say that all is well, though nothing fails."""
    page = page_of(status(collectors=(waiting("balance"),), summary="No data from Telnyx yet."))
    assert page.first_text("title") == "No data from Telnyx yet - Telnyx exporter"
    assert page.root.one(class_="summary").attrs["class"] == "summary quiet"


def test_problem_of_connections():
    """A problem has its number, its first connections, a link to all of them in the table, and its runbook."""
    page = page_of(status(attention=(problem("disabled", 137),)), "account=acme&q=x")
    (item,) = page.root.one(class_="problems").all("li")[:1]
    assert item.one("h3").text == "137 Disabled connections"
    names = item.one("ul", class_="names")
    assert len(names.all("a")) == 5
    assert names.all("li")[-1].text == "and 132 more"
    assert names.all("a")[1].attrs["href"] == "/?account=acme&q=1381893374499453585#connections"
    show, runbook = item.one(class_="links").all("a")
    assert (show.text, show.attrs["href"]) == (
        "Show all 137: Disabled connections",
        "/?account=acme&problem=disabled#connections",
    )
    assert (runbook.text, runbook.attrs["href"]) == (
        "Runbook TelnyxConnectionDisabled",
        "/runbooks/TelnyxConnectionDisabled",
    )


def test_few_connections_with_a_problem():
    """If all connections with a problem are named, nothing says that there are more."""
    item = section("attention", status(attention=(problem("disabled", 5),)))
    assert "more" not in item.text
    assert item.one(class_="links").all("a")[0].text == "Show in the table: Disabled connections"


def test_problem_of_other_rows():
    """A problem of other rows names more of them, with details, because no table has them."""
    item = section("attention", status(attention=(problem("spend_blocked", 25),)))
    names = item.one("ul", class_="names").all("li")
    assert len(names) == 21
    assert names[0].text == "foxglove-ashburn-pbx-0 50.00 of 50.00 USD"
    assert names[-1].text == "and 5 more"
    assert texts(item.one(class_="links").all("a")) == ["Runbook TelnyxSpendBlocked"]


def test_accounts_of_problems():
    """With several accounts, each row has its account."""
    names = section("attention", fleet_status(20)).one("ul", class_="names")
    assert names.all("li")[1].text == "meadow-anycast-alarm-3 customer-003"


# Connections


def test_connections():
    """The table has a row for each connection. Values are in words, and an absent one is a dash with a meaning."""
    rows = (
        connection(0),
        connection(
            1,
            name="",
            active=False,
            registered=False,
            site="",
            encryption="none",
            inbound_limit=2500,
            updated_at="soon",
        ),
        connection(2, active=None, encryption="", updated_at=""),
    )
    assert cells("connections", status(table(rows, 3, total=3))) == [
        [
            *("Name", "Type", "State", "Registration", "Site", "Encryption"),
            *("Inbound limit", "Outbound limit", "Updated (UTC)"),
        ],
        [
            *("foxglove-ashburn-pbx-0 1381893374499453584", "Credential connection", "Active", "Registered"),
            *("Ashburn, VA", "SRTP", "10", "20", "2026-11-29 01:31:17 95 s ago"),
        ],
        [
            *("(no name) 1381893374499461503", "IP connection", "Disabled", "Not registered", "-No site", "None"),
            *("2,500", "No limit", "soon"),
        ],
        [
            *("harbor-sydney-contact-center-2 1381893374499469422", "FQDN connection", "-State unknown"),
            *("-No registration", "Sydney, Australia", "-No setting", "No limit", "5", "-Unknown"),
        ],
    ]


@pytest.mark.parametrize(("active", "tone"), [(True, "good"), (None, "good"), (False, "quiet")])
def test_registration_of_a_disabled_connection(active, tone):
    """A disabled connection is not shown as well because it is registered."""
    row = connection(active=active, registered=True)
    element = section("connections", status(table((row,)))).all(role="row")[1]
    (state,) = [each for each in element.all(class_="state") if each.text == "Registered"]
    assert state.attrs["class"] == f"state {tone}"


def test_dashes_are_for_eyes():
    """Screen readers read the meaning of a dash instead."""
    for dash in section("connections", status(table((connection(active=None),)))).all(class_="absent"):
        assert dash.attrs["aria-hidden"] == "true"


def test_cards_have_labels():
    """Cells whose value does not explain itself have a label for the cards, which have no header."""
    row = section("connections", fleet_status(3)).all("tr")[1]
    labels = [cell.attrs.get("data-label") for cell in row.all("td")]
    assert labels == ["Account", None, None, None, "Site", "Encryption", "Inbound", "Outbound", "Updated (UTC)"]


@pytest.mark.parametrize(
    ("shown", "query", "text"),
    [
        (table(50, 1234), "", "1 to 50 of 1,234 connections"),
        (table(34, 1234, 25), "page=25", "1,201 to 1,234 of 1,234 connections"),
        (table(3, 3), "q=x", "3 of 1,234 connections. Clear the filters"),
        (table(50, 1100, 2), "q=x&page=2", "51 to 100 of 1,100 matches in 1,234 connections. Clear the filters"),
        (table(2, 2, total=2), "", "2 connections"),
        (table(1, 1, total=1), "q=x", "1 of 1 connection. Clear the filters"),
    ],
)
def test_numbers_of_connections(shown, query, text):
    """A line says which of how many connections are shown, and whether a filter leaves out some."""
    assert section("connections", status(shown), query).one(class_="matches").text == text


def test_no_connection_matches():
    """If no connection matches, a link clears the filters and keeps the account and the order."""
    element = section("connections", status(table(0, 0)), "account=acme&q=x&site=y&sort=-name&page=4")
    assert element.one(class_="empty").text == "No connection matches. Clear the filters"
    assert element.one("a").attrs["href"] == "/?account=acme&sort=-name#connections"
    assert not element.all("table")


@pytest.mark.parametrize(
    ("names", "collectors", "text", "count"),
    [
        ((), (collector(rows=0),), "The account has no connections.", "0"),
        (NAMES, (collector(rows=0),), "The accounts have no connections.", "0"),
        ((), (collector(rows=0), waiting("ip-connections")), "No connections have been read yet.", "-Unknown"),
        ((), (waiting("ip-connections"), collector("balance")), "No connections have been read yet.", "-Unknown"),
        ((), (collector("balance"),), "No connections have been read yet.", "-Unknown"),
    ],
)
def test_no_connections(names, collectors, text, count):
    """Without connections, a sentence says whether there are none, or none is known."""
    page = page_of(status(table(0, 0, total=0), names, collectors=collectors))
    assert page.root.one(id="connections").one(class_="empty").text == text
    assert page.root.one(class_="contents").one("a", href="#connections").text == f"Connections {count}"


@pytest.mark.parametrize(
    ("sort", "states", "targets"),
    [
        ("name", {"Name": "ascending"}, {"Name": "-name", "Site": "site", "Updated (UTC)": "-updated"}),
        ("-name", {"Name": "descending"}, {"Name": "", "Site": "site"}),
        ("site", {"Site": "ascending"}, {"Name": "", "Site": "-site"}),
        ("-site", {"Site": "descending"}, {"Site": "site"}),
        ("-updated", {"Updated (UTC)": "descending"}, {"Updated (UTC)": "updated"}),
        ("updated", {"Updated (UTC)": "ascending"}, {"Updated (UTC)": "-updated"}),
    ],
)
def test_sorting(sort, states, targets):
    """Each header sorts by its column, and reverses the order if it is sorted already. Both keep the filters.

    The newest update comes first.
    """
    headers = section("connections", query=f"q=x&page=3&sort={sort}").all(role="columnheader")
    found = {each.text: each.attrs["aria-sort"] for each in headers if "aria-sort" in each.attrs}
    assert found == states
    links = {each.text: each.one("a").attrs["href"] for each in headers}
    for column, target in targets.items():
        assert links[column] == f"/?q=x{f'&sort={target}' if target else ''}#connections"


def test_sort_field():
    """Narrow screens have no headers, so the form has a field for the order, which also keeps it."""
    field = section("connections", query="sort=-site").one("select", name="sort")
    (selected,) = [each for each in field.all("option") if "selected" in each.attrs]
    assert (selected.attrs["value"], selected.text) == ("-site", "Site, Z to A")
    assert "Updated, newest first" in texts(field.all("option"))


def filters(element):
    """Return the fields of the form that filters, with their values."""
    form = element.one("form", class_="filters")
    values = {form.one("input").attrs["name"]: form.one("input").attrs["value"]}
    for field in form.all("select"):
        selected = [each.attrs["value"] for each in field.all("option") if "selected" in each.attrs]
        values[field.attrs["name"]] = selected[0] if selected else ""
    return values


def test_filters_show_the_query():
    """The fields of the form have the values of the query, even those that no connection has any more."""
    query = {
        "account": "globex",
        "q": "fax",
        "state": "disabled",
        "registration": "not_registered",
        "type": "gone_type",
        "site": "Atlantis",
        "encryption": "none",
        "problem": "unencrypted",
        "sort": "-updated",
    }
    text = "&".join(f"{name}={value}" for name, value in query.items())
    assert filters(section("connections", status(names=NAMES), text)) == query
    assert filters(section("connections", status(names=NAMES))) == dict.fromkeys(query, "") | {"sort": "name"}


def test_filter_options():
    """The fields offer the values that connections have, in words."""
    form = section("connections").one("form", class_="filters")
    options = {field.attrs["name"]: texts(field.all("option")) for field in form.all("select")}
    assert options["type"][:3] == ["All", "Credential connection", "IP connection"]
    assert options["state"] == ["All", "Active", "Disabled"]
    assert options["registration"] == ["All", "Registered", "Not registered"]
    assert options["site"][1] == "Ashburn, VA"
    assert options["encryption"] == ["All", "SRTP", "None"]
    assert options["problem"][:2] == ["All", "Disabled connections"]


def test_links_lead_to_the_same_query():
    """A link that changes one parameter leads to a page with all the others."""
    query = "account=a%26b&q=x%22+%3C&site=%C3%A9&sort=-site"
    page = page_of(status(table(50, 1234, 2), names=("a&b", "c")), query)
    target = urlsplit(page.root.one(rel="next").attrs["href"])
    assert Query.parse(target.query.encode()) == Query("a&b", 'x" <', site="é", sort="-site", page=3)


def test_pages():
    """Below the table, links lead to the other pages, and the present one is marked."""
    nav = section("connections", status(table(50, 1234, 12)), "q=x&page=12").one("nav")
    assert nav.attrs["aria-label"] == "Pages of connections"
    assert texts(nav.all("li")) == [
        *("Previous", "Page 1", "\N{HORIZONTAL ELLIPSIS}", "Page 10", "Page 11", "Page 12", "Page 13", "Page 14"),
        *("\N{HORIZONTAL ELLIPSIS}", "Page 25", "Next"),
    ]
    (present,) = nav.all("a", **{"aria-current": "page"})
    assert present.text == "Page 12"
    assert nav.all("a")[0].attrs["href"] == "/?q=x&page=11#connections"
    assert nav.all("a")[1].attrs["href"] == "/?q=x#connections"


@pytest.mark.parametrize(("page", "missing"), [(1, "prev"), (25, "next")])
def test_first_and_last_page(page, missing):
    """The first page has no link to a previous one, and the last one none to a next one."""
    nav = section("connections", status(table(5, 1234, page)), f"page={page}").one("nav")
    assert {"prev", "next"} - {each.attrs.get("rel") for each in nav.all("a")} == {missing}


def test_one_page():
    """A table of one page has no links to pages."""
    assert not section("connections").all("nav")


# Changes


def changes_of(*changes, **options):
    """Return the changes on the page, each as the texts of its parts."""
    items = section("changes", status(changes=changes, **options)).all("ol")[0].content
    return [[each.text for each in item.content if not isinstance(each, str)] for item in items if item != "\n"]


def test_changes():
    """A change has its time, what changed in words, the first rows with details, and what was read."""
    assert changes_of(
        change("limits_changed", 2, seconds=1320, detail="outbound 10 to 20"),
        change("added", 10_000, seconds=90_000, collector="ip-connections", rows=()),
    ) == [
        [
            "2026-11-29 01:10:52 UTC 22 min ago",
            "Limits changed",
            "meadow-anycast-backup-59 outbound 10 to 20 cobalt-ashburn-pbx-60 outbound 10 to 20",
            "Credential connections",
        ],
        ["2026-11-28 00:32:52 UTC 25 h ago", "Added", "and 10,000 more", "IP connections"],
    ]


def test_changes_of_accounts():
    """With several accounts, a change has its account. A collector that is gone has its name."""
    ((*_, where),) = changes_of(change(account="acme", collector="gone"), names=NAMES)
    assert where == "gone of acme"


def test_older_changes_are_folded():
    """The newest ten changes are shown, and a click shows the others, with continued numbers."""
    element = section("changes", status(changes=tuple(change(seconds=each) for each in range(100))))
    first, others = element.all("ol")
    assert [len(each.all("time")) for each in (first, others)] == [10, 90]
    assert others.attrs["start"] == "11"
    assert element.one("summary").text == "Show 90 older changes"


def test_no_changes():
    """Without changes, a sentence says since when."""
    text = section("changes").one(class_="empty").text
    assert text == "Nothing has changed since the exporter started (2026-11-25 01:12:18 UTC, 4 d ago)."


def test_nothing_has_been_read_for_changes():
    """Before anything was read, nothing says that nothing has changed, or where to find older changes."""
    element = section("changes", status(collectors=(waiting("balance"),)))
    assert element.text == "Changes since the exporter started Nothing has been read yet."


def test_older_changes():
    """A link leads to the connections in the order of their updates."""
    (link,) = section("changes", query="account=acme&q=x").all("a")
    assert link.attrs["href"] == "/?account=acme&sort=-updated#connections"


@pytest.mark.parametrize("name", ["credential-connections", "texml-applications", "registrations"])
def test_changes_of_connections_lead_to_them(name):
    """The name of a connection that changed leads to it in the table."""
    link, _ = section("changes", status(changes=(change(collector=name),)), "state=active").all("a")
    assert link.attrs["href"] == "/?q=1381893374499453584#connections"


@pytest.mark.parametrize(
    "shown",
    [change("removed"), change(collector="phone-numbers"), change(rows=(RowReport("", "nameless"),))],
    ids=["removed", "no connection", "no ID"],
)
def test_other_changes_lead_nowhere(shown):
    """A connection that is gone, a row that is no connection, and one without an ID have no link."""
    assert len(section("changes", status(changes=(shown,))).all("a")) == 1


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (change(rows=(RowReport("12", ""),)), "12"),
        (change("added", collector="endpoints", rows=(RowReport("12", "of connection 345"),)), "12 of connection 345"),
    ],
)
def test_rows_without_names(shown, text):
    """A row without a name has its ID, and so has an endpoint, whose name is its connection."""
    assert section("changes", status(changes=(shown,))).one(class_="names").text == text


# Collectors


def test_collectors():
    """Each collector has its state in words, its numbers and times. One that fails has advice and a runbook."""
    collectors = (
        collector(rows_left_out=2),
        waiting("ip-connections"),
        collector("fqdn-connections", state=State.STALE, summary="Older than the TTL."),
        broken := failing("uac-connections"),
    )
    assert cells("collectors", status(collectors=collectors)) == [
        ["Collector", "State", "Rows", "Age", "Last success (UTC)", "Duration"],
        [
            "UAC connections",
            f"Failing {broken.summary} {broken.advice} Runbook TelnyxCollectorFailing",
            *("40", "95 s", "2026-11-29 01:31:16", "9.87 s"),
        ],
        [
            *("IP connections", "No data There is no data yet. The next scrape starts a refresh."),
            *("-Unknown", "-No data", "-Never", "-Unknown"),
        ],
        ["FQDN connections", "Stale Older than the TTL.", "88", "5 s", "2026-11-29 01:32:46", "0.50 s"],
        ["Credential connections", "Up to date", "812 2 left out", "3 s", "2026-11-29 01:32:48", "0.21 s"],
    ]
    element = section("collectors", status(collectors=collectors))
    assert texts(element.one(class_="counts").all("li")) == ["1 failing", "1 no data", "1 stale", "1 up to date"]
    assert element.one("a").attrs["href"] == "/runbooks/TelnyxCollectorFailing"


def test_advice_names_the_collector():
    """Advice to disable a collector has its name. Flags are marked, so that they do not break."""
    advice = "Check --telnyx.base-url, or disable it with --no-collector.NAME."
    element = section("collectors", status(collectors=(failing("balance", advice=advice),)))
    assert texts(element.all("code", class_="flag")) == ["--telnyx.base-url", "--no-collector.balance"]
    assert "or disable it with --no-collector.balance. Runbook" in element.text


def test_collectors_of_many_accounts():
    """Of many collectors, the most urgent ones are shown, with their accounts, and how to see the others."""
    element = section("collectors", fleet_status())
    rows = element.one("tbody").all("tr")
    assert len(rows) == 50
    assert rows[0].all("td")[0].text == "customer-399"
    assert "3,150 more collectors are not shown. To see all collectors of an account, choose it" in element.text


def test_no_collectors():
    """Without an account, a sentence says why there are no collectors."""
    element = section("collectors", status(collectors=(), accounts=()))
    assert element.text == "Collectors There are no collectors, because there is no account."


def test_rate_limit():
    """The requests that are left are shown, if they are known."""
    element = section("collectors", status())
    assert element.one(class_="limits").text == "583 of 600 requests left until 2026-11-29 01:33:00 UTC"
    unknown = section("collectors", status(accounts=(AccountReport("", None, None, None),)))
    assert not unknown.all(class_="limits")
    assert unknown.text.endswith("Unknown: Telnyx has not stated it, or its period is over.")
    partial = (AccountReport("", None, 5.0, None),)
    assert section("collectors", status(accounts=partial)).one(class_="limits").text == "5 requests left"


def test_rate_limits_of_accounts():
    """With many accounts, those with the fewest requests left are shown."""
    items = section("collectors", fleet_status()).one(class_="limits").all("li")
    assert items[0].text == "customer-000: 100 of 600 requests left until 2026-11-29 01:33:00 UTC"
    assert items[-1].text == "and 390 more accounts with more requests left"


# About


def facts(**changes):
    """Return the facts about the exporter, by their names."""
    element = section("about", status(about=about(**changes)))
    return dict(zip(texts(element.all("dt")), texts(element.all("dd")), strict=True))


def test_about():
    """The page says what runs and what it reads."""
    assert facts() == {
        "Version": "0.1.0",
        "Revision": "0123456789abcdef0123456789abcdef01234567",
        "Built": "2026-11-20 08:00:00 UTC 8 d ago",
        "Started": "2026-11-25 01:12:18 UTC 4 d ago",
        "Data": "Telnyx",
        "Base URL": "https://api.telnyx.com/v2",
        "Filters": "None",
        "Accounts": "1",
        "Shard": "None",
        "Documentation": "Runbooks",
    }


def test_about_a_demo_with_filters_in_a_shard():
    """A demo, filters and shards are named."""
    found = facts(demo=True, filters={"connection_name": "sydney", "x": "y"}, shard=1, total_shards=4, build_date="?")
    assert found["Data"] == "Simulated (demo)"
    assert found["Filters"] == "connection_name sydney, x y"
    assert found["Shard"] == "1 of 4 (counted from 0)"
    assert found["Built"] == "?"


@pytest.fixture
def project(monkeypatch):
    """Return a function that sets the URLs in the metadata of the package."""

    def set_urls(*urls):
        message = Message()
        for url in urls:
            message["Project-URL"] = url
        monkeypatch.setattr(renderer, "metadata", lambda _: message)
        renderer.project_links.cache_clear()

    yield set_urls
    renderer.project_links.cache_clear()


def test_project_links(project):
    """The page links to the URLs in the metadata of the package, if they are web pages."""
    project("Source, https://example.com/a,b", "Bad, javascript:alert(1)", "Nothing")
    element = section("about").all("dd")[-1]
    assert {link.text: link.attrs["href"] for link in element.all("a")} == {
        "Runbooks": "/runbooks/",
        "Source": "https://example.com/a,b",
    }


def test_source_tree_has_no_project_links(monkeypatch):
    """A source tree that is not installed has no metadata, so the page has no links of it."""

    def fail(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(renderer, "metadata", fail)
    renderer.project_links.cache_clear()
    assert renderer.project_links() == ()
    renderer.project_links.cache_clear()


# Templates


def test_jinja_is_imported_for_the_first_page():
    """The exporter starts without Jinja2. The first page imports it."""
    code = "import sys, exporter.commands.serve; print('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_bytes_that_are_no_text():
    """A filter that is no text on the command line is shown with a replacement character."""
    shown = status(about=about(filters={"connection_name": "\udcff"}))
    assert "connection_name ?" in section("about", shown).text


def test_long_names_are_shortened():
    """A very long name does not fill the page."""
    name = "a" * 5000 + "b" * 5000
    shown = status(table((connection(name=name, site=name, type=name, updated_at=name),)))
    html = renderer.render(shown, Query(), NO_PREFIX, NOW)
    assert len(html) < 40_000
    assert f"{'a' * 49}\N{HORIZONTAL ELLIPSIS}{'b' * 50}".encode() in html
