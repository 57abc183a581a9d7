import asyncio
import threading

import httpx

from exporter.server.incidents import RequestRefused
from exporter.web.basic_auth import BasicAuth, FairLock


async def waiting(lock, *clients):
    """Let each of these clients wait for the lock, in this order, and return their tasks."""
    tasks = [asyncio.create_task(lock.acquire(client)) for client in clients]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def turns(lock, tasks):
    """Release the lock once for each task, and return the positions of the tasks in the order of their turns."""
    order = []
    for _ in tasks:
        lock.release()
        await asyncio.sleep(0)
        order.extend(position for position, task in enumerate(tasks) if task.done() and position not in order)
    return order


async def test_clients_take_turns():
    """Clients acquire the lock in turn. A client that waits often does not delay another one's first request."""
    lock = FairLock(100)
    assert await lock.acquire("a")
    tasks = await waiting(lock, "a", "a", "a", "b", "c", "b")
    assert await turns(lock, tasks) == [0, 3, 4, 1, 5, 2]


async def test_a_released_lock_is_free():
    """When nobody waits, the lock is acquired at once."""
    lock = FairLock(100)
    for _ in range(2):
        assert await lock.acquire("a")
        lock.release()


async def test_the_client_that_waits_most_often_is_turned_away():
    """If too many requests wait, the newest one of the client with the most is turned away."""
    lock = FairLock(3)
    assert await lock.acquire("a")
    tasks = await waiting(lock, "a", "a", "a", "b")
    assert [task.done() for task in tasks] == [False, False, True, False]
    assert not await tasks[2]
    tasks += await waiting(lock, "c")
    assert [task.done() for task in tasks] == [False, True, True, False, False]
    assert await turns(lock, tasks) == [0, 1, 2, 3, 4]


async def test_a_client_with_one_request_can_be_turned_away():
    """If all clients wait equally often, one of them is turned away, and the others have their turn."""
    lock = FairLock(1)
    assert await lock.acquire("a")
    tasks = await waiting(lock, "a", "b")
    assert [task.done() for task in tasks] == [True, False]
    assert await turns(lock, tasks) == [0, 1]


async def test_a_cancelled_request_loses_its_turn():
    """A request that is cancelled while it waits is skipped."""
    lock = FairLock(2)
    assert await lock.acquire("a")
    tasks = await waiting(lock, "a", "b")
    tasks[0].cancel()
    lock.release()
    assert await tasks[1]


async def test_a_cancelled_request_is_turned_away_first():
    """If too many requests wait, one that is cancelled makes room."""
    lock = FairLock(2)
    assert await lock.acquire("a")
    tasks = await waiting(lock, "a", "a")
    tasks.append(asyncio.create_task(lock.acquire("b")))
    tasks[1].cancel()  # it is still in its queue when the third request arrives
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [False, True, False]
    assert await turns(lock, tasks) == [0, 1, 2]


async def test_a_cancelled_request_gives_up_its_place():
    """A request that was cancelled does not count as one that waits."""
    lock = FairLock(1)
    assert await lock.acquire("a")
    (task,) = await waiting(lock, "a")
    task.cancel()
    await asyncio.sleep(0)
    (other,) = await waiting(lock, "a")
    assert not other.done()
    lock.release()
    assert await other


async def test_a_request_that_is_cancelled_at_its_turn_passes_the_lock_on():
    """If a request is cancelled in the moment in which it gets the lock, the next one gets it."""
    lock = FairLock(2)
    assert await lock.acquire("a")
    tasks = await waiting(lock, "a", "b")
    lock.release()
    tasks[0].cancel()
    async with asyncio.timeout(5):
        assert await tasks[1]


async def test_cancelled_requests_do_not_keep_the_lock():
    """If every request is cancelled, the lock is free."""
    lock = FairLock(1)
    assert await lock.acquire("a")
    (task,) = await waiting(lock, "a")
    task.cancel()
    await asyncio.sleep(0)
    (other,) = await waiting(lock, "b")
    assert task.done()
    lock.release()
    assert await other
    lock.release()
    assert await lock.acquire("a")


async def test_one_clients_wrong_passwords_do_not_delay_another_clients_right_one():
    """While one client floods the exporter with wrong passwords, another client's right one is checked next."""
    checked, release = [], threading.Semaphore(0)

    def check(password, stored):
        release.acquire()
        checked.append(password)
        return password == b"right"

    auth = BasicAuth(check)
    auth.set_users({"alice": "$2b$04$x"})
    flood = [asyncio.create_task(auth.authenticate(basic(f"wrong{number}"), "192.0.2.1")) for number in range(1000)]
    await asyncio.sleep(0)
    right = asyncio.create_task(auth.authenticate(basic("right"), "192.0.2.2"))
    await asyncio.sleep(0)
    for _ in range(3):
        release.release()
    async with asyncio.timeout(5):
        assert await right is None
    assert checked.index(b"right") <= 2
    for _ in flood:
        release.release()
    results = await asyncio.gather(*flood)
    assert set(results) == {RequestRefused.WRONG_CREDENTIALS, RequestRefused.PASSWORD_QUEUE}


async def test_a_hash_that_changes_during_a_check():
    """A password whose hash is replaced while it is checked is not accepted."""
    release = threading.Event()
    auth = BasicAuth(lambda *_: release.wait(5))
    auth.set_users({"alice": "$2b$04$old"})
    login = asyncio.create_task(auth.authenticate(basic("right"), ""))
    await asyncio.sleep(0.05)
    auth.set_users({"alice": "$2b$04$new"})
    release.set()
    assert await login is RequestRefused.WRONG_CREDENTIALS


def basic(password):
    return httpx.BasicAuth("alice", password)._auth_header
