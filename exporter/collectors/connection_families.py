"""Connections of all types: their metric families, in groups.

A type of connection has a group if it has one of the group's settings. Labels of other settings are then empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.collectors.connection_rows import Inbound, JitterBuffer, NoiseSuppression, Outbound, Rtcp
from exporter.collectors.families import (
    MultiGauge,
    bool_as_number,
    gauge,
    info,
    milliseconds_as_seconds,
    nested,
    unix_time,
    whole_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.collectors.connection_rows import Connection
    from exporter.collectors.families import RowFamily, Sample


def _codecs(row: Connection) -> Iterable[Sample]:
    codecs = dict.fromkeys((row.inbound and row.inbound.codecs) or ())
    return [((codec,), priority) for priority, codec in enumerate(codecs, start=1)]


def _tags(row: Connection) -> Iterable[Sample]:
    return [((tag,), 1) for tag in dict.fromkeys(row.tags or ())]


def _registration_status(row: Connection) -> Iterable[Sample]:
    return [((row.registration_status, row.transport), 1)] if row.registration_status else ()


_inbound = nested("inbound", Inbound)
_outbound = nested("outbound", Outbound)
_jitter_buffer = nested("jitter_buffer", JitterBuffer)
_noise_suppression = nested("noise_suppression_details", NoiseSuppression)
_rtcp = nested("rtcp_settings", Rtcp)

# These are tables. The formatter would spread each entry over seven lines.
# fmt: off
GENERAL: tuple[RowFamily, ...] = (
    info("telnyx_connection_info", "General settings of the connection.", whole_row,
         "record_type=type", "anchorsite", "encrypted_media=media_encryption", "dtmf_type",
         "sip_uri_calling_preference", "default_on_hold_comfort_noise_enabled", "encode_contact_header_enabled",
         "onnet_t38_passthrough_enabled", "ios_push_credential_id", "android_push_credential_id",
         "conversation_persistence", "bridge_generate_comfort_noise_on_cn", "third_party_control_enabled",
         sensitive=("user_name",)),
    gauge("telnyx_connection_active", "Whether the connection is active (1) or not (0).",
          whole_row, bool_as_number("active")),
    gauge("telnyx_connection_created_timestamp_seconds", "Time when the connection was created, in Unix seconds.",
          whole_row, unix_time("created_at")),
    gauge("telnyx_connection_updated_timestamp_seconds",
          "Time when a setting of the connection last changed, in Unix seconds.",
          whole_row, unix_time("updated_at")),
    gauge("telnyx_connection_inbound_channel_limit",
          "Maximum number of concurrent calls to the connection; absent if there is no limit.",
          _inbound, "channel_limit"),
    gauge("telnyx_connection_outbound_channel_limit",
          "Maximum number of concurrent calls from the connection; absent if there is no limit.",
          _outbound, "channel_limit"),
)
INBOUND: tuple[RowFamily, ...] = (
    info("telnyx_connection_inbound_info", "Settings for calls to the connection.", _inbound,
         "ani_number_format", "dnis_number_format", "default_routing_method", "simultaneous_ringing",
         "generate_ringback_tone", "isup_headers_enabled", "prack_enabled", "sip_compact_headers_enabled",
         "shaken_stir_enabled", "instant_ringback_enabled"),
)
TIMEOUTS_AND_CODECS: tuple[RowFamily, ...] = (
    gauge("telnyx_connection_inbound_timeout_1xx_seconds",
          "Timeout for the first provisional response (1xx) to a call to the connection, in seconds.",
          _inbound, "timeout_1xx_secs"),
    gauge("telnyx_connection_inbound_timeout_2xx_seconds",
          "Timeout for the answer (2xx) to a call to the connection, in seconds.", _inbound, "timeout_2xx_secs"),
    MultiGauge("telnyx_connection_inbound_codec_priority",
               "Position of the codec in the order of preference, from 1.", ("codec",), _codecs),
)
OUTBOUND: tuple[RowFamily, ...] = (
    info("telnyx_connection_outbound_info", "Settings for calls from the connection.", _outbound,
         "ani_override_type", "localization", "t38_reinvite_source", "outbound_voice_profile_id",
         "call_parking_enabled", "instant_ringback_enabled", "generate_ringback_tone",
         sensitive=("ani_override",)),
)
WEBHOOK: tuple[RowFamily, ...] = (
    info("telnyx_connection_webhook_info",
         "Webhook settings of the connection. URLs can contain secrets, so only their hosts are shown by default.",
         whole_row,
         "webhook_api_version=webhook_version", "webhook_host", "webhook_failover_host", "call_cost_in_webhooks",
         sensitive=("webhook_event_url", "webhook_event_failover_url")),
)
WEBHOOK_TIMEOUT: tuple[RowFamily, ...] = (
    gauge("telnyx_connection_webhook_timeout_seconds",
          "Timeout of the webhook, after which Telnyx uses the failover, in seconds.",
          whole_row, "webhook_timeout_secs"),
)
MEDIA: tuple[RowFamily, ...] = (
    info("telnyx_connection_rtcp_info", "RTCP settings of the connection.", _rtcp, "port", "capture_enabled"),
    gauge("telnyx_connection_rtcp_report_interval_seconds", "Interval of RTCP reports, in seconds.",
          _rtcp, "report_interval"),
    info("telnyx_connection_noise_suppression_info", "Noise suppression settings of the connection.", whole_row,
         "direction=noise_suppression", "engine=noise_suppression_engine"),
    gauge("telnyx_connection_noise_suppression_attenuation_limit", "Maximum attenuation of noise, from 0 to 100.",
          _noise_suppression, "attenuation_limit"),
    gauge("telnyx_connection_jitter_buffer_enabled", "Whether the jitter buffer is on (1) or not (0).",
          _jitter_buffer, bool_as_number("enable_jitter_buffer")),
    gauge("telnyx_connection_jitter_buffer_min_seconds", "Minimum size of the jitter buffer, in seconds.",
          _jitter_buffer, milliseconds_as_seconds("jitterbuffer_msec_min")),
    gauge("telnyx_connection_jitter_buffer_max_seconds", "Maximum size of the jitter buffer, in seconds.",
          _jitter_buffer, milliseconds_as_seconds("jitterbuffer_msec_max")),
)
TRANSPORT: tuple[RowFamily, ...] = (
    info("telnyx_connection_transport_info", "SIP transport and authentication of the connection.", whole_row,
         "transport_protocol=transport", "sip_region", "outbound_authentication", "microsoft_teams_sbc"),
)
REGISTRATION: tuple[RowFamily, ...] = (
    gauge("telnyx_connection_registered",
          "Whether the connection has a SIP registration (1) or not (0); absent if unknown.",
          whole_row, bool_as_number("registered")),
    MultiGauge("telnyx_connection_registration_status", "SIP registration status of the connection.",
               ("status", "transport"), _registration_status),
    gauge("telnyx_connection_registration_updated_timestamp_seconds",
          "Time when the SIP registration status last changed, in Unix seconds.",
          whole_row, unix_time("registration_status_updated_at")),
)
TAGS: tuple[RowFamily, ...] = (
    MultiGauge("telnyx_connection_tag_info", "Tag of the connection.", ("tag",), _tags),
)
# fmt: on

SIP_TRUNK = (*GENERAL, *INBOUND, *TIMEOUTS_AND_CODECS, *OUTBOUND, *WEBHOOK, *WEBHOOK_TIMEOUT, *MEDIA)
"""The groups that all SIP trunks have."""
