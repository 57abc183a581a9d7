"""The whole exporter, over real HTTP, against a Telnyx that fails in every way there is."""

import asyncio
import itertools
import tracemalloc
from urllib.parse import urlsplit

import pytest
import stamina
from fake_api import (
    FAULTS,
    FakeApi,
    closing,
    connection,
    connections,
    html,
    http_date,
    late,
    listing,
    repeated,
    respond,
    silence,
    telnyx_error,
    then,
)
from structlog.testing import capture_logs

from exporter.cache import MAX_RETRY_AFTER
from exporter.telnyx.client import MAX_BODY_BYTES

HURRIED = 1.0
"""Seconds that a hurried scraper waits."""
QUICK, AMPLE = 0.6, 5.0
"""Seconds that a refresh may take where it is to take too long, and where it is not, however busy the machine is."""
LAST_SUCCESS = "telnyx_last_success_timestamp_seconds"
FIVE = ["1", "2", "3", "4", "5"]


def told(logs, event, field):
    """Return a field of every log line that says this."""
    return [line[field] for line in logs if line["event"] == event]


@pytest.mark.parametrize(("answer", "reason"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_survived(answer, reason, peer, site):
    """Scrapes are in time and true, the snapshot stays while it may, the peer is spared, and all heals by itself."""
    timeout = QUICK if reason == "timeout" else AMPLE
    with capture_logs() as logs:
        async with site.exporter(peer.url, timeout=timeout) as exporter:
            await survive(answer, reason, peer, exporter, timeout)
    assert told(logs, "Telnyx API request failed", "reason") == [reason]
    assert told(logs, "Telnyx API is reachable again", "last_reason") == [reason]
    assert [line["event"] for line in logs if line["log_level"] not in {"debug", "info"}] == [
        "Telnyx API request failed"
    ]
    assert not [line for line in logs if "exc_info" in line or "exception" in line]


async def survive(answer, reason, peer, exporter, timeout):  # noqa: ASYNC109 -- a setting
    """See a fault come and go."""
    good = await exporter.scrape()
    assert (good.up, good.ids, good.failures) == (1, FIVE, {})

    peer.answer(answer)
    exporter.expire()
    hurried = await exporter.scrape(HURRIED)
    assert hurried.seconds < HURRIED
    assert hurried.ids == FIVE
    failed = await exporter.scrape()  # which waits for the end of the refresh
    assert failed.seconds < timeout + 0.5
    assert failed.value("telnyx_refresh_duration_seconds") < timeout + 0.5
    assert (failed.up, failed.failures, failed.ids) == (0, {reason: 1}, FIVE)
    assert failed.value(LAST_SUCCESS) == good.value(LAST_SUCCESS)

    touched = peer.touched
    assert touched <= 8
    assert await exporter.hammer(50) == [200] * 50
    assert peer.touched == touched

    exporter.clock.skip(600)
    old = await exporter.scrape()
    assert (old.up, old.failures, old.ids) == (0, {reason: 2}, [])
    assert old.value(LAST_SUCCESS) == good.value(LAST_SUCCESS)

    peer.answer(listing())
    exporter.clock.skip(MAX_RETRY_AFTER)
    again = await exporter.scrape()
    assert (again.up, again.failures, again.ids) == (1, {reason: 2}, FIVE)
    assert again.value(LAST_SUCCESS) == pytest.approx(exporter.clock.time(), abs=5)


@pytest.mark.parametrize("name", ["silence", "401", "429", "503-html", "refuse", "null"])
async def test_a_start_without_telnyx_is_survived(name, peer, exporter):
    """Before there is any snapshot scrapes are good and say that it is down; once there is one, it is ready."""
    answer, reason = FAULTS[name]
    peer.answer(answer)
    assert (await exporter.http.get("/-/ready")).status_code == 503
    scrape = await exporter.scrape()
    assert (scrape.up, scrape.failures, scrape.ids, scrape.value(LAST_SUCCESS)) == (0, {reason: 1}, [], None)
    assert (await exporter.http.get("/-/ready")).status_code == 503
    assert (await exporter.http.get("/-/healthy")).status_code == 200
    assert reason in (await exporter.http.get("/")).text
    assert peer.touched <= 8
    peer.answer(listing())
    exporter.expire()
    assert (await exporter.scrape()).up == 1
    assert (await exporter.http.get("/-/ready")).status_code == 200


@pytest.mark.parametrize("name", ["408", "429", "500", "502-html", "refuse", "hang-up", "reset", "no-http"])
async def test_what_passes_is_not_noticed(name, peer, exporter):
    """One bad answer of a kind that passes is asked again in the same refresh."""
    peer.script([FAULTS[name].answer])
    scrape = await exporter.scrape()
    assert (scrape.up, scrape.failures, scrape.ids) == (1, {}, FIVE)


@pytest.mark.parametrize("name", ["400", "401", "403", "404", "307", "200-html", "null", "gzip-bomb"])
async def test_what_does_not_pass_is_not_asked_again(name, peer, exporter):
    """An answer that the next would only repeat costs one request a refresh."""
    peer.answer(FAULTS["redirect" if name == "307" else name].answer)
    assert (await exporter.scrape()).up == 0
    assert len(peer.requests) == 1


async def test_reasons_that_change_are_told_once_each(peer, exporter):
    """Failing for another reason is news; failing on for the same one is not."""
    with capture_logs() as logs:
        for name in ("401", "401", "403", "403", "503-html"):
            peer.answer(FAULTS[name].answer)
            exporter.clock.skip(MAX_RETRY_AFTER)
            await exporter.scrape()
        peer.answer(listing())
        for _ in range(2):
            exporter.clock.skip(MAX_RETRY_AFTER)
            await exporter.scrape()
    assert told(logs, "Telnyx API request failed", "reason") == ["unauthorized", "forbidden", "server_error"]
    assert told(logs, "Telnyx API is reachable again", "last_reason") == ["server_error"]


@pytest.mark.parametrize("name", ["gzip-bomb", "endless-body", "endless-head", "nested-data", "error-endless"])
async def test_memory_is_bounded(name, peer, exporter):
    """However much is sent, or packed in little, no more than a bounded part of it is held."""
    peer.answer(FAULTS[name].answer)
    tracemalloc.start()
    try:
        assert (await exporter.scrape()).up == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAX_BODY_BYTES


# Many pages


def totals(*values):
    """Return a lie that is the next of these at each answer, and the last for ever."""
    sequence = itertools.chain(values, itertools.repeat(values[-1]))
    return lambda _: next(sequence)


LIES = {
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


@pytest.mark.parametrize("lies", LIES.values(), ids=LIES)
async def test_the_list_is_whole_whatever_it_says_of_itself(lies, peer, site):
    """Each connection is shown once, and none is missing, when only what the pages say of the list is wrong."""
    peer.rows = connections(45)
    peer.answer(listing(**lies))
    async with site.exporter(peer.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert scrape.up == 1
    assert sorted(scrape.ids, key=int) == [str(number) for number in range(1, 46)]
    assert len(peer.requests) < 30


@pytest.mark.parametrize("past_the_end", [telnyx_error(400, "10015"), telnyx_error(404, "10005")], ids=["400", "404"])
async def test_a_page_past_the_end_may_be_an_error(past_the_end, peer, site):
    """A list that does not say how long it is may refuse the page behind its last."""
    peer.rows = connections(40)

    async def answer(exchange):
        right = listing(total_pages=None, total_results=None)
        await (right if exchange.request.page <= 2 else past_the_end)(exchange)

    peer.answer(answer)
    async with site.exporter(peer.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert (scrape.up, len(scrape.ids)) == (1, 40)


@pytest.mark.parametrize("meta", [{}, {"total_results": None}, {"page_number": 1}], ids=["claims", "none", "honest"])
async def test_one_page_for_ever_ends(meta, peer, site):
    """A peer that answers its first page to all requests gets a bounded number of them, and no row shows twice."""
    peer.rows = connections(45)
    peer.answer(repeated(**meta))
    async with site.exporter(peer.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert (scrape.up, scrape.ids) == (1, [str(number) for number in range(1, 21)])
    assert len(peer.requests) < 20


async def test_what_is_added_during_a_walk_is_shown(peer, site):
    """A connection added between two pages is there, once, as are all others."""
    peer.rows = connections(45)
    peer.script([then(listing(), lambda _: peer.rows.append(connection(46)))])
    async with site.exporter(peer.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert (scrape.up, sorted(map(int, scrape.ids))) == (1, list(range(1, 47)))


@pytest.mark.parametrize("at", range(1, 5))
async def test_what_stays_during_a_walk_is_shown(at, peer, site):
    """When one is removed between any two pages, none of the others is lost, though they change pages."""
    peer.rows = connections(41)
    peer.script([*[listing()] * (at - 1), then(listing(), lambda _: peer.rows.pop(0))])
    async with site.exporter(peer.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert scrape.up == 1
    assert set(range(2, 42)) <= set(map(int, scrape.ids))
    assert len(scrape.ids) == len(set(scrape.ids))
    assert scrape.value("telnyx_list_restarts_total") <= 2


async def test_a_list_that_never_rests_ends(peer, site):
    """When the list changes under every walk, the best one is shown, once it was walked three times."""
    peer.rows = connections(45)

    def churn(_):
        peer.rows.pop(0)
        peer.rows.append(connection(100 + len(peer.requests)))

    peer.answer(then(listing(), churn))
    async with site.exporter(peer.url, page_size=20) as exporter:
        scrape = await exporter.scrape()
    assert scrape.up == 1
    assert len(scrape.ids) == len(set(scrape.ids)) >= 40
    assert scrape.value("telnyx_list_restarts_total") <= 2
    assert len(peer.requests) < 20


@pytest.mark.parametrize("name", ["silence", "401", "500", "reset", "truncated", "gzip-bomb"])
@pytest.mark.parametrize("at", [2, 4])
async def test_a_page_that_fails_fails_the_walk(name, at, peer, site):
    """Half a list is never shown: whichever page fails, the snapshot of before stays."""
    peer.rows = connections(100)
    async with site.exporter(peer.url, page_size=20) as exporter:
        assert len((await exporter.scrape()).ids) == 100
        exporter.expire()

        async def answer(exchange):
            await (FAULTS[name].answer if exchange.request.page == at else listing())(exchange)

        peer.rows = connections(99)
        peer.answer(answer)
        scrape = await exporter.scrape()
        assert (scrape.up, scrape.failures, len(scrape.ids)) == (0, {FAULTS[name].reason: 1}, 100)


async def test_many_slow_pages_end_in_time(peer, site):
    """The bound is on the whole refresh: pages that are each in time but together are not end it."""
    peer.rows = connections(100)
    peer.answer(late(0.1, listing()))
    async with site.exporter(peer.url, page_size=2, timeout=QUICK) as exporter:
        scrape = await exporter.scrape()
    assert (scrape.up, scrape.failures) == (0, {"timeout": 1})
    assert scrape.seconds < 1


# Rows


ODD_ROWS = {
    "null": None,
    "text": "row",
    "no-id": {"connection_name": "nobody"},
    "id-null": {"id": None},
    "id-empty": {"id": ""},
    "id-a-float": {"id": 7.5},
    "object-for-text": connection(7, connection_name={}),
    "text-for-a-number": connection(7, webhook_timeout_secs="soon"),
    "more-than-a-float-holds": connection(7, inbound={"channel_limit": 10**400}),
    "more-than-a-float-divides": connection(7, jitter_buffer={"jitterbuffer_msec_min": 10**400}),
    "more-digits-than-python-prints": connection(7, webhook_timeout_secs=10**4299),
}


@pytest.mark.parametrize("row", ODD_ROWS.values(), ids=ODD_ROWS)
async def test_a_row_that_cannot_be_read_is_left_out_alone(row, peer, exporter):
    """It is counted and logged, and the others are shown."""
    peer.rows.insert(2, row)
    with capture_logs() as logs:
        scrape = await exporter.scrape()
    assert (scrape.up, scrape.ids) == (1, FIVE)
    assert scrape.value("telnyx_connections_malformed") == 1
    assert len(told(logs, "connection left out, it can't be decoded", "problem")) == 1


async def test_an_integer_id_is_shown_to_the_last_digit(peer, exporter):
    """A connection whose id is an integer of 19 digits is shown like the others, and is not left out."""
    peer.rows.insert(2, connection(7) | {"id": 1082287356722563997})
    scrape = await exporter.scrape()
    assert scrape.ids == [*FIVE[:2], "1082287356722563997", *FIVE[2:]]
    assert scrape.value("telnyx_connections_malformed") == 0


# What the peer wishes


WISHES = {
    "seconds": (lambda _: telnyx_error(429, "10011", retry_after="120"), 120),
    "date": (lambda clock: http_date(120, clock.time), 120),
    "unavailable": (lambda _: html(503, retry_after="120"), 120),
    "absurd": (lambda _: telnyx_error(429, "10011", retry_after="9" * 17), MAX_RETRY_AFTER),
    "absurd-date": (lambda _: telnyx_error(429, "10011", retry_after="Fri, 31 Dec 9999 23:59:59 GMT"), MAX_RETRY_AFTER),
    "past": (lambda clock: http_date(-120, clock.time), 30),
    "negative": (lambda _: telnyx_error(429, "10011", retry_after="-120"), 30),
    "words": (lambda _: telnyx_error(429, "10011", retry_after="a while"), 30),
    "absent": (lambda _: telnyx_error(429, "10011"), 30),
}


@pytest.mark.parametrize(("answer", "seconds"), WISHES.values(), ids=WISHES)
async def test_the_peer_is_left_alone_as_long_as_it_asks(answer, seconds, peer, exporter):
    """No refresh begins before `retry-after` is over, or five minutes; without it, or with nonsense, a TTL counts."""
    peer.answer(answer(exporter.clock))
    assert (await exporter.scrape()).up == 0
    touched = peer.touched
    exporter.clock.skip(seconds - 2)
    assert (await exporter.scrape()).up == 0
    assert peer.touched == touched
    peer.answer(listing())
    exporter.clock.skip(4)
    assert (await exporter.scrape()).up == 1


@pytest.mark.parametrize("before", [0, 2], ids=["first-page", "one-of-many"])
async def test_a_short_wish_is_obeyed_within_the_refresh(before, peer, site):
    """No page is asked for before `retry-after` is over, but for those that are on their way already."""
    peer.rows = connections(200)
    peer.answer(late(0.06, listing()))
    peer.script([*[listing()] * before, telnyx_error(429, "10011", retry_after="0.4")])
    with stamina.set_testing(False):  # which would not wait
        async with site.exporter(peer.url, page_size=20, timeout=5) as exporter:
            scrape = await exporter.scrape()
    assert (scrape.up, len(scrape.ids)) == (1, 200)
    refused = peer.requests[before].at
    assert [request.page for request in peer.requests if 0.05 < request.at - refused < 0.39] == []


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(status, peer, exporter):
    """The key does not travel to wherever the peer points."""
    async with FakeApi(connections(3)) as elsewhere:
        peer.answer(respond(status, location=f"{elsewhere.url}/credential_connections"))
        scrape = await exporter.scrape()
        assert (scrape.up, scrape.failures) == (0, {"malformed": 1})
        assert elsewhere.touched == 0


async def test_nothing_but_the_base_url_is_asked(peer, exporter):
    """`Refresh`, `Link`, `Alt-Svc` and `Content-Location` bring nobody anywhere else."""
    async with FakeApi(connections(3)) as elsewhere:
        there = f"{elsewhere.url}/credential_connections"
        headers = {"refresh": f"0;url={there}", "link": f"<{there}>; rel=next", "content_location": there}
        authority = urlsplit(there).netloc
        peer.answer(respond(body=b'{"data":[]}', alt_svc=f'h2="{authority}"', **headers))
        for _ in range(2):
            assert (await exporter.scrape()).up == 1
            exporter.expire()
        assert elsewhere.touched == 0


async def test_no_cookie_comes_back(peer, exporter):
    """What the peer wants remembered is not: a request that grew with each answer would be refused in the end."""
    for number in range(3):
        peer.answer(respond(body=b'{"data":[]}', set_cookie=f"c{number}={'x' * 3000}; Path=/"))
        assert (await exporter.scrape()).up == 1
        exporter.expire()
    assert [request.headers.get("cookie") for request in peer.requests] == [None] * 3


async def test_a_connection_that_is_gone_is_made_again(peer, exporter):
    """A peer that closes its connection after each answer, and does not say so, is read as any other."""
    peer.rows = connections(5)
    peer.answer(closing(listing()))
    for _ in range(3):
        assert (await exporter.scrape()).up == 1
        exporter.expire()


async def test_the_end_does_not_wait_for_the_peer(peer, exporter):
    """A refresh that would take for ever ends with the exporter, and who waits for it is answered."""
    peer.answer(silence)
    waiting = asyncio.create_task(exporter.scrape())
    await peer.wait_for(1)
    async with asyncio.timeout(0.3):
        await exporter.cache.close()
        assert (await waiting).up == 0
