import re
from collections import Counter
from pathlib import Path

import pytest
from connections import decode_page
from sandbox_client import fields_of, get

from exporter.sandbox import Account
from exporter.telnyx.lists.pages import UnreadableRow

ALERTS = Path(__file__).parents[3] / "docs" / "alerts.md"
CREDENTIAL = "/credential_connections"
REGISTERING = (CREDENTIAL, "/uac_connections")
REGISTRATION = {"registration_status", "registration_status_updated_at"}
SUBDOMAIN = {"inbound.sip_region", "inbound.sip_subdomain", "inbound.sip_subdomain_receive_settings"}
ENDPOINT = SUBDOMAIN | {"transport_protocol", "outbound.ip_authentication_token", "outbound.tech_prefix"}
UNRESTRICTED = {"sip_uri_calling_preference", "inbound.simultaneous_ringing"}
SEEN_LIVE = {"third_party_control_enabled", "inbound.instant_ringback_enabled"}
RANKS = ("primary", "secondary", "tertiary")

DIFFERENCES = {
    "/ip_connections": (
        {"user_name", "password"} | UNRESTRICTED | REGISTRATION | SEEN_LIVE,
        {"outbound.ip_authentication_method", *(f"inbound.default_{rank}_ip_id" for rank in RANKS)} | ENDPOINT,
    ),
    "/fqdn_connections": (
        UNRESTRICTED | REGISTRATION | SEEN_LIVE - {"third_party_control_enabled"},
        ENDPOINT
        | {f"inbound.default_{rank}_fqdn_id" for rank in RANKS}
        | {"outbound.encrypted_media", "outbound.fqdn_authentication_method"}
        | {"outbound.timeout_1xx_secs", "outbound.timeout_2xx_secs"}
        | {"microsoft_teams_sbc", "call_cost_enabled", "adjust_dtmf_timestamp", "ignore_dtmf_duration"}
        | {"ignore_mark_bit", "rtp_pass_codecs_on_stream_change", "send_normalized_timestamps"}
        | {"txt_name", "txt_ttl", "txt_value"},
    ),
    "/uac_connections": (
        {"conversation_persistence"} | SEEN_LIVE,
        SUBDOMAIN
        | {"authentication", "fqdn", "fqdns", "internal_uac_settings.destination_uri"}
        | {f"external_uac_settings.{name}" for name in ("username", "password", "auth_username", "from_user")}
        | {f"external_uac_settings.{name}" for name in ("proxy", "outbound_proxy", "transport", "expiration_sec")},
    ),
}
"""The fields that connections lack, and those that they add, compared with credential connections."""


@pytest.mark.parametrize("path", DIFFERENCES)
def test_fields_differ_from_credential_connections(account, path):
    """A kind of SIP connection has the fields of credential connections, except those that it lacks or adds."""
    common = set(fields_of(account.rows[0]))
    lacking, added = DIFFERENCES[path]
    assert all(common - set(fields_of(row)) == lacking for row in account[path].rows)
    assert all(set(fields_of(row)) - common == added for row in account[path].rows)


def test_fields_of_external_connections(account):
    """External connections have few fields, and no name."""
    assert {name for row in account["/external_connections"].rows for name in fields_of(row)} == {
        *("id", "record_type", "active", "created_at", "updated_at", "tags"),
        *("credential_active", "external_sip_connection"),
        *("inbound.channel_limit", "outbound.channel_limit", "outbound.outbound_voice_profile_id"),
        *("webhook_api_version", "webhook_event_url", "webhook_event_failover_url", "webhook_timeout_secs"),
    }


async def test_rows_are_readable(account, connection_path):
    """The decoder of credential connections reads the rows of all kinds, because shared fields have the same types."""
    rows = decode_page((await get(account, f"/v2{connection_path}")).content).rows
    assert len(rows) == len(account[connection_path].rows)
    assert not [row for row in rows if isinstance(row, UnreadableRow)]


@pytest.mark.parametrize("seed", range(5))
def test_account_has_what_graphs_and_alerts_need(seed):
    """With any seed, some of the 55 connections are disabled, unencrypted, unrestricted, limited or unlimited.

    Some have unusual names. Those with the tag that mutes alerts are disabled.
    """
    rows = Account(seed=seed, step=0).rows
    assert len(rows) == 55
    assert 3 <= sum(not row["active"] for row in rows) <= 8
    assert 3 <= sum(row["encrypted_media"] is None for row in rows) <= 10
    assert sum(row["sip_uri_calling_preference"] == "unrestricted" for row in rows) in {2, 3}
    sites = Counter(row["anchorsite_override"] for row in rows)
    assert sites.most_common(1)[0][0] == "Latency"
    assert len(sites) > 3
    limits = [row["inbound"]["channel_limit"] for row in rows]
    assert None in limits
    assert len(set(limits)) > 3
    assert 3 <= sum(not re.fullmatch(r"[a-z-]+-\d\d", row["connection_name"]) for row in rows) <= 6
    assert any(row["outbound"]["ani_override"] for row in rows)
    assert any(row["webhook_event_url"] for row in rows)
    assert all(row["webhook_event_url"] for row in rows if row["webhook_event_failover_url"])
    assert any(row["tags"] for row in rows)
    muted = [row for row in rows if "no-alert" in row["tags"]]
    assert muted
    assert not any(row["active"] for row in muted)


def test_the_documentation_names_a_muted_connection():
    """The demo has two connections whose tag mutes their alerts, and docs/alerts.md names one of them."""
    muted = [row["connection_name"] for row in Account().rows if "no-alert" in row["tags"]]
    assert len(muted) == 2
    assert sum(f"such as `{name}`" in ALERTS.read_text() for name in muted) == 1


@pytest.mark.parametrize("path", REGISTERING)
def test_most_connections_are_registered(path):
    """Most connections are registered, and all other states occur. A connection without a state has no time of it."""
    rows = Account(2000, step=0)[path].rows
    states = Counter(row["registration_status"] for row in rows)
    assert set(states) == {"Registered", "Not Registered", "Expired", "Failed", None}
    assert states["Registered"] > len(rows) * 0.7
    for row in rows:
        changed = row["registration_status_updated_at"]
        assert changed is None if row["registration_status"] is None else changed >= row["created_at"]


def test_small_accounts_have_lost_registrations(account):
    """In the default account, both kinds that have a registration contain a lost one and an unknown one."""
    for path in REGISTERING:
        states = {row["registration_status"] for row in account[path].rows}
        assert states >= {"Registered", None}
        assert states & {"Not Registered", "Expired", "Failed"}


def test_the_hosts_of_a_uac_connection_belong_to_it(account):
    """The FQDN of a UAC connection is also in its list of FQDNs, which refers to the connection."""
    for row in account["/uac_connections"].rows:
        (fqdn,) = row["fqdns"]
        assert (fqdn["fqdn"], fqdn["connection_id"], fqdn["record_type"]) == (row["fqdn"], row["id"], "fqdn")
        assert row["fqdn"].endswith(".example")


def test_logins_are_unique():
    """Even in a large account, each credential connection has another user name."""
    names = [row["user_name"] for row in Account(10_000, step=0).rows]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        ("/ip_connections", "transport_protocol", {"UDP", "TCP", "TLS"}),
        ("/ip_connections", "inbound.sip_region", {"US", "Europe", "Australia"}),
        ("/ip_connections", "outbound.ip_authentication_method", {"tech-prefixp-charge-info", "token"}),
        (
            "/fqdn_connections",
            "outbound.fqdn_authentication_method",
            {"ip-authentication", "credential-authentication"},
        ),
        ("/fqdn_connections", "outbound.encrypted_media", {"SRTP", None}),
        ("/fqdn_connections", "microsoft_teams_sbc", {True, False}),
        ("/uac_connections", "external_uac_settings.transport", {"UDP", "TLS", "TCP", None}),
        ("/external_connections", "external_sip_connection", {"zoom", "operator_connect"}),
        ("/external_connections", "credential_active", {True, False}),
        (CREDENTIAL, "conversation_persistence", {True, False}),
        (CREDENTIAL, "bridge_generate_comfort_noise_on_cn", {True, False}),
        (CREDENTIAL, "third_party_control_enabled", {True, False}),
        (CREDENTIAL, "inbound.instant_ringback_enabled", {True, False}),
    ],
)
def test_enumerations_are_complete(path, name, values):
    """Every value that the API documents for a field occurs."""
    assert {fields_of(row)[name] for row in Account(500, step=0)[path].rows} == values
