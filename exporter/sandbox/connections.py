"""Generates believable credential connections.

They belong to nobody: hosts end in `.example`, phone numbers come from ranges that regulators reserve for fiction, and
secrets are random.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import random

Row: TypeAlias = dict[str, Any]
"""One connection, with the field names of the API."""

_CITIES = (  # each with its anchorsite, country and a phone number without the last two digits
    ("berlin", "Frankfurt, Germany", "DE", "+4930231250"),
    ("chicago", "Chicago, IL", "US", "+131255501"),
    ("london", "London, UK", "GB", "+4420794600"),
    ("manchester", "London, UK", "GB", "+4416149600"),
    ("paris", "Amsterdam, Netherlands", "FR", "+331990000"),
    ("san-jose", "San Jose, CA", "US", "+140855501"),
    ("sydney", "Sydney, Australia", "AU", "+612555000"),
    ("toronto", "Toronto, Canada", "CA", "+141655501"),
    ("vancouver", "Vancouver, Canada", "CA", "+160455501"),
    ("washington", "Ashburn, VA", "US", "+120255501"),
)
_COMPANIES = ("acme", "bluebird", "cobalt", "driftwood", "everpine", "foxglove", "granite", "harbour")
_SYSTEMS = ("pbx", "sbc", "dialer", "contact-center", "ivr", "fax", "softphones")
_ODD_NAMES = ('Café "Zürich"', "Køkken & Bar", r"Lobby \ Reception", "東京サポート", "O'Brien “Hotline” ☎")
_WEBHOOKS = (
    *(None, None, None),
    "https://telnyx.{company}.example/voice",
    "https://telnyx:{secret}@hooks.{company}.example/events",
    "https://hooks.{company}.example/services/{secret}",
    "https://hooks.{company}.example/telnyx?token={secret}",
)

CHANNEL_LIMITS = (None, 5, 10, 25, 50, 100, 250)
_HALF = (True, False)
_ONE_IN_FOUR = (True, False, False, False)
_CHOICES: Row = {
    "record_type": ("credential_connection",),
    "dtmf_type": ("RFC 2833", "RFC 2833", "RFC 2833", "RFC 2833", "Inband", "SIP INFO"),
    "default_on_hold_comfort_noise_enabled": _HALF,
    "encode_contact_header_enabled": _ONE_IN_FOUR,
    "onnet_t38_passthrough_enabled": _ONE_IN_FOUR,
    "ios_push_credential_id": (None, None, None, "7d0d8f5c-3c0a-4a55-9f0e-5f3f1c6f2a10"),
    "android_push_credential_id": (None, None, None, "b52f0a5e-0d1b-4c39-8a43-2f6c0e7d9b34"),
    "webhook_api_version": ("1", "2", "2", "2"),
    "webhook_timeout_secs": (None, 5, 10, 25),
    "call_cost_in_webhooks": _ONE_IN_FOUR,
    "tags": ([], [], [], ["production"], ["staging"], ["production", "recorded"], ["emergency", "production"]),
    "noise_suppression": ("disabled", "disabled", "inbound", "outbound", "both"),
    "noise_suppression_details": {"engine": ("denoiser", "deep_filter_net"), "attenuation_limit": (60, 80, 100)},
    "jitter_buffer": {
        "enable_jitter_buffer": _ONE_IN_FOUR,
        "jitterbuffer_msec_min": (40, 60, 80),
        "jitterbuffer_msec_max": (200, 300, 400),
    },
    "rtcp_settings": {
        "port": ("rtp+1", "rtp+1", "rtcp-mux"),
        "capture_enabled": _ONE_IN_FOUR,
        "report_frequency_secs": (5, 10, 30),
    },
    "inbound": {
        "ani_number_format": ("+E.164", "E.164", "+E.164-national"),
        "dnis_number_format": ("+e164", "e164", "national", "sip_username"),
        "codecs": (["G722", "G711U", "G711A"], ["G711U", "G711A"], ["OPUS", "G722", "G711U", "G729"]),
        "default_routing_method": ("sequential", "sequential", "round-robin"),
        "channel_limit": CHANNEL_LIMITS,
        "generate_ringback_tone": _HALF,
        "isup_headers_enabled": _ONE_IN_FOUR,
        "prack_enabled": _ONE_IN_FOUR,
        "sip_compact_headers_enabled": _HALF,
        "shaken_stir_enabled": _HALF,
        "simultaneous_ringing": ("enabled", "disabled"),
        "timeout_1xx_secs": (3, 5, 10),
        "timeout_2xx_secs": (30, 60, 90),
    },
    "outbound": {
        "call_parking_enabled": (None, False, True),
        "ani_override_type": ("always", "normal", "emergency"),
        "channel_limit": CHANNEL_LIMITS,
        "instant_ringback_enabled": _ONE_IN_FOUR,
        "generate_ringback_tone": _ONE_IN_FOUR,
        "t38_reinvite_source": ("telnyx", "telnyx", "customer"),
        "outbound_voice_profile_id": ("1293384261075731499", "1583046725390141820", "1902755384112408573"),
    },
}
"""The possible values of each field, all equally likely."""

FIRST_CREATED = 1_546_300_800_000
"""2019-01-01, in Unix milliseconds, as all creation and update times."""
LAST_CREATED = 1_780_272_000_000
"""2026-06-01."""
_ID_EPOCH = 1_288_834_974_657  # Telnyx's decimal ids look like snowflakes: milliseconds since then, then 22 other bits


def iso_time(milliseconds: int) -> str:
    """Format a time as Telnyx does, for example `2026-06-01T00:00:00.000Z`."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def nested_object(row: Row, name: str) -> Row:
    """Return an object inside the row, or an empty one if it is null."""
    nested: Row = row[name] or {}
    return nested


def merge(row: Row, fields: Row) -> Row:
    """Return a copy of the row with these fields. Nested objects are merged field by field."""
    return row | {
        name: row[name] | value if isinstance(value, dict) and isinstance(row.get(name), dict) else value
        for name, value in fields.items()
    }


def _choose(rng: random.Random, choices: Row) -> Row:
    return {
        name: _choose(rng, values) if isinstance(values, dict) else rng.choice(values)
        for name, values in choices.items()
    }


def generate(rng: random.Random, index: int, created: int) -> Row:
    """Generate a connection. Rare states depend on the index, so that small accounts contain them too."""

    def is_nth(every: int, first: int) -> bool:
        return index % every == first

    city, anchorsite, country, number = rng.choice(_CITIES)
    company = rng.choice(_COMPANIES)
    name = rng.choice(_ODD_NAMES) + " " if is_nth(12, 3) else f"{company}-{city}-{rng.choice(_SYSTEMS)}-"
    secret = f"{rng.getrandbits(96):024x}"
    event_url, failover_url = (
        url and url.format(company=company, secret=secret) for url in (rng.choice(_WEBHOOKS), rng.choice(_WEBHOOKS))
    )
    fields = {
        "id": str((created - _ID_EPOCH) << 22 | rng.getrandbits(22)),
        "active": not is_nth(11, 4),
        "connection_name": f"{name}{index + 1:02}",
        "user_name": f"{company}{rng.randrange(10_000, 100_000)}",
        "password": f"{rng.getrandbits(80):020x}",
        "created_at": iso_time(created),
        "updated_at": iso_time(max(created, rng.randrange(FIRST_CREATED, LAST_CREATED))),
        "anchorsite_override": rng.choice((anchorsite, "Latency", "Latency")),
        "encrypted_media": None if is_nth(8, 1) else "SRTP",
        "sip_uri_calling_preference": "unrestricted" if is_nth(20, 7) else rng.choice(("disabled", "internal")),
        "webhook_event_url": event_url,
        "webhook_event_failover_url": event_url and failover_url,
        "outbound": {
            "ani_override": rng.choice((f"{number}{rng.randrange(100):02}", None, None)),
            "localization": country,
        },
    }
    return merge(_choose(rng, _CHOICES), fields)
