import asyncio
import selectors
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.cache import MAX_BACKOFF, MAX_RETRY_AFTER, Cache, Entry

MOMENT = 2.0**-10
"""The shortest time that tests tell apart; like all their times it is exact as a float."""


class SkippingSelector(selectors.SelectSelector):
    """A selector that sleeps by moving its clock."""

    now = 1000.0

    def select(self, timeout=None):
        """Return what is ready; where that is nothing, the time is over at once."""
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing is left to wait for"
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer when there is nothing else to do."""

    def __init__(self):
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self):
        """Return the virtual time in seconds."""
        return self._skipping.now


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests in virtual time."""
    return ("asyncio", {"loop_factory": VirtualLoop})


def now():
    """Return the virtual time in seconds."""
    return asyncio.get_running_loop().time()


async def settle():
    """Let everything happen that needs no time."""
    for _ in range(10):
        await asyncio.sleep(0)


class Failure(Exception):
    """A refresh that failed, and for how long the peer asked to be left alone."""

    def __init__(self, retry_after=0.0):
        super().__init__()
        self.retry_after = retry_after


class FakeApi:
    """What a cache refreshes from: it takes its time, and fails or gives the number of the refresh."""

    def __init__(self):
        self.delay = 0.0
        self.error = None
        self.begun = []
        self.cancelled = 0

    async def __call__(self):
        """Refresh."""
        self.begun.append(now())
        number = len(self.begun)
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


@pytest.fixture
def peer():
    """Return a peer that answers at once."""
    return FakeApi()


def cache_of(peer, *, ttl=10.0, max_stale=60.0):
    """Return a cache in virtual time."""
    return Cache(peer, ttl=ttl, max_stale=max_stale, retry_after=lambda error: error.retry_after, clock=now)


async def scrape(cache, seconds, every=0.5):
    """Ask the cache again and again for so long."""
    until = now() + seconds
    while now() < until:
        await cache.get(0.0)
        await asyncio.sleep(every)


async def test_clock_is_real_unless_given(peer):
    """A cache without a clock of its own takes real time, which is not the loop's."""
    cache = Cache(peer, ttl=1000.0, max_stale=1000.0)
    assert (await cache.get(1.0)).value == 1
    await asyncio.sleep(100_000.0)
    ages = [cache.peek().age for _ in range(10_000)]
    assert ages == sorted(ages)
    assert 0.0 <= ages[0] < ages[-1] < 1000.0


# Freshness


async def test_first_caller_gets_new_value(peer):
    """Who asks first waits for the refresh and gets what it made, which is no hit."""
    peer.delay = 3.0
    entry = await cache_of(peer).get(10.0)
    assert entry == Entry(1, 0.0, stale=False, error=None, hit=False)
    assert now() == 1003.0


async def test_fresh_value_comes_at_once(peer):
    """A fresh value is given without a refresh and without waiting."""
    cache = cache_of(peer)
    await cache.get(10.0)
    peer.delay = 3.0
    await asyncio.sleep(10.0 - MOMENT)
    before = now()
    assert await cache.get(10.0) == Entry(1, 10.0 - MOMENT, stale=False, error=None, hit=True)
    assert now() == before
    assert len(peer.begun) == 1


async def test_value_is_refreshed_once_ttl_is_over(peer):
    """A value as old as its TTL is refreshed before it is given."""
    cache = cache_of(peer)
    await cache.get(10.0)
    await asyncio.sleep(10.0)
    assert await cache.get(10.0) == Entry(2, 0.0, stale=False, error=None, hit=False)


async def test_value_of_another_cache_keeps_its_age(peer):
    """A value that is taken over is as old as it was, fresh or stale by the TTL of its new cache."""
    first, second = cache_of(peer), cache_of(peer, ttl=4.0)
    await first.get(10.0)
    await asyncio.sleep(3.0)
    second.adopt(first)
    assert await second.get(10.0) == Entry(1, 3.0, stale=False, error=None, hit=True)
    await asyncio.sleep(1.0)
    assert second.peek() == Entry(1, 4.0, stale=True, error=None, hit=False)
    assert (await second.get(10.0)).value == 2


async def test_ttl_counts_from_end_of_refresh(peer):
    """A refresh that took longer than the TTL still yields a fresh value."""
    cache = cache_of(peer)
    peer.delay = 25.0
    assert (await cache.get(30.0)).age == 0.0
    assert (await cache.get(30.0)).hit


async def test_ttl_of_zero_refreshes_for_each_caller(peer):
    """With a TTL of 0 each caller, one after the other, has a refresh of their own."""
    cache = cache_of(peer, ttl=0.0)
    assert [(await cache.get(1.0)).value for _ in range(3)] == [1, 2, 3]


async def test_nothing_happens_unasked(peer):
    """Without a caller there is no refresh, however old the value."""
    cache = cache_of(peer)
    await asyncio.sleep(100.0)
    assert peer.begun == []
    await cache.get(1.0)
    await asyncio.sleep(1000.0)
    assert len(peer.begun) == 1


async def test_peek_never_refreshes(peer):
    """A look at the cache gives what is there: nothing, fresh, stale, and nothing again."""
    cache = cache_of(peer)
    assert cache.peek() == Entry(None, None, stale=False, error=None, hit=False)
    await settle()
    assert peer.begun == []
    await cache.get(1.0)
    assert cache.peek() == Entry(1, 0.0, stale=False, error=None, hit=True)
    await asyncio.sleep(10.0)
    assert cache.peek() == Entry(1, 10.0, stale=True, error=None, hit=False)
    await asyncio.sleep(50.0 + MOMENT)
    assert cache.peek() == Entry(None, None, stale=False, error=None, hit=False)
    await settle()
    assert len(peer.begun) == 1


# Those who wait


async def test_refresh_is_shared(peer):
    """A hundred who ask at the same time share one refresh."""
    cache = cache_of(peer)
    peer.delay = 3.0
    entries = await asyncio.gather(*(cache.get(10.0) for _ in range(100)))
    assert [entry.value for entry in entries] == [1] * 100
    assert len(peer.begun) == 1


async def test_each_waits_until_their_own_deadline(peer):
    """During a slow refresh each caller gets the stale value at their own deadline, and the patient the new one."""
    cache = cache_of(peer)
    await cache.get(1.0)
    await asyncio.sleep(20.0)
    peer.delay = 8.0
    began = now()

    async def ask(scrape_timeout):
        entry = await cache.get(scrape_timeout)
        return now() - began, entry.value, entry.age, entry.stale, entry.hit

    assert await asyncio.gather(ask(0.0), ask(2.0), ask(4.5), ask(10.0)) == [
        (0.0, 1, 20.0, True, False),
        (2.0, 1, 22.0, True, False),
        (4.5, 1, 24.5, True, False),
        (8.0, 2, 0.0, False, False),
    ]
    assert len(peer.begun) == 2


async def test_without_value_deadline_is_kept_too(peer):
    """During a slow first refresh a caller gets nothing at their deadline, and the refresh goes on."""
    cache = cache_of(peer)
    peer.delay = 8.0
    assert await cache.get(2.0) == Entry(None, None, stale=False, error=None, hit=False)
    assert now() == 1002.0
    await asyncio.sleep(6.0)
    assert cache.peek().value == 1


async def test_value_can_grow_too_old_while_waiting(peer):
    """What was young enough when a caller asked and is too old at their deadline is not given."""
    cache = cache_of(peer)
    await cache.get(1.0)
    await asyncio.sleep(58.0)
    peer.delay = 100.0
    assert (await cache.get(5.0)).value is None
    await cache.close()


@pytest.mark.parametrize("which", [0, 1], ids=["who-began-it", "who-joined"])
async def test_cancelled_caller_harms_nobody(peer, which):
    """A cancelled caller, even the one who began the refresh, leaves it running for the others."""
    cache = cache_of(peer)
    peer.delay = 3.0
    callers = [asyncio.create_task(cache.get(10.0)) for _ in range(2)]
    await asyncio.sleep(1.0)
    callers.pop(which).cancel()
    assert (await callers.pop()).value == 1
    assert (len(peer.begun), peer.cancelled) == (1, 0)


async def test_refresh_survives_all_its_callers(peer):
    """A refresh that nobody waits for any more still ends, and its value is kept."""
    cache = cache_of(peer)
    peer.delay = 3.0
    caller = asyncio.create_task(cache.get(10.0))
    await asyncio.sleep(1.0)
    caller.cancel()
    await asyncio.sleep(2.0)
    assert cache.peek().value == 1


async def test_refresh_that_was_cancelled_is_begun_again(peer):
    """A refresh that something else cancels gives its callers what there is, and the next caller begins another."""
    cache = cache_of(peer)
    await cache.get(1.0)
    await asyncio.sleep(20.0)
    peer.error = asyncio.CancelledError()
    assert await cache.get(1.0) == Entry(1, 20.0, stale=True, error=None, hit=False)
    peer.error = None
    assert (await cache.get(1.0)).value == 3


# Failure


async def test_failure_keeps_value_up_to_max_stale(peer):
    """While refreshes fail the last value is given, with the error, until it is too old, and then not again."""
    cache = cache_of(peer)
    await cache.get(1.0)
    peer.error = Failure()
    await asyncio.sleep(10.0)
    assert await cache.get(1.0) == Entry(1, 10.0, stale=True, error=peer.error, hit=False)
    await asyncio.sleep(50.0)
    assert await cache.get(1.0) == Entry(1, 60.0, stale=True, error=peer.error, hit=False)
    await asyncio.sleep(MOMENT)
    for _ in range(2):
        assert await cache.get(1.0) == Entry(None, None, stale=False, error=peer.error, hit=False)


async def test_failure_without_value(peer):
    """A first refresh that fails gives its callers the error at once, not at their deadline."""
    peer.error = Failure()
    assert await cache_of(peer).get(10.0) == Entry(None, None, stale=False, error=peer.error, hit=False)
    assert now() == 1000.0


@pytest.mark.parametrize(
    ("ttl", "gaps"),
    [
        pytest.param(1.0, [1, 2, 4, 8, 16, 32, 64, 120, 120], id="doubles-up-to-its-bound"),
        pytest.param(30.0, [30, 60, 120, 120], id="begins-with-the-ttl"),
        pytest.param(300.0, [300, 300, 300], id="never-more-often-than-the-ttl"),
        pytest.param(0.0, [1, 2, 4, 8], id="ttl-of-zero-counts-as-a-second"),
        pytest.param(0.5, [1, 2, 4, 8], id="short-ttl-counts-as-a-second"),
    ],
)
async def test_backoff(peer, ttl, gaps):
    """While refreshes fail the next begins after a TTL, then twice that, and so on, however many ask."""
    cache = cache_of(peer, ttl=ttl)
    peer.error = Failure()
    await scrape(cache, sum(gaps) + 0.5)
    assert [after - before for before, after in zip(peer.begun, peer.begun[1:], strict=False)] == gaps


async def test_backoff_never_ends(peer):
    """A peer that is down for years is still asked, and no number grows out of bounds."""
    cache = cache_of(peer, ttl=1.0)
    peer.error = Failure()
    await scrape(cache, 2000 * MAX_BACKOFF, every=MAX_BACKOFF)
    assert len(peer.begun) == 2000


@pytest.mark.parametrize(
    ("asked", "gap"),
    [
        pytest.param(0.0, 10.0, id="none"),
        pytest.param(7.0, 10.0, id="shorter-than-the-backoff"),
        pytest.param(90.0, 90.0, id="longer-than-the-backoff"),
        pytest.param(86400.0, MAX_RETRY_AFTER, id="absurd"),
        pytest.param(float("inf"), MAX_RETRY_AFTER, id="infinite"),
        pytest.param(-5.0, 10.0, id="negative"),
    ],
)
async def test_holdoff_is_obeyed_within_bounds(peer, asked, gap):
    """The seconds that a failure asks for are waited for if they are longer than the backoff, but never for hours."""
    cache = cache_of(peer)
    peer.error = Failure(asked)
    await scrape(cache, gap + 0.5)
    assert [after - before for before, after in zip(peer.begun, peer.begun[1:], strict=False)] == [gap]


async def test_backoff_does_not_delay_callers(peer):
    """Between two attempts callers get what there is at once."""
    cache = cache_of(peer)
    peer.error = Failure()
    await cache.get(1.0)
    before = now()
    assert (await cache.get(5.0)).error is peer.error
    assert now() == before
    assert len(peer.begun) == 1


async def test_recovery_resets(peer):
    """A refresh that succeeds clears the error, and the next failure backs off from the beginning."""
    cache = cache_of(peer)
    error = peer.error = Failure()
    await scrape(cache, 60.0)  # attempts at 0, 10 and 30 seconds
    peer.error = None
    await asyncio.sleep(10.0)
    assert await cache.get(1.0) == Entry(4, 0.0, stale=False, error=None, hit=False)
    peer.error, peer.begun[:] = error, []
    await scrape(cache, 45.0)
    assert [begun - 1070.0 for begun in peer.begun] == [10.0, 20.0, 40.0]


async def test_pause_is_the_time_until_the_next_attempt(peer):
    """What a person is told on the page: when a refresh can begin, after success and after failure."""
    cache = cache_of(peer)
    assert cache.backoff == 0.0
    await cache.get(1.0)
    await asyncio.sleep(4.0)
    assert cache.backoff == 6.0
    peer.error = Failure(retry_after=100.0)
    await asyncio.sleep(6.0)
    await cache.get(1.0)
    assert cache.backoff == 100.0
    await asyncio.sleep(200.0)
    assert cache.backoff == 0.0


# The end


async def test_close_ends_refresh_and_releases_callers(peer):
    """At shutdown the refresh under way is cancelled, who waits for it is answered at once, and no task is left."""
    before = asyncio.all_tasks()
    cache = cache_of(peer)
    peer.delay = 1000.0
    callers = [asyncio.create_task(cache.get(100.0)) for _ in range(5)]
    await asyncio.sleep(1.0)
    await cache.close()
    assert [entry.value for entry in await asyncio.gather(*callers)] == [None] * 5
    assert (now(), peer.cancelled) == (1001.0, 1)
    assert asyncio.all_tasks() == before


async def test_close_keeps_value(peer):
    """A scrape in flight at shutdown is answered with the stale value."""
    cache = cache_of(peer)
    await cache.get(1.0)
    await asyncio.sleep(20.0)
    peer.delay = 1000.0
    caller = asyncio.create_task(cache.get(100.0))
    await settle()
    await cache.close()
    assert await caller == Entry(1, 20.0, stale=True, error=None, hit=False)


@pytest.mark.parametrize("state", ["unused", "idle", "running", "begun-this-instant"])
async def test_nothing_begins_after_close(peer, state):
    """After shutdown no refresh begins, callers get what there is at once, and a second shutdown does nothing."""
    cache = cache_of(peer, ttl=0.0)
    if state == "idle":
        await cache.get(1.0)
    if state == "running":
        peer.delay = 1000.0
        await cache.get(1.0)
    if state == "begun-this-instant":
        caller = asyncio.create_task(cache.get(1.0))
        await asyncio.sleep(0)
    begun, before = list(peer.begun), now()
    await cache.close()
    await asyncio.gather(*(cache.get(10.0) for _ in range(3)))
    await cache.close()
    assert (peer.begun, now()) == (begun, before)
    if state == "begun-this-instant":
        assert begun == []
        assert (await caller).value is None


# Anything, in any order

TIMES = st.sampled_from([0.0, 1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0]) | st.integers(0, 2400).map(lambda n: n / 4)
NEAR = st.sampled_from([0.0, MOMENT, -MOMENT])


class CacheMachine(RuleBasedStateMachine):
    """Callers, time and a peer do what they like, and a model says what the cache must do."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.loop = self.runner.get_loop()
        self.callers = {}  # with the deadline of each
        self.answer = None  # of the refresh under way
        self.begun = self.allowed = self.failures = 0
        self.refreshed = self.error = None
        self.due = self.loop.time()
        self.closed = False

    @initialize(ttl=st.sampled_from([0.0, 0.5, 1.0, 30.0, 200.0]), more=st.sampled_from([0.0, 30.0, 600.0]))
    def start(self, ttl, more):
        """Make the cache."""
        self.ttl, self.max_stale = ttl, ttl + more
        self.cache = Cache(
            self.refresh,
            ttl=ttl,
            max_stale=ttl + more,
            retry_after=lambda error: error.retry_after,
            clock=self.loop.time,
        )

    async def refresh(self):
        """Wait for what the rules decide; the value is the time of the refresh."""
        self.begun += 1
        self.answer = self.loop.create_future()
        try:
            await self.answer
        except Failure as error:
            self.error, self.failures = error, self.failures + 1
            backoff = min(max(self.ttl, 1.0) * 2.0 ** (self.failures - 1), max(self.ttl, 120.0))
            self.due = self.loop.time() + max(backoff, min(error.retry_after, 300.0))
            raise
        finally:
            self.answer = None
        self.error, self.failures = None, 0
        self.refreshed = self.loop.time()
        self.due = self.refreshed + self.ttl
        return self.refreshed

    def expected(self):
        """Return what the cache must have to say now."""
        age = None if self.refreshed is None else self.loop.time() - self.refreshed
        if age is None or age > self.max_stale:
            return Entry(None, None, stale=False, error=self.error, hit=False)
        return Entry(self.refreshed, age, stale=age >= self.ttl, error=self.error, hit=age < self.ttl)

    async def call(self, scrape_timeout):
        """Ask the cache, and hold its answer against the model."""
        hit = self.expected().hit
        asked = self.loop.time()
        entry = await self.cache.get(scrape_timeout)
        waited = self.loop.time() - asked
        assert waited <= (0.0 if hit else scrape_timeout)
        assert entry == replace(self.expected(), hit=hit)

    def run(self, coroutine=None):
        """Run the coroutine, and whatever follows from it without time passing."""

        async def run():
            if coroutine is not None:
                await coroutine
            await settle()

        self.runner.run(run())
        for caller in [caller for caller in self.callers if caller.done()]:
            del self.callers[caller]
            caller.result()

    @rule(scrape_timeout=TIMES)
    def ask(self, scrape_timeout):
        """Ask; a refresh begins if one is due and none is under way."""
        if not (self.expected().hit or self.closed or self.answer is not None or self.loop.time() < self.due):
            self.allowed += 1
        caller = self.loop.create_task(self.call(scrape_timeout))
        self.callers[caller] = self.loop.time() + scrape_timeout
        self.run()

    @rule(seconds=TIMES, near=NEAR)
    def time_passes(self, seconds, near):
        """Let time pass; those whose deadline comes are answered."""
        self.run(asyncio.sleep(max(0.0, seconds + near)))

    @rule(near=NEAR)
    def time_passes_until_due(self, near):
        """Let it be about when the next refresh is due, the time that most depends on."""
        self.run(asyncio.sleep(max(0.0, self.due - self.loop.time() + near)))

    @precondition(lambda self: self.refreshed is not None)
    @rule(near=NEAR)
    def time_passes_until_too_old(self, near):
        """Let it be about when the value is too old."""
        self.run(asyncio.sleep(max(0.0, self.refreshed + self.max_stale - self.loop.time() + near)))

    @precondition(lambda self: self.answer is not None)
    @rule()
    def refresh_succeeds(self):
        """Let the refresh under way succeed; all who waited for it are answered."""
        self.answer.set_result(None)
        self.run()
        assert not self.callers

    @precondition(lambda self: self.answer is not None)
    @rule(retry_after=st.just(0.0) | TIMES)
    def refresh_fails(self, retry_after):
        """Let the refresh under way fail; all who waited for it are answered."""
        self.answer.set_exception(Failure(retry_after))
        self.run()
        assert not self.callers

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def caller_goes_away(self, data):
        """Cancel a caller; the refresh and the other callers stay."""
        caller = data.draw(st.sampled_from(list(self.callers)))
        del self.callers[caller]
        others, answer = list(self.callers), self.answer
        caller.cancel()
        self.run()
        assert caller.cancelled()
        assert list(self.callers) == others
        assert self.answer is answer

    @precondition(lambda self: self.begun > 5 and not self.closed)  # later, as not much happens after it
    @rule()
    def shutdown(self):
        """Close the cache; whatever was under way ends at that instant, and no task is left."""
        before = self.loop.time()
        self.closed = True
        self.run(self.cache.close())
        assert self.loop.time() == before
        assert not self.callers
        assert not asyncio.all_tasks(self.loop)

    @invariant()
    def only_what_is_due_begins(self):
        """Check that as many refreshes began as TTL and backoff allow: never two at a time, and never none."""
        assert self.begun == self.allowed

    @invariant()
    def callers_wait_for_something(self):
        """Check that who still waits does so for a refresh, and that their deadline is to come."""
        assert not self.callers or self.answer is not None
        assert all(deadline > self.loop.time() for deadline in self.callers.values())

    @invariant()
    def peek_agrees(self):
        """Check that a look at the cache shows what the model says."""
        assert self.cache.peek() == self.expected()

    def teardown(self):
        """Close the cache; no task is left."""
        self.run(self.cache.close())
        assert not asyncio.all_tasks(self.loop)
        self.runner.close()


TestAnyOrder = CacheMachine.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
