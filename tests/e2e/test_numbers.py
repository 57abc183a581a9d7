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
    """Run an account of a thousand connections that stands still, and give its base URL."""
    log = tmp_path_factory.mktemp("sandbox") / "sandbox.log"
    command = (sys.executable, "-m", "exporter.sandbox", f"--size={SIZE}", "--seed=7", "--step=0", "--rate-limit=0")
    with running(*command, "--listen-address=127.0.0.1:0", log=log, TELNYX_API_KEY=KEY):
        yield wait_until(lambda: re.search(r"http://\S+", log.read_text()), "listening")[0]


@pytest.fixture(scope="module")
def rows(sandbox):
    """Return the list, read page by page with nothing of the exporter."""
    found = []
    for number in range(1, SIZE // 100 + 1):
        request = urllib.request.Request(
            f"{sandbox}/credential_connections?page[number]={number}&page[size]=100",
            headers={"authorization": f"Bearer {KEY}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found += json.load(answer)["data"]
    assert len({row["id"] for row in found}) == SIZE
    return found


@pytest.fixture(scope="module", params=["served", "once"])
def samples(request, sandbox, tmp_path_factory):
    """Return what the exporter shows of the same account, when it is scraped and when it polls once."""
    flags = (f"--telnyx.base-url={sandbox}",)
    if request.param == "once":
        command = [sys.executable, "-m", "exporter", "--once", *flags]
        environment = {"TELNYX_API_KEY": KEY}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        text = done.stdout
    else:
        with exporter(tmp_path_factory.mktemp("exporter"), *flags, TELNYX_API_KEY=KEY) as url:
            text = get(f"{url}/metrics")
    return [sample for family in parse(text) for sample in family.samples]


def by_id(samples, name):
    return {sample.labels["connection_id"]: sample.value for sample in samples if sample.name == name}


def test_counts_are_those_of_the_list(rows, samples):
    """Connections are counted by type, state, anchorsite and encryption as the list has them."""
    counted = Counter(
        (row["record_type"], str(row["active"]).lower(), row["anchorsite_override"], row["encrypted_media"] or "none")
        for row in rows
    )
    shown = {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == "telnyx_connections"}
    assert {labels: count for labels, count in shown.items() if count} == counted
    assert sum(shown.values()) == SIZE


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_limits_are_those_of_the_list(rows, samples, direction):
    """Each connection has its limit, and one without has none."""
    listed = {row["id"]: row[direction]["channel_limit"] for row in rows}
    assert by_id(samples, f"telnyx_connection_{direction}_channel_limit") == {
        id_: limit for id_, limit in listed.items() if limit is not None
    }


def test_states_are_those_of_the_list(rows, samples):
    """Each connection is shown once, active or not, under its own name."""
    assert by_id(samples, "telnyx_connection_active") == {row["id"]: row["active"] for row in rows}
    names = {s.labels["connection_id"]: s.labels["connection_name"] for s in samples if "connection_id" in s.labels}
    assert names == {row["id"]: row["connection_name"] for row in rows}


def test_codecs_are_in_the_order_of_the_list(rows, samples):
    """The first codec has priority 1, the next 2, and so on."""
    shown = Counter(
        {
            (s.labels["connection_id"], s.labels["codec"]): s.value
            for s in samples
            if s.name == "telnyx_connection_inbound_codec_priority"
        }
    )
    assert shown == {
        (row["id"], codec): place for row in rows for place, codec in enumerate(row["inbound"]["codecs"], start=1)
    }


ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_series_are_as_many_as_documented(rows, samples):
    """What the documentation says of cardinality holds: for each connection, codec and tag, and for the exporter."""
    most, own = re.search(
        r"up to (\d+) series, and one more for each codec and each tag; the exporter has (\d+)", OPERATIONS
    ).groups()
    each = Counter(sample.labels["connection_id"] for sample in samples if "connection_id" in sample.labels)
    listed = {row["id"]: len(row["inbound"]["codecs"]) + len(row["tags"]) for row in rows}
    assert max(each[id_] - many for id_, many in listed.items()) == int(most)
    others = len(samples) - each.total()
    if any(sample.name.startswith("process_") for sample in samples):
        assert others == pytest.approx(int(own), abs=5)


def test_series_can_be_cut_as_documented(samples):
    """The documented choice takes away more than half, and leaves what rules and the first dashboard need."""
    (pattern,) = re.findall(r"--metrics\.deny='([^']+)'", OPERATIONS)
    left = [sample for sample in samples if not re.fullmatch(pattern, sample.name)]
    assert len(left) < len(samples) / 2
    for path in ("prometheus/rules/telnyx.rules.yaml", "grafana/dashboards/telnyx-connections.json"):
        named = re.findall(r"\btelnyx_\w+", (ROOT / path).read_text())
        assert not [name for name in named if re.fullmatch(pattern, name)]
