import re
from collections import Counter
from pathlib import Path

import pytest
from connections import CONNECTION_COLLECTORS
from fake_api import FakeApi, connections

from exporter.account.account import Account
from exporter.config.settings import CollectorSettings, Settings, TelnyxSettings
from exporter.telemetry import Telemetry

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
MINUTES = 4
PATHS = {each.name: f"/v2{each.endpoint.path}" for each in CONNECTION_COLLECTORS}


def documented():
    """Return the documented requests per minute by number of rows: of each kind of list, and of all."""
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", OPERATIONS, re.MULTILINE)
    return {int(size.replace(",", "")): tuple(map(int, numbers)) for size, *numbers in rows}


def test_the_documentation_has_three_sizes():
    """The documentation has the requests for a small, a medium and a large account."""
    assert documented().keys() == {50, 1000, 10000}


@pytest.mark.parametrize(("size", "numbers"), documented().items())
async def test_requests_per_minute_are_as_documented(size, numbers):
    """Scraped every 30 s, the exporter sends as many requests per minute as documented."""
    now = 0.0
    settings = Settings(
        _env_file=None,
        collectors={name: CollectorSettings(enabled=True) for name in PATHS},
        telnyx=TelnyxSettings(max_requests_per_second=100_000.0),
    )
    async with FakeApi(connections(size)) as api:
        account = Account(settings, api.url, lambda: "KEY", Telemetry(process=False), clock=lambda: now)
        for _ in range(2 * MINUTES):
            await account.group.scrape(10.0)
            await account.group.refresh_all()  # those that a scrape does not wait for
            assert all(state.entry.value.row_count == size for state in account.group.states())
            now += 30.0
        await account.close()
        sent = Counter(request.path for request in api.requests)
    first, other, unsorted, total = numbers
    expected = dict.fromkeys(PATHS.values(), other)
    expected |= {PATHS["credential-connections"]: first, PATHS["external-connections"]: unsorted}
    assert {path: count / MINUTES for path, count in sent.items()} == pytest.approx(expected, rel=0.05)
    assert sent.total() / MINUTES == pytest.approx(total, rel=0.05)
