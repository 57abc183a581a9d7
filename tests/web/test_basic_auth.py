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
    lock = FairLock()
    await lock.acquire("a")
    tasks = await waiting(lock, "a", "a", "a", "b", "c", "b")
    assert await turns(lock, tasks) == [0, 3, 4, 1, 5, 2]


async def test_a_released_lock_is_free():
    """When nobody waits, the lock is acquired at once."""
    lock = FairLock()
    for _ in range(2):
        await lock.acquire("a")
        lock.release()


async def test_a_cancelled_request_loses_its_turn():
    """A request that is cancelled while it waits is skipped."""
    lock = FairLock()
    await lock.acquire("a")
    tasks = await waiting(lock, "a", "b")
    tasks[0].cancel()
    lock.release()
    await tasks[1]


async def test_a_request_that_is_cancelled_at_its_turn_passes_the_lock_on():
    """If a request is cancelled in the moment in which it gets the lock, the next one gets it."""
    lock = FairLock()
    await lock.acquire("a")
    tasks = await waiting(lock, "a", "b")
    lock.release()
    tasks[0].cancel()
    async with asyncio.timeout(20):
        await tasks[1]


async def test_cancelled_requests_do_not_keep_the_lock():
    """If every request is cancelled, the lock is free."""
    lock = FairLock()
    await lock.acquire("a")
    (task,) = await waiting(lock, "a")
    task.cancel()
    await asyncio.sleep(0)
    (other,) = await waiting(lock, "b")
    assert task.done()
    lock.release()
    await other
    lock.release()
    await lock.acquire("a")


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
    async with asyncio.timeout(20):
        assert await right is None
    assert checked.index(b"right") <= 2
    for _ in flood:
        release.release()
    results = await asyncio.gather(*flood)
    assert set(results) == {RequestRefused.WRONG_CREDENTIALS}


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
