import asyncio
import math
import random
import re
from dataclasses import dataclass, field
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from list_reader import ROWS, rows_of
from progress_recorder import ProgressRecorder

from exporter.collectors.connection_rows import Connection
from exporter.telnyx.errors import BadRequest, ConnectionFailed, Malformed, ServerError, TelnyxError, status_error
from exporter.telnyx.lists import pagination
from exporter.telnyx.lists.pages import Meta, Page, UnreadableRow
from exporter.telnyx.lists.pagination import MAX_ATTEMPTS, MAX_EMPTY_PAGES, MAX_PAGES
from exporter.telnyx.lists.snapshots import process

ALL_META = Meta.__struct_fields__
META_FIELDS = [ALL_META, ("total_results",), ("total_pages",), ()]
META_IDS = ["all", "results", "pages", "nothing"]
PAST_END = ["empty", 400, 404, "last page", "last page with requested number"]


async def read_list(read_page, **options):
    """Read a list whose pages keep their rows."""

    async def read(number):
        return process(await read_page(number), ROWS)

    return await pagination.read_list(read, ROWS.remove_rows, **options)


@dataclass
class Api:
    """A list in memory that is read by pages. `changes` maps the number of a request to a change just before it."""

    ids: list[str]
    size: int = 2
    meta_fields: tuple[str, ...] = ALL_META
    past_end: str | int = "empty"
    false_meta: dict = field(default_factory=dict)
    changes: dict = field(default_factory=dict)
    requests: list[int] = field(default_factory=list)
    restarts: int = 0

    async def __call__(self, number):
        """Record a request, apply its change to the list, and return the page of this number."""
        self.requests.append(number)
        change = self.changes.get(len(self.requests))
        await asyncio.sleep(0)
        if change:
            change(self.ids)
        return self.page(number)

    def page(self, number):
        """Return the page of this number from the current list."""
        last = max(1, math.ceil(len(self.ids) / self.size))
        if number > last and isinstance(self.past_end, int):
            raise status_error(self.past_end)
        if number > last and self.past_end != "empty":
            number = last if self.past_end == "last page" else number
            rows = self.ids[(last - 1) * self.size :]
        else:
            rows = self.ids[(number - 1) * self.size : number * self.size]
        truth = {
            "total_pages": math.ceil(len(self.ids) / self.size),
            "total_results": len(self.ids),
            "page_number": number,
            "page_size": self.size,
        }
        meta = {name: truth[name] for name in self.meta_fields} | self.false_meta
        return Page(tuple(map(self.row, rows)), Meta(**meta))

    def row(self, connection_id):
        """Return a row whose name is the number of the latest request."""
        return Connection(id=connection_id, connection_name=str(len(self.requests)))

    def record_list_restart(self):
        """Count a restart."""
        self.restarts += 1

    async def read(self, concurrency=1, *, ordered=True):
        """Read this list."""
        return await read_list(self, ordered=ordered, concurrency=concurrency, on_restart=self.record_list_restart)


either_order = pytest.mark.parametrize("ordered", [True, False], ids=["sorted", "unsorted"])


def ids(snapshot):
    """Return the ids of a snapshot's connections, in order, as one string."""
    return "".join(connection.id for connection in rows_of(snapshot))


def remove(*removed, add=""):
    """Return a change that removes these rows and adds others at the end."""

    def change(rows):
        rows[:] = [row for row in rows if row not in removed] + list(add)

    return change


@either_order
@pytest.mark.parametrize("meta_fields", META_FIELDS[:3], ids=META_IDS[:3])
@pytest.mark.parametrize("rows", ["", "a", "ab"])
async def test_one_page_takes_one_request(rows, meta_fields, ordered):
    """A list of one page is read with one request."""
    api = Api(list(rows), meta_fields=meta_fields)
    snapshot = await api.read(ordered=ordered)

    assert ids(snapshot) == rows
    assert (snapshot.unreadable, snapshot.missing, len(snapshot.pages)) == ((), 0, bool(rows))
    assert api.requests == [1]
    assert api.restarts == 0


@pytest.mark.parametrize("concurrency", [1, 2, 4, 99])
@pytest.mark.parametrize("meta_fields", META_FIELDS[:3], ids=META_IDS[:3])
async def test_many_pages_take_two_more_requests(meta_fields, concurrency):
    """An unchanged list of n pages takes n + 2 requests, because the first and the last page are read twice."""
    api = Api(list("abcdefghi"), meta_fields=meta_fields)
    snapshot = await api.read(concurrency)

    assert ids(snapshot) == "abcdefghi"
    assert (snapshot.missing, len(snapshot.pages)) == (0, 5)
    assert (api.requests[:2], sorted(api.requests[2:-1]), api.requests[-1]) == ([1, 5], [1, 2, 3, 4], 5)
    assert api.restarts == 0


@pytest.mark.parametrize(("concurrency", "peak"), [(1, 1), (3, 3), (4, 4), (20, 9)])
async def test_concurrency_is_bounded(concurrency, peak):
    """The reads in flight never exceed the limit, and reach it if there are enough pages."""
    api = Api(list("abcdefghij"), size=1)
    in_flight, counts = [], []

    async def read(number):
        in_flight.append(number)
        page = await api(number)
        counts.append(len(in_flight))
        in_flight.remove(number)
        return page

    await read_list(read, concurrency=concurrency)

    assert max(counts) == peak


@pytest.mark.parametrize("meta_fields", META_FIELDS, ids=META_IDS)
@pytest.mark.parametrize("past_end", PAST_END)
async def test_a_removal_hides_no_other_row(past_end, meta_fields):
    """Whichever rows are removed at any time, no other row is missed, and the read restarts once at most."""
    for removed, request, size in product(["a", "b", "c", "abc", "e", "de", "bcde"], range(1, 10), (1, 2, 3)):
        api = Api(list("abcde"), size, meta_fields, past_end, changes={request: remove(*removed)})
        snapshot = await api.read()

        assert set("abcde") - set(removed) <= set(ids(snapshot)) <= set("abcde"), (removed, request, size)
        assert snapshot.row_count == len(set(ids(snapshot)))
        assert snapshot.missing == 0
        assert api.restarts <= 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(1, None), (1, 3), (2, 3), (2, 3), (3, 3), (3, 3)]),
        ({"ordered": False}, [(1, None), (1, 3), (2, 3), (3, 3)]),
    ],
    ids=["sorted", "unsorted"],
)
async def test_progress_counts_each_page_once(options, expected):
    """Page 1 states how many pages there are. A page that is read twice counts once."""
    progress = ProgressRecorder()
    await read_list(Api([*"abcde"]), concurrency=1, progress=progress, **options)
    assert progress.events == expected


async def test_progress_without_totals():
    """Without totals, the number of pages stays unknown."""
    progress = ProgressRecorder()
    await read_list(Api([*"abc"], meta_fields=()), ordered=False, progress=progress)
    assert progress.events == [(1, None), (1, None), (2, None), (3, None)]


async def test_progress_starts_again_with_each_attempt():
    """If the list is read again, the progress starts again."""
    progress = ProgressRecorder()
    await read_list(Api([*"abcdef"], changes={4: remove("a")}), concurrency=1, progress=progress)
    starts = [position for position, event in enumerate(progress.events) if event[1] is None]
    assert len(starts) == 2
    assert progress.events[starts[1] :] == [(1, None), (1, 3), (2, 3), (3, 3), (3, 3)]


async def test_a_removal_restarts_the_read():
    """If a row is removed during the read, the read restarts once, and then the list is complete."""
    api = Api(list("abcdefg"), changes={4: remove("a")})

    assert ids(await api.read()) == "bcdefg"
    assert api.requests == [1, 4, 1, 2, 3, 4, 1, 3, 2, 1]
    assert api.restarts == 1


@pytest.mark.parametrize("request_number", range(3, 7))
async def test_a_removal_is_noticed_although_the_total_is_unchanged(request_number):
    """If one row is removed and another is added, the total stays the same, but the read still restarts."""
    api = Api(list("abcdefg"), changes={request_number: remove("a", add="h")})
    snapshot = await api.read()

    assert set("bcdefg") <= set(ids(snapshot))
    assert snapshot.missing == 0
    assert api.restarts == 1


@pytest.mark.parametrize("rows", ["abcdefg", "abcdef"], ids=["on the last page", "on a new page"])
@pytest.mark.parametrize("request_number", range(1, 7))
async def test_an_addition_does_not_restart_the_read(request_number, rows):
    """A row that is added at the end moves no other row, so the read continues."""
    api = Api(list(rows), changes={request_number: remove(add="h")})
    snapshot = await api.read()

    assert ids(snapshot).removesuffix("h") == rows
    assert snapshot.missing == 0
    assert api.restarts == 0


@either_order
@pytest.mark.parametrize("past_end", PAST_END)
@pytest.mark.parametrize("rows", ["", "a", "ab", "abc", "abcd", "abcde"])
async def test_without_totals_the_end_is_found(rows, past_end, ordered):
    """A list that states no totals is read to its end, however the API signals the end."""
    api = Api(list(rows), meta_fields=(), past_end=past_end)
    snapshot = await api.read(ordered=ordered)

    assert ids(snapshot) == rows
    assert snapshot.missing == 0
    assert api.restarts == 0


async def test_an_unsorted_list_that_shrinks_is_read_again():
    """If a row of an unsorted list is removed while it is read, its place hides that another row was missed."""
    api = Api(list("abcdef"), changes={2: remove("a")})
    snapshot = await api.read(ordered=False)

    assert ids(snapshot) == "bcdef"
    assert snapshot.missing == 0
    assert api.requests == [1, 2, 3, 1, 2, 3]
    assert api.restarts == 1


@either_order
@pytest.mark.parametrize("stated", [0, -1, 1, 7, MAX_PAGES, 10**9, 10**30, None])
async def test_total_results_takes_precedence_over_total_pages(stated, ordered):
    """A wrong number of pages has no effect if the number of rows is correct."""
    snapshot = await Api(list("abcde"), false_meta={"total_pages": stated}).read(ordered=ordered)

    assert ids(snapshot) == "abcde"
    assert snapshot.missing == 0


@either_order
@pytest.mark.parametrize("stated", [0, -1])
async def test_a_total_of_no_pages_is_ignored_if_there_are_rows(stated, ordered):
    """A list that has rows but states that it has no pages is read to its end."""
    api = Api(list("abcde"), meta_fields=(), false_meta={"total_pages": stated})

    assert ids(await api.read(ordered=ordered)) == "abcde"


@either_order
@pytest.mark.parametrize("stated", [-1, 0, 1, 3])
async def test_a_total_below_the_number_of_rows_is_ignored(stated, ordered):
    """A list that has more rows than it states is read to its end."""
    snapshot = await Api(list("abcde"), meta_fields=(), false_meta={"total_results": stated}).read(ordered=ordered)

    assert ids(snapshot) == "abcde"
    assert snapshot.missing == 0


@either_order
@pytest.mark.parametrize("name", ["total_pages", "total_results"])
async def test_totals_can_change_with_every_page(name, ordered):
    """Totals that grow from page to page have no effect."""
    api = Api(list("abcde"), meta_fields=())

    async def read(number):
        page = await api(number)
        return Page(page.rows, Meta(**{name: len(api.requests) + 4}))

    assert ids(await read_list(read, ordered=ordered)) == "abcde"


@either_order
@pytest.mark.parametrize(
    "false_meta", [{"total_pages": MAX_PAGES + 1}, {"total_results": 10**9}, {"total_results": 10**30}]
)
async def test_an_impossible_size_is_rejected(false_meta, ordered):
    """A list that states an impossible size is malformed after one request."""
    api = Api(list("abcde"), meta_fields=(), false_meta=false_meta)

    with pytest.raises(Malformed, match=r"^the list's totals imply \d+ pages, more than the maximum of 100000$"):
        await api.read(ordered=ordered)
    assert api.requests == [1]


@either_order
async def test_an_endless_list_is_rejected(ordered):
    """A list that states no totals and never ends is malformed after the maximum number of pages."""

    async def read(number):
        assert number <= MAX_PAGES + 2
        return Page((Connection(id=str(number)),), Meta())

    with pytest.raises(Malformed):
        await read_list(read, ordered=ordered)


@pytest.mark.parametrize(
    "false_meta", [{"total_pages": 3 + MAX_EMPTY_PAGES + 1}, {"total_results": 6 + 2 * MAX_EMPTY_PAGES + 1}]
)
@pytest.mark.parametrize(
    ("past_end", "received"),
    [
        ("empty", "0 rows (11 times)"),
        (400, f"{status_error(400)} (11 times)"),
        (404, f"{status_error(404)} (11 times)"),
        ("last page", "page 3 (11 times)"),
    ],
)
async def test_many_empty_pages_are_rejected(past_end, received, false_meta):
    """A list is malformed if no change can explain its number of empty pages. The error states what Telnyx returned."""
    api = Api(list("abcde"), meta_fields=("page_number",), past_end=past_end, false_meta=false_meta)
    problem = f"the list's totals imply 14 pages, but requests for the last {MAX_EMPTY_PAGES + 1} returned {received}"

    with pytest.raises(Malformed, match=f"{re.escape(problem)}$"):
        await api.read()
    assert len(api.requests) == 2 + 1 + MAX_EMPTY_PAGES + 1


async def test_the_error_counts_each_kind_of_response():
    """If the responses for the last pages differ, the error counts each kind."""

    async def read(number):
        rows = (Connection(id=str(number)),) if number <= 2 or number >= 12 else ()
        return Page(rows, Meta(total_pages=14, page_number=2 if number >= 12 else number))

    with pytest.raises(Malformed, match=re.escape("returned page 2 (3 times), 0 rows (8 times)")):
        await read_list(read)


async def test_a_list_can_shrink_by_the_maximum_number_of_pages():
    """A list can lose MAX_EMPTY_PAGES pages while it is read."""
    rows = [f"{number:02}" for number in range(12)]
    api = Api(rows[:], size=1, changes={2: remove(*rows[2:]), 3: remove(add=rows[2:]), 4: remove(*rows[2:])})

    assert ids(await api.read()) == "0001"


@either_order
async def test_rows_that_no_page_contains_are_missing(ordered):
    """If a list states more rows than its pages contain, it is read three times. The remaining rows are missing."""
    api = Api(list("abcde"), false_meta={"total_results": 9})
    snapshot = await api.read(ordered=ordered)

    assert ids(snapshot) == "abcde"
    assert snapshot.missing == 4
    assert len(snapshot.pages) == 3
    assert api.restarts == MAX_ATTEMPTS - 1


@either_order
@pytest.mark.parametrize("stated", [1, 5])
async def test_all_rows_of_a_list_can_be_missing(stated, ordered):
    """If the first page is empty but the list states that it has rows, all of them are missing."""
    api = Api([], false_meta={"total_results": stated})
    snapshot = await api.read(ordered=ordered)

    assert (ids(snapshot), snapshot.missing, len(snapshot.pages)) == ("", stated, 0)
    assert api.restarts == MAX_ATTEMPTS - 1


@either_order
@pytest.mark.parametrize(
    ("meta", "missing"), [({}, 0), ({"total_pages": 3}, 0), ({"total_results": 5}, 3)], ids=["none", "pages", "results"]
)
async def test_an_api_that_ignores_the_page_number_is_tolerated(meta, missing, ordered):
    """If the API ignores the page number, the read still ends, and each row counts once."""
    requests = []

    async def read(number):
        requests.append(number)
        return Page((Connection(id="a"), Connection(id="b")), Meta(**meta))

    snapshot = await read_list(read, ordered=ordered)

    assert ids(snapshot) == "ab"
    assert snapshot.missing == missing
    assert len(requests) <= 2 + 3 * 4


@either_order
@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("meta_fields", META_FIELDS[:3], ids=META_IDS[:3])
async def test_a_page_that_is_always_rejected_fails_the_read(meta_fields, status, ordered):
    """A rejected page is not the end if later pages succeed. After three attempts, its error is raised."""
    api = Api(list("abcdefg"), meta_fields=meta_fields)
    rejection = status_error(status)

    async def read(number):
        page = await api(number)
        if number == 2:
            raise rejection
        return page

    with pytest.raises(BadRequest) as caught:
        await read_list(read, ordered=ordered, on_restart=api.record_list_restart)
    assert caught.value is rejection
    assert api.restarts == MAX_ATTEMPTS - 1


@either_order
@pytest.mark.parametrize("meta_fields", META_FIELDS[:3], ids=META_IDS[:3])
async def test_a_page_that_is_rejected_once_is_read_again(meta_fields, ordered):
    """If a page is rejected in the first attempt only, the next attempt reads it."""
    api = Api(list("abcdefg"), meta_fields=meta_fields)

    async def read(number):
        page = await api(number)
        if number == 2 and not api.restarts:
            raise BadRequest(400)
        return page

    assert ids(await read_list(read, ordered=ordered, on_restart=api.record_list_restart)) == "abcdefg"
    assert api.restarts == 1


@either_order
async def test_a_rejected_first_page_fails_at_once(ordered):
    """Every list has a first page, so if that page is rejected, its error is raised after one request."""
    api = Api(list("abc"), past_end=400)

    async def read(number):
        await api(number)
        raise BadRequest(400)

    with pytest.raises(BadRequest):
        await read_list(read, ordered=ordered)
    assert api.requests == [1]


@either_order
@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize(
    "error", [ServerError(500), ConnectionFailed("x"), Malformed("y")], ids=lambda error: error.reason
)
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
async def test_an_error_of_a_page_fails_the_read(number, error, concurrency, ordered):
    """An error of any page is raised unchanged and without a restart, because half a list gives wrong numbers."""
    api = Api(list("abcdefghi"))

    async def read(requested):
        page = await api(requested)
        if requested == number:
            raise error
        return page

    with pytest.raises(TelnyxError) as caught:
        await read_list(read, ordered=ordered, concurrency=concurrency, on_restart=api.record_list_restart)
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert api.restarts == 0


async def test_an_error_cancels_the_other_reads():
    """When one page fails, reads in flight are cancelled, no further ones start, and other errors are discarded."""
    api = Api(list("abcdefghijklmnopqrst"))
    cancelled = []

    async def read(number):
        if len(api.requests) < 2:
            return await api(number)
        try:
            if number < 3:
                await asyncio.sleep(0)
                raise ServerError(500 + number)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with pytest.raises(ServerError, match="501"):
        await read_list(read, concurrency=4)
    assert sorted(cancelled) == [3, 4]


async def test_a_cancelled_read_cancels_its_pages():
    """If the read of a list is cancelled, the reads of its pages are cancelled, too."""
    api = Api(list("abcdefghi"))
    cancelled = []
    in_flight = asyncio.Event()

    async def read(number):
        if len(api.requests) < 2:
            return await api(number)
        try:
            in_flight.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    task = asyncio.create_task(read_list(read, concurrency=3))
    await in_flight.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(cancelled) == [1, 2, 3]


async def test_a_row_on_two_pages_counts_once_in_its_newer_version():
    """If a row moves to the page that is read next, the snapshot contains the newer version, from that page."""
    api = Api(list("abcdef"), changes={3: remove("a"), 9: remove("b")})
    snapshot = await api.read()

    assert api.requests == [1, 3, 1, 2, 3, 1, 3, 2, 1]
    assert {row.id: row.connection_name for row in rows_of(snapshot)} == {"c": "9", "d": "9", "e": "8", "f": "7"}
    assert snapshot.missing == 0


@either_order
@pytest.mark.parametrize(
    ("second_pages", "best", "missing", "restarts"),
    [
        (("c", "", "d"), "abc", 1, 2),
        (("", "c", ""), "abc", 1, 2),
        (("", "", "c"), "abc", 1, 2),
        (("c", "a", "de"), "abde", 0, 2),
        (("", "cd", "ef"), "abcd", 0, 1),
    ],
    ids=["first of equals", "second", "third", "third complete", "second complete"],
)
async def test_the_best_of_three_attempts_counts(second_pages, best, missing, restarts, ordered):
    """The first attempt that matches the totals counts, or else the one of three that misses the fewest rows."""
    api = Api([])

    async def read(number):
        rows = "ab" if number == 1 else second_pages[api.restarts]
        return Page(tuple(Connection(id=row) for row in rows), Meta(total_results=4))

    snapshot = await read_list(read, ordered=ordered, on_restart=api.record_list_restart)

    assert (ids(snapshot), snapshot.missing) == (best, missing)
    assert api.restarts == restarts


GOOD = Connection(id="x")
BAD = UnreadableRow("x", "first")


@either_order
@pytest.mark.parametrize(
    ("pages", "good", "bad"),
    [
        ([[BAD, GOOD]], [GOOD], []),
        ([[GOOD], [BAD, Connection(id="y")]], [GOOD, Connection(id="y")], []),
        ([[BAD], [GOOD, Connection(id="y")]], [GOOD, Connection(id="y")], []),
        ([[BAD, UnreadableRow("x", "again")], [UnreadableRow("y", "other")]], [], [BAD, UnreadableRow("y", "other")]),
        ([[UnreadableRow(None, "a"), GOOD], [UnreadableRow(None, "a")]], [GOOD], [UnreadableRow(None, "a")] * 2),
    ],
    ids=[
        "readable on the same page",
        "readable on an earlier page",
        "readable on a later page",
        "once by id",
        "each without id",
    ],
)
async def test_unreadable_rows_count_too(pages, good, bad, ordered):
    """An unreadable row counts once per id, unless that id was also readable. Without an id, it always counts."""
    total = len(good) + len(bad)

    async def read(number):
        rows = pages[number - 1] if number <= len(pages) else ()
        return Page(tuple(rows), Meta(total_results=total) if number == 1 and len(pages) == 1 else Meta())

    snapshot = await read_list(read, ordered=ordered)

    assert rows_of(snapshot) == good
    assert list(snapshot.unreadable) == bad
    assert (snapshot.missing, len(snapshot.pages)) == (0, len(pages))


class ChangingApi(Api):
    """A list whose rows are added and removed between any two requests."""

    def schedule(self, steps):
        """Set a step for each request: how many event loop iterations to wait, and the changes before the response."""
        self.steps = iter(steps)
        self.kept_ids = set(self.ids)
        self.all_ids = set(self.ids)

    async def __call__(self, number):
        """Return the page of this number after the wait and the changes of the next step."""
        iterations, changes = next(self.steps, (0, ()))
        for _ in range(iterations):
            await asyncio.sleep(0)
        for index in changes:
            self.change(index)
        return self.page(number)

    def change(self, index):
        """Remove the row at this index, or add a row at the end if the index is None."""
        if index is not None and self.ids:
            self.kept_ids.discard(self.ids.pop(index % len(self.ids)))
        elif index is None and len(self.ids) < MAX_EMPTY_PAGES:
            self.ids.append(f"new{len(self.all_ids)}")
            self.all_ids.add(self.ids[-1])


CHANGES = [(), (), (None,), (0,), (1,), (-1,), (0, None), (0, 0), (0, 0, None, None), (2, 2, 2)]
STEPS = list(product(range(3), CHANGES))


@pytest.mark.parametrize("meta_fields", META_FIELDS, ids=META_IDS)
@given(
    rows=st.integers(1, 8),
    size=st.integers(1, 4),
    concurrency=st.integers(1, 4),
    past_end=st.sampled_from(PAST_END),
    steps=st.lists(st.sampled_from(STEPS), max_size=30),
)
@settings(max_examples=300)
async def test_no_row_that_is_kept_is_ever_missed(meta_fields, *, rows, size, concurrency, past_end, steps):
    """If any rows are added and removed during the read, each row that exists all the time is in the snapshot once."""
    api = ChangingApi([f"old{number}" for number in range(rows)], size, meta_fields, past_end)
    api.schedule(steps)
    try:
        snapshot = await api.read(concurrency)
    except BadRequest:  # the reader can't tell a page past the end from another page that the API rejects
        assert isinstance(past_end, int)
        return
    seen = [connection.id for connection in rows_of(snapshot)]

    assert len(seen) == len(set(seen))
    assert api.kept_ids <= set(seen) <= api.all_ids


@pytest.mark.parametrize("meta_fields", META_FIELDS[:3], ids=META_IDS[:3])
async def test_an_unsorted_list_takes_one_request_per_page(meta_fields):
    """An unsorted list of n pages that states its size is read with n requests, one after the other."""
    api = Api(list("abcdefghi"), meta_fields=meta_fields)
    snapshot = await api.read(concurrency=4, ordered=False)

    assert (ids(snapshot), snapshot.missing, api.restarts) == ("abcdefghi", 0, 0)
    assert api.requests == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("past_end", PAST_END)
async def test_an_unsorted_list_without_totals_takes_one_more_request(past_end):
    """An unsorted list that does not state its size is read until a page has nothing new. No page is read twice."""
    api = Api(list("abcde"), meta_fields=(), past_end=past_end)
    await api.read(ordered=False)

    assert api.requests == [1, 2, 3, 4]


async def test_an_unsorted_list_ends_with_an_empty_page():
    """If an unsorted list states more pages than it has, an attempt ends with the first page that has no rows."""
    api = Api(list("abcde"), false_meta={"total_results": 1000})
    snapshot = await api.read(ordered=False)

    assert (ids(snapshot), snapshot.missing) == ("abcde", 995)
    assert api.requests == [1, 2, 3, 4] * MAX_ATTEMPTS


async def test_a_repeated_page_ends_an_unsorted_list_in_any_order():
    """A page that has the rows of the page before in another order is past the end."""
    pages = iter(["abc", "def", "fed"])

    async def read(_):
        return Page(tuple(Connection(id=row) for row in next(pages)), Meta())

    assert ids(await read_list(read, ordered=False)) == "abcdef"


async def test_an_unsorted_list_whose_order_changes_is_read_again():
    """If rows moved to pages that were already read, the list lacks rows and is read again."""
    api = Api(list("abcdef"), changes={2: lambda rows: rows.reverse()})
    snapshot = await api.read(ordered=False)

    assert (ids(snapshot), snapshot.missing) == ("fedcba", 0)
    assert api.requests == [1, 2, 3] * 2
    assert api.restarts == 1


def shuffle(seed):
    """Return a change that puts the rows in an order that depends on this number only."""

    def change(rows):
        rows.sort()
        random.Random(seed).shuffle(rows)

    return change


@pytest.mark.parametrize("meta_fields", META_FIELDS, ids=META_IDS)
@given(
    rows=st.integers(0, 8),
    size=st.integers(1, 4),
    past_end=st.sampled_from(PAST_END),
    seeds=st.lists(st.integers(0, 9), max_size=30),
)
@settings(max_examples=300)
async def test_an_unsorted_list_in_any_order(meta_fields, *, rows, size, past_end, seeds):
    """For any order at each request, each id is in the snapshot at most once, and missing rows are counted."""
    api = Api([str(number) for number in range(rows)], size, meta_fields, past_end)
    api.changes = {number: shuffle(seed) for number, seed in enumerate(seeds, 1)}
    snapshot = await api.read(ordered=False)
    seen = ids(snapshot)

    assert len(seen) == len(set(seen)) == snapshot.row_count
    assert set(seen) <= set(api.ids)
    if "total_results" in meta_fields:
        assert snapshot.missing == rows - len(seen)
        assert api.restarts == MAX_ATTEMPTS - 1 or not snapshot.missing
    assert api.requests.count(1) == 1 + api.restarts


@pytest.mark.parametrize("meta_fields", META_FIELDS, ids=META_IDS)
@given(rows=st.integers(0, 8), size=st.integers(1, 4), past_end=st.sampled_from(PAST_END), seed=st.integers(0, 9))
async def test_an_unsorted_list_in_a_stable_order_is_complete(meta_fields, *, rows, size, past_end, seed):
    """If the order does not change between requests, an unsorted list is complete after one attempt."""
    api = Api([str(number) for number in range(rows)], size, meta_fields, past_end, changes={1: shuffle(seed)})
    snapshot = await api.read(ordered=False)

    assert ids(snapshot) == "".join(api.ids)
    assert (snapshot.missing, api.restarts) == (0, 0)


async def test_a_repeated_page_does_not_end_an_unsorted_list_that_states_its_size():
    """If a page repeats the one before because the order changed, the pages after it are still read."""
    api = Api([])

    async def read(number):
        rows = {1: "ab", 2: "ba", 3: "ef"}[number]
        return Page(tuple(Connection(id=row) for row in rows), Meta(total_results=6))

    snapshot = await read_list(read, ordered=False, on_restart=api.record_list_restart)

    assert (ids(snapshot), snapshot.missing) == ("abef", 2)
    assert api.restarts == MAX_ATTEMPTS - 1
