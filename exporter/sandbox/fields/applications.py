"""The fields of applications, which receive calls or faxes by webhook."""

from __future__ import annotations

from exporter.sandbox.rows import (
    ANCHORSITE,
    DTMF_TYPES,
    HALF,
    ONE_IN_FOUR,
    SUBDOMAIN,
    TRUNK,
    WEBHOOKS,
    Fields,
    maybe,
    merge,
    name,
    url,
)

_APPLICATION: Fields = merge(TRUNK | ANCHORSITE, {"inbound": SUBDOMAIN})
_VOICE: Fields = merge(
    _APPLICATION,
    {
        "call_cost_in_webhooks": ONE_IN_FOUR,
        "dtmf_type": DTMF_TYPES,
        "first_command_timeout": ONE_IN_FOUR,
        "first_command_timeout_secs": (10, 30, 60),
        "inbound": {"shaken_stir_enabled": HALF},
    },
)

CALL_CONTROL: Fields = _VOICE | {
    "record_type": ("call_control_application",),
    "application_name": name("assistant", "bot", "dialer", "queue", "voicemail"),
    "redact_dtmf_debug_logging": ONE_IN_FOUR,
    "webhook_api_version": ("1", "2", "2", "2"),
    **WEBHOOKS,
}
TEXML: Fields = _VOICE | {
    "record_type": ("texml_application",),
    "friendly_name": name("hotline", "ivr", "survey", "switchboard"),
    "status_callback": maybe(url),
    "voice_url": url,
    "voice_fallback_url": maybe(url),
}
FAX: Fields = _APPLICATION | {
    "record_type": ("fax_application",),
    "application_name": name("fax", "invoices", "orders"),
    **WEBHOOKS,
}
