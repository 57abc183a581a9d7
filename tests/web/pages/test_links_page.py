import httpx
from html_page import Page
from security_policy import allowed_style, style_hash
from starlette.applications import Starlette
from starlette.routing import Route

from exporter.config.web.paths import NO_PREFIX, WebPaths
from exporter.web.pages.links_page import LinksEndpoint


async def get(path, paths=NO_PREFIX):
    """Return the response of the endpoint, which is the page at `/`, or the status as JSON."""
    endpoint = LinksEndpoint(paths)
    app = Starlette(routes=[Route("/", endpoint.page), Route("/status", endpoint.json)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter") as client:
        return await client.get(path)


async def test_page_has_only_links():
    """The page says why it has no data, and has a link to each other page."""
    page = Page((await get("/")).text)
    assert page.first_text("h1") == "Telnyx exporter"
    assert page.links == {
        "Metrics": "/metrics",
        "Runbooks": "/runbooks/",
        "Healthy": "/-/healthy",
        "Ready": "/-/ready",
    }
    assert "--web.disable-status-page" in page.text


async def test_there_is_no_status_as_json():
    """A request for the status as JSON gets status 404, and the reason."""
    response = await get("/status")
    assert (response.status_code, response.text) == (
        404,
        "the status page is turned off: remove --web.disable-status-page\n",
    )


async def test_only_the_style_of_the_page_is_allowed():
    """The content security policy allows the style of the page by its hash. The response without a page allows none."""
    page, status = await get("/"), await get("/status")
    assert allowed_style(page) == [style_hash(page.text)]
    assert allowed_style(status) == []


async def test_links_have_the_prefix_of_the_external_url():
    """The links work through a reverse proxy, and characters of the prefix can't change the page."""
    page = Page((await get("/", WebPaths("/inside", '/a"&<b>', "/m"))).text)
    assert set(page.links.values()) == {f'/a"&<b>{path}' for path in ("/m", "/runbooks/", "/-/healthy", "/-/ready")}


async def test_page_loads_no_other_resources():
    """The page loads no script, image, font or style, as its content security policy requires."""
    elements = Page((await get("/")).text).elements
    assert {tag for tag, _ in elements}.isdisjoint({"script", "img", "link", "iframe", "object"})
    assert not any({"src", "onclick", "style"} & set(attrs) for _, attrs in elements)
