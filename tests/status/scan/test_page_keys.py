import random

import pytest

from exporter.status.scan import page_keys
from exporter.status.scan.page_keys import PageKeys

pytestmark = pytest.mark.anyio

KEYS = [f"{number:02}" for number in range(40)]
COUNT = 3
LIMIT = 50


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("batch", [1, 4, 9])
async def test_keys_of_a_page(batch, descending, monkeypatch):
    """The keys of a page are those at its place in the order of all keys, in whatever order these arrive."""
    monkeypatch.setattr(page_keys, "_RUN_KEYS", 5)
    ordered = sorted(KEYS, reverse=descending)
    for seed in range(5):
        arriving = random.Random(seed).sample(KEYS, len(KEYS))
        for first in range(len(KEYS) + 1):
            for unused in (0, 4, len(KEYS)):
                keys = PageKeys(first + COUNT + unused, descending=descending)
                for start in range(0, len(KEYS), batch):
                    keys.add(arriving[start : start + batch])
                assert await keys.select(first, COUNT) == ordered[first : first + COUNT]


async def test_no_keys():
    """If nothing was added, there is nothing to select."""
    assert await PageKeys(LIMIT, descending=False).select(0, LIMIT) == []


@pytest.mark.parametrize("descending", [False, True])
async def test_few_keys_are_kept_for_the_first_page(descending, monkeypatch):
    """Keys that can't be on the page, or before it, take no memory."""
    monkeypatch.setattr(page_keys, "_RUN_KEYS", 2 * LIMIT)
    keys = PageKeys(LIMIT, descending=descending)
    number = 0
    for _ in range(100):
        batch = [f"{(number := (number + 7919) % 100_003):06}" for _ in range(LIMIT)]
        keys.add(batch)
    assert sum(map(len, [keys._unsorted, *keys._runs])) < 8 * LIMIT
    assert len(await keys.select(0, LIMIT)) == LIMIT
