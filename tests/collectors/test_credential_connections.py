import re
from collections import Counter

import pytest
from connections import FULL, GOLDEN, PARTS, arbitrary_connections, decode, render, text_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exporter.collectors.credential_connections import (
    COLLECTOR,
    Connection,
)
from exporter.collectors.families import Info
from exporter.config.settings import SENSITIVE_LABELS as SENSITIVE
from exporter.exposition.formats import Format
from exporter.telnyx.lists.pages import UnreadableRow


def exposed(connections, *families, sensitive=(), form=Format.TEXT, **details):
    """Return the exposition of these families, or of all families if none are given."""
    selection = COLLECTOR.select(lambda name: not families or name in families, sensitive)
    return text_of(render(connections, collector=selection, **details), form).decode()


def samples(connections, *families, sensitive=(), **details):
    """Return the lines of the exposition without comments."""
    lines = exposed(connections, *families, sensitive=sensitive, **details).split("\n")
    return [line for line in lines if line and not line.startswith("#")]


# The expected families

FAMILIES = (*COLLECTOR.snapshot_families, *COLLECTOR.row_families)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_family_is_well_formed(family):
    """Names follow the conventions, and the help text is a one-line sentence that needs no escaping."""
    assert re.fullmatch(r"telnyx_connections?(_[a-z0-9]+)*", family.name)
    assert family.name.endswith("_info") is (family.type == "info")
    assert family.unit == ("seconds" if family.name.endswith("_seconds") else "")
    assert re.fullmatch(r'[A-Z][^\\"\n]+\.', family.help)
    assert set(family.labels).isdisjoint({"connection_id", "connection_name", *SENSITIVE})


# A connection, a family and the expected lines. {C} stands for the identity labels, which all series have.

UNKNOWN = {}  # only an id
CASES = [
    pytest.param({"active": True}, "active", ["{C} 1"], id="active"),
    pytest.param({"active": False}, "active", ["{C} 0"], id="disabled"),
    pytest.param(UNKNOWN, "active", [], id="active-unknown"),
    pytest.param({"active": None}, "active", [], id="active-null"),
    pytest.param(
        {
            "record_type": "credential_connection",
            "anchorsite_override": "Chicago, IL",
            "encrypted_media": "SRTP",
            "dtmf_type": "Inband",
            "sip_uri_calling_preference": "unrestricted",
            "default_on_hold_comfort_noise_enabled": True,
            "encode_contact_header_enabled": False,
            "ios_push_credential_id": "i",
            "android_push_credential_id": "a",
        },
        "info",
        {
            "record_type": "credential_connection",
            "anchorsite": "Chicago, IL",
            "encrypted_media": "SRTP",
            "dtmf_type": "Inband",
            "sip_uri_calling_preference": "unrestricted",
            "default_on_hold_comfort_noise_enabled": "true",
            "encode_contact_header_enabled": "false",
            "onnet_t38_passthrough_enabled": "",
            "ios_push_credential_id": "i",
            "android_push_credential_id": "a",
        },
        id="info",
    ),
    pytest.param(
        UNKNOWN,
        "info",
        {
            "record_type": "",
            "anchorsite": "",
            "encrypted_media": "none",
            "dtmf_type": "",
            "sip_uri_calling_preference": "",
            "default_on_hold_comfort_noise_enabled": "",
            "encode_contact_header_enabled": "",
            "onnet_t38_passthrough_enabled": "",
            "ios_push_credential_id": "",
            "android_push_credential_id": "",
        },
        id="info-unknown",
    ),
    pytest.param(
        {"created_at": "2018-02-02T22:25:27.521Z"},
        "created_timestamp_seconds",
        ["{C} 1517610327.521"],
        id="created",
    ),
    pytest.param(
        {"updated_at": "2018-02-02T22:25:27Z"}, "updated_timestamp_seconds", ["{C} 1517610327.0"], id="updated"
    ),
    pytest.param({"inbound": {"channel_limit": 5}}, "inbound_channel_limit", ["{C} 5"], id="inbound-limit"),
    pytest.param({"inbound": {"channel_limit": 0}}, "inbound_channel_limit", ["{C} 0"], id="inbound-limit-zero"),
    pytest.param({"inbound": {"channel_limit": None}}, "inbound_channel_limit", [], id="inbound-limit-null"),
    pytest.param({"inbound": {}}, "inbound_channel_limit", [], id="inbound-limit-absent"),
    pytest.param({"inbound": None}, "inbound_channel_limit", [], id="inbound-null"),
    pytest.param({"outbound": {"channel_limit": 7}}, "outbound_channel_limit", ["{C} 7"], id="outbound-limit"),
    pytest.param({"outbound": {"channel_limit": None}}, "outbound_channel_limit", [], id="outbound-limit-null"),
    pytest.param(
        {"inbound": {"channel_limit": 5}, "outbound": {}}, "outbound_channel_limit", [], id="outbound-limit-absent"
    ),
    pytest.param(
        {
            "inbound": {
                "ani_number_format": "+E.164",
                "dnis_number_format": "e164",
                "default_routing_method": "round-robin",
                "simultaneous_ringing": "enabled",
                "generate_ringback_tone": True,
                "isup_headers_enabled": False,
                "prack_enabled": True,
                "sip_compact_headers_enabled": False,
            }
        },
        "inbound_info",
        {
            "ani_number_format": "+E.164",
            "dnis_number_format": "e164",
            "default_routing_method": "round-robin",
            "simultaneous_ringing": "enabled",
            "generate_ringback_tone": "true",
            "isup_headers_enabled": "false",
            "prack_enabled": "true",
            "sip_compact_headers_enabled": "false",
            "shaken_stir_enabled": "",
        },
        id="inbound",
    ),
    pytest.param(
        UNKNOWN,
        "inbound_info",
        {
            "ani_number_format": "",
            "dnis_number_format": "",
            "default_routing_method": "",
            "simultaneous_ringing": "",
            "generate_ringback_tone": "",
            "isup_headers_enabled": "",
            "prack_enabled": "",
            "sip_compact_headers_enabled": "",
            "shaken_stir_enabled": "",
        },
        id="inbound-unknown",
    ),
    pytest.param({"inbound": {"timeout_1xx_secs": 3}}, "inbound_timeout_1xx_seconds", ["{C} 3"], id="timeout-1xx"),
    pytest.param({"inbound": {"timeout_2xx_secs": "90"}}, "inbound_timeout_2xx_seconds", ["{C} 90"], id="timeout-2xx"),
    pytest.param({"inbound": {"timeout_1xx_secs": 3}}, "inbound_timeout_2xx_seconds", [], id="timeout-absent"),
    pytest.param(
        {"inbound": {"codecs": ["G722", "OPUS"]}},
        "inbound_codec_priority",
        ['{C,codec="G722"} 1', '{C,codec="OPUS"} 2'],
        id="codecs",
    ),
    pytest.param(
        {"inbound": {"codecs": ["G722", "G722", "OPUS", "G722", ""]}},
        "inbound_codec_priority",
        ['{C,codec="G722"} 1', '{C,codec="OPUS"} 2', '{C,codec=""} 3'],
        id="codecs-repeated",
    ),
    pytest.param({"inbound": {"codecs": []}}, "inbound_codec_priority", [], id="codecs-none"),
    pytest.param({"inbound": {"codecs": None}}, "inbound_codec_priority", [], id="codecs-null"),
    pytest.param(
        {
            "outbound": {
                "ani_override_type": "emergency",
                "localization": "US",
                "t38_reinvite_source": "customer",
                "outbound_voice_profile_id": "1",
                "call_parking_enabled": None,
                "instant_ringback_enabled": True,
                "generate_ringback_tone": False,
            }
        },
        "outbound_info",
        {
            "ani_override_type": "emergency",
            "localization": "US",
            "t38_reinvite_source": "customer",
            "outbound_voice_profile_id": "1",
            "call_parking_enabled": "",
            "instant_ringback_enabled": "true",
            "generate_ringback_tone": "false",
        },
        id="outbound",
    ),
    pytest.param(
        {
            "webhook_api_version": "1",
            "webhook_event_url": "https://a.example/x",
            "webhook_event_failover_url": "http://b.example",
            "call_cost_in_webhooks": False,
        },
        "webhook_info",
        {
            "webhook_api_version": "1",
            "webhook_host": "a.example",
            "webhook_failover_host": "b.example",
            "call_cost_in_webhooks": "false",
        },
        id="webhook",
    ),
    pytest.param(
        {"webhook_api_version": 2, "webhook_event_url": None},
        "webhook_info",
        {"webhook_api_version": "2", "webhook_host": "", "webhook_failover_host": "", "call_cost_in_webhooks": ""},
        id="webhook-version-is-a-number",
    ),
    pytest.param({"webhook_timeout_secs": 25}, "webhook_timeout_seconds", ["{C} 25"], id="webhook-timeout"),
    pytest.param({"webhook_timeout_secs": 0}, "webhook_timeout_seconds", ["{C} 0"], id="webhook-timeout-zero"),
    pytest.param({"webhook_timeout_secs": None}, "webhook_timeout_seconds", [], id="webhook-timeout-null"),
    pytest.param(
        {"rtcp_settings": {"port": "rtcp-mux", "capture_enabled": True}},
        "rtcp_info",
        {"port": "rtcp-mux", "capture_enabled": "true"},
        id="rtcp",
    ),
    pytest.param(UNKNOWN, "rtcp_info", {"port": "", "capture_enabled": ""}, id="rtcp-unknown"),
    pytest.param(
        {"rtcp_settings": {"report_frequency_secs": 5}}, "rtcp_report_interval_seconds", ["{C} 5"], id="rtcp-interval"
    ),
    pytest.param(
        {"rtcp_settings": {"report_frequency_seconds": 6}},
        "rtcp_report_interval_seconds",
        ["{C} 6"],
        id="rtcp-interval-old-name",
    ),
    pytest.param(
        {"rtcp_settings": {"report_frequency_seconds": 6, "report_frequency_secs": 5}},
        "rtcp_report_interval_seconds",
        ["{C} 5"],
        id="rtcp-interval-both-names",
    ),
    pytest.param(
        {"noise_suppression": "inbound", "noise_suppression_details": {"engine": "denoiser"}},
        "noise_suppression_info",
        {"direction": "inbound", "engine": "denoiser"},
        id="noise-suppression",
    ),
    pytest.param(
        {"noise_suppression": "disabled"},
        "noise_suppression_info",
        {"direction": "disabled", "engine": ""},
        id="noise-suppression-without-details",
    ),
    pytest.param(
        {"noise_suppression_details": {"attenuation_limit": 100}},
        "noise_suppression_attenuation_limit",
        ["{C} 100"],
        id="attenuation",
    ),
    pytest.param(UNKNOWN, "noise_suppression_attenuation_limit", [], id="attenuation-unknown"),
    pytest.param(
        {"jitter_buffer": {"enable_jitter_buffer": False}}, "jitter_buffer_enabled", ["{C} 0"], id="jitter-buffer-off"
    ),
    pytest.param(UNKNOWN, "jitter_buffer_enabled", [], id="jitter-buffer-unknown"),
    pytest.param(
        {"jitter_buffer": {"jitterbuffer_msec_min": 45}},
        "jitter_buffer_min_seconds",
        ["{C} 0.045"],
        id="jitter-buffer-min",
    ),
    pytest.param(
        {"jitter_buffer": {"jitterbuffer_msec_max": 400}},
        "jitter_buffer_max_seconds",
        ["{C} 0.4"],
        id="jitter-buffer-max",
    ),
    pytest.param({"jitter_buffer": {}}, "jitter_buffer_max_seconds", [], id="jitter-buffer-max-absent"),
    pytest.param(
        {"tags": ["b", "a", "b", ""]},
        "tag_info",
        ['{C,tag="b"} 1', '{C,tag="a"} 1', '{C,tag=""} 1'],
        id="tags",
    ),
    pytest.param({"tags": None}, "tag_info", [], id="tags-null"),
    pytest.param(
        {"connection_name": 'the "best"\\\npbx {%s} ☎', "active": True},
        "active",
        [
            r'{connection_id="42",connection_name="the \"best\"\\\npbx {%s} ☎"} 1',
        ],
        id="name-with-special-characters",
    ),
    pytest.param(
        {"connection_name": None, "active": True},
        "active",
        ['{connection_id="42",connection_name=""} 1'],
        id="no-name",
    ),
]


@pytest.mark.parametrize(("row", "family", "expected"), CASES)
def test_connection(row, family, expected):
    """A connection in the API's format produces these lines, or one line that has these labels."""
    name = f"telnyx_connection_{family}"
    found = samples(decode({"id": "42", "connection_name": "pbx", **row}), name)
    if isinstance(expected, dict):
        (line,) = found
        missing = [pair for pair in (f'{label}="{value}"' for label, value in expected.items()) if pair not in line]
        assert not missing, f"{line} lacks {missing}"
    else:
        labels = '{connection_id="42",connection_name="pbx"'
        assert found == [name + line.replace("{C", labels, 1) for line in expected]


def test_every_family_has_a_case():
    """CASES covers each family of the connections, and each label of the info families."""
    families = {family.name.removeprefix("telnyx_connection_"): family for family in COLLECTOR.row_families}
    covered = {(case.values[1], label) for case in CASES for label in case.values[2]}
    assert {case.values[1] for case in CASES} == families.keys(), "add cases for the missing families to CASES"
    missing = {
        f"{name} {label}"
        for name, family in families.items()
        if isinstance(family, Info)
        for label in family.labels
        if (name, label) not in covered
    }
    assert not missing, "add cases for these labels to CASES"


# Whole expositions


@pytest.mark.parametrize(("form", "end"), [(Format.TEXT, "prom"), (Format.OPENMETRICS, "om")], ids=["text", "om"])
@pytest.mark.parametrize(("name", "row"), [("full", FULL), ("bare", {"id": "42"})], ids=["full", "bare"])
def test_golden(name, row, form, end):
    """A connection with every documented field, and one with only an id, produce exactly the golden file."""
    path = GOLDEN / f"{name}.{end}"
    outdated = f"tests/golden/{path.name} is out of date: run `make generate` and review the difference"
    assert exposed(decode(row), form=form) == path.read_text("utf-8"), outdated


def test_full_connection_has_every_field():
    """The connection with every documented field has a value for each field of the structs."""
    (connection,) = decode(FULL)
    parts = (connection, *(getattr(connection, name) for name in PARTS))
    absent = {name for part in parts for name in part.__struct_fields__ if getattr(part, name) is None}
    absent.remove("report_frequency_seconds")  # the old name of report_frequency_secs
    assert not absent, f"add {absent} to _CHOICES in exporter/sandbox/connections.py and run `make generate`"


def test_secrets_are_not_exposed():
    """Sensitive values are exposed only if their labels are enabled. The password is never exposed."""
    sensitive = (FULL["user_name"], FULL["outbound"]["ani_override"], "s3cret")
    assert not any(text in exposed(decode(FULL)) for text in (*sensitive, FULL["password"]))
    text = exposed(decode(FULL), sensitive=SENSITIVE)
    assert all(secret in text for secret in sensitive)
    assert FULL["password"] not in text


# Counts

SITES = (
    "Latency",
    "Chicago, IL",
    "Ashburn, VA",
    "San Jose, CA",
    "Sydney, Australia",
    "Amsterdam, Netherlands",
    "London, UK",
    "Toronto, Canada",
    "Vancouver, Canada",
    "Frankfurt, Germany",
)
DOCUMENTED = {
    f'record_type="credential_connection",active="{active}",anchorsite="{site}",encrypted_media="{media}"': 0
    for active in ("true", "false")
    for site in SITES
    for media in ("SRTP", "none")
}
DEFAULT = {"record_type": "credential_connection", "active": True, "anchorsite_override": "Latency"}


def counts(*rows):
    """Return the number of connections of each kind, and check that no kind occurs twice."""
    lines = samples(decode(*({"id": str(number), **row} for number, row in enumerate(rows))), "telnyx_connections")
    found = [re.fullmatch(r"telnyx_connections\{(.*)\} (\d+)", line).groups() for line in lines]
    assert len(dict(found)) == len(found)
    return {labels: int(number) for labels, number in found}


def test_no_connections():
    """Without connections, all 40 documented kinds are exposed with the value 0."""
    assert len(DOCUMENTED) == 40
    assert counts() == DOCUMENTED


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        pytest.param(
            DEFAULT,
            'record_type="credential_connection",active="true",anchorsite="Latency",encrypted_media="none"',
            id="default",
        ),
        pytest.param(
            {**DEFAULT, "active": False, "anchorsite_override": "London, UK", "encrypted_media": "SRTP"},
            'record_type="credential_connection",active="false",anchorsite="London, UK",encrypted_media="SRTP"',
            id="documented",
        ),
        pytest.param(
            {**DEFAULT, "anchorsite_override": 'Atlantis "Deep"', "encrypted_media": "DTLS", "record_type": "new"},
            r'record_type="new",active="true",anchorsite="Atlantis \"Deep\"",encrypted_media="DTLS"',
            id="undocumented",
        ),
        pytest.param(
            {**DEFAULT, "anchorsite_override": "latency"},
            'record_type="credential_connection",active="true",anchorsite="latency",encrypted_media="none"',
            id="other-case",
        ),
    ],
)
def test_counts(row, labels):
    """Connections are counted by kind. An undocumented kind is exposed as it is."""
    assert counts(row, row) == {**DOCUMENTED, labels: 2}


@pytest.mark.parametrize("field", ["record_type", "anchorsite_override", "encrypted_media"])
def test_absent_and_empty_are_one_kind(field):
    """Connections whose field is absent, null or empty are of the same kind."""
    rest = {name: value for name, value in DEFAULT.items() if name != field}
    found = counts(rest, {**rest, field: None}, {**rest, field: ""})
    assert sorted(found.values()) == [0] * (len(found) - 1) + [3]


def test_unknown_state_is_a_kind():
    """A connection whose state is unknown counts as neither active nor inactive."""
    labels = 'record_type="credential_connection",active="",anchorsite="Latency",encrypted_media="none"'
    assert counts({**DEFAULT, "active": None}) == {**DOCUMENTED, labels: 1}


@pytest.mark.parametrize(
    ("details", "family", "number"),
    [
        pytest.param({}, "telnyx_connections_malformed", 0, id="none-malformed"),
        pytest.param(
            {"unreadable": (UnreadableRow("1", "x"), UnreadableRow(None, "x"))},
            "telnyx_connections_malformed",
            2,
            id="malformed",
        ),
        pytest.param({}, "telnyx_connections_missing", 0, id="none-missing"),
        pytest.param({"missing": 3}, "telnyx_connections_missing", 3, id="missing"),
    ],
)
def test_omitted_rows_are_counted(details, family, number):
    """Rows that are not exposed, because they are unreadable or missing from all pages, are counted."""
    assert samples((), family, **details) == [f"{family} {number}"]


# Selection of families and labels


def test_selection():
    """`select` keeps only the families that the filter accepts, and all families by default."""
    assert COLLECTOR.select() == COLLECTOR
    selection = COLLECTOR.select(lambda name: name in {"telnyx_connections", "telnyx_connection_active"})
    assert [family.name for family in (*selection.snapshot_families, *selection.row_families)] == [
        "telnyx_connections",
        "telnyx_connection_active",
    ]


@pytest.mark.parametrize(
    ("sensitive", "family", "end"),
    [
        ("user_name", "telnyx_connection_info", ',user_name="myusername123"} 1'),
        ("ani_override", "telnyx_connection_outbound_info", ',ani_override="+13125550100"} 1'),
        (
            "webhook_event_url",
            "telnyx_connection_webhook_info",
            f',webhook_event_url="{FULL["webhook_event_url"]}"}} 1',
        ),
        (
            "webhook_event_failover_url",
            "telnyx_connection_webhook_info",
            f',webhook_event_failover_url="{FULL["webhook_event_failover_url"]}"}} 1',
        ),
    ],
)
def test_sensitive_label(sensitive, family, end):
    """An enabled sensitive label follows the other labels of its family. Nothing else changes."""
    before, after = samples(decode(FULL)), samples(decode(FULL), sensitive=(sensitive,))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    ((old, new),) = changed
    assert new.startswith(f"{family}{{")
    assert new == old.removesuffix("} 1") + end


def test_sensitive_labels_of_absent_fields_are_empty():
    """The sensitive labels of a connection with only an id are empty."""
    lines = samples(decode({"id": "42"}), sensitive=SENSITIVE)
    assert [line for line in lines if 'user_name=""' in line]
    assert [line for line in lines if 'ani_override=""' in line]
    assert [line for line in lines if line.endswith('webhook_event_url="",webhook_event_failover_url=""} 1')]


# Arbitrary connections


CONNECTIONS = arbitrary_connections(st.text())


@given(st.lists(CONNECTIONS, max_size=3, unique_by=lambda connection: connection.id))
@settings(
    max_examples=60,
    phases=set(Phase) - {Phase.shrink, Phase.explain},  # these phases would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_no_series_is_duplicated(connections):
    """Whatever the connections contain, no series occurs twice, and each series has a finite value."""
    lines = samples(connections, sensitive=SENSITIVE)
    series = Counter(line.rpartition(" ")[0] for line in lines)
    assert series.most_common(1)[0][1] == 1
    assert all(abs(float(line.rpartition(" ")[2])) < float("inf") for line in lines)


def test_huge_numbers_are_not_exposed():
    """Numbers that exceed all limits are not exposed, because Prometheus would reject the whole scrape."""
    huge = 10**400
    row = {
        "id": "1",
        "webhook_timeout_secs": huge,
        "jitter_buffer": {"jitterbuffer_msec_min": huge},
        "inbound": {"channel_limit": -huge},
    }
    lines = samples([row for row in decode(row, {"id": "2", "active": True}) if isinstance(row, Connection)])
    assert 'telnyx_connection_active{connection_id="2",connection_name=""} 1' in lines
    assert all(abs(float(line.rpartition(" ")[2])) < float("inf") for line in lines)
