"""The endpoints of the status: the page and JSON."""

import asyncio
import contextlib
import json
import threading

import httpx
import pytest
from html_page import Page
from security_policy import allowed_style, style_hash
from starlette.applications import Starlette
from starlette.routing import Route
from statuses import busy_status, status, table

from exporter.config.web.paths import NO_PREFIX
from exporter.status.query import Query
from exporter.web.pages.status import endpoint as endpoint_module
from exporter.web.pages.status.endpoint import MAX_WAITING, StatusEndpoint

BUSY = "too many requests for the status at the same time: try again in a second"


class Reader:
    """Reads the same status each time, as soon as it may, and records the calls."""

    def __init__(self, result):
        self.result = result
        self.calls = []
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def __call__(self, query, *, with_table=True):
        """Return the status."""
        self.calls.append((query, with_table))
        await self.may_read.wait()
        return self.result


def client_of(reader):
    """Return a client of the endpoints."""
    endpoint = StatusEndpoint(reader, NO_PREFIX)
    app = Starlette(routes=[Route("/", endpoint.page), Route("/api/v1/status", endpoint.json)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter", timeout=20)


async def test_page():
    """The page shows the status that the parameters select, and may not be cached."""
    reader = Reader(busy_status())
    async with client_of(reader) as client:
        response = await client.get("/?account=acme&q=fax&page=x")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-length"] == str(len(response.content))
    assert response.headers["cache-control"] == "no-store"
    assert Page(response.text).first_text("h1") == "Telnyx exporter"
    assert reader.calls == [(Query(account="acme", q="fax"), True)]


async def test_json():
    """The JSON is the report, without the table of connections. Of the parameters, only the account matters."""
    reader = Reader(busy_status())
    async with client_of(reader) as client:
        response = await client.get("/api/v1/status?account=acme")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    report = response.json()
    assert list(report) == ["about", "ok", "summary", "accounts", "collectors", "attention", "changes"]
    assert report["about"]["started_at"] == "2026-11-25T01:12:18Z"
    assert report["collectors"][0]["state"] == "failing"
    assert report["collectors"][-1]["rows"] is None
    assert reader.calls == [(Query(account="acme"), False)]


async def test_json_of_an_unknown_account():
    """If there is no such account, the JSON is the reason, with status 404."""
    async with client_of(Reader(status(missing="there is no account 'x'"))) as client:
        response = await client.get("/api/v1/status?account=x")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/json")
    assert response.json() == {"error": "there is no account 'x'"}


@pytest.mark.parametrize("path", ["/", "/api/v1/status"])
async def test_head(path):
    """A HEAD request gets the headers of a GET request."""
    async with client_of(Reader(status(table(0)))) as client:
        head, get = await client.head(path), await client.get(path)
    assert head.status_code == 200
    assert head.headers.keys() == get.headers.keys()
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_only_the_style_of_the_page_is_allowed():
    """The content security policy allows the style of the page by its hash, and JSON no style."""
    async with client_of(Reader(busy_status())) as client:
        page, as_json = await client.get("/"), await client.get("/api/v1/status")
    assert allowed_style(page) == [style_hash(page.text)]
    assert allowed_style(as_json) == []
    for response in (page, as_json):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"


async def test_pages_are_rendered_by_another_thread(monkeypatch):
    """Another thread renders the page, so that scrapes don't wait for it."""
    threads = []
    render = endpoint_module.render

    def recording(*arguments):
        threads.append(threading.current_thread())
        return render(*arguments)

    monkeypatch.setattr(endpoint_module, "render", recording)
    async with client_of(Reader(status(table(0)))) as client:
        await client.get("/")
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_pages_of_clients_who_disconnect_are_rendered_one_at_a_time(monkeypatch):
    """A client that leaves while its page is rendered does not make the exporter render two pages at once."""
    running, most, may_end = 0, 0, threading.Event()

    def slow(*_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        may_end.wait(5)
        running -= 1
        return b""

    monkeypatch.setattr(endpoint_module, "render", slow)
    async with client_of(Reader(status(table(0)))) as client:
        for _ in range(5):
            request = asyncio.create_task(client.get("/"))
            await asyncio.sleep(0.05)
            request.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await request
        may_end.set()
        assert (await client.get("/")).status_code == 200
    assert most == 1


async def settle():
    """Let all tasks run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_request_at_a_time_reads_the_status():
    """Requests wait for each other. If too many wait, the next ones are rejected at once. Later ones are served."""
    reader = Reader(status(table(0)))
    reader.may_read.clear()
    async with client_of(reader) as client, asyncio.timeout(20):
        paths = ["/", "/api/v1/status"] * MAX_WAITING
        waiting = [asyncio.create_task(client.get(path)) for path in paths[: MAX_WAITING + 1]]
        await settle()
        page, as_json = await client.get("/"), await client.get("/api/v1/status")
        assert len(reader.calls) == 1
        reader.may_read.set()
        assert {response.status_code for response in await asyncio.gather(*waiting)} == {200}
        assert (await client.get("/")).status_code == 200
    assert len(reader.calls) == MAX_WAITING + 2
    assert (page.status_code, page.text) == (503, f"{BUSY}\n")
    assert (as_json.status_code, as_json.json()) == (503, {"error": BUSY})
    for response in (page, as_json):
        assert response.headers["retry-after"] == "1"
        assert response.headers["cache-control"] == "no-store"


async def test_a_failure_or_a_cancelled_request_blocks_nobody():
    """If a request fails, or its client goes away while it waits, the others are served."""
    reader = Reader(status(table(0)))
    reader.may_read.clear()
    async with client_of(reader) as client, asyncio.timeout(20):
        for _ in range(MAX_WAITING + 3):
            tasks = [asyncio.create_task(client.get("/api/v1/status")) for _ in range(2)]
            await settle()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        reader.may_read.set()
        reader.result = None
        with contextlib.suppress(AttributeError):
            await client.get("/api/v1/status")
        reader.result = status(table(0))
        assert (await client.get("/api/v1/status")).status_code == 200


async def test_secrets_have_no_place():
    """The status has no field for a login, a password or a key, so neither response can contain one."""
    async with client_of(Reader(busy_status())) as client:
        names = set(_names(json.loads((await client.get("/api/v1/status")).text)))
    names |= set(table().rows[0].__dataclass_fields__)
    assert not [name for name in names if any(word in name for word in ("login", "user", "password", "key", "token"))]


def _names(value):
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from _names(each)
    if isinstance(value, list):
        for each in value:
            yield from _names(each)
