import asyncio

import pytest
import structlog
from config_recorder import Recorder

from exporter.config.reload import Reloader


class Source:
    """Configuration that can be used, or can't for a reason."""

    def __init__(self):
        self.problem = ""
        self.reloads = 0
        self.pace = asyncio.Event()
        self.pace.set()

    async def reload(self):
        """Read it again."""
        await self.pace.wait()
        await asyncio.sleep(0)
        self.reloads += 1
        if self.problem:
            raise ValueError(self.problem)


@pytest.fixture
def sources():
    """Return two sources that can be used."""
    return {"settings": Source(), "web": Source()}


@pytest.fixture
def recorder():
    """Return what is told."""
    return Recorder()


@pytest.fixture
def reload(sources, recorder):
    """Return what reads the sources again, at 42 s."""
    return Reloader(sources, recorder, clock=lambda: 42.0)


async def test_all_is_read_again(reload, sources, recorder):
    """Every source is read again, and that is told and logged."""
    with structlog.testing.capture_logs() as logs:
        await reload()
    assert [source.reloads for source in sources.values()] == [1, 1]
    assert recorder.told == [("settings", 42.0), ("web", 42.0)]
    assert [(entry["event"], entry["source"]) for entry in logs] == [
        ("configuration reloaded", "settings"),
        ("configuration reloaded", "web"),
    ]


async def test_one_that_cannot_be_used_is_told(reload, sources, recorder):
    """The others are read all the same; who asked, the log and the metrics are told which can't be used, and why."""
    sources["settings"].problem = "--cache.ttl: must be a duration"
    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(
            ValueError, match=r"^settings: kept the previous one, --cache.ttl: must be a duration; web: reloaded$"
        ),
    ):
        await reload()
    assert sources["web"].reloads == 1
    assert recorder.told == [("settings", None), ("web", 42.0)]
    warning, again = logs
    assert (warning["log_level"], warning["source"]) == ("warning", "settings")
    assert warning["problem"] == "--cache.ttl: must be a duration"
    assert (again["event"], again["source"]) == ("configuration reloaded", "web")


async def test_all_problems_are_one_line(reload, sources):
    """Who asked is told of everything that can't be used at once."""
    for name, source in sources.items():
        source.problem = f"{name} broke"
    with pytest.raises(
        ValueError, match=r"^settings: kept the previous one, settings broke; web: kept the previous one, web broke$"
    ):
        await reload()


async def test_one_at_a_time(reload, sources, recorder):
    """Who asks while it is read waits for that, and then it is read again: it may have changed in between."""
    source = sources["settings"]
    source.pace.clear()
    calls = [asyncio.create_task(reload()) for _ in range(2)]
    await asyncio.sleep(0)
    source.pace.set()
    await asyncio.gather(*calls)
    assert recorder.told == [("settings", 42.0), ("web", 42.0)] * 2
