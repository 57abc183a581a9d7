"""The whole exporter, over real HTTP, against a fake Telnyx API that fails in every known way."""

import asyncio
import itertools
import time
import tracemalloc
from urllib.parse import urlsplit

import pytest
import stamina
from fake_api import (
    FAULTS,
    PATIENCE,
    FakeApi,
    always_first_page,
    closing,
    connection,
    connections,
    html,
    late,
    listing,
    respond,
    retry_after_date,
    silence,
    telnyx_error,
    then,
)
from html_page import Page
from structlog.testing import capture_logs

from exporter.account.refresh import MAX_RETRY_AFTER
from exporter.telnyx.errors import RateLimited
from exporter.telnyx.http.client import MAX_BODY_BYTES, Client

SHORT_SCRAPE_TIMEOUT = 1.0
"""A scrape timeout that ends before a slow refresh does, in seconds."""
SHORT_TIMEOUT, LONG_TIMEOUT = 0.6, 60.0
"""Refresh timeouts in seconds: one for tests that must exceed it, one that nothing may wait for."""
LAST_SUCCESS = "telnyx_last_success_timestamp_seconds"
FIVE = ["1", "2", "3", "4", "5"]


def logged_fields(logs, event, field):
    """Return this field of every log line with this event."""
    return [line[field] for line in logs if line["event"] == event]


@pytest.mark.parametrize(("answer", "reason"), FAULTS.values(), ids=FAULTS)
async def test_the_exporter_recovers_from_a_fault(answer, reason, api, shared_server):
    """The exporter survives a fault and recovers from it.

    During the fault, scrapes report it, the snapshot is served until it is too old, and the exporter backs off.
    """
    settings = {"timeout": SHORT_TIMEOUT} if reason == "timeout" else {}
    with capture_logs() as logs:
        async with shared_server.exporter(api.url, **settings) as exporter:
            await scrape_through_fault(answer, reason, api, exporter)
    assert logged_fields(logs, "refresh failed", "reason") == [reason]
    assert logged_fields(logs, "refreshes succeed again", "last_reason") == [reason]
    assert [line["event"] for line in logs if line["log_level"] not in {"debug", "info"}] == ["refresh failed"]
    assert not [line for line in logs if "exc_info" in line or "exception" in line]


async def scrape_through_fault(answer, reason, api, exporter):
    """Scrape before, during and after a fault."""
    good = await exporter.scrape()
    assert (good.up, good.ids, good.failures) == (1, FIVE, {})

    api.answer(answer)
    exporter.expire()
    assert (await exporter.scrape(SHORT_SCRAPE_TIMEOUT)).ids == FIVE
    failed = await exporter.scrape()  # waits for the refresh to end
    assert failed.value("telnyx_refresh_duration_seconds") < PATIENCE
    assert (failed.up, failed.failures, failed.ids) == (0, {reason: 1}, FIVE)
    assert failed.value(LAST_SUCCESS) == good.value(LAST_SUCCESS)

    contacts = api.contacts
    assert contacts <= 8
    assert await exporter.pipeline(8) == [200] * 8
    assert api.contacts == contacts

    exporter.clock.advance(600)
    old = await exporter.scrape()
    assert (old.up, old.failures, old.ids) == (0, {reason: 2}, [])
    assert old.value(LAST_SUCCESS) == good.value(LAST_SUCCESS)

    api.answer(listing())
    exporter.clock.advance(MAX_RETRY_AFTER)
    again = await exporter.scrape()
    assert (again.up, again.failures, again.ids) == (1, {reason: 2}, FIVE)
    assert again.value(LAST_SUCCESS) == pytest.approx(exporter.clock.time(), abs=5)


async def test_a_scrape_ends_before_a_slow_refresh(api, shared_server):
    """If a refresh takes longer than Prometheus waits for a response, the scrape gets the previous data."""
    async with shared_server.exporter(api.url, timeout=LONG_TIMEOUT) as exporter:
        await exporter.scrape()
        exporter.expire()
        api.answer(silence)
        scrape = await exporter.scrape(SHORT_SCRAPE_TIMEOUT)
    assert (scrape.up, scrape.ids) == (1, FIVE)


@pytest.mark.parametrize("name", ["silence", "401", "429", "503-html", "refuse", "null"])
async def test_the_exporter_starts_while_telnyx_is_down(name, api, exporter):
    """While Telnyx is down, scrapes succeed and report that. A failed refresh makes the exporter ready, too."""
    answer, reason = FAULTS[name]
    api.answer(answer)
    assert (await exporter.http.get("/-/ready")).status_code == 503
    scrape = await exporter.scrape()
    assert (scrape.up, scrape.failures, scrape.ids, scrape.value(LAST_SUCCESS)) == (0, {reason: 1}, [], None)
    assert (await exporter.http.get("/-/ready")).status_code == 200
    assert (await exporter.http.get("/-/healthy")).status_code == 200
    (collector,) = (await exporter.http.get("/api/v1/status")).json()["collectors"]
    assert (collector["state"], collector["reason"]) == ("failing", reason)
    assert collector["advice"] in Page((await exporter.http.get("/")).text).root.text
    assert api.contacts <= 8
    api.answer(listing())
    exporter.expire()
    assert (await exporter.scrape()).up == 1


@pytest.mark.parametrize("name", ["408", "429", "500", "502-html", "refuse", "hang-up", "reset", "not-http"])
async def test_a_transient_fault_is_retried(name, api, exporter):
    """After one transient fault, the same refresh retries the request and succeeds."""
    api.script([FAULTS[name].answer])
    scrape = await exporter.scrape()
    assert (scrape.up, scrape.failures, scrape.ids) == (1, {}, FIVE)


@pytest.mark.parametrize("name", ["400", "401", "403", "404", "307", "200-html", "null", "gzip-bomb"])
async def test_a_permanent_fault_is_not_retried(name, api, exporter):
    """A refresh sends only one request if a retry would get the same response."""
    api.answer(FAULTS["redirect" if name == "307" else name].answer)
    assert (await exporter.scrape()).up == 0
    assert len(api.requests) == 1


async def test_each_new_failure_reason_is_logged_once(api, exporter):
    """The log reports a failure when its reason changes, and not when the same failure repeats."""
    with capture_logs() as logs:
        for name in ("401", "401", "403", "403", "503-html"):
            api.answer(FAULTS[name].answer)
            exporter.clock.advance(MAX_RETRY_AFTER)
            await exporter.scrape()
        api.answer(listing())
        for _ in range(2):
            exporter.clock.advance(MAX_RETRY_AFTER)
            await exporter.scrape()
    assert logged_fields(logs, "refresh failed", "reason") == ["unauthorized", "forbidden", "server_error"]
    assert logged_fields(logs, "refreshes succeed again", "last_reason") == ["server_error"]


@pytest.mark.parametrize("name", ["gzip-bomb", "endless-body", "endless-head", "nested-data", "error-endless"])
async def test_memory_is_bounded(name, api, exporter):
    """Memory stays bounded, however much the API sends or however well it is compressed."""
    api.answer(FAULTS[name].answer)
    tracemalloc.start()
    try:
        assert (await exporter.scrape()).up == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAX_BODY_BYTES


# Many pages


def totals(*values):
    """Return a meta override that yields these values in turn, and then repeats the last one."""
    sequence = itertools.chain(values, itertools.repeat(values[-1]))
    return lambda _: next(sequence)


META_OVERRIDES = {
    "none": {},
    "no-meta": {"total_pages": None, "total_results": None, "page_number": None, "page_size": None},
    "no-total-pages": {"total_pages": None},
    "no-total-results": {"total_results": None},
    "total-pages-0": {"total_pages": 0},
    "total-pages-a-billion": {"total_pages": 10**9},
    "total-pages-changing": {"total_pages": totals(3, 1, 7, 0)},
    "only-total-pages-0": {"total_pages": 0, "total_results": None},
    "total-results-0": {"total_results": 0},
    "total-results-1": {"total_results": 1},
    "total-results-growing": {"total_results": totals(45, 46, 47, 48)},
    "total-results-coming-and-going": {"total_results": totals(45, None, 45, None)},
    "total-results-negative": {"total_results": -1},
    "page-size-0": {"page_size": 0},
    "page-size-a-billion": {"page_size": 10**9},
}


@pytest.mark.parametrize("overrides", META_OVERRIDES.values(), ids=META_OVERRIDES)
async def test_the_list_is_complete_despite_wrong_meta(overrides, api, shared_server):
    """If only the meta of the pages is wrong, every connection is exposed exactly once."""
    api.rows = connections(45)
    api.answer(listing(**overrides))
    async with shared_server.exporter(api.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert scrape.up == 1
    assert sorted(scrape.ids, key=int) == [str(number) for number in range(1, 46)]
    assert len(api.requests) < 30


@pytest.mark.parametrize("past_the_end", [telnyx_error(400, "10015"), telnyx_error(404, "10005")], ids=["400", "404"])
async def test_a_page_past_the_end_may_be_an_error(past_the_end, api, shared_server):
    """A list without totals may return an error for the page after its last one."""
    api.rows = connections(40)

    async def answer(exchange):
        right = listing(total_pages=None, total_results=None)
        await (right if exchange.request.page <= 2 else past_the_end)(exchange)

    api.answer(answer)
    async with shared_server.exporter(api.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert (scrape.up, len(scrape.ids)) == (1, 40)


@pytest.mark.parametrize(
    "meta",
    [{}, {"total_results": None}, {"page_number": 1}],
    ids=["wrong-page-number", "no-total", "right-page-number"],
)
async def test_a_repeated_page_ends_the_list(meta, api, shared_server):
    """If the API returns its first page for every request, the exporter stops and exposes each row once."""
    api.rows = connections(45)
    api.answer(always_first_page(**meta))
    async with shared_server.exporter(api.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert (scrape.up, scrape.ids) == (1, [str(number) for number in range(1, 21)])
    assert len(api.requests) < 20


async def test_a_connection_added_during_a_refresh_is_exposed(api, shared_server):
    """A connection that is added between two pages is exposed once, like all others."""
    api.rows = connections(45)
    api.script([then(listing(), lambda _: api.rows.append(connection(46)))])
    async with shared_server.exporter(api.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert (scrape.up, sorted(map(int, scrape.ids))) == (1, list(range(1, 47)))


@pytest.mark.parametrize("at", range(1, 5))
async def test_a_removal_during_a_refresh_loses_no_other_connection(at, api, shared_server):
    """If a connection is removed between two pages, the others move between pages but are all exposed."""
    api.rows = connections(41)
    api.script([*[listing()] * (at - 1), then(listing(), lambda _: api.rows.pop(0))])
    async with shared_server.exporter(api.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert scrape.up == 1
    assert set(range(2, 42)) <= set(map(int, scrape.ids))
    assert len(scrape.ids) == len(set(scrape.ids))
    assert scrape.value("telnyx_list_restarts_total") <= 2


async def test_a_list_that_keeps_changing_is_read_three_times(api, shared_server):
    """If the list changes during every reading, the exporter stops after three and exposes the best one."""
    api.rows = connections(45)

    def churn(_):
        api.rows.pop(0)
        api.rows.append(connection(100 + len(api.requests)))

    api.answer(then(listing(), churn))
    async with shared_server.exporter(api.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert scrape.up == 1
    assert len(scrape.ids) == len(set(scrape.ids)) >= 40
    assert scrape.value("telnyx_list_restarts_total") <= 2
    assert len(api.requests) < 20


@pytest.mark.parametrize("name", ["silence", "401", "500", "reset", "truncated", "gzip-bomb"])
@pytest.mark.parametrize("at", [2, 4])
async def test_a_failed_page_fails_the_refresh(name, at, api, shared_server):
    """A partial list is never exposed: if any page fails, the previous snapshot stays."""
    api.rows = connections(100)
    async with shared_server.exporter(api.url, page_size=20) as exporter:
        assert len((await exporter.scrape()).ids) == 100
        exporter.expire()

        async def answer(exchange):
            await (FAULTS[name].answer if exchange.request.page == at else listing())(exchange)

        api.rows = connections(99)
        api.answer(answer)
        scrape = await exporter.scrape()
        assert (scrape.up, scrape.failures, len(scrape.ids)) == (0, {FAULTS[name].reason: 1}, 100)


async def test_many_slow_pages_time_out(api, shared_server):
    """The timeout covers the whole refresh, even if each page arrives within it."""
    api.rows = connections(100)
    api.answer(late(0.25, listing()))
    async with shared_server.exporter(api.url, page_size=2, timeout=SHORT_TIMEOUT) as exporter:
        scrape = await exporter.scrape()
    assert (scrape.up, scrape.failures) == (0, {"timeout": 1})


# Rows


MALFORMED_ROWS = {
    "null": None,
    "text": "row",
    "no-id": {"connection_name": "nobody"},
    "id-null": {"id": None},
    "id-empty": {"id": ""},
    "id-a-float": {"id": 7.5},
    "object-for-text": connection(7, connection_name={}),
    "text-for-a-number": connection(7, webhook_timeout_secs="soon"),
    "too-large-for-a-float": connection(7, inbound={"channel_limit": 10**400}),
    "too-large-to-divide-as-a-float": connection(7, jitter_buffer={"jitterbuffer_msec_min": 10**400}),
    "too-many-digits-to-print": connection(7, webhook_timeout_secs=10**4299),
}


@pytest.mark.parametrize("row", MALFORMED_ROWS.values(), ids=MALFORMED_ROWS)
async def test_only_the_malformed_row_is_left_out(row, api, exporter):
    """A malformed row is counted and logged, and the others are exposed."""
    api.rows.insert(2, row)
    with capture_logs() as logs:
        scrape = await exporter.scrape()
    assert (scrape.up, scrape.ids) == (1, FIVE)
    assert scrape.value("telnyx_connections_malformed") == 1
    assert len(logged_fields(logs, "row left out because it can't be decoded", "problem")) == 1


async def test_an_integer_id_keeps_all_digits(api, exporter):
    """A connection whose id is an integer of 19 digits is exposed with that id, and does not count as malformed."""
    api.rows.insert(2, connection(7) | {"id": 1082287356722563997})
    scrape = await exporter.scrape()
    assert scrape.ids == [*FIVE[:2], "1082287356722563997", *FIVE[2:]]
    assert scrape.value("telnyx_connections_malformed") == 0


# Retry-After, redirects and other headers


RETRY_AFTER = {
    "seconds": (lambda _: telnyx_error(429, "10011", retry_after="120"), 120),
    "date": (lambda clock: retry_after_date(120, clock.time), 120),
    "unavailable": (lambda _: html(503, retry_after="120"), 120),
    "absurd": (lambda _: telnyx_error(429, "10011", retry_after="9" * 17), MAX_RETRY_AFTER),
    "absurd-date": (lambda _: telnyx_error(429, "10011", retry_after="Fri, 31 Dec 9999 23:59:59 GMT"), MAX_RETRY_AFTER),
    "past": (lambda clock: retry_after_date(-120, clock.time), 30),
    "negative": (lambda _: telnyx_error(429, "10011", retry_after="-120"), 30),
    "words": (lambda _: telnyx_error(429, "10011", retry_after="a while"), 30),
    "absent": (lambda _: telnyx_error(429, "10011"), 30),
}


@pytest.mark.parametrize(("answer", "seconds"), RETRY_AFTER.values(), ids=RETRY_AFTER)
async def test_the_next_refresh_waits_for_retry_after(answer, seconds, api, exporter):
    """The next refresh waits for `Retry-After`, at most five minutes, or for the TTL if it is missing or invalid."""
    api.answer(answer(exporter.clock))
    assert (await exporter.scrape()).up == 0
    contacts = api.contacts
    exporter.clock.advance(seconds - 2)
    assert (await exporter.scrape()).up == 0
    assert api.contacts == contacts
    api.answer(listing())
    exporter.clock.advance(4)
    assert (await exporter.scrape()).up == 1


@pytest.mark.parametrize("before", [0, 2], ids=["first-page", "later-page"])
async def test_a_short_retry_after_delays_the_same_refresh(before, api, shared_server, monkeypatch):
    """The refresh sends no more requests until `Retry-After` is over. Requests in flight are not affected."""
    now, sent, rejected = time.monotonic, [], []

    async def send(client, *args, original=Client.send):
        sent.append(now())
        try:
            return await original(client, *args)
        except RateLimited:
            rejected.append(now())
            raise

    monkeypatch.setattr(Client, "send", send)
    api.rows = connections(200)
    api.answer(late(0.06, listing()))
    api.script([*[listing()] * before, telnyx_error(429, "10011", retry_after="0.4")])
    with stamina.set_testing(False):  # because testing mode does not wait
        async with shared_server.exporter(api.url, page_size=20) as exporter:
            scrape = await exporter.scrape()
    assert (scrape.up, len(scrape.ids)) == (1, 200)
    (rejected_at,) = rejected
    assert min(at for at in sent if at > rejected_at) > rejected_at + 0.39


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(status, api, exporter):
    """The exporter does not send the API key to the target of a redirect."""
    async with FakeApi(connections(3)) as elsewhere:
        api.answer(respond(status, location=f"{elsewhere.url}/credential_connections"))
        scrape = await exporter.scrape()
        assert (scrape.up, scrape.failures) == (0, {"malformed": 1})
        assert elsewhere.contacts == 0


async def test_only_the_base_url_is_requested(api, exporter):
    """`Refresh`, `Link`, `Alt-Svc` and `Content-Location` do not lead the exporter to another server."""
    async with FakeApi(connections(3)) as elsewhere:
        there = f"{elsewhere.url}/credential_connections"
        headers = {"refresh": f"0;url={there}", "link": f"<{there}>; rel=next", "content_location": there}
        authority = urlsplit(there).netloc
        api.answer(respond(body=b'{"data":[]}', alt_svc=f'h2="{authority}"', **headers))
        for _ in range(2):
            assert (await exporter.scrape()).up == 1
            exporter.expire()
        assert elsewhere.contacts == 0


async def test_cookies_are_not_stored(api, exporter):
    """The exporter sends no cookies back. Otherwise requests would grow until the API rejects them."""
    for number in range(3):
        api.answer(respond(body=b'{"data":[]}', set_cookie=f"c{number}={'x' * 3000}; Path=/"))
        assert (await exporter.scrape()).up == 1
        exporter.expire()
    assert [request.headers.get("cookie") for request in api.requests] == [None] * 3


async def test_a_closed_connection_is_opened_again(api, exporter):
    """Refreshes succeed if the API closes the connection after each response without announcing it."""
    api.rows = connections(5)
    api.answer(closing(listing()))
    for _ in range(3):
        assert (await exporter.scrape()).up == 1
        exporter.expire()


async def test_shutdown_does_not_wait_for_the_api(api, shared_server):
    """Closing the cache cancels a refresh that hangs, and the waiting scrape gets a response."""
    api.answer(silence)
    async with shared_server.exporter(api.url, timeout=LONG_TIMEOUT) as exporter:
        waiting = asyncio.create_task(exporter.scrape(LONG_TIMEOUT))
        await api.wait_for(1)
        async with asyncio.timeout(PATIENCE):
            await exporter.cache.close()
            assert (await waiting).up == 0
