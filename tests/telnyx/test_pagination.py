import asyncio
import math
import re
from dataclasses import dataclass, field
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.collectors.credential_connections import Connection
from exporter.telnyx.errors import BadRequest, ConnectionFailed, Malformed, ServerError, TelnyxError, status_error
from exporter.telnyx.pages import Meta, Page, UnreadableRow
from exporter.telnyx.pagination import MAX_ATTEMPTS, MAX_EMPTY_PAGES, MAX_PAGES, read_list

ALL = Meta.__struct_fields__
TOTALS = [ALL, ("total_results",), ("total_pages",), ()]
TOLD = ["all", "results", "pages", "nothing"]
PAST_END = ["empty", 400, 404, "last page", "last page, unsaid"]


@dataclass
class Api:
    """A list in memory, read by pages; a number in `changes` is what happens before the request of that number."""

    ids: list[str]
    size: int = 2
    told: tuple[str, ...] = ALL
    past_end: str | int = "empty"
    lies: dict = field(default_factory=dict)
    changes: dict = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    restarts: int = 0

    async def __call__(self, number):
        """Return the page of this number as the list is when it is this request's turn."""
        self.asked.append(number)
        change = self.changes.get(len(self.asked))
        await asyncio.sleep(0)
        if change:
            change(self.ids)
        return self.page(number)

    def page(self, number):
        """Return the page of this number as the list is now."""
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
        said = {name: truth[name] for name in self.told} | self.lies
        return Page(tuple(map(self.row, rows)), Meta(**said))

    def row(self, connection_id):
        """Return a row; its name says with which request it was read."""
        return Connection(id=connection_id, connection_name=str(len(self.asked)))

    def record_list_restart(self):
        """Count the walks that were begun again."""
        self.restarts += 1

    async def read(self, concurrency=1):
        """Read this list."""
        return await read_list(self, concurrency=concurrency, on_restart=self.record_list_restart)


def ids(snapshot):
    """Return the ids of a snapshot's connections, in their order, as one text."""
    return "".join(connection.id for connection in snapshot.rows)


def remove(*gone, add=""):
    """Return a change that removes these rows and adds others at the end."""

    def change(rows):
        rows[:] = [row for row in rows if row not in gone] + list(add)

    return change


@pytest.mark.parametrize("told", TOTALS[:3], ids=TOLD[:3])
@pytest.mark.parametrize("rows", ["", "a", "ab"])
async def test_one_page_is_one_request(rows, told):
    """A list of one page is read with one request."""
    api = Api(list(rows), told=told)
    snapshot = await api.read()

    assert ids(snapshot) == rows
    assert (snapshot.unreadable, snapshot.missing, len(snapshot.pages)) == ((), 0, bool(rows))
    assert api.asked == [1]
    assert api.restarts == 0


@pytest.mark.parametrize("concurrency", [1, 2, 4, 99])
@pytest.mark.parametrize("told", TOTALS[:3], ids=TOLD[:3])
async def test_many_pages_are_two_requests_more(told, concurrency):
    """A list of n pages that stays as it is costs n + 2 requests: the first and the last page are read twice."""
    api = Api(list("abcdefghi"), told=told)
    snapshot = await api.read(concurrency)

    assert ids(snapshot) == "abcdefghi"
    assert (snapshot.missing, len(snapshot.pages)) == (0, 5)
    assert (api.asked[:2], sorted(api.asked[2:-1]), api.asked[-1]) == ([1, 5], [1, 2, 3, 4], 5)
    assert api.restarts == 0


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (3, 3), (4, 4), (20, 9)])
async def test_concurrency_is_bounded(concurrency, most):
    """No more pages than allowed are read at the same time, and as many where there are enough."""
    api = Api(list("abcdefghij"), size=1)
    flying, peaks = [], []

    async def read(number):
        flying.append(number)
        page = await api(number)
        peaks.append(len(flying))
        flying.remove(number)
        return page

    await read_list(read, concurrency=concurrency)

    assert max(peaks) == most


@pytest.mark.parametrize("told", TOTALS, ids=TOLD)
@pytest.mark.parametrize("past_end", PAST_END)
async def test_a_removal_hides_no_other_row(past_end, told):
    """Whichever rows are removed and whenever, none that stays is missed, at the price of one more walk at most."""
    for gone, request, size in product(["a", "b", "c", "abc", "e", "de", "bcde"], range(1, 10), (1, 2, 3)):
        api = Api(list("abcde"), size, told, past_end, changes={request: remove(*gone)})
        snapshot = await api.read()

        assert set("abcde") - set(gone) <= set(ids(snapshot)) <= set("abcde"), (gone, request, size)
        assert snapshot.row_count == len(set(ids(snapshot)))
        assert snapshot.missing == 0
        assert api.restarts <= 1


async def test_a_removal_starts_the_walk_again():
    """A row removed in the middle of a walk has it begun again, once, and then it is complete."""
    api = Api(list("abcdefg"), changes={4: remove("a")})

    assert ids(await api.read()) == "bcdefg"
    assert api.asked == [1, 4, 1, 2, 3, 4, 1, 3, 2, 1]
    assert api.restarts == 1


@pytest.mark.parametrize("request_number", range(3, 7))
async def test_a_removal_behind_an_unchanged_total_is_noticed(request_number):
    """A row removed while another is added leaves the total as it was, and is noticed all the same."""
    api = Api(list("abcdefg"), changes={request_number: remove("a", add="h")})
    snapshot = await api.read()

    assert set("bcdefg") <= set(ids(snapshot))
    assert snapshot.missing == 0
    assert api.restarts == 1


@pytest.mark.parametrize("rows", ["abcdefg", "abcdef"], ids=["on the last page", "on a new page"])
@pytest.mark.parametrize("request_number", range(1, 7))
async def test_an_addition_is_no_reason_to_walk_again(request_number, rows):
    """A row added at the end moves no other, so that the walk goes on."""
    api = Api(list(rows), changes={request_number: remove(add="h")})
    snapshot = await api.read()

    assert ids(snapshot).removesuffix("h") == rows
    assert snapshot.missing == 0
    assert api.restarts == 0


@pytest.mark.parametrize("past_end", PAST_END)
@pytest.mark.parametrize("rows", ["", "a", "ab", "abc", "abcd", "abcde"])
async def test_without_totals_the_end_is_found(rows, past_end):
    """A list that says nothing of itself is read until there is no more, in whatever way the API says so."""
    api = Api(list(rows), told=(), past_end=past_end)
    snapshot = await api.read()

    assert ids(snapshot) == rows
    assert snapshot.missing == 0
    assert api.restarts == 0


@pytest.mark.parametrize("said", [0, -1, 1, 7, MAX_PAGES, 10**9, 10**30, None])
async def test_total_results_is_believed_before_total_pages(said):
    """A wrong number of pages does no harm where the number of rows is right."""
    snapshot = await Api(list("abcde"), lies={"total_pages": said}).read()

    assert ids(snapshot) == "abcde"
    assert snapshot.missing == 0


@pytest.mark.parametrize("said", [0, -1])
async def test_no_pages_are_not_believed_when_there_is_one(said):
    """A list with rows that says it has no pages is read to its end."""
    assert ids(await Api(list("abcde"), told=(), lies={"total_pages": said}).read()) == "abcde"


@pytest.mark.parametrize("said", [-1, 0, 1, 3])
async def test_a_total_below_what_is_seen_is_not_believed(said):
    """A list with more rows than it says is read to its end."""
    snapshot = await Api(list("abcde"), told=(), lies={"total_results": said}).read()

    assert ids(snapshot) == "abcde"
    assert snapshot.missing == 0


@pytest.mark.parametrize("name", ["total_pages", "total_results"])
async def test_totals_can_change_with_every_page(name):
    """Totals that are different on each page, growing as it seems, do no harm."""
    api = Api(list("abcde"), told=())

    async def read(number):
        page = await api(number)
        return Page(page.rows, Meta(**{name: len(api.asked) + 4}))

    assert ids(await read_list(read)) == "abcde"


@pytest.mark.parametrize("lies", [{"total_pages": MAX_PAGES + 1}, {"total_results": 10**9}, {"total_results": 10**30}])
async def test_an_absurd_size_is_refused(lies):
    """A list that says it is larger than any can be is malformed, after one request."""
    api = Api(list("abcde"), told=(), lies=lies)

    with pytest.raises(Malformed, match=r"^the list says it has \d+ pages$"):
        await api.read()
    assert api.asked == [1]


async def test_a_list_without_an_end_is_refused():
    """A list that says nothing of itself and goes on for ever is malformed in the end."""

    async def read(number):
        assert number <= MAX_PAGES + 2
        return Page((Connection(id=str(number)),), Meta())

    with pytest.raises(Malformed):
        await read_list(read)


@pytest.mark.parametrize(
    "lies", [{"total_pages": 3 + MAX_EMPTY_PAGES + 1}, {"total_results": 6 + 2 * MAX_EMPTY_PAGES + 1}]
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
async def test_many_empty_pages_are_refused(past_end, received, lies):
    """A list whose end is emptier than any change can make it is malformed; the error reports what Telnyx returned."""
    api = Api(list("abcde"), told=("page_number",), past_end=past_end, lies=lies)
    problem = f"the list says it has 14 pages; requests for the last {MAX_EMPTY_PAGES + 1} returned {received}"

    with pytest.raises(Malformed, match=f"{re.escape(problem)}$"):
        await api.read()
    assert len(api.asked) == 2 + 1 + MAX_EMPTY_PAGES + 1


async def test_each_kind_of_answer_is_counted():
    """Where the last pages were answered in several ways, the error counts each of them."""

    async def read(number):
        rows = (Connection(id=str(number)),) if number <= 2 or number >= 12 else ()
        return Page(rows, Meta(total_pages=14, page_number=2 if number >= 12 else number))

    with pytest.raises(Malformed, match=re.escape("returned page 2 (3 times), 0 rows (8 times)")):
        await read_list(read)


async def test_as_many_empty_pages_as_a_list_can_shrink_by_are_fine():
    """A list can shrink a good deal while it is read."""
    rows = [f"{number:02}" for number in range(12)]
    api = Api(rows[:], size=1, changes={2: remove(*rows[2:]), 3: remove(add=rows[2:]), 4: remove(*rows[2:])})

    assert ids(await api.read()) == "0001"


async def test_rows_that_never_come_are_missing():
    """A list that says it has more rows than its pages show is walked three times, and then the rest is missing."""
    api = Api(list("abcde"), lies={"total_results": 9})
    snapshot = await api.read()

    assert ids(snapshot) == "abcde"
    assert snapshot.missing == 4
    assert len(snapshot.pages) == 3
    assert api.restarts == MAX_ATTEMPTS - 1


@pytest.mark.parametrize("said", [1, 5])
async def test_a_list_without_rows_can_miss_them(said):
    """An empty first page of a list that says it has rows: all of them are missing."""
    api = Api([], lies={"total_results": said})
    snapshot = await api.read()

    assert (ids(snapshot), snapshot.missing, len(snapshot.pages)) == ("", said, 0)
    assert api.restarts == MAX_ATTEMPTS - 1


@pytest.mark.parametrize(
    ("told", "missing"), [({}, 0), ({"total_pages": 3}, 0), ({"total_results": 5}, 3)], ids=["none", "pages", "results"]
)
async def test_the_same_page_for_ever_ends(told, missing):
    """An API that ignores the page's number does not keep the walk for ever, and each row counts once."""
    requests = []

    async def read(number):
        requests.append(number)
        return Page((Connection(id="a"), Connection(id="b")), Meta(**told))

    snapshot = await read_list(read)

    assert ids(snapshot) == "ab"
    assert snapshot.missing == missing
    assert len(requests) <= 2 + 3 * 4


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("told", TOTALS[:3], ids=TOLD[:3])
async def test_a_page_that_is_always_refused_fails_the_walk(told, status):
    """A page that is refused while those behind it are not: that is no end, and after three walks it is the error."""
    api = Api(list("abcdefg"), told=told)
    refused = status_error(status)

    async def read(number):
        page = await api(number)
        if number == 2:
            raise refused
        return page

    with pytest.raises(BadRequest) as caught:
        await read_list(read, on_restart=api.record_list_restart)
    assert caught.value is refused
    assert api.restarts == MAX_ATTEMPTS - 1


@pytest.mark.parametrize("told", TOTALS[:3], ids=TOLD[:3])
async def test_a_page_that_is_refused_once_is_read_again(told):
    """A page that is refused in one walk only is read by the next."""
    api = Api(list("abcdefg"), told=told)

    async def read(number):
        page = await api(number)
        if number == 2 and not api.restarts:
            raise BadRequest(400)
        return page

    assert ids(await read_list(read, on_restart=api.record_list_restart)) == "abcdefg"
    assert api.restarts == 1


async def test_a_refused_first_page_fails_at_once():
    """No list is so short that it has no first page."""
    api = Api(list("abc"), past_end=400)

    async def read(number):
        await api(number)
        raise BadRequest(400)

    with pytest.raises(BadRequest):
        await read_list(read)
    assert api.asked == [1]


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize(
    "error", [ServerError(500), ConnectionFailed("x"), Malformed("y")], ids=lambda error: error.reason
)
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
async def test_a_page_that_fails_fails_the_walk(number, error, concurrency):
    """Half a list is a wrong number: an error of any page is the error of the walk, as it is, at once."""
    api = Api(list("abcdefghi"))

    async def read(asked):
        page = await api(asked)
        if asked == number:
            raise error
        return page

    with pytest.raises(TelnyxError) as caught:
        await read_list(read, concurrency=concurrency, on_restart=api.record_list_restart)
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert api.restarts == 0


async def test_an_error_cancels_the_other_reads():
    """When one page fails, the reads under way are cancelled, no other begins, and errors beside it are lost."""
    api = Api(list("abcdefghijklmnopqrst"))
    cancelled = []

    async def read(number):
        if len(api.asked) < 2:
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


async def test_a_cancelled_walk_leaves_nothing_behind():
    """Whoever cancels a walk cancels its reads."""
    api = Api(list("abcdefghi"))
    cancelled = []
    flying = asyncio.Event()

    async def read(number):
        if len(api.asked) < 2:
            return await api(number)
        try:
            flying.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    task = asyncio.create_task(read_list(read, concurrency=3))
    await flying.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(cancelled) == [1, 2, 3]


async def test_a_row_on_two_pages_counts_once_as_it_was_last():
    """A row that moves to the page that is read next is taken from there, where it is newer."""
    api = Api(list("abcdef"), changes={3: remove("a"), 9: remove("b")})
    snapshot = await api.read()

    assert api.asked == [1, 3, 1, 2, 3, 1, 3, 2, 1]
    assert {row.id: row.connection_name for row in snapshot.rows} == {"c": "9", "d": "9", "e": "8", "f": "7"}
    assert snapshot.missing == 0


@pytest.mark.parametrize(
    ("second_pages", "best", "missing", "restarts"),
    [
        (("c", "", "d"), "abc", 1, 2),
        (("", "c", ""), "abc", 1, 2),
        (("", "", "c"), "abc", 1, 2),
        (("c", "a", "de"), "abde", 0, 2),
        (("", "cd", "ef"), "abcd", 0, 1),
    ],
    ids=["first of equals", "second", "third", "complete at last", "complete"],
)
async def test_the_best_of_three_walks_counts(second_pages, best, missing, restarts):
    """A walk that adds up counts at once; when none does in three, the one that misses least."""
    api = Api([])

    async def read(number):
        rows = "ab" if number == 1 else second_pages[api.restarts]
        return Page(tuple(Connection(id=row) for row in rows), Meta(total_results=4))

    snapshot = await read_list(read, on_restart=api.record_list_restart)

    assert (ids(snapshot), snapshot.missing) == (best, missing)
    assert api.restarts == restarts


GOOD = Connection(id="x")
BAD = UnreadableRow("x", "first")


@pytest.mark.parametrize(
    ("pages", "good", "bad"),
    [
        ([[BAD, GOOD]], [GOOD], []),
        ([[GOOD], [BAD, Connection(id="y")]], [GOOD, Connection(id="y")], []),
        ([[BAD], [GOOD, Connection(id="y")]], [GOOD, Connection(id="y")], []),
        ([[BAD, UnreadableRow("x", "again")], [UnreadableRow("y", "other")]], [], [BAD, UnreadableRow("y", "other")]),
        ([[UnreadableRow(None, "a"), GOOD], [UnreadableRow(None, "a")]], [GOOD], [UnreadableRow(None, "a")] * 2),
    ],
    ids=["readable wins", "readable wins early", "readable wins late", "once by id", "without id each"],
)
async def test_unreadable_rows_count_too(pages, good, bad):
    """A row that can't be read counts once by its id, unless it was read elsewhere; one without an id always counts."""
    total = len(good) + len(bad)

    async def read(number):
        rows = pages[number - 1] if number <= len(pages) else ()
        return Page(tuple(rows), Meta(total_results=total) if number == 1 and len(pages) == 1 else Meta())

    snapshot = await read_list(read)

    assert list(snapshot.rows) == good
    assert list(snapshot.unreadable) == bad
    assert (snapshot.missing, len(snapshot.pages)) == (0, len(pages))


class Restless(Api):
    """A list to which rows are added, and from which they are removed, between any two of its pages."""

    def live(self, moments):
        """Take what is to come: for each request, how long others may overtake it and what changes before its turn."""
        self.moments = iter(moments)
        self.stayed = set(self.ids)
        self.ever = set(self.ids)

    async def __call__(self, number):
        """Return the page of this number after the changes that are due."""
        pauses, changes = next(self.moments, (0, ()))
        for _ in range(pauses):
            await asyncio.sleep(0)
        for place in changes:
            self.change(place)
        return self.page(number)

    def change(self, place):
        """Remove the row at this place, or add one at the end where the place is None."""
        if place is not None and self.ids:
            self.stayed.discard(self.ids.pop(place % len(self.ids)))
        elif place is None and len(self.ids) < MAX_EMPTY_PAGES:
            self.ids.append(f"new{len(self.ever)}")
            self.ever.add(self.ids[-1])


CHANGES = [(), (), (None,), (0,), (1,), (-1,), (0, None), (0, 0), (0, 0, None, None), (2, 2, 2)]
MOMENTS = list(product(range(3), CHANGES))


@pytest.mark.parametrize("told", TOTALS, ids=TOLD)
@given(
    rows=st.integers(1, 8),
    size=st.integers(1, 4),
    concurrency=st.integers(1, 4),
    past_end=st.sampled_from(PAST_END),
    moments=st.lists(st.sampled_from(MOMENTS), max_size=30),
)
@settings(max_examples=300, deadline=None)
async def test_no_row_that_stays_is_ever_missed(told, *, rows, size, concurrency, past_end, moments):
    """Whatever is added and removed meanwhile: each row that is there all the time is in the snapshot, once."""
    api = Restless([f"old{number}" for number in range(rows)], size, told, past_end)
    api.live(moments)
    try:
        snapshot = await api.read(concurrency)
    except BadRequest:  # an API that refuses pages past the end can't be told from one that refuses others
        assert isinstance(past_end, int)
        return
    seen = [connection.id for connection in snapshot.rows]

    assert len(seen) == len(set(seen))
    assert api.stayed <= set(seen) <= api.ever
