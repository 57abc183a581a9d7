import threading
from pathlib import Path

import httpx
import pytest
from security_policy import allowed_style, style_hash
from starlette.applications import Starlette
from starlette.routing import Route

from exporter.config.web.paths import NO_PREFIX, WebPaths
from exporter.web.pages.runbooks import PAGES, RunbookEndpoint

HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


@pytest.fixture
def folder(tmp_path):
    """Return a folder with pages, beside a file that is none of them."""
    folder = tmp_path / "html"
    folder.mkdir()
    (folder / "index.html").write_text("<style>a { }</style>the index")
    (folder / "TelnyxApiDown.html").write_text("the runbook: é", "utf-8")
    (folder / "notes.txt").write_text("SECRET")
    (tmp_path / "outside.html").write_text("SECRET")
    return folder


def client_of(folder, paths=NO_PREFIX):
    endpoint = RunbookEndpoint(paths, folder)
    routes = [Route("/runbooks", endpoint.redirect), Route("/runbooks/{name:path}", endpoint.page)]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter")


@pytest.mark.parametrize(
    ("path", "text"), [("/runbooks/", "<style>a { }</style>the index"), ("/runbooks/TelnyxApiDown", "the runbook: é")]
)
async def test_pages(folder, path, text):
    """Each runbook has a page below the index, with the security headers."""
    async with client_of(folder) as client:
        response = await client.get(path)
        head = await client.head(path)
    assert (response.status_code, response.text) == (200, text)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers.items() >= HEADERS.items()
    assert head.headers == response.headers


async def test_only_the_style_of_the_page_is_allowed(folder):
    """The content security policy allows the style of a page by its hash. Other responses have no style."""
    async with client_of(folder) as client:
        index, page, nothing = [await client.get(f"/runbooks/{name}") for name in ("", "TelnyxApiDown", "Nothing")]
    assert allowed_style(index) == [style_hash(index.text)]
    assert allowed_style(page) == allowed_style(nothing) == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_index_without_slash_redirects(folder, method):
    """The redirect to the index is relative, so neither the client's `Host` nor a prefix changes its target."""
    async with client_of(folder) as client:
        response = await client.request(method, "/runbooks", headers={"host": "evil.example"})
    assert (response.status_code, response.headers["location"]) == (302, "runbooks/")


@pytest.mark.parametrize(
    "name",
    [
        *("TelnyxNothing", "telnyxapidown", "TelnyxApiDown.html", "TelnyxApiDown.md", "TelnyxApiDown/", "index"),
        *("README", "notes.txt", "..%2Foutside", "%2e%2e/outside", "/TelnyxApiDown", "a/b", "%00", "<script>"),
    ],
)
async def test_unknown_name_is_not_found(folder, name):
    """Only the names of pages are found. For others, one line says where the index is, and repeats nothing."""
    async with client_of(folder, WebPaths("/in", "/out")) as client:
        response = await client.get(httpx.URL("http://exporter").copy_with(raw_path=f"/runbooks/{name}".encode()))
    assert (response.status_code, response.text) == (404, "there is no such runbook: /out/runbooks/ lists all\n")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers.items() >= HEADERS.items()


@pytest.mark.parametrize("name", ["", "TelnyxApiDown"])
async def test_source_tree_without_pages(tmp_path, name):
    """If the pages were never rendered, one line says how to render them."""
    async with client_of(tmp_path / "html") as client:
        response = await client.get(f"/runbooks/{name}")
    assert (response.status_code, response.text) == (
        404,
        "this installation has no runbooks: run `make generate` in the source tree, then restart it\n",
    )


async def test_pages_are_loaded_once_by_another_thread(folder, monkeypatch):
    """The first request reads the files, in another thread. Neither the start nor a later request reads any."""
    threads = []
    read_text = Path.read_text

    def recording(path, *arguments):
        threads.append(threading.current_thread())
        return read_text(path, *arguments)

    monkeypatch.setattr(Path, "read_text", recording)
    async with client_of(folder) as client:
        assert threads == []
        await client.get("/runbooks/")
        assert len(threads) == len(list(folder.glob("*.html")))
        assert threading.current_thread() not in threads
        for path in ("/runbooks/TelnyxApiDown", "/runbooks/other"):
            await client.get(path)
    assert len(threads) == len(list(folder.glob("*.html")))


def test_installation_has_pages():
    """The pages are where the build and `make generate` write them."""
    assert (PAGES / "index.html").is_file()
