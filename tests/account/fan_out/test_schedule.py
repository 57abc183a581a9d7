import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.account.fan_out.schedule import Schedule
from exporter.collectors.connection_index import EXAMPLE


def connections(*ids):
    """Return connections with these ids."""
    return {str(row_id): replace(EXAMPLE, id=str(row_id)) for row_id in ids}


def scheduled(*ids, ttl=60.0, rate=2.0):
    """Return a schedule of these connections."""
    schedule = Schedule(ttl, rate)
    schedule.update(connections(*ids))
    return schedule


def run(schedule, count, start=0.0, latency=0.0):
    """Take this many turns, each when it is due and at least `latency` after the last one. Return times and ids."""
    now, turns = start, []
    for _ in range(count):
        now = max(now, schedule.next_turn(now))
        turns.append((now, schedule.take_turn(now).id))
        now += latency
    return turns


def test_first_cycle_then_even_intervals():
    """Connections that were never read are read at the rate. Then the requests are evenly spread over the TTL."""
    turns = run(scheduled(*"abcdef"), 18)
    assert [at for at, _ in turns[:6]] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])
    assert [at for at, _ in turns[6:]] == pytest.approx([2.5 + 10 * number for number in range(1, 13)])
    assert "".join(row_id for _, row_id in turns) == "abcdef" * 3


@pytest.mark.parametrize(
    ("size", "ttl", "rate", "cycle"),
    [(10, 60, 2, 60), (120, 60, 2, 60), (1000, 300, 2, 500), (5, 0, 2, 10), (0, 0, 1, 10)],
)
def test_cycle(size, ttl, rate, cycle):
    """A cycle takes max(TTL, n / rate), and at least ten seconds."""
    assert scheduled(*range(size), ttl=ttl, rate=rate).cycle == cycle


def test_nothing_is_due_without_connections():
    """Without connections, no request is ever due."""
    assert scheduled().next_turn(1e9) == math.inf


def test_a_new_connection_is_next():
    """A connection that appears is read as soon as the rate allows, before all others."""
    schedule = scheduled(*"abc")
    (*_, (now, _)) = run(schedule, 6)
    schedule.update(connections(*"abcd"))
    assert run(schedule, 2, start=now) == [(now + 0.5, "d"), (pytest.approx(now + 0.5 + 15), "a")]


def test_connections_that_are_gone():
    """A connection that disappears is forgotten, and the order of the others stays."""
    schedule = scheduled(*"abcd")
    run(schedule, 5)
    schedule.update(connections(*"acd"))
    assert [connection.id for connection in schedule.connections] == ["c", "d", "a"]
    assert "b" not in schedule
    assert "a" in schedule
    assert len(schedule) == 3


def test_overdue_connections_are_read_at_the_rate():
    """After a long interruption, all connections are read as fast as the rate allows."""
    schedule = scheduled(*"abc")
    (*_, (now, _)) = run(schedule, 9)
    schedule.interrupt()
    assert [at for at, _ in run(schedule, 3, start=now + 1000)] == [now + 1000, now + 1000.5, now + 1001]


def test_a_longer_cycle_is_measured():
    """If turns come late, for example because of the request budget, the cycle is as long as it really is."""
    schedule = scheduled(*range(10))
    assert schedule.cycle == 60
    run(schedule, 50, latency=12.0)
    assert schedule.cycle == pytest.approx(120, rel=0.02)


def test_an_interruption_is_not_measured():
    """The time without requests is not part of a cycle."""
    schedule = scheduled(*"abc")
    (*_, (now, _)) = run(schedule, 9)
    schedule.interrupt()
    run(schedule, 3, start=now + 1000)
    assert schedule.cycle == 60


def test_a_shorter_ttl_counts_at_once():
    """A schedule that continues another one has its own pace from the next request on."""
    old = scheduled("a", ttl=3600.0)
    run(old, 1)
    new = Schedule(60.0, 2.0)
    new.adopt(old)
    assert new.next_turn(1.0) == 60.0


@given(
    size=st.integers(1, 50),
    ttl=st.floats(0, 1000),
    rate=st.floats(0.01, 100),
    latency=st.floats(0, 60),
)
def test_the_rate_is_never_exceeded(size, ttl, rate, latency):
    """Two requests are never closer than the rate allows, and all connections are read equally often."""
    schedule = scheduled(*range(size), ttl=ttl, rate=rate)
    turns = run(schedule, 3 * size, latency=latency)
    for (before, _), (after, _) in itertools.pairwise(turns):
        assert after - before >= (1 / rate) * (1 - 1e-6) - 1e-6
    assert [row_id for _, row_id in turns[:size]] == [row_id for _, row_id in turns[size : 2 * size]]
