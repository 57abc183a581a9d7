import asyncio
import threading

import httpx
import pytest
from list_reader import BASE_URL, KEY, Recorder
from progress_recorder import ProgressRecorder
from virtual_time import in_virtual_time

from exporter.telnyx.budget import UNLIMITED, RequestBudget
from exporter.telnyx.errors import Forbidden, Malformed, NotFound, RequestTimeout
from exporter.telnyx.http.client import Client
from exporter.telnyx.http.transport import Route
from exporter.telnyx.lists.snapshots import Snapshot
from exporter.telnyx.objects import ObjectReader
from exporter.telnyx.structs import ApiObject, Int

CANARY = "canary-7f3a"


class Counts(ApiObject, frozen=True, gc=False):
    """An object of the API."""

    name: str | None = None
    used: Int | None = None


class Recording:
    """A page processor that returns a new object for each row, and records its calls."""

    def __init__(self):
        self.threads = []

    def render_page(self, rows):
        """Return the fields of the only row."""
        self.threads.append(threading.get_ident())
        (row,) = rows
        return [row.name, row.used]

    def remove_rows(self, page, ids):
        """Never called."""
        raise NotImplementedError


class Harness:
    """A reader of one object, and the responses that it gets."""

    def __init__(self, *bodies, limiter=UNLIMITED, **options):
        self.bodies = list(bodies)
        self.requests = []
        self.processor = Recording()
        self.recorder = Recorder()
        transport = httpx.MockTransport(self._respond)
        self._client = Client(BASE_URL, lambda: KEY, self.recorder, route=Route(transport), **options)
        self.progress = ProgressRecorder()
        self._reader = ObjectReader(
            self._client, "/connections/count", Counts, self.processor, limiter=limiter, progress=self.progress
        )

    async def _respond(self, request):
        self.requests.append(request)
        body = self.bodies.pop(0)
        if body is None:
            await asyncio.Event().wait()
        if isinstance(body, int):
            return httpx.Response(body, stream=httpx.ByteStream(b""))
        return httpx.Response(200, stream=httpx.ByteStream(body))

    async def fetch(self):
        """Read the object."""
        return await self._reader.fetch()


async def test_an_object_is_a_snapshot_of_one_row():
    """An object is read with one request without parameters, and rendered in another thread as a page of one row."""
    harness = Harness(b'{"data":{"name":"a","used":5,"password":"x"}}')

    assert await harness.fetch() == Snapshot((["a", 5],), 1)
    (request,) = harness.requests
    assert str(request.url) == f"{BASE_URL}/connections/count"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert threading.get_ident() not in harness.processor.threads


async def test_progress_of_an_object():
    """An object is one page. The progress begins before the request."""
    harness = Harness(b'{"data":{"name":"a"}}', 403)
    await harness.fetch()
    with pytest.raises(Forbidden):
        await harness.fetch()
    assert harness.progress.events == [(0, 1), (1, 1), (0, 1)]


async def test_an_unchanged_object_is_not_rendered_again():
    """The content is a new object only if the response body changed."""
    body, changed = b'{"data":{"used":5}}', b'{"data":{"used":6}}'
    harness = Harness(body, body, changed)
    first, second, third = [(await harness.fetch()).pages[0] for _ in range(3)]

    assert second is first
    assert (first, third) == ([None, 5], [None, 6])
    assert len(harness.processor.threads) == 2


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b'{"data":{"used":"5"}}', [None, 5]),
        (b'{"data":{"name":"a\\ud800"}}', ["a\ufffd", None]),
        (b'{"data":{"name":null},"meta":1}', [None, None]),
        (b'{"data":{}}', [None, None]),
    ],
    ids=["number as text", "lone surrogate", "null", "nothing"],
)
async def test_an_unusual_object_is_read(body, content):
    """A number can be text, text can contain lone surrogates, and fields can be absent."""
    assert (await Harness(body).fetch()).pages == (content,)


@pytest.mark.parametrize(
    "body",
    [
        f"<html>{CANARY}</html>",
        "",
        "null",
        "[]",
        "{}",
        '{"data":null}',
        f'{{"data":["{CANARY}"]}}',
        f'{{"data":"{CANARY}"}}',
        f'{{"data":{{"used":"{CANARY}"}}}}',
        f'{{"data":{{"used":{{"{CANARY}":"{CANARY}"}}}}}}',
        '{"data":' * 50_000,
    ],
    ids=lambda body: body[:30],
)
async def test_an_invalid_body_is_malformed(body):
    """A 200 response that is not such an object is malformed. It is neither retried nor quoted."""
    harness = Harness(body.encode())
    with pytest.raises(Malformed, match=f"^the response can't be decoded: (?!.*{CANARY})") as caught:
        await harness.fetch()

    assert caught.value.__context__ is None
    assert harness.recorder.codes == ["200"]


async def test_an_object_after_an_invalid_body_is_read():
    """A failed fetch does not affect the next one."""
    harness = Harness(b"", 404, b'{"data":{"used":1}}')
    with pytest.raises(Malformed):
        await harness.fetch()
    with pytest.raises(NotFound):
        await harness.fetch()

    assert (await harness.fetch()).pages == ([None, 1],)


@in_virtual_time
async def test_an_object_times_out():
    """If Telnyx never responds, the fetch ends after the timeout, which does not include waits for the budget."""
    loop = asyncio.get_running_loop()
    budget = RequestBudget(0.125, burst=1, clock=loop.time)
    await budget.acquire()
    start = loop.time()
    with pytest.raises(RequestTimeout, match=r"^the refresh took longer than 3 s$"):
        await Harness(None, limiter=budget.limiter("test"), timeout=3).fetch()

    assert loop.time() - start == 8 + 3
