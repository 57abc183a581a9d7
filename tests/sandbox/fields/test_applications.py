import pytest
from sandbox_client import fields_of

SHARED = {
    *("id", "record_type", "active", "created_at", "updated_at", "tags", "anchorsite_override"),
    *("inbound.channel_limit", "inbound.sip_subdomain", "inbound.sip_subdomain_receive_settings"),
    *("outbound.channel_limit", "outbound.outbound_voice_profile_id"),
}
VOICE = SHARED | {
    *("call_cost_in_webhooks", "dtmf_type", "first_command_timeout", "first_command_timeout_secs"),
    "inbound.shaken_stir_enabled",
}
WEBHOOKS = {"webhook_event_url", "webhook_event_failover_url", "webhook_timeout_secs"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (
            "/call_control_applications",
            VOICE | WEBHOOKS | {"application_name", "redact_dtmf_debug_logging", "webhook_api_version"},
        ),
        ("/texml_applications", VOICE | {"friendly_name", "voice_url", "voice_fallback_url", "status_callback"}),
        ("/fax_applications", SHARED | WEBHOOKS | {"application_name"}),
    ],
)
def test_fields(account, path, fields):
    """A kind of application has exactly the fields that the API documents."""
    assert all(set(fields_of(row)) == fields for row in account[path].rows)


def test_a_texml_application_has_a_voice_url(account):
    """Every TeXML application has a URL for calls. Only the other URLs can be null."""
    rows = account["/texml_applications"].rows
    assert all(row["voice_url"] for row in rows)
    assert {None} < {row["status_callback"] for row in rows}
