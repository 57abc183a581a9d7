import asyncio

import pytest

from exporter.status.scan.pause import pause

pytestmark = pytest.mark.anyio


async def test_other_tasks_go_first():
    """A pause lets a scrape send several pieces of its body."""
    sent = []

    async def scrape():
        for piece in range(10):
            sent.append(piece)
            await asyncio.sleep(0)

    scrapes = [asyncio.create_task(scrape()) for _ in range(2)]
    await pause()
    assert len(sent) == 20
    await asyncio.gather(*scrapes)
