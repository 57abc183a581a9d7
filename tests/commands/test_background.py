import asyncio

from structlog.testing import capture_logs

from exporter.commands import background
from exporter.commands.background import in_background


async def test_work_ends_with_the_command():
    """Work runs during the command and is cancelled at its end."""
    events = []

    async def work():
        events.append("start")
        try:
            await asyncio.sleep(60)
        finally:
            events.append("end")

    async with in_background(work):
        await asyncio.sleep(0.01)
        assert events == ["start"]
    await asyncio.sleep(0.01)
    assert events == ["start", "end"]


async def test_work_that_fails_starts_again(monkeypatch):
    """A bug does not end the work for good. The log says that it failed."""
    monkeypatch.setattr(background, "RESTART_DELAY", 0.01)
    runs = []

    async def work():
        runs.append(len(runs))
        if len(runs) < 3:
            raise RuntimeError("canary")
        await asyncio.sleep(60)

    with capture_logs() as logs:
        async with in_background(work):
            await asyncio.sleep(0.1)
    assert runs == [0, 1, 2]
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("background task failed, restarting it", "error")
    ] * 2
