import asyncio
import threading
from contextlib import asynccontextmanager

import httpx
import pytest
from list_reader import BASE_URL, KEY, ROWS, Recorder, Rows, connected, fetch, ids, listing, rows_of
from progress_recorder import ProgressRecorder
from virtual_time import in_virtual_time

from exporter.collectors.credential_connections import Connection
from exporter.config.settings import FilterSettings
from exporter.telnyx.budget import RequestBudget
from exporter.telnyx.errors import Forbidden, Malformed, RequestTimeout
from exporter.telnyx.http.client import Client
from exporter.telnyx.http.transport import Route
from exporter.telnyx.lists.pages import UnreadableRow
from exporter.telnyx.lists.reader import JoinedReader, ListQuery, ListReader
from exporter.telnyx.lists.snapshots import Snapshot
from exporter.telnyx.structs import ApiObject, Int

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    ("filters", "params"),
    [
        ({"connection_name": "a&b=c #1"}, {"filter[connection_name][contains]": "a&b=c #1"}),
        ({"fqdn": "sip.example.com"}, {"filter[fqdn]": "sip.example.com"}),
        ({"outbound_voice_profile_id": "1293"}, {"filter[outbound_voice_profile_id]": "1293"}),
        ({"connection_name": "", "fqdn": "", "outbound_voice_profile_id": ""}, {}),
    ],
    ids=["name", "fqdn", "profile", "empty"],
)
async def test_filters_become_query_parameters(api, filters, params):
    """Filters that are set are sent under Telnyx's parameter names. Empty filters are not sent."""
    api.return_value = listing("1")
    await fetch(filters=FilterSettings(**filters))

    sent = dict(api.calls.last.request.url.params)
    assert sent == {"page[number]": "1", "page[size]": "250", "sort": "created_at", **params}


async def test_every_page_is_requested(api, recorder):
    """All pages of a list are read, and each request is recorded."""
    rows = [str(number) for number in range(6)]

    def page(request):
        number, size = (int(request.url.params[f"page[{name}]"]) for name in ("number", "size"))
        return listing(*rows[(number - 1) * size : number * size], total_results=6)

    api.side_effect = page
    snapshot = await fetch(recorder, page_size=2)

    assert ids(snapshot) == rows
    assert recorder.codes == ["200"] * 5
    assert recorder.restarts == 0


async def test_an_unchanged_page_is_the_same_object(api):
    """A page is decoded again only if its response body changed."""
    rows = ["a", "b", "c", "d"]

    def page(request):
        number = int(request.url.params["page[number]"])
        return listing(*rows[number * 2 - 2 : number * 2], total_results=4)

    api.side_effect = page
    async with connected(page_size=2) as client:
        first = await client.fetch()
        rows[3] = "e"
        second = await client.fetch()

    assert second.pages[0] is first.pages[0]
    assert ids(second) == ["a", "b", "c", "e"]


class Recording(Rows):
    """A page processor that records the rows and the threads of its calls."""

    def __init__(self):
        self.ids = []
        self.threads = set()

    def render_page(self, rows):
        """Record the rows and return them."""
        self.ids.append("".join(row.id for row in rows))
        self.threads.add(threading.get_ident())
        return super().render_page(rows)


async def test_a_page_is_processed_when_it_arrives():
    """A page is processed in another thread, before later pages have arrived."""
    recording, seen = Recording(), []

    async def respond(request):
        number = int(request.url.params["page[number]"])
        if number > 1:
            seen.append(list(recording.ids))
        body = b'{"data":[{"id":"%c"}],"meta":{"total_results":3}}' % b"abc"[number - 1]
        return httpx.Response(200, stream=httpx.ByteStream(body))

    transport = httpx.MockTransport(respond)
    async with connected(transport=transport, processor=recording, page_size=1, concurrency=1) as reader:
        await reader.fetch()

    assert seen[:3] == [["a"], ["a", "c"], ["a", "c", "b"]]
    assert threading.get_ident() not in recording.threads


async def test_a_restart_processes_changed_pages_only(api):
    """If the list changes while it is read, only pages that changed are processed when it is read again."""
    rows, recording = list("abcdefg"), Recording()

    def page(request):
        number = int(request.url.params["page[number]"])
        if api.call_count == 3:
            rows.remove("c")
        return listing(*rows[number * 2 - 2 : number * 2], total_results=None, total_pages=4)

    api.side_effect = page
    async with connected(page_size=2, processor=recording) as reader:
        assert ids(await reader.fetch()) == list("abdefg")
        assert api.call_count > 2 * 4
        assert len(set(recording.ids)) == len(recording.ids)
        assert {"ab", "de", "fg"} <= set(recording.ids)
        recording.ids.clear()
        assert ids(await reader.fetch()) == list("abdefg")
        assert recording.ids == []


async def test_a_timeout_does_not_report_a_resolved_failure(api):
    """After a successful retry, a later timeout doesn't report the failure that caused the retry."""
    responses = iter((httpx.Response(503), listing("a", total_results=2)))

    async def respond(_):
        response = next(responses, None)
        if response is None:
            await asyncio.Event().wait()
        return response

    api.side_effect = respond
    with pytest.raises(RequestTimeout, match=r"^the refresh took longer than 0\.2 s$"):
        await fetch(timeout=0.2)


async def test_a_restart_is_recorded(api, recorder):
    """A list that changes while it is read is read again, and the restart is recorded."""
    responses = [listing("1", total_results=2), listing(), listing("2")]
    api.side_effect = responses + [listing("2")] * 3

    assert ids(await fetch(recorder)) == ["2"]
    assert recorder.restarts == 1


async def test_progress_begins_before_the_first_page(api):
    """The progress begins with the first request, so that a slow one shows, and counts the pages."""
    progress = ProgressRecorder()
    api.side_effect = lambda request: listing(request.url.params["page[number]"], total_results=2)
    async with connected(page_size=1, progress=progress) as reader:
        await reader.fetch()
    assert progress.events[:3] == [(0, None), (1, None), (1, 2)]
    assert progress.events[-1] == (2, 2)


async def test_concurrency_is_bounded():
    """The number of requests that a list has in flight never exceeds the limit."""
    in_flight, counts = set(), []

    async def respond(request):
        in_flight.add(request)
        counts.append(len(in_flight))
        await asyncio.sleep(0)
        in_flight.remove(request)
        body = b'{"data":[{"id":"%b"}],"meta":{"total_results":20}}' % request.url.params["page[number]"].encode()
        return httpx.Response(200, stream=httpx.ByteStream(body))

    snapshot = await fetch(transport=httpx.MockTransport(respond), concurrency=3)

    assert snapshot.row_count == 20
    assert max(counts) == 3


async def test_each_fetch_reads_the_key(api):
    """A rotated key is used from the next fetch on."""
    keys = iter(["KEY-1", "KEY-2"])
    api.return_value = listing("1")
    async with connected(key=lambda: next(keys)) as client:
        await client.fetch()
        await client.fetch()

    assert [call.request.headers["authorization"] for call in api.calls] == ["Bearer KEY-1", "Bearer KEY-2"]


@pytest.mark.parametrize(
    "body", [f"<html>{CANARY}</html>", "", "null", "[]", "{}", '{"data":null}', f'{{"data":[],"meta":"{CANARY}"}}']
)
async def test_a_body_that_is_not_a_list_is_malformed(api, recorder, body):
    """A 200 response that is not a list, such as a proxy's HTML, is malformed. It is neither retried nor quoted."""
    api.return_value = httpx.Response(200, text=body)
    with pytest.raises(Malformed, match=f"^page 1 can't be decoded: (?!.*{CANARY})"):
        await fetch(recorder)

    assert recorder.codes == ["200"]


async def test_a_fetch_times_out(recorder):
    """If Telnyx never responds, the fetch ends with a timeout, and the request is recorded."""

    async def never(_):
        await asyncio.Event().wait()

    with pytest.raises(RequestTimeout, match=r"^the refresh took longer than 0\.01 s$") as caught:
        await fetch(recorder, transport=httpx.MockTransport(never), timeout=0.01)
    assert caught.value.__context__ is None
    assert recorder.codes == ["none"]


async def test_a_cancelled_fetch_is_not_a_timeout(recorder):
    """A cancelled fetch raises `CancelledError`, not a timeout."""
    requested = asyncio.Event()

    async def never(_):
        requested.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(fetch(recorder, transport=httpx.MockTransport(never)))
    await requested.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def pages_of(rows):
    """Return a handler of requests that returns these rows, one per page."""

    def respond(request):
        number = int(request.url.params["page[number]"])
        body = b'{"data":[{"id":"%b"}],"meta":{"total_results":%d}}' % (rows[number - 1].encode(), len(rows))
        return httpx.Response(200, stream=httpx.ByteStream(body))

    return respond


@in_virtual_time
async def test_a_slow_budget_does_not_make_a_long_list_time_out():
    """A list whose requests wait for the request budget is read completely, although that exceeds the timeout."""
    loop = asyncio.get_running_loop()
    start, limiter = loop.time(), RequestBudget(1.0, burst=1, clock=loop.time).limiter("test")
    transport = httpx.MockTransport(pages_of([str(number) for number in range(20)]))
    snapshot = await fetch(transport=transport, limiter=limiter, timeout=1.5)

    assert snapshot.row_count == 20
    assert loop.time() - start == 20 + 2 - 1


async def test_a_list_without_a_sort_order_is_read_in_order():
    """A list that Telnyx can't sort is read page by page, with one request for each page."""
    requested = []

    def respond(request):
        requested.append(request.url.params["page[number]"])
        return pages_of(list("abc"))(request)

    query = ListQuery(path="/ips", row_type=Connection, page_size=1, params={}, ordered=False)
    client = Client(BASE_URL, lambda: KEY, Recorder(), route=Route(httpx.MockTransport(respond)))
    snapshot = await ListReader(client, query, ROWS).fetch()
    await client.close()

    assert ids(snapshot) == list("abc")
    assert requested == ["1", "2", "3"]


class SpendLimit(ApiObject, frozen=True, gc=False):
    """A row without an id."""

    product: str
    spend: Int | None = None

    @property
    def id(self):
        """The product."""
        return self.product


@asynccontextmanager
async def unpaged(*bodies, params=None):
    """Yield a reader of a list without pages, and the requests that it sends. These are the responses."""
    requests, responses = [], iter(bodies)

    def respond(request):
        requests.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(next(responses)))

    progress = ProgressRecorder()
    query = ListQuery(
        path="/spend_limits", row_type=SpendLimit, page_size=2, params=params or {}, ordered=False, paged=False
    )
    client = Client(BASE_URL, lambda: KEY, Recorder(), route=Route(httpx.MockTransport(respond)))
    yield ListReader(client, query, ROWS, progress=progress), requests
    assert progress.events == [(0, None), (1, 1)] * len(requests) or not progress.events
    await client.close()


THREE_PRODUCTS = b'{"data":[{"product":"a"},{"product":"b","spend":5},{"product":"c"}]}'


async def test_a_list_without_pages_is_read_with_one_request():
    """One response contains all rows, whatever the page size and the totals are. The request has no page number."""
    totals = THREE_PRODUCTS[:-1] + b',"meta":{"total_results":9,"total_pages":5,"page_number":2}}'
    async with unpaged(THREE_PRODUCTS, totals, params={"period": "daily"}) as (reader, requests):
        snapshots = [await reader.fetch() for _ in range(2)]

    assert [ids(snapshot) for snapshot in snapshots] == [list("abc")] * 2
    assert [(snapshot.row_count, snapshot.missing) for snapshot in snapshots] == [(3, 0)] * 2
    assert [str(request.url) for request in requests] == [f"{BASE_URL}/spend_limits?period=daily"] * 2


async def test_an_empty_list_without_pages():
    """A list without pages can be empty."""
    async with unpaged(b'{"data":[]}') as (reader, requests):
        snapshot = await reader.fetch()

    assert (snapshot.pages, snapshot.row_count) == ((), 0)
    assert len(requests) == 1


async def test_an_unchanged_list_without_pages_is_the_same_object():
    """A list without pages is decoded again only if its response body changed."""
    async with unpaged(THREE_PRODUCTS, THREE_PRODUCTS, b'{"data":[{"product":"a"}]}') as (reader, _):
        first, second, third = [(await reader.fetch()).pages[0] for _ in range(3)]

    assert second is first
    assert third is not first


async def test_rows_of_a_list_without_pages_are_left_out():
    """The first of several rows with the same id is used. Rows that can't be decoded are left out and counted."""
    body = (
        b'{"data":[{"product":"a","spend":1},{"product":"a","spend":2},{"spend":3},{"product":""},7,{"product":"b"}]}'
    )
    async with unpaged(body) as (reader, _):
        snapshot = await reader.fetch()

    assert [(row.id, row.spend) for row in rows_of(snapshot)] == [("a", 1), ("b", None)]
    assert (snapshot.row_count, snapshot.missing, len(snapshot.unreadable)) == (2, 0, 3)
    assert snapshot.unreadable[0] == UnreadableRow(None, "Object missing required field `product`")


async def test_access_to_a_list_without_pages():
    """The access check sends the same request, and reports a response that is not a list."""
    async with unpaged(THREE_PRODUCTS, b'{"data":{}}') as (reader, requests):
        await reader.check()
        with pytest.raises(Malformed, match=r"^page 1 can't be decoded"):
            await reader.check()

    assert [str(request.url) for request in requests] == [f"{BASE_URL}/spend_limits"] * 2


# Several lists


class Part:
    """A reader of a list."""

    def __init__(self, *pages, error=None, missing=0, unreadable=()):
        self.snapshot = Snapshot(pages, len(pages), unreadable, missing)
        self.error = error
        self.calls = []

    async def fetch(self):
        """Return the list."""
        self.calls.append("fetch")
        if self.error:
            raise self.error
        return self.snapshot

    async def check(self):
        """Raise the error, if there is one."""
        self.calls.append("check")
        if self.error:
            raise self.error


async def test_joined_lists_are_one_snapshot():
    """Several lists are one snapshot, with all pages in order. What is missing or unreadable is added up."""
    bad = UnreadableRow("7", "problem")
    reader = JoinedReader({"/a": Part("a", "b", missing=1), "/b": Part("c", missing=2, unreadable=(bad,))})
    assert await reader.fetch() == Snapshot(("a", "b", "c"), 3, (bad,), 3)


async def test_access_to_joined_lists():
    """The access check reads each list."""
    first, second = Part("a"), Part("b")
    await JoinedReader({"/a": first, "/b": second}).check()
    assert first.calls == second.calls == ["check"]


@pytest.mark.parametrize("method", ["fetch", "check"])
async def test_joined_lists_fail_together(method):
    """If one of the lists fails, reading them fails. The error names the path of that list."""
    first, second = Part("a"), Part(error=Forbidden(403))
    with pytest.raises(Forbidden, match=r"^GET /b: HTTP status 403$"):
        await getattr(JoinedReader({"/a": first, "/b": second}), method)()
    assert first.calls == second.calls == [method]
