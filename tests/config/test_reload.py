import asyncio

import pytest
import structlog
from config_recorder import Recorder

from exporter.config.reload import Reloader


class Source:
    """A configuration source that is valid, or invalid if it has a problem."""

    def __init__(self):
        self.problem = ""
        self.reloads = 0
        self.unblocked = asyncio.Event()
        self.unblocked.set()

    async def reload(self):
        """Wait until unblocked, then succeed, or raise the problem if there is one."""
        await self.unblocked.wait()
        await asyncio.sleep(0)
        self.reloads += 1
        if self.problem:
            raise ValueError(self.problem)


@pytest.fixture
def sources():
    """Return two valid sources."""
    return {"settings": Source(), "web": Source()}


@pytest.fixture
def recorder():
    """Return an observer that records events."""
    return Recorder()


@pytest.fixture
def reload(sources, recorder):
    """Return a reloader of the sources, whose clock is always at 42 s."""
    return Reloader(sources, recorder, clock=lambda: 42.0)


async def test_all_sources_are_reloaded(reload, sources, recorder):
    """Every source is reloaded, and each reload is recorded and logged."""
    with structlog.testing.capture_logs() as logs:
        await reload()
    assert [source.reloads for source in sources.values()] == [1, 1]
    assert recorder.events == [("settings", 42.0), ("web", 42.0)]
    assert [(entry["event"], entry["source"]) for entry in logs] == [
        ("configuration reloaded", "settings"),
        ("configuration reloaded", "web"),
    ]


async def test_an_invalid_source_is_reported(reload, sources, recorder):
    """If one source is invalid, the others are still reloaded. The error and the log state the source and the reason.

    The observer records which source is invalid.
    """
    sources["settings"].problem = "--cache.ttl: must be a duration"
    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(
            ValueError,
            match=r"^settings: invalid, kept the previous version: --cache.ttl: must be a duration; web: reloaded$",
        ),
    ):
        await reload()
    assert sources["web"].reloads == 1
    assert recorder.events == [("settings", None), ("web", 42.0)]
    warning, again = logs
    assert (warning["log_level"], warning["source"]) == ("warning", "settings")
    assert warning["problem"] == "--cache.ttl: must be a duration"
    assert (again["event"], again["source"]) == ("configuration reloaded", "web")


async def test_all_problems_are_reported_in_one_line(reload, sources):
    """A single one-line error states the problems of all sources."""
    for name, source in sources.items():
        source.problem = f"{name} broke"
    with pytest.raises(
        ValueError,
        match=r"^settings: invalid, kept the previous version: settings broke; "
        r"web: invalid, kept the previous version: web broke$",
    ):
        await reload()


async def start(reload):
    """Start a reload, and return its task when it waits for a source."""
    call = asyncio.create_task(reload())
    for _ in range(3):
        await asyncio.sleep(0)
    return call


async def test_calls_during_a_reload_share_the_next_one(reload, sources):
    """Calls during a reload wait for one more, which reads everything again: a source may have changed in between."""
    sources["settings"].unblocked.clear()
    calls = [await start(reload) for _ in range(5)]
    sources["settings"].unblocked.set()
    await asyncio.gather(*calls)
    assert [source.reloads for source in sources.values()] == [2, 2]


async def test_a_reload_is_not_cancelled_with_its_caller(reload, sources, recorder):
    """If the caller is cancelled, the reload continues, because a configuration must not be applied halfway."""
    sources["settings"].unblocked.clear()
    call = await start(reload)
    call.cancel()
    sources["settings"].unblocked.set()
    await reload()
    assert recorder.events == [("settings", 42.0), ("web", 42.0)] * 2
