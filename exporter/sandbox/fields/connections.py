"""The fields of SIP connections: what a client registers with, and what carries its calls."""

from __future__ import annotations

from operator import attrgetter

from exporter.sandbox.rows import (
    ANCHORSITE,
    DTMF_TYPES,
    HALF,
    ONE_IN_FOUR,
    SUBDOMAIN,
    TRUNK,
    WEBHOOKS,
    Fields,
    draw,
    every,
    host,
    login,
    maybe,
    merge,
    name,
    other_id,
    phone_number,
    secret,
    time_since_creation,
    unique_login,
)

_WEBHOOKS = WEBHOOKS | {"webhook_api_version": ("1", "2", "2", "2")}
_SIP: Fields = merge(
    TRUNK | ANCHORSITE | _WEBHOOKS,
    {
        "connection_name": name("pbx", "sbc", "dialer", "contact-center", "ivr", "fax", "softphones"),
        "encrypted_media": every(8, 1, (None,), ("SRTP",)),
        "dtmf_type": DTMF_TYPES,
        "default_on_hold_comfort_noise_enabled": HALF,
        "bridge_generate_comfort_noise_on_cn": ONE_IN_FOUR,
        "encode_contact_header_enabled": ONE_IN_FOUR,
        "onnet_t38_passthrough_enabled": ONE_IN_FOUR,
        "ios_push_credential_id": (None, None, None, "7d0d8f5c-3c0a-4a55-9f0e-5f3f1c6f2a10"),
        "android_push_credential_id": (None, None, None, "b52f0a5e-0d1b-4c39-8a43-2f6c0e7d9b34"),
        "call_cost_in_webhooks": ONE_IN_FOUR,
        "noise_suppression": ("disabled", "disabled", "inbound", "outbound", "both"),
        "noise_suppression_details": {"engine": ("denoiser", "deep_filter_net"), "attenuation_limit": (60, 80, 100)},
        "jitter_buffer": {
            "enable_jitter_buffer": ONE_IN_FOUR,
            "jitterbuffer_msec_min": (40, 60, 80),
            "jitterbuffer_msec_max": (200, 300, 400),
        },
        "rtcp_settings": {
            "port": ("rtp+1", "rtp+1", "rtcp-mux"),
            "capture_enabled": ONE_IN_FOUR,
            "report_frequency_secs": (5, 10, 30),
        },
        "inbound": {
            "ani_number_format": ("+E.164", "E.164", "+E.164-national"),
            "dnis_number_format": ("+e164", "e164", "national", "sip_username"),
            "codecs": (["G722", "G711U", "G711A"], ["G711U", "G711A"], ["OPUS", "G722", "G711U", "G729"]),
            "default_routing_method": ("sequential", "sequential", "round-robin"),
            "generate_ringback_tone": HALF,
            "isup_headers_enabled": ONE_IN_FOUR,
            "prack_enabled": ONE_IN_FOUR,
            "sip_compact_headers_enabled": HALF,
            "shaken_stir_enabled": HALF,
            "timeout_1xx_secs": (3, 5, 10),
            "timeout_2xx_secs": (30, 60, 90),
        },
        "outbound": {
            "call_parking_enabled": (None, False, True),
            "ani_override": maybe(phone_number),
            "ani_override_type": ("always", "normal", "emergency"),
            "instant_ringback_enabled": ONE_IN_FOUR,
            "generate_ringback_tone": ONE_IN_FOUR,
            "localization": attrgetter("country"),
            "t38_reinvite_source": ("telnyx", "telnyx", "customer"),
        },
    },
)
"""The fields that credential, IP, FQDN and UAC connections have in common."""

_LOGIN: Fields = {"user_name": unique_login, "password": secret}
_REGISTRATION: Fields = {
    "sip_uri_calling_preference": every(20, 7, ("unrestricted",), ("disabled", "internal")),
    "registration_status": every(13, 6, (None,), every(9, 2, ("Not Registered", "Expired", "Failed"), ("Registered",))),
    "registration_status_updated_at": every(13, 6, (None,), time_since_creation),
    "inbound": {"simultaneous_ringing": ("enabled", "disabled")},
}
"""The fields of connections that register, or whose clients do."""
_ENDPOINT: Fields = {
    "conversation_persistence": ONE_IN_FOUR,
    "transport_protocol": ("UDP", "TCP", "TLS"),
    "inbound": {"sip_region": ("US", "Europe", "Australia"), **SUBDOMAIN},
    "outbound": {"ip_authentication_token": secret, "tech_prefix": maybe(secret)},
}
"""The fields of connections to servers with a fixed address."""

CREDENTIAL: Fields = merge(
    merge(_SIP, _LOGIN | _REGISTRATION),
    {
        "record_type": ("credential_connection",),
        "conversation_persistence": ONE_IN_FOUR,
        "third_party_control_enabled": ONE_IN_FOUR,
        "inbound": {"instant_ringback_enabled": ONE_IN_FOUR},
    },
)
IP: Fields = merge(
    merge(_SIP, _ENDPOINT),
    {
        "record_type": ("ip_connection",),
        "inbound": {f"default_{rank}_ip_id": maybe(other_id) for rank in ("primary", "secondary", "tertiary")},
        "outbound": {"ip_authentication_method": ("tech-prefixp-charge-info", "token")},
    },
)
FQDN: Fields = merge(
    merge(_SIP, _LOGIN | _ENDPOINT),
    {
        "record_type": ("fqdn_connection",),
        "adjust_dtmf_timestamp": ONE_IN_FOUR,
        "call_cost_enabled": ONE_IN_FOUR,
        "ignore_dtmf_duration": ONE_IN_FOUR,
        "ignore_mark_bit": ONE_IN_FOUR,
        "microsoft_teams_sbc": ONE_IN_FOUR,
        "rtp_pass_codecs_on_stream_change": ONE_IN_FOUR,
        "send_normalized_timestamps": HALF,
        "third_party_control_enabled": ONE_IN_FOUR,
        "txt_name": lambda draft: f"_telnyx.{host(draft)}",
        "txt_ttl": (300, 3600),
        "txt_value": secret,
        "inbound": {f"default_{rank}_fqdn_id": maybe(other_id) for rank in ("primary", "secondary", "tertiary")},
        "outbound": {
            "encrypted_media": ("SRTP", None),
            "fqdn_authentication_method": ("ip-authentication", "credential-authentication"),
            "timeout_1xx_secs": (3, 5, 10),
            "timeout_2xx_secs": (30, 60, 90),
        },
    },
)
_HOST: Fields = {
    "id": other_id,
    "record_type": ("fqdn",),
    "connection_id": attrgetter("id"),
    "fqdn": host,
    "port": (5060, 5061),
    "dns_record_type": ("a", "srv"),
    "created_at": attrgetter("created_at"),
    "updated_at": time_since_creation,
}
UAC: Fields = merge(
    merge(_SIP, _LOGIN | _REGISTRATION),
    {
        "record_type": ("uac_connection",),
        "authentication": ("uac-authentication",),
        "fqdn": host,
        "fqdns": lambda draft: [draw(draft, _HOST)],
        "external_uac_settings": {
            "username": login,
            "password": secret,
            "auth_username": maybe(login),
            "from_user": maybe(login),
            "proxy": host,
            "outbound_proxy": maybe(lambda draft: f"proxy.{host(draft)}"),
            "transport": ("UDP", "TLS", "TCP", None),
            "expiration_sec": (None, 120, 600, 3600),
        },
        "internal_uac_settings": {"destination_uri": lambda draft: f"{login(draft)}@{host(draft)}"},
        "inbound": {"sip_region": ("US", "Europe", "Australia"), **SUBDOMAIN},
    },
)
EXTERNAL: Fields = merge(
    TRUNK | _WEBHOOKS,
    {
        "record_type": ("external_connection",),
        "credential_active": (True, True, True, False),
        "external_sip_connection": ("zoom", "operator_connect"),
    },
)
