import asyncio
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from virtual_time import VirtualLoop

from exporter.cache import MAX_BACKOFF, Cache, Entry

MOMENT = 2.0**-10
"""The shortest time that the tests distinguish. Like all times in the tests, it is exact as a float."""


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests in virtual time."""
    return ("asyncio", {"loop_factory": VirtualLoop})


def now():
    """Return the virtual time in seconds."""
    return asyncio.get_running_loop().time()


async def settle():
    """Run everything that can happen without time passing."""
    for _ in range(10):
        await asyncio.sleep(0)


class Failure(Exception):
    """The error of a refresh, with the seconds that the API requests to wait."""

    def __init__(self, retry_after=0.0):
        super().__init__()
        self.retry_after = retry_after


class FakeApi:
    """An API that takes `delay` seconds, and raises `error` or returns the number of the refresh."""

    def __init__(self):
        self.delay = 0.0
        self.error = None
        self.started = []
        self.cancelled = 0

    async def __call__(self):
        """Refresh."""
        self.started.append(now())
        number = len(self.started)
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


@pytest.fixture
def api():
    """Return an API that responds at once."""
    return FakeApi()


def cache_of(api, *, ttl=10.0, max_stale=60.0, **options):
    """Return a cache in virtual time."""
    return Cache(api, ttl=ttl, max_stale=max_stale, retry_after=lambda error: error.retry_after, clock=now, **options)


async def scrape(cache, seconds, every=0.5):
    """Get the value repeatedly for this many seconds."""
    until = now() + seconds
    while now() < until:
        await cache.get(0.0)
        await asyncio.sleep(every)


async def test_default_clock_is_real(api):
    """By default, a cache uses real time, not the time of the event loop."""
    cache = Cache(api, ttl=1000.0, max_stale=1000.0)
    assert (await cache.get(1.0)).value == 1
    await asyncio.sleep(100_000.0)
    ages = [cache.peek().age for _ in range(10_000)]
    assert ages == sorted(ages)
    assert 0.0 <= ages[0] < ages[-1] < 1000.0


# Freshness


async def test_first_caller_gets_new_value(api):
    """The first caller waits for the refresh and gets its value, which is not a cache hit."""
    api.delay = 3.0
    entry = await cache_of(api).get(10.0)
    assert entry == Entry(1, 0.0, stale=False, error=None, hit=False)
    assert now() == 1003.0


async def test_fresh_value_is_returned_at_once(api):
    """A fresh value is returned without a refresh or a wait."""
    cache = cache_of(api)
    await cache.get(10.0)
    api.delay = 3.0
    await asyncio.sleep(10.0 - MOMENT)
    before = now()
    assert await cache.get(10.0) == Entry(1, 10.0 - MOMENT, stale=False, error=None, hit=True)
    assert now() == before
    assert len(api.started) == 1


async def test_value_is_refreshed_after_the_ttl(api):
    """A value as old as its TTL is refreshed before it is returned."""
    cache = cache_of(api)
    await cache.get(10.0)
    await asyncio.sleep(10.0)
    assert await cache.get(10.0) == Entry(2, 0.0, stale=False, error=None, hit=False)


async def test_the_first_value_can_have_another_ttl(api):
    """The first value is stale after its own TTL, so that caches can be refreshed at different times."""
    cache = cache_of(api, first_ttl=3.0)
    await scrape(cache, 30)
    assert api.started == [1000, 1003, 1013, 1023]


async def test_an_adopted_value_is_not_the_first(api):
    """After a value was taken over, all TTLs are the usual one."""
    first, second = cache_of(api), cache_of(api, first_ttl=3.0)
    await first.get(None)
    second.adopt(first)
    second.start_refresh()
    await settle()
    assert api.started == [1000]
    await scrape(second, 25)
    assert api.started == [1000, 1010, 1020]


async def test_an_adopted_first_value_keeps_its_ttl(api):
    """If the first value is taken over, caches that started together still refresh at different times."""
    first, second = cache_of(api, first_ttl=3.0), cache_of(api, first_ttl=3.0)
    await first.get(None)
    second.adopt(first)
    await scrape(second, 15)
    assert api.started == [1000, 1003, 1013]


async def test_the_first_value_after_a_pause(api):
    """After a pause without requests, the next value has the TTL of the first one, too."""
    cache = cache_of(api, first_ttl=3.0)
    await scrape(cache, 5)
    await asyncio.sleep(25)
    await scrape(cache, 15)
    assert api.started == [1000, 1003, 1030, 1033, 1043]


async def test_an_expired_value(api):
    """An expired value is returned until the next refresh, also elsewhere. The next value is like a first one."""
    first, second, third = (cache_of(api, first_ttl=3.0) for _ in range(3))
    await scrape(first, 5)
    second.adopt(first)
    second.expire()
    third.adopt(second)
    assert second.peek() == third.peek() == Entry(2, 2.0, stale=True, error=None, hit=False)
    await scrape(third, 15)
    assert api.started == [1000, 1003, 1005, 1008, 1018]


async def test_a_refresh_can_start_without_a_caller_who_waits(api):
    """`start_refresh` starts a refresh only if one is due, none is running, and the cache is open."""
    api.delay = 1.0
    cache = cache_of(api)
    for _ in range(100):
        cache.start_refresh()
        await asyncio.sleep(0.25)
    assert api.started == [1000, 1011, 1022]
    await cache.close()
    await asyncio.sleep(60)
    cache.start_refresh()
    await settle()
    assert api.started == [1000, 1011, 1022]


async def test_adopted_value_keeps_its_age(api):
    """An adopted value keeps its age. The TTL of its new cache decides whether it is fresh."""
    first, second = cache_of(api), cache_of(api, ttl=4.0)
    await first.get(10.0)
    await asyncio.sleep(3.0)
    second.adopt(first)
    assert await second.get(10.0) == Entry(1, 3.0, stale=False, error=None, hit=True)
    await asyncio.sleep(1.0)
    assert second.peek() == Entry(1, 4.0, stale=True, error=None, hit=False)
    assert (await second.get(10.0)).value == 2


async def test_ttl_counts_from_end_of_refresh(api):
    """A refresh that takes longer than the TTL still yields a fresh value."""
    cache = cache_of(api)
    api.delay = 25.0
    assert (await cache.get(30.0)).age == 0.0
    assert (await cache.get(30.0)).hit


async def test_ttl_of_zero_refreshes_for_each_caller(api):
    """With a TTL of 0, each of several consecutive callers starts a refresh."""
    cache = cache_of(api, ttl=0.0)
    assert [(await cache.get(1.0)).value for _ in range(3)] == [1, 2, 3]


async def test_no_refresh_without_a_caller(api):
    """Without a caller there is no refresh, however old the value is."""
    cache = cache_of(api)
    await asyncio.sleep(100.0)
    assert api.started == []
    await cache.get(1.0)
    await asyncio.sleep(1000.0)
    assert len(api.started) == 1


async def test_peek_never_refreshes(api):
    """`peek` returns the state without a refresh: no value, a fresh one, a stale one, and no value again."""
    cache = cache_of(api)
    assert cache.peek() == Entry(None, None, stale=False, error=None, hit=False)
    await settle()
    assert api.started == []
    await cache.get(1.0)
    assert cache.peek() == Entry(1, 0.0, stale=False, error=None, hit=True)
    await asyncio.sleep(10.0)
    assert cache.peek() == Entry(1, 10.0, stale=True, error=None, hit=False)
    await asyncio.sleep(50.0 + MOMENT)
    assert cache.peek() == Entry(None, None, stale=False, error=None, hit=False)
    await settle()
    assert len(api.started) == 1


# Waiting callers


async def test_refresh_is_shared(api):
    """A hundred concurrent callers share one refresh."""
    cache = cache_of(api)
    api.delay = 3.0
    entries = await asyncio.gather(*(cache.get(10.0) for _ in range(100)))
    assert [entry.value for entry in entries] == [1] * 100
    assert len(api.started) == 1


async def test_each_caller_waits_until_its_deadline(api):
    """During a slow refresh, a caller gets the stale value at its deadline, or the new value if that comes first."""
    cache = cache_of(api)
    await cache.get(1.0)
    await asyncio.sleep(20.0)
    api.delay = 8.0
    start = now()

    async def timed_get(scrape_timeout):
        entry = await cache.get(scrape_timeout)
        return now() - start, entry.value, entry.age, entry.stale, entry.hit

    assert await asyncio.gather(timed_get(0.0), timed_get(2.0), timed_get(4.5), timed_get(10.0)) == [
        (0.0, 1, 20.0, True, False),
        (2.0, 1, 22.0, True, False),
        (4.5, 1, 24.5, True, False),
        (8.0, 2, 0.0, False, False),
    ]
    assert len(api.started) == 2


async def test_deadline_without_a_value(api):
    """During a slow first refresh, a caller gets no value at its deadline, and the refresh continues."""
    cache = cache_of(api)
    api.delay = 8.0
    assert await cache.get(2.0) == Entry(None, None, stale=False, error=None, hit=False)
    assert now() == 1002.0
    await asyncio.sleep(6.0)
    assert cache.peek().value == 1


async def test_value_can_expire_while_waiting(api):
    """A value that exceeds `max_stale` while a caller waits is not returned."""
    cache = cache_of(api)
    await cache.get(1.0)
    await asyncio.sleep(58.0)
    api.delay = 100.0
    assert (await cache.get(5.0)).value is None
    await cache.close()


@pytest.mark.parametrize("which", [0, 1], ids=["first-caller", "second-caller"])
async def test_cancelled_caller_keeps_the_refresh_running(api, which):
    """A cancelled caller, even the one that started the refresh, leaves it running for the others."""
    cache = cache_of(api)
    api.delay = 3.0
    callers = [asyncio.create_task(cache.get(10.0)) for _ in range(2)]
    await asyncio.sleep(1.0)
    callers.pop(which).cancel()
    assert (await callers.pop()).value == 1
    assert (len(api.started), api.cancelled) == (1, 0)


async def test_refresh_survives_all_its_callers(api):
    """A refresh whose callers are all cancelled still finishes, and its value is kept."""
    cache = cache_of(api)
    api.delay = 3.0
    caller = asyncio.create_task(cache.get(10.0))
    await asyncio.sleep(1.0)
    caller.cancel()
    await asyncio.sleep(2.0)
    assert cache.peek().value == 1


async def test_cancelled_refresh_is_started_again(api):
    """If something else cancels a refresh, its callers get the current state. The next caller starts another one."""
    cache = cache_of(api)
    await cache.get(1.0)
    await asyncio.sleep(20.0)
    api.error = asyncio.CancelledError()
    assert await cache.get(1.0) == Entry(1, 20.0, stale=True, error=None, hit=False)
    api.error = None
    assert (await cache.get(1.0)).value == 3


# Failures


async def test_failure_keeps_value_up_to_max_stale(api):
    """While refreshes fail, the last value is returned with the error until it exceeds `max_stale`, and never again."""
    cache = cache_of(api)
    await cache.get(1.0)
    api.error = Failure()
    await asyncio.sleep(10.0)
    assert await cache.get(1.0) == Entry(1, 10.0, stale=True, error=api.error, hit=False)
    await asyncio.sleep(50.0)
    assert await cache.get(1.0) == Entry(1, 60.0, stale=True, error=api.error, hit=False)
    await asyncio.sleep(MOMENT)
    for _ in range(2):
        assert await cache.get(1.0) == Entry(None, None, stale=False, error=api.error, hit=False)


async def test_failure_without_value(api):
    """If the first refresh fails, its callers get the error at once, not at their deadline."""
    api.error = Failure()
    assert await cache_of(api).get(10.0) == Entry(None, None, stale=False, error=api.error, hit=False)
    assert now() == 1000.0


@pytest.mark.parametrize(
    ("ttl", "gaps"),
    [
        pytest.param(1.0, [1, 2, 4, 8, 16, 32, 64, 120, 120], id="doubles-up-to-the-maximum"),
        pytest.param(30.0, [30, 60, 120, 120], id="starts-with-the-ttl"),
        pytest.param(300.0, [300, 300, 300], id="never-more-often-than-the-ttl"),
        pytest.param(0.0, [1, 2, 4, 8], id="ttl-of-zero-counts-as-a-second"),
        pytest.param(0.5, [1, 2, 4, 8], id="short-ttl-counts-as-a-second"),
    ],
)
async def test_backoff(api, ttl, gaps):
    """A failed refresh is retried after one TTL, then after twice that, and so on, however many callers there are."""
    cache = cache_of(api, ttl=ttl)
    api.error = Failure()
    await scrape(cache, sum(gaps) + 0.5)
    assert [after - before for before, after in zip(api.started, api.started[1:], strict=False)] == gaps


async def test_backoff_does_not_overflow(api):
    """However long the API is down, refreshes are still attempted, and the exponential backoff doesn't overflow."""
    cache = cache_of(api, ttl=1.0)
    api.error = Failure()
    await scrape(cache, 2000 * MAX_BACKOFF, every=MAX_BACKOFF)
    assert len(api.started) == 2000


@pytest.mark.parametrize(
    ("seconds", "gap"),
    [
        pytest.param(0.0, 10.0, id="none"),
        pytest.param(7.0, 10.0, id="shorter-than-the-backoff"),
        pytest.param(90.0, 90.0, id="longer-than-the-backoff"),
        pytest.param(-5.0, 10.0, id="negative"),
    ],
)
async def test_retry_after_is_respected(api, seconds, gap):
    """A `retry_after` longer than the backoff is respected."""
    cache = cache_of(api)
    api.error = Failure(seconds)
    await scrape(cache, gap + 0.5)
    assert [after - before for before, after in zip(api.started, api.started[1:], strict=False)] == [gap]


async def test_backoff_does_not_delay_callers(api):
    """Between two attempts, callers get the current state at once."""
    cache = cache_of(api)
    api.error = Failure()
    await cache.get(1.0)
    before = now()
    assert (await cache.get(5.0)).error is api.error
    assert now() == before
    assert len(api.started) == 1


async def test_success_resets_the_backoff(api):
    """A successful refresh clears the error, and the next failure starts with the shortest backoff again."""
    cache = cache_of(api)
    error = api.error = Failure()
    await scrape(cache, 60.0)  # attempts at 0, 10 and 30 seconds
    api.error = None
    await asyncio.sleep(10.0)
    assert await cache.get(1.0) == Entry(4, 0.0, stale=False, error=None, hit=False)
    api.error, api.started[:] = error, []
    await scrape(cache, 45.0)
    assert [started - 1070.0 for started in api.started] == [10.0, 20.0, 40.0]


async def test_backoff_is_the_time_until_the_next_attempt(api):
    """`backoff`, which the status page shows, is the time until a refresh can start, after a success or a failure."""
    cache = cache_of(api)
    assert cache.seconds_until_refresh == 0.0
    await cache.get(1.0)
    await asyncio.sleep(4.0)
    assert cache.seconds_until_refresh == 6.0
    api.error = Failure(retry_after=100.0)
    await asyncio.sleep(6.0)
    await cache.get(1.0)
    assert cache.seconds_until_refresh == 100.0
    await asyncio.sleep(200.0)
    assert cache.seconds_until_refresh == 0.0


# Shutdown


async def test_close_cancels_the_refresh_and_releases_callers(api):
    """At shutdown, the running refresh is cancelled, its callers return at once, and no task is left."""
    before = asyncio.all_tasks()
    cache = cache_of(api)
    api.delay = 1000.0
    callers = [asyncio.create_task(cache.get(100.0)) for _ in range(5)]
    await asyncio.sleep(1.0)
    await cache.close()
    assert [entry.value for entry in await asyncio.gather(*callers)] == [None] * 5
    assert (now(), api.cancelled) == (1001.0, 1)
    assert asyncio.all_tasks() == before


async def test_close_keeps_value(api):
    """A scrape in flight at shutdown gets the stale value."""
    cache = cache_of(api)
    await cache.get(1.0)
    await asyncio.sleep(20.0)
    api.delay = 1000.0
    caller = asyncio.create_task(cache.get(100.0))
    await settle()
    await cache.close()
    assert await caller == Entry(1, 20.0, stale=True, error=None, hit=False)


@pytest.mark.parametrize("state", ["unused", "idle", "running", "just-started"])
async def test_no_refresh_starts_after_close(api, state):
    """After shutdown no refresh starts, callers get the current state at once, and a second shutdown does nothing."""
    cache = cache_of(api, ttl=0.0)
    if state == "idle":
        await cache.get(1.0)
    if state == "running":
        api.delay = 1000.0
        await cache.get(1.0)
    if state == "just-started":
        caller = asyncio.create_task(cache.get(1.0))
        await asyncio.sleep(0)
    started, before = list(api.started), now()
    await cache.close()
    await asyncio.gather(*(cache.get(10.0) for _ in range(3)))
    await cache.close()
    assert (api.started, now()) == (started, before)
    if state == "just-started":
        assert started == []
        assert (await caller).value is None


# Random events in random order

TIMES = st.sampled_from([0.0, 1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0]) | st.integers(0, 2400).map(lambda n: n / 4)
NEAR = st.sampled_from([0.0, MOMENT, -MOMENT])


class CacheMachine(RuleBasedStateMachine):
    """Compares the cache with a model while callers, time and the API act in random order."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.loop = self.runner.get_loop()
        self.callers = {}  # tasks, each with its deadline
        self.response = None  # a future while a refresh runs
        self.started = self.allowed = self.failures = 0
        self.refreshed = self.error = None
        self.due = self.loop.time()
        self.closed = False

    @initialize(ttl=st.sampled_from([0.0, 0.5, 1.0, 30.0, 200.0]), more=st.sampled_from([0.0, 30.0, 600.0]))
    def start(self, ttl, more):
        """Create the cache."""
        self.ttl, self.max_stale = ttl, ttl + more
        self.cache = Cache(
            self.refresh,
            ttl=ttl,
            max_stale=ttl + more,
            retry_after=lambda error: error.retry_after,
            clock=self.loop.time,
        )

    async def refresh(self):
        """Wait until a rule sets the response. The value is the time of the refresh."""
        self.started += 1
        self.response = self.loop.create_future()
        try:
            await self.response
        except Failure as error:
            self.error, self.failures = error, self.failures + 1
            backoff = min(max(self.ttl, 1.0) * 2.0 ** (self.failures - 1), max(self.ttl, 120.0))
            self.due = self.loop.time() + max(backoff, error.retry_after)
            raise
        finally:
            self.response = None
        self.error, self.failures = None, 0
        self.refreshed = self.loop.time()
        self.due = self.refreshed + self.ttl
        return self.refreshed

    def expected(self):
        """Return the current state according to the model."""
        age = None if self.refreshed is None else self.loop.time() - self.refreshed
        if age is None or age > self.max_stale:
            return Entry(None, None, stale=False, error=self.error, hit=False)
        return Entry(self.refreshed, age, stale=age >= self.ttl, error=self.error, hit=age < self.ttl)

    async def call(self, scrape_timeout):
        """Get an entry from the cache and compare it with the model."""
        hit = self.expected().hit
        called_at = self.loop.time()
        entry = await self.cache.get(scrape_timeout)
        waited = self.loop.time() - called_at
        assert waited <= (0.0 if hit else scrape_timeout)
        assert entry == replace(self.expected(), hit=hit)

    def run(self, coroutine=None):
        """Run the coroutine and everything that follows from it without time passing."""

        async def run():
            if coroutine is not None:
                await coroutine
            await settle()

        self.runner.run(run())
        for caller in [caller for caller in self.callers if caller.done()]:
            del self.callers[caller]
            caller.result()

    @rule(scrape_timeout=TIMES)
    def caller_arrives(self, scrape_timeout):
        """Add a caller. A refresh starts if one is due and none is running."""
        if not (self.expected().hit or self.closed or self.response is not None or self.loop.time() < self.due):
            self.allowed += 1
        caller = self.loop.create_task(self.call(scrape_timeout))
        self.callers[caller] = self.loop.time() + scrape_timeout
        self.run()

    @rule(seconds=TIMES, near=NEAR)
    def time_passes(self, seconds, near):
        """Let time pass. Callers return at their deadlines."""
        self.run(asyncio.sleep(max(0.0, seconds + near)))

    @rule(near=NEAR)
    def time_passes_until_due(self, near):
        """Let time pass until about when the next refresh is due, because most behavior changes then."""
        self.run(asyncio.sleep(max(0.0, self.due - self.loop.time() + near)))

    @precondition(lambda self: self.refreshed is not None)
    @rule(near=NEAR)
    def time_passes_until_expired(self, near):
        """Let time pass until about when the value exceeds `max_stale`."""
        self.run(asyncio.sleep(max(0.0, self.refreshed + self.max_stale - self.loop.time() + near)))

    @precondition(lambda self: self.response is not None)
    @rule()
    def refresh_succeeds(self):
        """Let the running refresh succeed. All waiting callers return."""
        self.response.set_result(None)
        self.run()
        assert not self.callers

    @precondition(lambda self: self.response is not None)
    @rule(retry_after=st.just(0.0) | TIMES)
    def refresh_fails(self, retry_after):
        """Let the running refresh fail. All waiting callers return."""
        self.response.set_exception(Failure(retry_after))
        self.run()
        assert not self.callers

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def caller_is_cancelled(self, data):
        """Cancel a caller. The refresh and the other callers continue."""
        caller = data.draw(st.sampled_from(list(self.callers)))
        del self.callers[caller]
        others, response = list(self.callers), self.response
        caller.cancel()
        self.run()
        assert caller.cancelled()
        assert list(self.callers) == others
        assert self.response is response

    @precondition(lambda self: self.started > 5 and not self.closed)  # late, because little happens after it
    @rule()
    def shutdown(self):
        """Close the cache. A running refresh ends at that instant, and no task is left."""
        before = self.loop.time()
        self.closed = True
        self.run(self.cache.close())
        assert self.loop.time() == before
        assert not self.callers
        assert not asyncio.all_tasks(self.loop)

    @invariant()
    def refreshes_start_when_due(self):
        """Check that refreshes start exactly when the TTL and the backoff allow it, and never two at a time."""
        assert self.started == self.allowed

    @invariant()
    def callers_wait_for_a_refresh(self):
        """Check that callers wait only while a refresh runs, and only until their deadlines."""
        assert not self.callers or self.response is not None
        assert all(deadline > self.loop.time() for deadline in self.callers.values())

    @invariant()
    def peek_matches_the_model(self):
        """Check that `peek` returns what the model expects."""
        assert self.cache.peek() == self.expected()

    def teardown(self):
        """Close the cache and check that no task is left."""
        self.run(self.cache.close())
        assert not asyncio.all_tasks(self.loop)
        self.runner.close()


TestAnyOrder = CacheMachine.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=50)


async def test_replace_keeps_the_age():
    """A value can be replaced by another one of the same age, unless the cache has a newer one."""
    now, values = 0.0, ["first", "second"]

    async def refresh():
        return values.pop(0)

    cache = Cache(refresh, ttl=10.0, max_stale=100.0, clock=lambda: now)
    await cache.get(None)
    now = 8.0
    cache.replace("first", "changed")
    assert (cache.peek().value, cache.peek().age) == ("changed", 8.0)
    now = 20.0
    await cache.get(None)
    cache.replace("changed", "late")
    assert cache.peek().value == "second"
