import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from programs import exporter, get, running, wait_until
from prometheus_client.parser import text_string_to_metric_families as parse

KEY = "sandbox"
SIZE = 1000


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """Run a sandbox with a thousand connections that do not change, and yield its base URL."""
    log = tmp_path_factory.mktemp("sandbox") / "sandbox.log"
    command = (sys.executable, "-m", "exporter.sandbox", f"--size={SIZE}", "--seed=7", "--step=0", "--rate-limit=0")
    with running(*command, "--listen-address=127.0.0.1:0", log=log, TELNYX_API_KEY=KEY):
        yield wait_until(lambda: re.search(r"http://\S+", log.read_text()), "listening")[0]


@pytest.fixture(scope="module")
def rows(sandbox):
    """Return the list of connections, read page by page without the exporter's code."""
    found = []
    for number in range(1, SIZE // 100 + 1):
        request = urllib.request.Request(
            f"{sandbox}/credential_connections?page[number]={number}&page[size]=100",
            headers={"authorization": f"Bearer {KEY}"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            found += json.load(response)["data"]
    assert len({row["id"] for row in found}) == SIZE
    return found


@pytest.fixture(scope="module", params=["served", "once"])
def samples(request, sandbox, tmp_path_factory):
    """Return the samples that the exporter exposes for this account, on a scrape and with `--once`."""
    flags = (f"--telnyx.base-url={sandbox}",)
    if request.param == "once":
        command = [sys.executable, "-m", "exporter", "--once", *flags]
        environment = {"TELNYX_API_KEY": KEY}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        text = result.stdout
    else:
        with exporter(tmp_path_factory.mktemp("exporter"), *flags, TELNYX_API_KEY=KEY) as url:
            text = get(f"{url}/metrics")
    return [sample for family in parse(text) for sample in family.samples]


def by_id(samples, name):
    return {sample.labels["connection_id"]: sample.value for sample in samples if sample.name == name}


def test_counts_match_the_list(rows, samples):
    """The counts of connections by type, state, anchorsite and encryption match the list."""
    counted = Counter(
        (row["record_type"], str(row["active"]).lower(), row["anchorsite_override"], row["encrypted_media"] or "none")
        for row in rows
    )
    exposed = {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == "telnyx_connections"}
    assert {labels: count for labels, count in exposed.items() if count} == counted
    assert sum(exposed.values()) == SIZE


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_limits_match_the_list(rows, samples, direction):
    """Each connection exposes its limit. A connection without a limit exposes none."""
    listed = {row["id"]: row[direction]["channel_limit"] for row in rows}
    assert by_id(samples, f"telnyx_connection_{direction}_channel_limit") == {
        id_: limit for id_, limit in listed.items() if limit is not None
    }


def test_states_match_the_list(rows, samples):
    """Each connection is exposed once, with its state and its name."""
    assert by_id(samples, "telnyx_connection_active") == {row["id"]: row["active"] for row in rows}
    names = {s.labels["connection_id"]: s.labels["connection_name"] for s in samples if "connection_id" in s.labels}
    assert names == {row["id"]: row["connection_name"] for row in rows}


def test_codec_priorities_match_the_list(rows, samples):
    """The first codec has priority 1, the next 2, and so on."""
    exposed = Counter(
        {
            (s.labels["connection_id"], s.labels["codec"]): s.value
            for s in samples
            if s.name == "telnyx_connection_inbound_codec_priority"
        }
    )
    assert exposed == {
        (row["id"], codec): priority for row in rows for priority, codec in enumerate(row["inbound"]["codecs"], start=1)
    }


ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_the_number_of_series_is_as_documented(rows, samples):
    """The documented cardinality is correct: per connection, codec and tag, and for the exporter itself."""
    most, exporter_series = re.search(
        r"up to (\d+) series, plus one for each codec and one for each tag. The exporter has (\d+)", OPERATIONS
    ).groups()
    per_connection = Counter(sample.labels["connection_id"] for sample in samples if "connection_id" in sample.labels)
    optional_series = {row["id"]: len(row["inbound"]["codecs"]) + len(row["tags"]) for row in rows}
    assert max(per_connection[id_] - optional for id_, optional in optional_series.items()) == int(most)
    others = len(samples) - per_connection.total()
    if any(sample.name.startswith("process_") for sample in samples):
        assert others == pytest.approx(int(exporter_series), abs=5)


def test_the_documented_filter_drops_series(samples):
    """The documented filter drops more than half of the series, and none that rules or the first dashboard need."""
    (pattern,) = re.findall(r"--metrics\.deny='([^']+)'", OPERATIONS)
    kept = [sample for sample in samples if not re.fullmatch(pattern, sample.name)]
    assert len(kept) < len(samples) / 2
    for path in ("prometheus/rules/telnyx.rules.yaml", "grafana/dashboards/telnyx-connections.json"):
        required = re.findall(r"\btelnyx_\w+", (ROOT / path).read_text())
        assert not [name for name in required if re.fullmatch(pattern, name)]
