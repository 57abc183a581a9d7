"""The status page in a real browser, as people use it."""

import pytest
from browser import chromium, find_barriers, is_too_wide, save_screenshot, tab_through, visit
from programs import exporter


@pytest.fixture(scope="module")
def browser():
    """Run a browser for all tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with exporter(tmp_path_factory.mktemp("demo"), "--demo") as url:
        yield url


def test_x(browser, demo):
    with visit(browser, demo) as page:
        print(page.title())
        print(find_barriers(page))
        print(tab_through(page))
        print(is_too_wide(page))
        save_screenshot(page, "x")


