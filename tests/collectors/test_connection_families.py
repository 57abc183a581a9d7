import re
from dataclasses import replace

import pytest
from connections import COLLECTOR, decode, samples

from exporter.collectors.connection_families import REGISTRATION, SIP_TRUNK, TAGS, TRANSPORT
from exporter.collectors.families import Info
from exporter.config.settings import SENSITIVE_LABELS as SENSITIVE

ALL = replace(COLLECTOR, row_families=(*SIP_TRUNK, *TAGS, *TRANSPORT, *REGISTRATION))
"""A collector with all families."""


@pytest.mark.parametrize("family", [*ALL.snapshot_families, *ALL.row_families], ids=lambda family: family.name)
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
            "conversation_persistence": True,
            "bridge_generate_comfort_noise_on_cn": False,
            "third_party_control_enabled": True,
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
            "conversation_persistence": "true",
            "bridge_generate_comfort_noise_on_cn": "false",
            "third_party_control_enabled": "true",
        },
        id="info",
    ),
    pytest.param(
        UNKNOWN,
        "info",
        {
            "record_type": "credential_connection",
            "anchorsite": "",
            "encrypted_media": "none",
            "dtmf_type": "",
            "sip_uri_calling_preference": "",
            "default_on_hold_comfort_noise_enabled": "",
            "encode_contact_header_enabled": "",
            "onnet_t38_passthrough_enabled": "",
            "ios_push_credential_id": "",
            "android_push_credential_id": "",
            "conversation_persistence": "",
            "bridge_generate_comfort_noise_on_cn": "",
            "third_party_control_enabled": "",
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
                "instant_ringback_enabled": True,
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
            "instant_ringback_enabled": "true",
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
            "instant_ringback_enabled": "",
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
        {
            "transport_protocol": "TLS",
            "inbound": {"sip_region": "Europe"},
            "outbound": {"ip_authentication_method": "token"},
            "microsoft_teams_sbc": False,
        },
        "transport_info",
        {
            "transport_protocol": "TLS",
            "sip_region": "Europe",
            "outbound_authentication": "token",
            "microsoft_teams_sbc": "false",
        },
        id="transport",
    ),
    pytest.param(
        UNKNOWN,
        "transport_info",
        {"transport_protocol": "", "sip_region": "", "outbound_authentication": "", "microsoft_teams_sbc": ""},
        id="transport-unknown",
    ),
    pytest.param(
        {"outbound": {"fqdn_authentication_method": "credential-authentication"}},
        "transport_info",
        {"outbound_authentication": "credential-authentication"},
        id="outbound-authentication-of-an-fqdn",
    ),
    *(
        pytest.param({"registration_status": status}, "registered", lines, id=f"registered-{status}")
        for status, lines in {
            "Registered": ["{C} 1"],
            "Not Registered": ["{C} 0"],
            "Unregistered": ["{C} 0"],
            "Expired": ["{C} 0"],
            "Failed": ["{C} 0"],
            "Not Applicable": [],
            "registered": [],
            "New": [],
            "": [],
            None: [],
        }.items()
    ),
    *(
        pytest.param({"registration_status": status}, "registration_status", lines, id=f"registration-status-{status}")
        for status, lines in {
            "Registered": ['{C,status="Registered",transport=""} 1'],
            "Not Applicable": ['{C,status="Not Applicable",transport=""} 1'],
            "New": ['{C,status="New",transport=""} 1'],
            "": [],
            None: [],
        }.items()
    ),
    pytest.param(
        {"registration_status": "Registered", "transport_protocol": "TLS"},
        "registration_status",
        ['{C,status="Registered",transport="TLS"} 1'],
        id="registration-status-transport",
    ),
    pytest.param(
        {"registration_status_updated_at": "2018-02-02T22:25:27Z"},
        "registration_updated_timestamp_seconds",
        ["{C} 1517610327.0"],
        id="registration-updated",
    ),
    pytest.param(
        {"registration_status_updated_at": None},
        "registration_updated_timestamp_seconds",
        [],
        id="registration-updated-null",
    ),
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
    found = samples(decode({"id": "42", "connection_name": "pbx", **row}), name, collector=ALL)
    if isinstance(expected, dict):
        (line,) = found
        missing = [pair for pair in (f'{label}="{value}"' for label, value in expected.items()) if pair not in line]
        assert not missing, f"{line} lacks {missing}"
    else:
        labels = '{connection_id="42",connection_name="pbx"'
        assert found == [name + line.replace("{C", labels, 1) for line in expected]


def test_every_family_has_a_case():
    """CASES covers each family of the connections, and each label of the info families."""
    families = {family.name.removeprefix("telnyx_connection_"): family for family in ALL.row_families}
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
