import asyncio
import json
import re
from collections import Counter
from pathlib import Path

import httpx
import pytest
from connections import CONNECTION_COLLECTORS
from fake_api import OBJECTS, FakeApi, connections
from virtual_time import in_virtual_time

from exporter.account.account import Account
from exporter.collectors.registry import COLLECTORS
from exporter.config.settings import CollectorSettings, Settings, TelnyxSettings
from exporter.telemetry import Telemetry
from exporter.telnyx.http.transport import Route

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
        account = Account(settings, api.url, lambda: "KEY", Telemetry(process=False).account(), clock=lambda: now)
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


LONG_LISTS = {
    f"/v2/{name}": 1000
    for name in ("credential_connections", "ips", "fqdns", "phone_numbers/slim", "telephony_credentials")
}
"""The number of rows of the lists that have more than one."""
OTHERS = "the other types of connections"


class CountingPeer:
    """An API that counts its requests by collector."""

    def __init__(self):
        self.sent = Counter()
        self._collectors = {
            path: collector.name if path not in PATHS.values() or collector.name == "credential-connections" else OTHERS
            for collector in COLLECTORS
            for path in (f"/v2{one}" for one in collector.endpoint.path.split(", "))
        }
        self._pages = {}

    async def __call__(self, request):
        """Count the request and return a response."""
        path = re.sub(r"/connections/\d+/", "/connections/{connection_id}/", request.url.path)
        self.sent[self._collectors[path]] += 1
        return httpx.Response(200, stream=httpx.ByteStream(self._body(path, request.url.params)))

    def _body(self, path, params):
        number, size = int(params.get("page[number]", 1)), int(params.get("page[size]", 250))
        if path in OBJECTS:
            return b'{"data": {}}'
        if path == "/v2/sip_registration_status":
            return b'{"registered": true}'
        if path.endswith("/active_calls"):
            return b'{"data": [], "meta": {"total_items": 3}}'
        if (path, number, size) not in self._pages:
            total = LONG_LISTS.get(path, 1)
            first = 10_000 * len(self._pages)  # ids are unique
            rows = [
                {"id": str(first + index), "active": True, "user_name": f"login{index}", "product": "voice"}
                | {"webhook_event_url": "https://a.example", "period": "daily"}
                for index in range(total)[(number - 1) * size : number * size]
            ]
            meta = {"total_results": total, "total_pages": -(-total // size), "page_number": number, "page_size": size}
            self._pages[path, number, size] = json.dumps({"data": rows, "meta": meta}).encode()
        return self._pages[path, number, size]


def documented_for_all_collectors():
    """Return the documented requests per minute of each collector, and of all."""
    (total,) = re.findall(r"all collectors together send (\d+) requests per\nminute", OPERATIONS)
    rows = re.findall(
        r"^\| (`[\w-]+`|the other types of connections) \| [^|]+ \| [^|]+ \| ([\d.]+) \|$", OPERATIONS, re.MULTILINE
    )
    return {name.strip("`"): float(number) for name, number in rows}, int(total)


@in_virtual_time
async def test_requests_of_all_collectors_are_as_documented():
    """With 1,000 connections and every collector on, the requests per minute are those in the documentation."""
    minutes = 30
    clock = asyncio.get_running_loop().time
    peer = CountingPeer()
    account = Account(
        Settings(_env_file=None, collectors={each.name: CollectorSettings(enabled=True) for each in COLLECTORS}),
        "https://api.telnyx.test/v2",
        lambda: "KEY",
        Telemetry(process=False).account(),
        routes=lambda: Route(httpx.MockTransport(peer)),
        clock=clock,
    )
    start = clock()
    for scrape in range(2 * minutes + 30):
        if scrape == 30:  # the first cycles are faster
            peer.sent.clear()
        await account.group.scrape(10.0)
        await asyncio.sleep(max(0.0, start + 30.0 * (scrape + 1) - clock()))
    assert {state.name: state.entry.error for state in account.group.states() if state.entry.error} == {}
    rows = {state.name: state.entry.value.row_count for state in account.group.states()}
    await account.close()
    per_minute, total = documented_for_all_collectors()
    assert (rows["registrations"], rows["active-calls"]) == (1000, 1000 + 6)
    assert {name: count / minutes for name, count in peer.sent.items()} == pytest.approx(per_minute, rel=0.05)
    assert peer.sent.total() / minutes == pytest.approx(total, rel=0.05)
