"""The response for a long list is one consistent snapshot, for all kinds of clients and while refreshes change it."""

import asyncio
import gzip
import subprocess

import pytest
from fake_api import connection
from programs import exporter as run_exporter
from programs import find_program, get, get_json, prometheus, sandbox, wait_until
from prometheus_client.parser import text_string_to_metric_families as parse

from exporter.sandbox import Account

SIZE, CHANGING = 3000, 600
"""The number of connections of the lists that stay the same and that change."""
KEY = "KEY-of-tests"


def version_of(number):
    """Return several pages of connections that all have this version as their tag, and whose order depends on it."""
    rows = [connection(row, tags=[f"v{number}"]) for row in range(CHANGING)]
    return rows[number % 3 :] + rows[: number % 3]


@pytest.mark.parametrize("encodings", [("identity",), ("gzip",), ("identity", "gzip")], ids=" and ".join)
async def test_scrapes_during_refreshes_are_consistent(encodings, api, exporter):
    """While refreshes replace the whole list, each response has every connection once, all of the same version."""
    api.rows = version_of(0)
    done = asyncio.Event()

    async def refresh():
        for number in range(1, 4):
            api.rows = version_of(number)
            exporter.expire()
            await exporter.scrape(**{"accept-encoding": "gzip"})
        done.set()

    async def scrape(encoding):
        found = []
        while not done.is_set() or len(found) < 2:
            headers = {"accept-encoding": encoding, "x-prometheus-scrape-timeout-seconds": "0.02"}
            response = await exporter.http.get("/metrics", headers=headers)
            found.append({line for line in response.text.split("\n") if line.startswith("telnyx_connection_tag_info{")})
        return found

    await exporter.scrape()
    scrapers = [scrape(encoding) for encoding in encodings for _ in range(3)]
    _, *results = await asyncio.gather(refresh(), *scrapers)
    versions = set()
    for lines in (lines for result in results for lines in result):
        assert len(lines) == CHANGING
        (version,) = {line.partition('tag="')[2] for line in lines}
        versions.add(version)
    assert len(versions) > 1


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Run an exporter for a list of many pages that does not change, and yield its URL."""
    flags = ("--cache.ttl=1h", "--cache.max-stale=2h")
    with sandbox(Account(SIZE, step=0), KEY) as base_url:
        folder = tmp_path_factory.mktemp("large")
        with run_exporter(folder, f"--telnyx.base-url={base_url}", *flags, TELNYX_API_KEY=KEY) as url:
            wait_until(lambda: "telnyx_up 1.0" in get(f"{url}/metrics"), "the first refresh")
            yield url


def exposed(text):
    """Return the lines about connections, which do not change from scrape to scrape."""
    return [line for line in text.split("\n") if line.startswith("telnyx_connection")]


def test_curl_decompresses_the_response(large):
    """A client like curl gets the same from a compressed response as from an uncompressed one, and so does `gzip`."""
    curl = [find_program("curl"), "--silent", "--fail", "--show-error", f"{large}/metrics"]
    plain, decoded, compressed = (
        subprocess.run([*curl, *flags], capture_output=True, check=True).stdout
        for flags in ([], ["--compressed"], ["--header", "Accept-Encoding: gzip"])
    )
    assert compressed.startswith(b"\x1f\x8b")
    subprocess.run([find_program("gzip"), "--test"], input=compressed, check=True)
    lines = exposed(plain.decode())
    assert len(lines) > 50 * SIZE / 3
    assert exposed(decoded.decode()) == lines
    assert exposed(gzip.decompress(compressed).decode()) == lines


def test_prometheus_reads_the_response(large, tmp_path):
    """Prometheus, which requests gzip, stores every sample of every page."""
    target = large.removeprefix("http://")
    config = f"scrape_configs: [{{job_name: telnyx, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]"
    with prometheus(tmp_path, config) as url:

        def query(expression):
            result = get_json(f"{url}/api/v1/query", query=expression)["data"]["result"]
            return float(result[0]["value"][1]) if result else None

        wait_until(lambda: query('up{job="telnyx"}') == 1, "a scrape")
        counts = [query(expression) for expression in ("count(telnyx_connection_info)", "sum(telnyx_connections)")]
        scraped = query("scrape_samples_scraped")
    assert counts == [SIZE, SIZE]
    assert scraped == sum(len(family.samples) for family in parse(get(f"{large}/metrics")))
