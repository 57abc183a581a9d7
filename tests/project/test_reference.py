import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from connections import CONNECTION_COLLECTORS

from exporter.account.status import STATUS_FAMILIES
from exporter.collectors import endpoints, registrations
from exporter.collectors.collector import Collector, ListEndpoint, ObjectEndpoint
from exporter.collectors.credential_connections import COLLECTOR
from exporter.collectors.families import SnapshotGauge, info, whole_row
from exporter.collectors.index import IndexRecord
from exporter.collectors.registry import COLLECTORS
from exporter.config.options import OPTIONS, collector_options
from exporter.config.settings import PREFIX
from exporter.config.values import format_duration
from exporter.telnyx.structs import Row

ROOT = Path(__file__).parents[2]
reference = runpy.run_path(str(ROOT / "docs" / "reference.py"))["reference"]
TEXT = reference()

CARDS = Collector(
    name="sim-cards",
    title="SIM cards",
    endpoint=ListEndpoint("/sim_cards"),
    row_type=Row,
    index_type=IndexRecord,
    index_record=lambda row: IndexRecord(id=row.id, name=row.id),
    identity_labels={"sim_card_id": "id"},
    snapshot_families=(SnapshotGauge("telnyx_sim_cards", "SIM cards.", ("status",), lambda _: ()),),
    row_families=(info("telnyx_sim_card_info", "A SIM card.", whole_row, "type", sensitive=("number",)),),
    default_ttl=300.0,
)
"""A collector of rows that are not connections."""


def sections(text):
    """Return the text below each heading."""
    return dict(part.split("\n", 1) for part in text.split("\n## ")[1:])


def metrics(text):
    """Return the names of the metrics in tables, in their order."""
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_every_metric_is_described_once():
    """Each metric of a collector has one row in the reference, however many collectors have it."""
    collected = {family.name for each in COLLECTORS for family in (*each.snapshot_families, *each.row_families)}
    found = metrics(TEXT)
    assert collected | {family.name for family in STATUS_FAMILIES} <= set(found)
    assert len(set(found)) == len(found)


def test_metrics_of_several_types_say_which():
    """A metric that several types of connections have is in one section, with these types."""
    text = sections(TEXT)["Connections of all types"]
    types = dict(re.findall(r"^\| `(\w+)` \| [^|]*\| ([\w ,]+) \|", text, re.MULTILINE))
    assert types["telnyx_connections"] == types["telnyx_connection_active"] == "all"
    assert types["telnyx_connection_registered"] == "Credential, UAC"
    assert types["telnyx_connection_webhook_timeout_seconds"] == "all but TeXML"
    assert "whose first labels are `connection_id`, `connection_name`" in text


def test_the_metrics_of_one_type_are_in_its_section():
    """A metric that only one type of connections has is described with its collector."""
    found = {title: metrics(text) for title, text in sections(TEXT).items()}
    assert found["Credential connections"] == ["telnyx_connections_malformed", "telnyx_connections_missing"]
    assert [found[collector.title] for collector in CONNECTION_COLLECTORS[1:]] == [[]] * 7


def test_another_collector_has_a_complete_section():
    """The section of a collector that does not read connections has all its metrics with their labels."""
    with_cards = sections(reference((*COLLECTORS, CARDS)))
    assert {title: text for title, text in with_cards.items() if title != CARDS.title} == sections(TEXT)
    assert with_cards[CARDS.title].endswith(
        "\nMetrics of the list:\n\n"
        "| metric | labels | what |\n|---|---|---|\n"
        "| `telnyx_sim_cards` | `status` | SIM cards |\n"
        "\nMetrics of each row, whose first label is `sim_card_id`:\n\n"
        "| metric | further labels | what |\n|---|---|---|\n"
        "| `telnyx_sim_card_info` | `type`, *`number`* | A SIM card |\n"
    )


HELP = dict(re.findall(r"^\| `(telnyx_\w+)` \|.*\| ([^|]+) \|$", TEXT, re.MULTILINE))
"""The help of each metric of the exporter by its name."""


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (r"\w+_timestamp_seconds", r"Time (of|when) [^.;]+, in Unix seconds(;.*)?"),
        (
            r"\w+(?<!_timestamp)_seconds",
            r"(Age|Duration|Interval|Maximum|Minimum|Timeout) [^.;]+, in seconds( \(.*\))?",
        ),
        (r"\w+_total", r"Number of .+"),
        (r"\w+_usd", r".+, in USD(;.*)?"),
        (
            r"\w+(_enabled|_active|_up|_success|_successful|_blocked|_registered)",
            r"Whether [^.;]+ \(1\) or not \(0\)([.;].*)?",
        ),
    ],
    ids=["times", "durations", "counters", "amounts", "states"],
)
def test_help_texts_have_one_form(names, form):
    """The help of a metric states the unit in the same words as that of other metrics of this kind."""
    found = {name: text for name, text in HELP.items() if re.fullmatch(names, name)}
    assert len(found) > 3
    assert {name: text for name, text in found.items() if not re.fullmatch(form, text)} == {}


SORTED = """
`--collector.credential-connections` reads `GET /v2/credential_connections`.
It is on by default. Its default TTL is that of `--cache.ttl`.
A refresh sends 1 request for up to 250 rows. For more rows, it sends 1 for each page and 2 more.
The filters (`--telnyx.filter.*`) apply.
"""
UNSORTED = """
`--collector.sim-cards` reads `GET /v2/sim_cards`.
It is off by default. Its default TTL is 5m.
Telnyx can't sort the list by creation time. A refresh sends 1 request for each page.
"""
UNPAGED = """
`--collector.sim-cards` reads `GET /v2/sim_cards`.
It is off by default. Its default TTL is 5m.
The list has no pages. A refresh sends 1 request.
"""
OBJECT = """
`--collector.sim-cards` reads `GET /v2/sim_cards`.
It is off by default. Its default TTL is 5m.
A refresh sends 1 request.
"""
JOINED = """
`--collector.endpoints` reads `GET /v2/ips` and `GET /v2/fqdns`.
It is off by default. Its default TTL is 5m.
Telnyx can't sort these lists. A refresh sends 1 request for each page of each list.
"""
FAN_OUT = """
`--collector.registrations` reads `GET /v2/sip_registration_status`.
It is off by default. Its default TTL is 5m.
In the background, it sends 1 request for each connection, at most 2 per second (`--collector.registrations.rate`).
It reads each connection once per TTL. If the rate is too low for that, it takes longer.
Values expire after two such cycles.
It also exposes `telnyx_connection_registered`, `telnyx_connection_registration_status`, \
`telnyx_connection_registration_updated_timestamp_seconds`. `credential-connections` then does not expose them.
"""


@pytest.mark.parametrize(
    ("collector", "text"),
    [
        (COLLECTOR, SORTED),
        (CARDS, UNSORTED),
        (replace(CARDS, endpoint=ListEndpoint("/sim_cards", paged=False)), UNPAGED),
        (replace(CARDS, endpoint=ObjectEndpoint("/sim_cards")), OBJECT),
        (endpoints.COLLECTOR, JOINED),
        (registrations.COLLECTOR, FAN_OUT),
    ],
    ids=["sorted", "unsorted", "unpaged", "object", "joined", "fan-out"],
)
def test_a_section_says_how_the_list_is_read(collector, text):
    """The section of a collector says what it reads, when, with how many requests, and whether the filters apply."""
    assert sections(reference((*COLLECTORS, collector)))[collector.title].startswith(text)


@pytest.mark.parametrize(
    ("labels", "introduction"),
    [
        ({}, "Metrics:\n\n| metric | labels | what |\n"),
        ({"currency": "currency"}, "Metrics, whose first label is `currency`:\n\n| metric | further labels | what |\n"),
    ],
    ids=["none", "one"],
)
def test_the_metrics_of_an_object_have_an_introduction(labels, introduction):
    """The metrics of a single object are not those of rows. It can have no labels."""
    collector = replace(CARDS, endpoint=ObjectEndpoint("/sim_cards"), identity_labels=labels, snapshot_families=())
    assert f"1 request.\n\n{introduction}" in sections(reference((*COLLECTORS, collector)))[collector.title]


SETTINGS_TEXT = (
    (ROOT / "docs" / "configuration.md").read_text().partition("<!-- settings")[2].partition("<!-- /settings")[0]
)
OPTION_ROWS = re.findall(r"^\| (.*?) ?\| `(TELNYX_\w+)` \| (.*?) ?\| (.+) \|$", SETTINGS_TEXT, re.MULTILINE)
COLLECTOR_ROWS = re.findall(
    r"^\| `--collector\.([\w-]+)` \| `(on|off)` \| `(.+?)` \| (.*?) ?\| .+ \|$", SETTINGS_TEXT, re.MULTILINE
)


def test_every_setting_is_documented_once():
    """Each setting that isn't a collector's has one row with its flag, variable, default and help."""
    rows = [(flag.strip("`"), variable, default.strip("`"), text) for flag, variable, default, text in OPTION_ROWS]
    assert sorted(rows) == sorted((option.flag, option.variable, option.default, option.help) for option in OPTIONS)


def test_every_collector_is_documented_once():
    """Each collector has one row: whether it is on by default, and the defaults of its TTL and its rate."""
    assert [
        (
            collector.name,
            "on" if collector.on_by_default else "off",
            format_duration(collector.default_ttl) if collector.default_ttl else "--cache.ttl",
            f"`{collector.default_rate:g}`" if collector.default_rate else "",
        )
        for collector in COLLECTORS
    ] == COLLECTOR_ROWS


def test_variables_follow_from_flags():
    """The rule that docs/configuration.md states for the names of variables has only the exceptions in its tables."""
    options = (*OPTIONS, *collector_options(COLLECTORS))
    exceptions = {
        option.variable
        for option in options
        if option.variable != PREFIX + option.flag.removeprefix("--").replace(".", "__").replace("-", "_").upper()
    }
    assert exceptions == {"TELNYX_API_KEY", "TELNYX_BASE_URL", "TELNYX_EXPORTER_ONCE_COMPLETE"}
    assert exceptions <= {variable for _, variable, *_ in OPTION_ROWS}
