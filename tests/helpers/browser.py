"""A real browser that opens pages of the exporter, and finds what is wrong with them.

To look at the pages yourself, set STATUS_PAGE_SCREENSHOTS to a folder. `save_screenshot` writes to it.
"""

import contextlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright
from programs import find_program

AXE = Path(__file__).parents[1] / "browser" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
"""The tags of axe's rules to check: WCAG 2.2 at level AA, and what axe recommends beyond that."""
SCREENSHOTS = os.environ.get("STATUS_PAGE_SCREENSHOTS")

_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", ({violatedDirective, blockedURI}) =>
    console.error(`the policy forbids ${violatedDirective} ${blockedURI}`))
"""
_REACHABLE = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
    .filter(element => element.tabIndex >= 0 && !element.disabled && element.checkVisibility())
    .map(element => element.outerHTML)"""
"""Returns the elements that a person can use, in the order of the document."""
_FOCUSED = """() => {
    const element = document.activeElement
    const style = getComputedStyle(element)
    const {left, top, width, height} = element.getClientRects()[0]
    const shown = document.elementFromPoint(left + width / 2, top + height / 2)
    return {
        html: element === document.body ? null : element.outerHTML,
        hasOutline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
        isOnTop: element.contains(shown),
    }
}"""


@contextlib.contextmanager
def chromium():
    """Run Chromium, and yield it. If it or axe is missing, skip the test, or fail it in CI.

    While it runs, no asynchronous test can run in the same thread. The headless shell is the same browser, but opens a
    page in a fifth of the time, because it has no window.
    """
    if not AXE.is_file():
        missing = "axe is not installed: npm ci --prefix tests/browser"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    program = find_program("chromium-headless-shell", "chromium")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program) as browser:
        yield browser


def large_letters(browser):
    """Run another Chromium of a person who prefers letters that are twice as large."""
    program = find_program("chromium-headless-shell", "chromium")
    return browser.browser_type.launch(executable_path=program, args=["--blink-settings=defaultFontSize=32"])


@contextlib.contextmanager
def visit(browser, url, **options):
    """Open a page in a new profile, and yield it. `options` are those of Playwright's `new_context`.

    At the end, check that nothing went wrong on this page, and on those that a test opened from it.
    """
    faults = []
    with browser.new_context(**options) as context:
        context.set_default_timeout(10_000)
        context.add_init_script(_REPORT_VIOLATIONS)
        context.on("console", lambda message: faults.append(f"console {message.type}: {message.text}"))
        context.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        context.on("weberror", lambda error: faults.append(f"error: {error.error}"))
        context.on("request", lambda request: faults.extend(_fault_of_request(request, urlsplit(url).netloc)))
        context.on("requestfailed", lambda request: faults.append(f"failed: {request.url}: {request.failure}"))
        context.on("response", lambda response: faults.extend(_fault_of_response(response)))
        page = context.new_page()
        page.goto(url)
        yield page
        page.wait_for_load_state()
    assert not faults, "\n".join(faults)


def _fault_of_request(request, host):
    return [] if urlsplit(request.url).netloc == host else [f"request to another host: {request.url}"]


def _fault_of_response(response):
    return [] if response.ok else [f"status {response.status}: {response.url}"]


def follow(locator):
    """Click a link or a button that opens another page, and wait for that."""
    with locator.page.expect_navigation():
        locator.click()


def find_barriers(page):
    """Return the barriers for people with disabilities that axe finds on a page, and ids that occur twice."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    options = {"runOnly": RULES, "resultTypes": ["violations", "incomplete"], "selectors": False}
    results = page.evaluate("options => axe.run(document, options)", options)
    assert {"color-contrast", "document-title"} <= {rule["id"] for rule in results["passes"]}
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(element => element.id)")
    barriers = [
        f"{rule['id']}: {rule['help']}: {node['html']}: {node['failureSummary']}"
        for rule in results["violations"] + results["incomplete"]
        for node in rule["nodes"]
    ]
    return barriers + sorted({f"id {each} occurs twice" for each in ids if ids.count(each) > 1})


def is_too_wide(page):
    """Return whether a person must scroll sideways to see the whole page."""
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


def tab_through(page):
    """Press Tab until all elements had the focus. Return their HTML in this order, and that of usable elements.

    Check that the focus is always visible.
    """
    usable, focused = page.evaluate(_REACHABLE), []
    for _ in range(len(usable) + 1):
        page.keyboard.press("Tab")
        focus = page.evaluate(_FOCUSED)
        if focus["html"] is None:
            break
        assert focus["hasOutline"], f"the focus is not visible: {focus['html']}"
        assert focus["isOnTop"], f"something covers the focus: {focus['html']}"
        focused.append(focus["html"])
    return focused, usable


def save_screenshot(page, name):
    """Save a picture of the whole page, if someone wants pictures."""
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)
