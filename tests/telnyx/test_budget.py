import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import VirtualLoop

from exporter.telnyx.budget import UNLIMITED, RequestBudget


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests in virtual time."""
    return ("asyncio", {"loop_factory": VirtualLoop})


def now():
    """Return the virtual time in seconds."""
    return asyncio.get_running_loop().time()


def create_budget(rate=1.0, **options):
    """Return a budget that uses virtual time."""
    return RequestBudget(rate, clock=asyncio.get_running_loop().time, **options)


async def take(limiter, count):
    """Acquire this many times at the same time, and return the seconds after which each call returned."""
    start = now()

    async def acquire():
        await limiter.acquire()
        return now() - start

    return await asyncio.gather(*(acquire() for _ in range(count)))


async def test_a_burst_does_not_wait():
    """As many requests as the bucket has tokens are sent at once. Further ones wait for the rate."""
    limiter = create_budget(2.0, burst=3).limiter("a")

    assert await take(limiter, 6) == [0, 0, 0, 0.5, 1, 1.5]


async def test_the_default_burst():
    """By default, the bucket has 20 tokens."""
    assert (await take(create_budget().limiter("a"), 22))[-3:] == [0, 1, 2]


async def test_an_idle_bucket_fills_up():
    """The bucket fills up to its size while there are no requests."""
    limiter = create_budget(burst=3).limiter("a")
    await take(limiter, 3)
    await asyncio.sleep(2)
    assert await take(limiter, 3) == [0, 0, 1]
    await asyncio.sleep(100)
    assert await take(limiter, 4) == [0, 0, 0, 1]


async def test_the_collectors_share_the_budget():
    """All limiters of a budget take tokens from the same bucket, and the first caller is served first."""
    budget = create_budget(burst=1)
    order = []

    async def acquire(name):
        await budget.limiter(name).acquire()
        order.append((name, now() - start))

    start = now()
    await asyncio.gather(*map(acquire, "abcab"))
    assert order == [("a", 0), ("b", 1), ("c", 2), ("a", 3), ("b", 4)]


async def test_a_collector_can_be_unlimited():
    """A limiter that is not limited never waits and takes no tokens."""
    budget = create_budget(burst=1)

    assert await take(budget.limiter("primary", limited=False), 50) == [0] * 50
    assert await take(budget.limiter("a"), 2) == [0, 1]


async def test_no_budget_never_waits():
    """Without a budget, no request waits."""
    assert await take(UNLIMITED, 50) == [0] * 50
    UNLIMITED.record_rejection()


@pytest.mark.parametrize("cancelled", [[0], [1], [3], [0, 1], [0, 1, 2, 3]], ids=str)
@pytest.mark.parametrize("after", [0, 0.5, 1, 1.5])
async def test_a_cancelled_caller_takes_no_token(cancelled, after):
    """A caller that is cancelled while it waits takes no token, and the callers behind it move up."""
    limiter = create_budget(burst=1).limiter("a")
    await limiter.acquire()
    start, served = now(), []

    async def acquire(number):
        await limiter.acquire()
        served.append((number, now() - start))

    tasks = [asyncio.create_task(acquire(number)) for number in range(4)]
    await asyncio.sleep(after)
    for number in cancelled:
        tasks[number].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert {number for number, _ in served} >= set(range(4)) - set(cancelled)
    assert [at for _, at in served] == pytest.approx([max(1 + turn, at) for turn, (_, at) in enumerate(served)])
    await limiter.acquire()
    assert now() - start == pytest.approx(max(len(served) + 1, after))


@given(
    rate=st.sampled_from([0.1, 0.3, 1.0, 7.0]),
    burst=st.integers(1, 5),
    callers=st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 20)), min_size=1, max_size=30),
    rejections=st.lists(st.integers(0, 20), max_size=6),
)
async def test_the_rate_is_never_exceeded(rate, burst, callers, rejections):
    """With any order of calls, cancellations and rejections, the budget is never exceeded, and no caller is blocked."""
    budget = create_budget(rate, burst=burst)
    start, times, expected = now(), [], 0

    async def call(delay, patience):
        await asyncio.sleep(delay)
        async with asyncio.timeout(patience):
            await budget.limiter("a").acquire()
            times.append(now() - start)

    async def reject(delay):
        await asyncio.sleep(delay)
        budget.record_rejection(str(delay))

    expected = sum(patience is None for _, patience in callers)
    await asyncio.gather(
        *(call(*caller) for caller in callers), *(reject(delay) for delay in rejections), return_exceptions=True
    )

    assert len(times) >= expected
    for first, begin in enumerate(times):
        for last, end in enumerate(times[first:], first):
            # one more, because a caller that waits when the rate is halved is served as if it had not been
            assert last - first + 1 <= burst + rate * (end - begin) + 1 + 1e-6


async def rate(budget):
    """Return the current number of tokens per second."""
    limiter = budget.limiter("probe")
    await take(limiter, 2)
    seconds = max(await take(limiter, 2)) / 2
    return 1 / seconds


async def test_the_rejections_of_one_collector_change_nothing():
    """One collector's 429 responses, however many, don't change the rate."""
    budget = create_budget(4.0, burst=1)
    for _ in range(20):
        budget.limiter("a").record_rejection()
        await asyncio.sleep(1)

    assert await rate(budget) == 4


@pytest.mark.parametrize(("seconds", "expected"), [(0, 2), (59, 2), (60, 2), (61, 4), (3600, 4)])
@pytest.mark.parametrize("limited", [True, False])
async def test_the_rejections_of_two_collectors_halve_the_rate(limited, seconds, expected):
    """If another collector gets a 429 response within a minute, the rate is halved, even if one is not limited."""
    budget = create_budget(4.0, burst=1)
    budget.limiter("a", limited=limited).record_rejection()
    await asyncio.sleep(seconds)
    budget.limiter("b").record_rejection()

    assert await rate(budget) == expected


async def test_the_rate_is_restored_after_five_minutes():
    """The rate is halved for five minutes after the last 429 response that followed another collector's."""
    budget = create_budget(4.0, burst=1)
    a, b = budget.limiter("a"), budget.limiter("b")
    a.record_rejection()
    b.record_rejection()
    await asyncio.sleep(290)
    assert await rate(budget) == 2
    a.record_rejection()  # more than a minute after b's: does not extend the five minutes
    await asyncio.sleep(10)
    assert await rate(budget) == 4


async def test_further_rejections_extend_the_five_minutes():
    """Further 429 responses of two collectors extend the time, but the rate is never below half."""
    budget = create_budget(4.0, burst=1)
    a, b = budget.limiter("a"), budget.limiter("b")
    for _ in range(5):
        a.record_rejection()
        b.record_rejection()
        await asyncio.sleep(200)
        assert await rate(budget) == 2
    await asyncio.sleep(100)
    assert await rate(budget) == 4


async def test_tokens_are_counted_at_the_rate_of_their_time():
    """A bucket that is idle while the rate is restored has the tokens of both rates."""
    budget = create_budget(burst=1000)
    budget.limiter("a").record_rejection()
    budget.limiter("b").record_rejection()
    await take(budget.limiter("a"), 1000)
    await asyncio.sleep(310)

    waits = await take(budget.limiter("a"), 161)
    assert waits.count(0) == 300 / 2 + 10
    assert waits[-1] == 1


async def test_a_caller_that_waits_when_the_rate_is_halved_is_charged():
    """The wait of a caller does not change when the rate is halved, but the next caller waits for its share."""
    budget = create_budget(burst=1)
    waiting = asyncio.create_task(take(budget.limiter("a"), 3))
    await asyncio.sleep(0.5)
    budget.limiter("a").record_rejection()
    budget.limiter("b").record_rejection()

    assert await waiting == [0, 1, 3.5]
