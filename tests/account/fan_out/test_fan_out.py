"""All tests run in virtual time, because a cycle takes minutes."""

import asyncio
import itertools
import json
import re
from collections import Counter

import httpx
import pytest
from connections import text_of
from list_reader import BASE_URL, KEY, Recorder
from progress_recorder import ProgressRecorder
from structlog.testing import capture_logs
from virtual_time import VirtualLoop

from exporter.account.fan_out import FanOut
from exporter.account.fan_out.fan_out import IDLE_AFTER
from exporter.account.known_connections import KnownConnections
from exporter.account.refresh import REFUSED_WAIT, View
from exporter.account.status import CollectorStatus
from exporter.cache import Cache
from exporter.collectors.active_calls import COLLECTOR as CALLS
from exporter.collectors.connection_index import ConnectionRecord
from exporter.collectors.index import PageIndex
from exporter.collectors.registrations import COLLECTOR as REGISTRATIONS
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Document
from exporter.telnyx.budget import UNLIMITED, RequestBudget
from exporter.telnyx.errors import Forbidden, Internal, ServerError
from exporter.telnyx.http.client import Client
from exporter.telnyx.http.transport import Route

SCRAPE_INTERVAL = 15.0
TTL = 60.0


@pytest.fixture
def anyio_backend():
    """Run in virtual time."""
    return ("asyncio", {"loop_factory": VirtualLoop})


def record(number, *, active=True, has_webhook=True):
    """Return the index record of a connection."""
    row_id, kind = str(number), "credential_connection"
    return ConnectionRecord(
        row_id, f"pbx {number}", kind, active, "", "", None, None, None, None, has_webhook, login=f"login{number}"
    )


class Lists:
    """The lists of connections that the account has read."""

    def __init__(self, *numbers):
        self.reads = 0
        self.set(*map(record, numbers))

    def set(self, *records):
        """Change the connections."""
        self.index = PageIndex(ConnectionRecord, records)

    async def __call__(self):
        """Return the result of a refresh."""
        self.reads += 1
        return View((), 0, 0, 0, 0.0, [self.index])


class Harness:
    """A fan-out, and the requests that the API gets. `answer` returns a response for the id of a connection."""

    def __init__(
        self,
        *numbers,
        ttl=TTL,
        rate=2.0,
        collector=CALLS,
        limiter=UNLIMITED,
        delay=0.0,
        concurrency=4,
        api_key=lambda: KEY,
    ):
        self.clock = asyncio.get_running_loop().time
        self.started = self.clock()
        self.lists = Lists(*numbers)
        self.connections = KnownConnections([Cache(self.lists, ttl=30.0, max_stale=600.0, clock=self.clock)])
        self.status = CollectorStatus(collector.name)
        self.requests = []
        self.progress = ProgressRecorder()
        self.changes = []
        self.answer = lambda _: httpx.Response(200, json={"data": [], "meta": {"total_items": 3}})
        self.delay = delay
        self.client = Client(
            BASE_URL, api_key, Recorder(), route=Route(httpx.MockTransport(self._respond)), concurrency=concurrency
        )
        self.collector = collector
        self.ttl, self.rate, self.limiter = ttl, rate, limiter
        self.fan_out = self.another()

    def another(self):
        """Return another fan-out of the same connections."""
        return FanOut(
            self.collector.name,
            self.collector.endpoint,
            self.client,
            self.connections,
            Renderer(self.collector),
            self.status,
            limiter=self.limiter,
            ttl=self.ttl,
            rate=self.rate,
            progress=self.progress,
            on_changes=self.changes.append,
            clock=self.clock,
        )

    async def _respond(self, request):
        row_id = (
            request.url.path.split("/")[-2] if "username" not in request.url.params else request.url.params["username"]
        )
        self.requests.append((round(self.clock() - self.started, 3), row_id))
        await asyncio.sleep(self.delay)
        answer = self.answer(row_id)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))

    async def scrape(self, seconds):
        """Scrape every 15 s for this time, and return the result of the last scrape."""
        end = self.clock() + seconds
        view = await self.fan_out()
        while self.clock() < end:
            await asyncio.sleep(min(SCRAPE_INTERVAL, end - self.clock()))
            view = await self.fan_out()
        return view

    def times(self):
        """Return when the requests arrived."""
        return [at for at, _ in self.requests]


def values(view):
    """Return the values of a view by connection id."""
    lines = text_of(Document(view.families)).decode().splitlines()
    found = [re.fullmatch(r'telnyx_connection_active_calls\{connection_id="(\d+)",.*\} (\d+)', line) for line in lines]
    return {match[1]: int(match[2]) for match in found if match}


def warnings(logs):
    """Return the warnings about failed requests."""
    return [line for line in logs if line["event"] == "request failed" and line["log_level"] == "warning"]


def response(status, **headers):
    """Return an error response."""
    return httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()}, json={})


# Pace


async def test_a_call_does_not_wait_for_the_api():
    """A call returns the values that are there, at once. The first call starts the requests."""
    harness = Harness(1, 2, delay=10.0)
    before = harness.clock()
    assert values(await harness.fan_out()) == {}
    assert harness.clock() == before
    assert values(await harness.scrape(15.0)) == {"1": 3, "2": 3}
    await harness.fan_out.close()


async def test_a_cycle_is_evenly_spread_over_the_ttl():
    """After the first cycle, which is as fast as the rate allows, the requests are evenly spread over the TTL."""
    harness = Harness(*range(6))
    await harness.scrape(200.0)
    times = harness.times()
    gaps = [round(after - before, 3) for before, after in itertools.pairwise(times)]
    assert gaps[:5] == pytest.approx([0.5] * 5)
    assert gaps[6:] == pytest.approx([10.0] * len(gaps[6:]))
    assert len(gaps) > 20
    await harness.fan_out.close()


@pytest.mark.parametrize(("size", "rate", "cycle"), [(6, 2.0, 60.0), (30, 0.5, 60.0), (30, 0.1, 300.0)])
async def test_a_cycle_takes_the_ttl_or_as_long_as_the_rate_requires(size, rate, cycle):
    """In each cycle each connection is read once. A cycle takes max(TTL, n / rate)."""
    harness = Harness(*range(size), rate=rate)
    await harness.scrape(cycle)
    harness.requests.clear()
    await harness.scrape(3 * cycle)
    assert set(Counter(row_id for _, row_id in harness.requests).values()) <= {3, 4}
    assert len(harness.requests) == pytest.approx(3 * size, rel=0.05, abs=1)
    await harness.fan_out.close()


async def test_a_slow_api_does_not_slow_down_the_cycle():
    """Several requests are on the way at the same time, so that slow responses don't make a cycle longer."""
    harness = Harness(*range(60), rate=2.0, delay=1.5)
    await harness.scrape(180.0)
    assert len(harness.requests) == pytest.approx(60 + 60 * 150 / 60, rel=0.05)
    await harness.fan_out.close()


async def test_the_request_budget_limits_the_rate():
    """The requests take tokens of the account's budget, and wait for them."""
    loop = asyncio.get_running_loop()
    budget = RequestBudget(0.5, burst=1, clock=loop.time)
    harness = Harness(*range(20), limiter=budget.limiter("active-calls"))
    await harness.scrape(40.0)
    assert len(harness.requests) == pytest.approx(20, abs=2)
    await harness.fan_out.close()


async def test_requests_end_when_no_scrapes_arrive():
    """Without scrapes, the requests end after five minutes. The next scrape starts them again."""
    harness = Harness(1, 2, 3)
    await harness.scrape(30.0)
    last_scrape = harness.clock() - harness.started
    await asyncio.sleep(2 * IDLE_AFTER)
    assert last_scrape + IDLE_AFTER - 25 < harness.times()[-1] <= last_scrape + IDLE_AFTER
    sent = len(harness.requests)
    await harness.scrape(60.0)
    assert len(harness.requests) >= sent + 3
    await harness.fan_out.close()


async def test_close_ends_the_requests():
    """After `close`, no request is sent, and nothing is left to run."""
    harness = Harness(1, 2)
    await harness.fan_out.close()
    await harness.fan_out()
    await harness.fan_out.close()
    sent = len(harness.requests)
    await asyncio.sleep(100.0)
    assert len(harness.requests) == sent


# Connections


async def test_only_selected_connections_are_read():
    """The collector says which connections it reads."""
    harness = Harness()
    harness.lists.set(record(1), record(2, has_webhook=False))
    assert values(await harness.scrape(60.0)) == {"1": 3}
    await harness.fan_out.close()


async def test_the_lists_are_refreshed_but_not_waited_for():
    """A call starts refreshes of the lists that are due."""
    harness = Harness(1)
    await harness.scrape(90.0)
    assert harness.lists.reads == 3 + 1
    await harness.fan_out.close()


async def test_a_new_connection_is_read_next():
    """A connection that appears in the lists is read before those that were read already."""
    harness = Harness(1, 2, 3)
    await harness.scrape(60.0)
    harness.lists.set(*map(record, (1, 2, 3, 4)))
    await harness.scrape(45.0)
    harness.requests.clear()
    assert "4" in values(await harness.scrape(15.0))
    await harness.fan_out.close()


async def test_a_connection_that_is_gone_has_no_value():
    """A connection that is no longer in the lists loses its value, and is not read again."""
    harness = Harness(1, 2)
    assert values(await harness.scrape(60.0)) == {"1": 3, "2": 3}
    harness.lists.set(record(1))
    assert values(await harness.scrape(45.0)) == {"1": 3}
    harness.requests.clear()
    await harness.scrape(120.0)
    assert {row_id for _, row_id in harness.requests} == {"1"}
    await harness.fan_out.close()


async def test_a_response_for_a_connection_that_is_gone_is_dropped():
    """If a connection disappears while it is read, its value is not shown."""
    harness = Harness(1, 2, delay=40.0)
    await harness.scrape(15.0)
    harness.lists.set(record(2))
    await harness.scrape(45.0)
    assert values(await harness.fan_out()) == {"2": 3}
    await harness.fan_out.close()


# Values


async def test_a_value_is_dropped_after_two_cycles():
    """If a connection fails, its last value is shown for two cycles. The other connections are not affected."""
    harness = Harness(1, 2)
    await harness.scrape(30.0)
    harness.answer = lambda row_id: response(500) if row_id == "1" else httpx.Response(200, json={"data": [{}]})
    assert values(await harness.scrape(60.0)) == {"1": 3, "2": 1}
    assert values(await harness.scrape(75.0)) == {"2": 1}
    await harness.fan_out.close()


async def test_old_values_are_not_shown_after_a_pause():
    """If no scrape arrived for a long time, the first one does not show what was read before."""
    harness = Harness(1)
    assert values(await harness.scrape(30.0)) == {"1": 3}
    await asyncio.sleep(IDLE_AFTER + 3 * TTL)
    assert values(await harness.fan_out()) == {}
    await harness.fan_out.close()


async def test_an_unchanged_page_is_not_rendered_again():
    """If no value of a page changed, its blocks are the same objects."""
    harness = Harness(*range(3))
    await harness.scrape(60.0)
    pages = [id(page) for _, page in harness.fan_out._pages]
    await harness.scrape(60.0)
    assert [id(page) for _, page in harness.fan_out._pages] == pages
    await harness.fan_out.close()


async def test_many_connections_have_several_pages():
    """The rows are rendered in pages of 250, and a change of one row renders only its page."""
    harness = Harness(*range(600), rate=10.0)
    view = await harness.scrape(75.0)
    assert view.row_count == len(values(view)) == 600
    pages = [page for _, page in harness.fan_out._pages]
    changed = "599"
    harness.answer = lambda row_id: httpx.Response(
        200, json={"data": [], "meta": {"total_items": 3 + (row_id == changed)}}
    )
    assert values(await harness.scrape(90.0))[changed] == 4
    same = [before is after for before, (_, after) in zip(pages, harness.fan_out._pages, strict=True)]
    assert sorted(same) == [False, True, True]
    await harness.fan_out.close()


async def test_the_view_has_the_indexes_of_its_rows():
    """Others can read from a view which connections are registered."""
    harness = Harness(1, 2, collector=REGISTRATIONS)
    harness.answer = lambda login: httpx.Response(200, json={"registered": login != "login2"})
    view = await harness.scrape(60.0)
    (index,) = view.indexes
    assert {record.id: record.registered for record in index.records} == {"1": True, "2": False}
    await harness.fan_out.close()


async def test_a_lost_registration_is_logged():
    """The log names a connection whose value changed, and not those that are read for the first time."""
    harness = Harness(1, 2, collector=REGISTRATIONS)
    harness.answer = lambda _: httpx.Response(200, json={"registered": True, "sip_registration_status": "registered"})
    with capture_logs() as logs:
        await harness.scrape(60.0)
        harness.answer = lambda login: httpx.Response(200, json={"registered": login != "login2"})
        await harness.scrape(75.0)
    assert [line for line in logs if line["event"] == "list changed"] == [
        {
            "event": "list changed",
            "log_level": "info",
            "collector": "registrations",
            "registration_lost": "2 pbx 2",
        }
    ]
    await harness.fan_out.close()


# Failures


async def test_one_failing_connection_does_not_stop_the_others():
    """A connection whose requests fail is read again in the next cycle. It is logged once."""
    harness = Harness(1, 2, 3)
    harness.answer = lambda row_id: response(500) if row_id == "2" else httpx.Response(200, json={"data": []})
    with capture_logs() as logs:
        assert values(await harness.scrape(400.0)) == {"1": 0, "3": 0}
    (line,) = warnings(logs)
    assert (line["connection_id"], line["reason"]) == ("2", "server_error")
    assert harness.status.failures["server_error"] >= 6
    await harness.fan_out.close()


async def test_the_end_of_failures_is_logged():
    """When a whole cycle succeeds after failures, the log says so, once."""
    harness = Harness(1, 2, 3)
    harness.answer = lambda _: response(500)
    with capture_logs() as logs:
        await harness.scrape(60.0)
        assert harness.status.success is False
        assert harness.fan_out.error is not None
        harness.answer = lambda _: httpx.Response(200, json={"data": []})
        await harness.scrape(300.0)
    lines = [line for line in logs if line["event"] == "requests succeed again"]
    assert [(line["collector"], line["last_reason"]) for line in lines] == [("active-calls", "server_error")]
    assert harness.status.success is True
    assert (harness.fan_out.error, harness.fan_out.pause) == (None, 0.0)
    await harness.fan_out.close()


async def test_a_single_failure_is_no_error_of_the_collector():
    """The collector fails if ten requests in a row do, not if Telnyx has no answer for one of many connections."""
    harness = Harness(*range(100), rate=1.0)
    harness.answer = lambda row_id: response(500) if row_id == "0" else httpx.Response(200, json={"data": []})
    errors = set()
    for _ in range(150):
        await harness.scrape(1.0)
        errors.add(harness.fan_out.error)
    assert errors == {None}
    assert harness.status.failures["server_error"] >= 1
    harness.answer = lambda _: response(500)
    await harness.scrape(8.0)
    assert harness.fan_out.error is None
    await harness.scrape(5.0)
    assert isinstance(harness.fan_out.error, ServerError)
    await harness.fan_out.close()


async def test_the_pause_after_failures_grows():
    """While all requests fail, the exporter sends fewer and fewer requests, down to one every two minutes."""
    harness = Harness(*range(100), concurrency=1)
    harness.answer = lambda _: response(502)
    await harness.scrape(1800.0)
    assert len([at for at in harness.times() if at > 1000]) <= 8
    await harness.fan_out.close()


async def test_a_refused_key_is_retried_after_ten_minutes():
    """If the key may not read the endpoint, the exporter tries each connection once, then one every ten minutes."""
    harness = Harness(*range(5))
    harness.answer = lambda _: response(403)
    with capture_logs() as logs:
        await harness.scrape(REFUSED_WAIT - 15)
        assert len(harness.requests) == 5
        assert isinstance(harness.fan_out.error, Forbidden)
        assert harness.fan_out.pause == pytest.approx(15.0, abs=5)
        await harness.scrape(30.0)
    assert len(harness.requests) == 6
    assert [line["reason"] for line in warnings(logs)] == ["forbidden"]
    await harness.fan_out.close()


async def test_a_rate_limit_pauses_all_requests():
    """If Telnyx requests a wait that is longer than the timeout of a request, all requests wait."""
    harness = Harness(*range(50), concurrency=1)
    harness.answer = lambda _: response(429, retry_after="120")
    await harness.scrape(119.0)
    assert len(harness.requests) == 1
    harness.answer = lambda _: httpx.Response(200, json={"data": []})
    await harness.scrape(30.0)
    assert len(harness.requests) > 20
    await harness.fan_out.close()


async def test_a_bug_fails_only_its_request():
    """An unexpected exception is recorded as internal, with its place and without its message."""
    secret = "canary-5d1f"
    harness = Harness(1)
    harness.answer = lambda _: ValueError(secret)
    with capture_logs() as logs:
        await harness.scrape(5.0)
    assert harness.status.failures["internal"] > 0
    assert secret not in json.dumps(logs)
    (line,) = warnings(logs)
    assert (line["reason"], line["error"].startswith("ValueError at ")) == ("internal", True)
    await harness.fan_out.close()


@pytest.mark.parametrize("status", [403, 500])
async def test_failing_connections_do_not_delay_the_others(status):
    """While a third of the connections fail, in a row, the others are read as often as before."""
    harness = Harness(*range(30))
    harness.answer = lambda row_id: response(status) if int(row_id) < 10 else httpx.Response(200, json={"data": []})
    await harness.scrape(60.0)
    for _ in range(20):
        assert len(values(await harness.scrape(60.0))) == 20
    await harness.fan_out.close()


async def test_a_bug_in_rendering_is_logged(monkeypatch):
    """If the rows can't be rendered, the log says so, and the failure is counted."""
    harness = Harness(1)
    await harness.scrape(15.0)
    monkeypatch.setattr(harness.fan_out._renderer, "render", lambda _: 1 / 0)
    with capture_logs() as logs, pytest.raises(Internal) as caught:
        await harness.fan_out()
    assert caught.value.__context__ is None
    assert [line["reason"] for line in warnings(logs)] == ["internal"]
    assert harness.status.failures["internal"] == 1
    await harness.fan_out.close()


# Slow cycles


async def test_slow_responses_do_not_drop_values():
    """If responses are so slow that a cycle takes longer than planned, no value is dropped before it is read again."""
    harness = Harness(*range(100), rate=2.0, delay=10.0)
    await harness.scrape(300.0)
    for _ in range(20):
        assert len(values(await harness.scrape(60.0))) == 100
    await harness.fan_out.close()


async def test_a_small_request_budget_does_not_drop_values():
    """If the budget is smaller than the rate, no value is dropped before it is read again."""
    loop = asyncio.get_running_loop()
    budget = RequestBudget(0.5, burst=1, clock=loop.time)
    harness = Harness(*range(100), limiter=budget.limiter("active-calls"))
    await harness.scrape(600.0)
    for _ in range(20):
        assert len(values(await harness.scrape(60.0))) == 100
    await harness.fan_out.close()


# A complete read


async def test_everything_is_read_for_a_complete_result():
    """`read_all` reads each connection once, at the rate."""
    harness = Harness(*range(10))
    before = harness.clock()
    view = await harness.fan_out.read_all()
    assert harness.clock() - before == pytest.approx(5.0)
    assert len(values(view)) == len(harness.requests) == 10


async def test_progress_of_a_complete_read():
    """The progress of `read_all` counts the connections, also those whose request failed."""
    harness = Harness(*range(3))
    harness.answer = lambda _: response(404)
    await harness.fan_out.read_all()
    assert harness.progress.events == [(0, 3), (1, 3), (2, 3), (3, 3)]


async def test_a_complete_read_retries():
    """`read_all` retries a failed request, because there is no next cycle."""
    harness = Harness(1)
    answers = [response(503), httpx.Response(200, json={"data": [{}]})]
    harness.answer = lambda _: answers.pop(0)
    assert values(await harness.fan_out.read_all()) == {"1": 1}


async def test_a_complete_read_drops_no_value():
    """`read_all` returns all rows, even if it takes longer than two cycles."""
    harness = Harness(*range(30), rate=1.0, delay=30.0, ttl=10.0)
    assert len(values(await harness.fan_out.read_all())) == 30


@pytest.mark.parametrize(("status", "requests"), [(401, 10), (403, 10), (500, 10), (404, 50)])
async def test_a_complete_read_ends_early_if_failures_are_lasting(status, requests):
    """`read_all` ends after ten failures in a row. 404 is not a failure."""
    harness = Harness(*range(50), rate=0.1)
    harness.answer = lambda _: response(status)
    await harness.fan_out.read_all()
    assert len({row_id for _, row_id in harness.requests}) == requests
    assert any(harness.status.failures.values()) is (status != 404)


# Others


async def test_check():
    """The access check sends one request, for a connection that does not exist. Only a refusal is an error."""
    harness = Harness(1)
    harness.answer = lambda _: response(404)
    await harness.fan_out.check()
    harness.answer = lambda _: response(403)
    with pytest.raises(Forbidden):
        await harness.fan_out.check()
    assert [row_id for _, row_id in harness.requests] == ["0", "0"]


async def test_adopt():
    """Another fan-out continues with the values, and with the order of the requests."""
    harness = Harness(*range(6))
    await harness.scrape(60.0)
    await harness.fan_out.close()
    last = harness.requests[-1][1]
    harness.requests.clear()
    second = harness.another()
    second.adopt(harness.fan_out, with_data=True)
    harness.fan_out = second
    assert len(values(await second())) == 6
    await harness.scrape(30.0)
    assert [row_id for _, row_id in harness.requests][:2] == [str((int(last) + step) % 6) for step in (1, 2)]
    await second.close()


@pytest.mark.parametrize("with_data", [True, False])
@pytest.mark.parametrize(("status", "pause"), [(403, 0.0), (429, 115.0)])
async def test_adopt_after_a_failure(status, pause, with_data):
    """Another fan-out, for example with another key, sends requests at once, unless Telnyx requested a wait."""
    harness = Harness(1, concurrency=1)
    harness.answer = lambda _: response(status, retry_after="120")
    await harness.scrape(5.0)
    await harness.fan_out.close()
    second = harness.another()
    second.adopt(harness.fan_out, with_data=with_data)
    assert second.pause == pytest.approx(pause, abs=1.5)
