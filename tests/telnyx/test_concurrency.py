import asyncio
import contextlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import VirtualLoop

from exporter.telnyx.concurrency import UNLIMITED, RequestSlots


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests in virtual time."""
    return ("asyncio", {"loop_factory": VirtualLoop})


class Load:
    """Requests of several accounts, and the order in which they get their slots."""

    def __init__(self, limit):
        self._start = asyncio.get_running_loop().time()
        slots = RequestSlots(limit)
        self.accounts = {name: slots.share() for name in "abcdefgh"}
        self.order = []
        self.in_flight = Counter()

    def now(self):
        """Return the seconds since the start."""
        return asyncio.get_running_loop().time() - self._start

    async def request(self, account, seconds, *, error=None):
        """Send a request that takes this many seconds, and can fail."""
        with await self.accounts[account].acquire():
            self.order.append((account, self.now()))
            self.in_flight[account] += 1
            try:
                await asyncio.sleep(seconds)
                if error:
                    raise error
            finally:
                self.in_flight[account] -= 1

    def start(self, *requests, **options):
        """Start requests, in this order, and return their tasks."""
        return [asyncio.create_task(self.request(*request, **options)) for request in requests]


async def settle():
    """Let all tasks run as far as they can at this moment."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_free_slots_are_given_at_once():
    """While slots are free, no request waits."""
    load = Load(3)
    await asyncio.gather(*load.start(("a", 0.5), ("a", 0.5), ("b", 0.5)))
    assert load.order == [("a", 0), ("a", 0), ("b", 0)]
    assert load.now() == 0.5


async def test_a_request_waits_for_a_free_slot():
    """At the limit, a request gets the slot that is released first."""
    load = Load(2)
    await asyncio.gather(*load.start(("a", 0.5), ("b", 0.25), ("c", 0.5), ("d", 0.5)))
    assert load.order == [("a", 0), ("b", 0), ("c", 0.25), ("d", 0.5)]


async def test_the_account_with_the_fewest_requests_in_flight_is_next():
    """A free slot goes to the account that has the fewest requests in flight, although another one waits longer."""
    load = Load(4)
    first = load.start(("a", 0.75), ("a", 0.75), ("a", 0.75), ("c", 0.5))
    await settle()
    await asyncio.gather(*first, *load.start(("a", 0.5), ("b", 0.5)))
    assert load.order[4:] == [("b", 0.5), ("a", 0.75)]


async def test_the_requests_of_an_account_are_served_in_order():
    """The requests of an account get their slots in the order in which they arrive."""
    load = Load(1)
    await asyncio.gather(*load.start(*[("a", seconds) for seconds in (0.5, 0.25, 0.125, 0.0625)]))
    assert [at for _, at in load.order] == [0, 0.5, 0.75, 0.875]


async def test_the_longest_wait_decides_between_equal_accounts():
    """If accounts have equally many requests in flight, the one that waited longest for a slot is next."""
    load = Load(1)
    await asyncio.gather(*load.start(("a", 0.5), ("b", 0.25), ("c", 0.125), ("b", 0.25), ("a", 0.5)))
    assert load.order == [("a", 0), ("b", 0.5), ("c", 0.75), ("a", 0.875), ("b", 1.375)]


@pytest.mark.parametrize(("limit", "half"), [(8, 4), (5, 2), (2, 1), (1, 1)])
@pytest.mark.parametrize("error", [None, ValueError()], ids=["slow", "failed"])
async def test_slow_accounts_share_half_of_the_slots(limit, half, error):
    """Accounts whose last request took longer than 1 s have at most half of the slots together."""
    load = Load(limit)
    await asyncio.gather(*load.start(("a", 2.0), error=error), return_exceptions=True)
    await asyncio.gather(*load.start(("b", 2.0), error=error), return_exceptions=True)
    hanging = load.start(*[("a", 1e6), ("b", 1e6)] * limit)
    await settle()
    assert load.in_flight.total() == half
    others = load.start(*[("c", 1e6)] * limit)
    await settle()
    assert load.in_flight["c"] == limit - half
    for task in (*hanging, *others):
        task.cancel()
    await asyncio.gather(*hanging, *others, return_exceptions=True)


async def test_a_slow_request_in_flight_makes_an_account_slow():
    """An account whose request has been in flight for more than 1 s gets no more than half of the slots."""
    load = Load(4)
    first = load.start(*[("a", 1e6)] * 2)
    await asyncio.sleep(1.5)
    second = load.start(*[("a", 1e6)] * 2, ("b", 0.5))
    await settle()
    assert load.in_flight == {"a": 2, "b": 1}
    for task in (*first, *second):
        task.cancel()
    await asyncio.gather(*first, *second, return_exceptions=True)


async def test_only_requests_in_flight_are_slow():
    """A request that has ended within 1 s does not make an account slow later, while another one is in flight."""
    load = Load(4)
    first = load.start(("a", 0.75))
    await asyncio.sleep(0.5)
    second = load.start(("a", 1e6))
    await asyncio.sleep(0.75)
    third = load.start(*[("a", 1e6)] * 3)
    await settle()
    assert load.in_flight == {"a": 4}
    for task in (*second, *third):
        task.cancel()
    await asyncio.gather(*first, *second, *third, return_exceptions=True)


async def test_a_fast_success_ends_the_restriction():
    """After a request that succeeds within 1 s, an account can have all slots again."""
    load = Load(4)
    await asyncio.gather(*load.start(("a", 1.5)))
    await asyncio.gather(*load.start(("a", 1.0)))
    await asyncio.gather(*load.start(*[("a", 0.5)] * 4))
    assert [at for _, at in load.order[2:]] == [2.5] * 4


async def test_a_quick_failure_is_not_slow():
    """An account that Telnyx refuses at once does not wait for those whose requests hang."""
    load = Load(2)
    await asyncio.gather(*load.start(("a", 2.0)))
    hanging = load.start(*[("a", 1e6)] * 2)
    await asyncio.gather(*load.start(("b", 0.25), error=ValueError()), return_exceptions=True)
    await asyncio.wait_for(load.request("b", 0.25), 0.5)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_cancelled_request_is_not_slow():
    """A request that is cancelled within 1 s does not make its account slow."""
    load = Load(4)
    (task,) = load.start(("a", 0.75))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*load.start(*[("a", 0.5)] * 4))
    assert [at for _, at in load.order[1:]] == [0.5] * 4


async def test_a_slot_that_is_not_used_is_no_result():
    """Releasing a slot without a request serves the next one, and does not make a slow account fast."""
    load = Load(2)
    await asyncio.gather(*load.start(("a", 2.0)))
    (await load.accounts["a"].acquire()).release()
    tasks = load.start(("a", 0.5), ("a", 0.5), ("b", 0.25))
    await asyncio.gather(*tasks)
    assert load.order[1:] == [("a", 2), ("b", 2), ("a", 2.5)]


@pytest.mark.parametrize("cancelled", [[0], [1], [3], [0, 1], [0, 1, 2, 3]], ids=str)
@pytest.mark.parametrize("after", [0, 0.25, 0.5, 0.75, 1])
async def test_a_cancelled_waiter_loses_no_slot(cancelled, after):
    """However late a waiter is cancelled, even after it was given a slot, the slot is free for the others."""
    load = Load(1)
    tasks = load.start(("a", 0.5), *[("b", 0.25), ("a", 0.25)] * 2)
    await asyncio.sleep(after)
    for number in cancelled:
        tasks[1 + number].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(load.request("c", 0), 0.001)


async def test_a_waiter_that_is_cancelled_when_it_is_given_a_slot():
    """A waiter that is cancelled between getting its slot and running gives the slot back."""
    slots = RequestSlots(1)
    first, second = slots.share(), slots.share()
    slot = await first.acquire()
    waiter = asyncio.create_task(second.acquire())
    await settle()
    slot.release()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert waiter.cancelled()
    await asyncio.wait_for(first.acquire(), 0.001)


async def test_the_default_never_waits():
    """Without a limit, no request waits, whatever happened before."""
    slots = [await UNLIMITED.acquire() for _ in range(1000)]
    await asyncio.sleep(2.0)
    slots += [await asyncio.wait_for(UNLIMITED.acquire(), 0.001) for _ in range(1000)]
    for slot in slots:
        slot.release()


REQUESTS = st.tuples(
    st.sampled_from("abcdefgh"),
    st.integers(0, 24).map(lambda quarters: quarters / 4),  # when the request arrives
    st.sampled_from([0.0, 0.25, 0.75, 1.0, 1.25, 5.0]),  # how long it takes
    st.booleans(),  # whether it fails
    st.none() | st.integers(0, 24).map(lambda quarters: quarters / 4),  # how long it waits before it is cancelled
)


@given(limit=st.integers(1, 6), requests=st.lists(REQUESTS, max_size=40))
@settings(max_examples=80)
async def test_any_load_is_served(limit, requests):
    """Under any load, the limit holds, every request that waits is served, and no slot is lost.

    While accounts wait, no slot is free, unless all that wait are slow and slow accounts have their half.
    """
    load = Load(limit)
    pool = load.accounts["a"].pool
    slots_of = load.accounts.values()
    served = []

    async def send(account, arrival, seconds, fails, patience):
        await asyncio.sleep(arrival)
        async with asyncio.timeout(patience):
            error = ValueError() if fails else None
            with contextlib.suppress(ValueError):
                await load.request(account, seconds, error=error)
            served.append(patience)

    async def watch():
        while True:
            await settle()
            in_flight = sum(len(slots.in_flight) for slots in slots_of)
            assert in_flight <= limit
            waiting = [slots for slots in slots_of if any(not waiter.done() for waiter in slots.queue)]
            if waiting and in_flight < limit:
                slow = sum(len(slots.in_flight) for slots in slots_of if slots.is_slow)
                assert all(slots.is_slow for slots in waiting)
                assert slow >= max(1, limit // 2)
            await asyncio.sleep(0.125)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(send(*request) for request in requests), return_exceptions=True)
    assert not watcher.done()
    watcher.cancel()
    assert served.count(None) == sum(patience is None for *_, patience in requests)
    assert not pool._active
    assert not any(slots.in_flight for slots in slots_of)
    await asyncio.gather(*load.start(*[(account, 0.0) for account in load.accounts]))  # nobody is left out


@given(
    limit=st.integers(1, 6),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=7),
    pauses=st.lists(st.integers(0, 20).map(lambda eighths: eighths / 8), min_size=1, max_size=5),
)
@settings(max_examples=60)
async def test_busy_accounts_do_not_delay_the_others(limit, sizes, pauses):
    """However many requests others have waiting, an account's request waits for at most one request of each of them."""
    load = Load(limit)
    busy = load.start(*[(name, 0.5) for name, size in zip("abcdefg", sizes, strict=False) for _ in range(size)])

    for pause in pauses:
        await asyncio.sleep(pause)
        arrival = load.now()
        await load.request("h", 0.0)
        assert load.now() - arrival <= 0.5 * (-(-len(sizes) // limit) + 1)
    await asyncio.gather(*busy)
