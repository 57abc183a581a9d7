import asyncio

import pytest
from virtual_time import VirtualLoop

from exporter.telnyx.deadline import Deadline


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests in virtual time."""
    return ("asyncio", {"loop_factory": VirtualLoop})


def now():
    """Return the virtual time in seconds."""
    return asyncio.get_running_loop().time()


async def pause(deadline, start, seconds):
    """Pause the deadline after `start` seconds."""
    await asyncio.sleep(start)
    with deadline.paused():
        await asyncio.sleep(seconds)


async def expire(deadline, *pauses):
    """Return the seconds after which the deadline passes if it is paused in these periods: start and length."""
    start = now()

    async def work():
        async with deadline:
            await asyncio.gather(*(pause(deadline, *period) for period in pauses))
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await work()
    return now() - start


@pytest.mark.parametrize(
    ("pauses", "seconds"),
    [
        ([], 2),
        ([(0, 5)], 7),
        ([(1, 5)], 7),
        ([(0, 0)], 2),
        ([(0, 1), (2, 3)], 6),
        ([(0, 3), (1, 4)], 7),
        ([(0, 9), (1, 2), (4, 1)], 11),
        ([(1, 2)] * 10, 4),
        ([(3, 2)], 2),
    ],
    ids=["none", "first", "later", "empty", "two", "overlapping", "nested", "same", "too late"],
)
async def test_a_pause_moves_the_deadline(pauses, seconds):
    """The deadline moves by the time in which there is at least one pause."""
    assert await expire(Deadline(2), *pauses) == seconds


async def test_a_cancelled_pause_ends():
    """A pause that is cancelled or fails ends, so the clock runs again."""
    deadline = Deadline(2)
    async with deadline:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pause(deadline, 0, 9), 3)
        await asyncio.sleep(0.5)
        assert deadline.remaining == 1.5


async def test_the_remaining_time_is_constant_during_a_pause():
    """The remaining time decreases, except during a pause."""
    deadline = Deadline(10)
    async with deadline:
        await asyncio.sleep(1)
        assert deadline.remaining == 9
        with deadline.paused():
            await asyncio.sleep(20)
            assert deadline.remaining == 9
        await asyncio.sleep(2)
        assert deadline.remaining == 7


async def test_a_pause_after_the_deadline_has_no_effect():
    """A task that is still running when the deadline passes can begin and end a pause without an error."""
    deadline = Deadline(1)

    async def pause_at_the_end():
        try:
            await asyncio.sleep(1)
        finally:
            with deadline.paused():
                await asyncio.sleep(0)

    async def work():
        async with deadline, asyncio.TaskGroup() as group:
            group.create_task(pause_at_the_end())
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await work()
