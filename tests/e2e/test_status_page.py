"""The status page in a real browser, as people use it."""

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode, urljoin, urlsplit

import pytest
from browser import (
    SCREENSHOTS,
    chromium,
    find_barriers,
    follow,
    is_too_wide,
    large_letters,
    save_screenshot,
    tab_through,
    visit,
)
from playwright.sync_api import expect
from status_states import ENDLESS_NAME, HOSTILE_NAMES, LONG_NAME, STATES, large_account

from exporter.sandbox.resources import CONNECTIONS

MONITOR, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
WIDTHS = (320, 640, 900, 1160, 1220, 1280)
"""Widths of a small phone, and of windows with a table that just has room."""
PAGE_ROWS = 50
ROWS = [row for path in CONNECTIONS for row in large_account()[path].rows]


@pytest.fixture(scope="module")
def browser():
    """Run a browser for all tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def url_of(browser, tmp_path_factory):
    """Return a function that returns the URL of an exporter in a state. All tests share it."""
    urls, stacks = {}, []

    def url_of(state):
        if state not in urls:
            stacks.append(contextlib.ExitStack())
            urls[state] = stacks[-1].enter_context(STATES[state](tmp_path_factory.mktemp("exporter")))
        return urls[state]

    yield url_of
    with ThreadPoolExecutor() as pool:  # an exporter takes a second to stop
        list(pool.map(contextlib.ExitStack.close, stacks))


@pytest.fixture
def page(browser, url_of):
    """Yield the page of an account with hundreds of connections."""
    with visit(browser, url_of("large account"), viewport=MONITOR) as page:
        yield page


def section(page, name="Connections"):
    """Return a section of the page."""
    return page.get_by_role("region", name=name, exact=True)


def column(page, title):
    """Return the texts in a column of the table of connections."""
    table = section(page).get_by_role("table")
    titles = [text.strip() for text in table.get_by_role("columnheader").all_inner_texts()]
    return table.locator(f"tbody > tr > :nth-child({titles.index(title) + 1})").all_inner_texts()


def ids(page):
    """Return the ids of the connections that a page of the table shows."""
    return [text.split()[-1] for text in column(page, "Name")] if section(page).get_by_role("table").count() else []


def choose(page, **choices):
    """Choose values by the labels of their fields, and apply them."""
    for label, value in choices.items():
        section(page).get_by_label(label, exact=True).select_option(label=value)
    follow(section(page).get_by_role("button", name="Apply"))


def search(page, text):
    """Search for connections with the Enter key."""
    field = section(page).get_by_role("searchbox", name="Name or ID")
    field.fill(text)
    with page.expect_navigation():
        field.press("Enter")


def expect_connections(page, rows):
    """Check that the table shows these connections and counts them. If there are many, it shows only the first ones."""
    expected = {row["id"] for row in rows}
    shown = ids(page)
    assert len(shown) == len(set(shown)) == min(len(expected), PAGE_ROWS)
    assert set(shown) <= expected
    expect(section(page)).to_contain_text(counted(1, len(rows)))


def counted(first, matches):
    """Return how the page of the table that begins with this row counts the connections that match."""
    every = f"{len(ROWS)} connections"
    last = min(first + PAGE_ROWS - 1, matches)
    if matches <= PAGE_ROWS:
        return f"{matches} of {every}"
    return (
        f"{first} to {last} of {every}"
        if matches == len(ROWS)
        else f"{first} to {last} of {matches} matches in {every}"
    )


def name_of(row):
    """Return the name of a connection of any type."""
    return row.get("connection_name") or row.get("application_name") or row.get("friendly_name") or ""


def limit(row, direction):
    """Return a channel limit of a connection."""
    return (row.get(direction) or {}).get("channel_limit")


FILTERS = [
    ("State", "Active", lambda row: row["active"]),
    ("State", "Disabled", lambda row: not row["active"]),
    ("Registration", "Registered", lambda row: row.get("registration_status") == "Registered"),
    (
        "Registration",
        "Not registered",
        lambda row: row.get("registration_status") in {"Not Registered", "Expired", "Failed"},
    ),
    ("Type", "UAC connection", lambda row: row["record_type"] == "uac_connection"),
    ("Site", "Sydney, Australia", lambda row: row.get("anchorsite_override") == "Sydney, Australia"),
    ("Encryption", "SRTP", lambda row: row.get("encrypted_media") == "SRTP"),
    ("Encryption", "None", lambda row: row.get("encrypted_media", "") is None),
    ("Problem", "Disabled connections", lambda row: not row["active"]),
    (
        "Problem",
        "Connections without an outbound channel limit",
        lambda row: row["active"] and limit(row, "outbound") is None,
    ),
    (
        "Problem",
        "Connections with unencrypted media",
        lambda row: row["active"] and row.get("encrypted_media", "") is None,
    ),
]


@pytest.mark.parametrize(("label", "value", "matches"), FILTERS, ids=lambda each: each if isinstance(each, str) else "")
def test_a_filter_shows_the_connections_that_match(page, label, value, matches):
    """Each filter shows exactly the connections that match, and says how many there are."""
    choose(page, **{label: value})
    expect(section(page).get_by_label(label, exact=True).locator("option:checked")).to_have_text(value)
    expect_connections(page, [row for row in ROWS if matches(row)])


def test_filters_can_be_combined_and_cleared(page):
    """Filters and a search apply together. A link clears them all and keeps the order."""
    follow(section(page).get_by_role("link", name="Outbound limit"))
    choose(page, State="Active", Encryption="SRTP")
    search(page, "PBX")
    found = [row for row in ROWS if row["active"] and row.get("encrypted_media") == "SRTP" and "pbx" in name_of(row)]
    expect_connections(page, found)
    follow(section(page).get_by_role("link", name="Clear the filters"))
    expect_connections(page, ROWS)
    expect(section(page).get_by_role("searchbox")).to_have_value("")
    expect(section(page).get_by_role("columnheader", name="Outbound limit")).to_have_attribute("aria-sort", "ascending")


@pytest.mark.parametrize("text", ['É "ZÜRICH" 0', "東京", "& Bar", ROWS[0]["id"]])
def test_a_search_finds_names_and_ids(page, text):
    """The Enter key starts a search in names and ids, in any case. The field keeps the text."""
    search(page, text)
    found = [row for row in ROWS if text.lower() in name_of(row).lower() or text in row["id"]]
    assert found
    expect_connections(page, found)
    expect(section(page).get_by_role("searchbox")).to_have_value(text.strip())


def test_a_search_without_results_leads_back(page):
    """If nothing matches, the page says so, and a link clears the search."""
    search(page, "nothing has this name")
    expect(section(page)).to_contain_text("No connection matches.")
    follow(section(page).get_by_role("link", name="Clear the filters"))
    expect_connections(page, ROWS)


def name_in(text):
    """Return the name in a cell, above the id."""
    name = text.rpartition("\n")[0]
    return "" if name == "(no name)" else name


def as_limit(text):
    """Return a limit as a number. No limit is more than any."""
    return float("inf") if text == "No limit" else float(text.replace(",", ""))


def place_in(*order):
    """Return a function that returns the place of a text in an order."""
    return lambda text: order.index(text.removeprefix("-\n"))


COLUMNS = {
    "Name": lambda text: name_in(text).casefold() or "\U0010ffff",  # connections without a name come last
    "Type": str.casefold,
    "State": place_in("Disabled", "Active"),
    "Registration": place_in("Not registered", "Registered", "No registration"),
    "Site": lambda text: text.replace("-\nNo site", ""),
    "Encryption": place_in("No setting", "SRTP", "None"),
    "Inbound limit": as_limit,
    "Outbound limit": as_limit,
    "Updated (UTC)": lambda text: text.split("\n")[0],
}
"""The columns, and functions that return what the text of a cell is sorted by."""


@pytest.mark.parametrize("title", COLUMNS)
def test_a_column_sorts_all_connections(page, title):
    """A click on a title sorts all pages of the table by this column, and another click reverses the order."""
    header = section(page).get_by_role("columnheader", name=title)
    orders = ("ascending", "descending")
    for order in reversed(orders) if title == "Updated (UTC)" else orders:  # the newest come first
        if (title, order) != ("Name", "ascending"):  # which is the order at first
            follow(header.get_by_role("link"))
        first = column(page, title)
        follow(section(page).get_by_role("link", name="Page 6"))
        expect(header).to_have_attribute("aria-sort", order)
        assert section(page).locator("[aria-sort]").count() == 1
        values = [COLUMNS[title](text) for text in first + column(page, title)]
        assert values == sorted(values, reverse=order == "descending")
        assert len(values) == PAGE_ROWS + len(ROWS) % PAGE_ROWS
        assert len(set(values)) > 1


def test_all_pages_together_show_each_connection_once(page):
    """The pages of the table lead to each other, forward and back, and together show each connection once."""
    pages = section(page).get_by_role("navigation", name="Pages of connections")
    expect(pages.get_by_role("link", name="Previous")).to_have_count(0)
    found = ids(page)
    while pages.get_by_role("link", name="Next").count():
        follow(pages.get_by_role("link", name="Next"))
        expect(section(page)).to_be_in_viewport()
        expect(section(page)).to_contain_text(counted(len(found) + 1, len(ROWS)))
        found += ids(page)
    assert sorted(found) == sorted(row["id"] for row in ROWS)
    follow(pages.get_by_role("link", name="Previous"))
    assert ids(page) == found[-PAGE_ROWS - len(ROWS) % PAGE_ROWS :][:PAGE_ROWS]
    expect(pages.locator("[aria-current=page]")).to_have_text("Page 5")
    follow(pages.get_by_role("link", name="Page 1", exact=True))
    assert ids(page) == found[:PAGE_ROWS]


def test_a_filter_keeps_the_order_and_begins_at_the_first_page(page):
    """Filters apply from the first page, in the chosen order. The columns and pages keep the filters."""
    follow(section(page).get_by_role("link", name="Updated (UTC)"))
    follow(section(page).get_by_role("link", name="Page 3"))
    choose(page, State="Active")
    active = [row for row in ROWS if row["active"]]
    expect_connections(page, active)
    updated = column(page, "Updated (UTC)")
    assert updated == sorted(updated, reverse=True)
    follow(section(page).get_by_role("link", name="Next"))
    follow(section(page).get_by_role("link", name="Name", exact=True))
    expect_connections(page, active)


def test_problems_lead_to_their_connections_and_runbooks(page):
    """Each problem leads to all connections that have it. A name leads to the connection, and a link to the runbook."""
    attention = section(page, "Needs attention")
    titles = attention.get_by_role("heading", level=3).all_text_contents()
    assert len(titles) >= 3
    for title in titles:
        count, _, name = title.partition(" ")
        problem = attention.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))
        follow(problem.get_by_role("link", name=re.compile("^Show all ")))
        expect(section(page)).to_be_in_viewport()
        expect(section(page)).to_contain_text(counted(1, int(count)))
        expect(section(page).get_by_label("Problem").locator("option:checked")).to_have_text(name)
    first = problem.get_by_role("listitem").first
    text = first.inner_text()
    follow(first.get_by_role("link"))
    assert [name_in(cell) for cell in column(page, "Name")] == [text]
    runbook = problem.get_by_role("link", name="Runbook")
    expect(runbook).to_have_accessible_name(re.compile(r"^Runbook Telnyx\w+$"))
    follow(runbook)
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"^Telnyx\w+$"))


def test_an_account_narrows_the_page(browser, url_of):
    """A form shows only one of several accounts on the whole page, and all of them again."""
    with visit(browser, url_of("several accounts")) as page:
        header = page.get_by_role("banner")
        assert {*column(page, "Account")} == {"emea", LONG_NAME}
        expect(section(page, "Collectors")).to_contain_text("wrong")
        header.get_by_label("Account").select_option(label="emea")
        follow(header.get_by_role("button", name="Show"))
        expect(header.get_by_label("Account").locator("option:checked")).to_have_text("emea")
        emea = ids(page)
        assert len(emea) == 6
        assert "apac" not in section(page, "Needs attention").inner_text() + section(page, "Collectors").inner_text()
        expect(section(page, "Collectors").get_by_role("row")).to_have_count(1 + 2)
        follow(header.get_by_role("link", name="Status as JSON"))
        report = page.evaluate("JSON.parse(document.body.innerText)")
        assert {collector["account"] for collector in report["collectors"]} == {"emea"}
        with page.expect_navigation():
            page.go_back()
        choose(page, State="Active", Account="All")
        assert {*column(page, "Account")} == {"emea", LONG_NAME}
        choose(page, Account="emea")
        assert {*ids(page)} <= {*emea}


def test_an_unknown_account_leads_back(browser, url_of):
    """If there is no account with the name in the URL, the page says so, and leads to all accounts."""
    with visit(browser, url_of("several accounts") + "/?account=nobody") as page:
        expect(page.get_by_role("status")).to_contain_text("nobody")
        follow(page.get_by_role("link", name="Show all accounts"))
        assert {*column(page, "Account")} == {"emea", LONG_NAME}


SUMMARIES = {
    "demo": "Connected to the simulated account.",
    "several accounts": "2 of 6 collectors can't read Telnyx.",
    "no accounts": "This shard has no accounts.",
    "no data yet": "No data from Telnyx yet.",
    "no connections": "Connected to Telnyx.",
    "failing": "Can't read Telnyx.",
}


@pytest.mark.parametrize("state", SUMMARIES)
def test_the_page_says_how_the_exporter_is(browser, url_of, state):
    """The first sentence and the title of the page say whether the exporter is well."""
    with visit(browser, f"{url_of(state)}/") as page:
        expect(page.get_by_role("status")).to_have_text(SUMMARIES[state])
        beginnings = {"several accounts": "Problem: ", "failing": "Problem: ", "no data yet": "", "no accounts": ""}
        title = f"{beginnings.get(state, 'OK: ')}{SUMMARIES[state].removesuffix('.')} - Telnyx exporter"
        expect(page).to_have_title(title)


def test_a_disabled_page_has_links_only(browser, url_of):
    """If the page is disabled, links to other pages remain."""
    with visit(browser, url_of("page disabled")) as page:
        assert page.get_by_role("link").all_inner_texts() == ["Metrics", "Runbooks", "Healthy", "Ready"]
        expect(page.get_by_role("table")).to_have_count(0)


CHECKED = [
    *((state, "") for state in STATES if state != "large account"),
    ("large account", "?page=3&sort=-updated&state=active"),
    ("large account", "?q=nothing+has+this+name"),
    ("several accounts", "?account=emea"),
    ("several accounts", "?account=nobody"),
    ("demo", "runbooks/"),
    ("demo", "runbooks/TelnyxApiDown"),
]


@pytest.mark.parametrize(("state", "query"), CHECKED)
def test_the_page_is_accessible(browser, url_of, state, query):
    """In all states, on a monitor and on a phone, in light and in dark, axe finds no barrier.

    People must not scroll sideways, whatever the width of their window.
    """
    with visit(browser, f"{url_of(state)}/{query}") as page:
        backgrounds = set()
        for scheme in ("light", "dark"):
            for name, size in {"monitor": MONITOR, "phone": PHONE}.items():
                page.set_viewport_size(size)
                page.emulate_media(color_scheme=scheme)
                save_screenshot(page, f"{state} {query} {name} {scheme}".replace("/", " "))
                if (scheme == "light") == (size == MONITOR) or SCREENSHOTS:
                    assert find_barriers(page) == []
            style = "(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
            backgrounds.add(tuple(page.evaluate(style)))
        assert len(backgrounds) == 2
        for width in WIDTHS:
            page.set_viewport_size(PHONE | {"width": width})
            assert not is_too_wide(page), width


def test_the_letters_can_be_twice_as_large(browser, url_of):
    """People who prefer large letters must not scroll sideways, either, and see all texts in full."""
    clipped = """() => [...document.querySelectorAll("main *")].filter(element => !element.closest(".hidden") &&
        getComputedStyle(element).overflowX !== "visible" && element.scrollWidth > element.clientWidth)
        .map(element => element.outerHTML)"""
    with large_letters(browser) as browser_with_large_letters:
        for state in ("demo", "several accounts", "failing"):
            with visit(browser_with_large_letters, f"{url_of(state)}/", viewport=MONITOR) as page:
                save_screenshot(page, f"{state} large letters")
                assert page.evaluate("getComputedStyle(document.documentElement).fontSize") == "32px"
                assert not is_too_wide(page)
                assert page.evaluate(clipped) == []


@pytest.mark.parametrize(("state", "size"), [("large account", MONITOR), ("several accounts", PHONE)])
def test_everything_can_be_used_with_the_keyboard(browser, url_of, state, size):
    """The Tab key reaches all links and fields in their order, and the focus is always visible."""
    with visit(browser, url_of(state), viewport=size) as page:
        focused, usable = tab_through(page)
        assert focused == usable
        assert len(focused) > 20


def test_the_skip_link_leads_to_the_content(page):
    """The first link skips the header."""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(section(page, "Needs attention").locator(":focus")).to_have_count(1)


def test_the_page_works_without_scripts(browser, url_of):
    """The page has no scripts. Where they are turned off, search, filters, order and pages work the same."""
    with visit(browser, url_of("large account"), java_script_enabled=False) as page:
        expect(page.locator("script")).to_have_count(0)
        search(page, "-")
        choose(page, State="Active")
        follow(section(page).get_by_role("link", name="Type"))
        follow(section(page).get_by_role("link", name="Next"))
        found = [row for row in ROWS if row["active"] and "-" in name_of(row)]
        expect(section(page)).to_contain_text(counted(51, len(found)))
        follow(section(page).get_by_role("link", name="Clear the filters"))
        expect_connections(page, ROWS)


def expect_nothing_injected(page):
    """Check that no element or attribute comes from a name."""
    expect(page.locator("script, img, svg, b:has-text('bold'), h1:has-text('Injected')")).to_have_count(0)
    attributes = "() => [...document.querySelectorAll('*')].flatMap(element => element.getAttributeNames())"
    assert {name for name in page.evaluate(attributes) if name.startswith("on")} == set()
    assert {*page.evaluate("[...document.links].map(link => link.protocol)")} <= {"http:", "https:"}


@pytest.mark.parametrize("bypass_csp", [False, True], ids=["with the policy", "without the policy"])
def test_names_can_not_break_out(browser, url_of, bypass_csp):
    """The page shows names as they are. None adds an element, runs a script, or reverses what follows it."""
    with visit(browser, url_of("hostile names"), bypass_csp=bypass_csp) as page:
        names = [name_in(text) for text in column(page, "Name")]
        assert sorted(name for name in names if name in HOSTILE_NAMES) == sorted(HOSTILE_NAMES)
        assert names.count("") == 2
        (short,) = (name for name in names if name.startswith("begin"))
        assert short.endswith("end")
        assert len(short) < len(ENDLESS_NAME) / 50
        for part in ("Needs attention", "Changes since the exporter started"):
            expect(section(page, part).get_by_text(HOSTILE_NAMES[0]).first).to_be_visible()
        reversing = page.locator("bdi", has_text="gnp.exe")
        assert reversing.count() == page.locator("section :not(:has(*)):not(option)", has_text="gnp.exe").count() > 2
        expect_nothing_injected(page)


OPTIONAL = ("q", "state", "registration", "type", "site", "encryption", "problem", "sort", "page", "unknown")
"""The parameters of the page except for `account`. If that is unknown, the page does not show the others."""


@pytest.mark.parametrize("parameters", [OPTIONAL, ("account",)], ids=["filters", "account"])
def test_parameters_can_not_break_out(browser, url_of, parameters):
    """The page shows text from its URL as it is, or ignores it."""
    text = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
    query = urlencode(dict.fromkeys(parameters, text))
    with visit(browser, f"{url_of('several accounts')}/?{query}", bypass_csp=True) as page:
        shown = page.get_by_role("status") if "account" in parameters else section(page).get_by_role("searchbox")
        assert text in shown.inner_text() + (shown.get_attribute("value") or "")
        expect_nothing_injected(page)


def test_all_links_stay_below_a_path(browser, url_of):
    """Below a path, all links and forms stay inside, and work."""
    url = url_of("demo")
    assert urlsplit(url).path == "/telnyx"
    with visit(browser, f"{url}/") as page:
        search(page, "a")
        choose(page, State="Active")
        follow(section(page).get_by_role("link", name="Type"))
        for link in ("Reload", "Runbooks"):
            follow(page.get_by_role("banner").get_by_role("link", name=link))
        follow(page.get_by_role("link", name="Telnyx exporter"))
        expect(page.get_by_role("heading", level=1)).to_have_text("Telnyx exporter")
        targets = page.evaluate("[...document.querySelectorAll('a, form')].map(each => each.href || each.action)")
        assert {target for target in targets if not target.startswith(f"{url}/")} == set()
        for link in ("Metrics", "Status as JSON", "Healthy", "Ready"):
            address = page.get_by_role("link", name=link).get_attribute("href")
            assert page.request.get(urljoin(page.url, address)).ok
