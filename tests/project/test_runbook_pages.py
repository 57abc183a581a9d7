"""The renderer of the runbooks, docs/runbook_pages.py, and the pages of the real runbooks."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from html_page import Page

from exporter.web.pages.style import BASE_STYLE

ROOT = Path(__file__).parents[2]
RENDERER = runpy.run_path(str(ROOT / "docs" / "runbook_pages.py"))
PAGES = RENDERER["pages"]()
RUNBOOKS = {path.stem: path.read_text() for path in (ROOT / "docs" / "runbooks").glob("*.md")}


@pytest.fixture
def render(tmp_path):
    """Return a function that renders a runbook `TelnyxTest` with this text below its summary, and returns the page."""

    def render(markdown="", introduction="# Runbooks\n\nIntroduction.\n"):
        (tmp_path / "README.md").write_text(introduction)
        (tmp_path / "TelnyxTest.md").write_text(f"# TelnyxTest\n\nThe `summary`.\n\n{markdown}\n")
        (tmp_path / "TelnyxOther.md").write_text("# TelnyxOther\n\nAnother summary.\n")
        return RENDERER["pages"](tmp_path)

    return render


def body(pages, name="TelnyxTest"):
    """Return the HTML of a page below its navigation."""
    return pages[name].partition("<main>\n")[2].partition("</main>")[0]


def test_page_has_title_and_navigation(render):
    """A page has the alert's name as its title and heading, and links to the index and to the exporter's page."""
    pages = render()
    assert body(pages) == '<h1 id="telnyxtest">TelnyxTest</h1>\n<p>The <code>summary</code>.</p>\n'
    assert "<title>TelnyxTest - Telnyx exporter</title>" in pages["TelnyxTest"]
    assert Page(pages["TelnyxTest"]).targets == ["../", "./", "./#all-runbooks"]


def test_index_lists_all_runbooks(render):
    """The index is the introduction, followed by each runbook with its summary."""
    assert body(render(), "index") == (
        '<h1 id="runbooks">Runbooks</h1>\n<p>Introduction.</p>\n<h2 id="all-runbooks">All runbooks</h2>\n<ul>\n'
        '<li><a href="TelnyxOther">TelnyxOther</a><br>Another summary.</li>\n'
        '<li><a href="TelnyxTest">TelnyxTest</a><br>The <code>summary</code>.</li>\n</ul>\n'
    )


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("[a](TelnyxOther.md)", '<a href="TelnyxOther">a</a>'),
        ("[a](TelnyxOther.md#x)", '<a href="TelnyxOther#x">a</a>'),
        ("[a](README.md)", '<a href="./">a</a>'),
        ("[a](README.md#the-api-key)", '<a href="./#the-api-key">a</a>'),
        ("[a](#meaning)", '<a href="#meaning">a</a>'),
        ("[a](https://x.example/b.md?c#d)", '<a href="https://x.example/b.md?c#d">a</a>'),
        ("[a `b`](../operations.md#x) c", "a <code>b</code> (docs/operations.md) c"),
        ("[a](TelnyxGone.md)", "a (docs/runbooks/TelnyxGone.md)"),
        ("[a](../../README.md) [b](TelnyxOther.md)", 'a (README.md) <a href="TelnyxOther">b</a>'),
        ("[a](javascript:alert(1))", "[a](javascript:alert(1))"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    ],
)
def test_links(render, markdown, html):
    """Links lead to pages and to the web. A link to another file becomes text with the path. HTML is escaped."""
    assert f"<p>{html}</p>" in body(render(f"x\n\n{markdown}"))


def test_headings_have_the_ids_of_github(render):
    """Headings have the IDs that GitHub gives them, so the same links work there."""
    headings = "## The API key\n\n## `a_b`: 50 %, *c*\n\n### The API key\n"
    assert Page(render(headings)["TelnyxTest"]).ids == ["telnyxtest", "the-api-key", "a_b-50--c", "the-api-key-1"]


def test_code_and_tables_scroll(render):
    """Code and tables that are wider than the screen scroll, also with the keyboard. Code is escaped."""
    html = body(render("```promql\na < 1\n```\n\n| a |\n|---|\n| b |"))
    assert '<pre tabindex="0"><code class="language-promql">a &lt; 1\n</code></pre>' in html
    assert re.search(r'<div class="table" tabindex="0">\n<table>.*</table>\n</div>', html, re.DOTALL)


def test_flags_stay_in_one_line(render):
    """A line does not end between the dashes of a flag, unless the code is longer than the line."""
    html = body(render(f"`--demo`, `a--b`, `--{'x' * 40}`"))
    assert html.count('<code class="flag">') == 1
    assert '<code class="flag">--demo</code>, <code>a--b</code>, <code>--xx' in html


def test_folder_without_runbooks_is_rejected(tmp_path):
    """If there is no runbook beside the introduction, the error names the folder."""
    (tmp_path / "README.md").write_text("# Runbooks\n\nIntroduction.\n")
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path}: there are no runbooks to render")):
        RENDERER["pages"](tmp_path)


def test_every_runbook_has_a_page():
    """Each runbook has a page, and the index lists it."""
    assert PAGES.keys() == RUNBOOKS.keys() - {"README"} | {"index"}
    assert set(Page(PAGES["index"]).targets) >= PAGES.keys() - {"index"}


@pytest.mark.parametrize("name", PAGES)
def test_internal_links_lead_to_pages_and_anchors(name):
    """Each link within the exporter leads to a page and a heading that exist, and IDs are unique."""
    page = Page(PAGES[name])
    assert len(set(page.ids)) == len(page.ids)
    for link in page.targets:
        target, _, fragment = link.partition("#")
        if target == "../" or "://" in target:
            continue
        target = "index" if target == "./" or (not target and name == "index") else target or name
        assert target in PAGES, link
        assert not fragment or fragment in Page(PAGES[target]).ids, link


@pytest.mark.parametrize("name", PAGES)
def test_pages_load_no_other_resources(name):
    """A page has one inline style and nothing else that the content security policy must allow."""
    elements = Page(PAGES[name]).elements
    allowed = "html head meta title style body nav main a h1 h2 h3 h4 p ul ol li br hr code pre em strong div table"
    assert {tag for tag, _ in elements} <= {*allowed.split(), "thead", "tbody", "tr", "th", "td", "blockquote"}
    assert [tag for tag, _ in elements].count("style") == 1
    for _, attrs in elements:
        assert attrs.keys() <= {
            "lang",
            "charset",
            "name",
            "content",
            "href",
            "id",
            "class",
            "tabindex",
            "start",
        }


def test_pages_look_like_the_status_page():
    """Colors, font and links are those of the other pages, and the page fits small screens."""
    assert f"<style>\n{BASE_STYLE.read_text()}" in PAGES["index"]
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in PAGES["index"]


def test_renderer_needs_only_its_library():
    """The renderer imports nothing of the exporter, because the build of the package doesn't install that."""
    imported = re.findall(r"^(?:from|import) (\w+)", (ROOT / "docs" / "runbook_pages.py").read_text(), re.MULTILINE)
    assert set(imported) - sys.stdlib_module_names == {"markdown_it"}
