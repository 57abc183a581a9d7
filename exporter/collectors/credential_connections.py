"""Credential connections: SIP trunks that authenticate with a user name and a password.

Source of the structs: the reference of `GET /v2/credential_connections`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.collectors.collector import Collector, ListEndpoint
from exporter.collectors.connections import ConnectionRecord, connection_count, connection_filters
from exporter.collectors.families import (
    MultiGauge,
    SnapshotGauge,
    bool_as_number,
    gauge,
    host_of,
    info,
    milliseconds_as_seconds,
    nested,
    unix_time,
    whole_row,
)
from exporter.telnyx.structs import ApiObject, Id, Int, Row, ids_to_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.collectors.families import RowFamily, Sample, SnapshotFamily


class Inbound(ApiObject, frozen=True, gc=False):
    """Settings of calls from Telnyx to the connection."""

    ani_number_format: str | None = None
    dnis_number_format: str | None = None
    codecs: tuple[str, ...] | None = None
    default_routing_method: str | None = None
    channel_limit: Int | None = None
    generate_ringback_tone: bool | None = None
    isup_headers_enabled: bool | None = None
    prack_enabled: bool | None = None
    sip_compact_headers_enabled: bool | None = None
    shaken_stir_enabled: bool | None = None
    simultaneous_ringing: str | None = None
    timeout_1xx_secs: Int | None = None
    timeout_2xx_secs: Int | None = None


class Outbound(ApiObject, frozen=True, gc=False):
    """Settings of calls from the connection to Telnyx."""

    call_parking_enabled: bool | None = None
    ani_override: str | None = None
    ani_override_type: str | None = None
    channel_limit: Int | None = None
    instant_ringback_enabled: bool | None = None
    generate_ringback_tone: bool | None = None
    localization: str | None = None
    t38_reinvite_source: str | None = None
    outbound_voice_profile_id: Id | None = None

    def __post_init__(self) -> None:
        """Convert the id to text."""
        ids_to_text(self, "outbound_voice_profile_id")


class JitterBuffer(ApiObject, frozen=True, gc=False):
    """Settings of the jitter buffer, in milliseconds."""

    enable_jitter_buffer: bool | None = None
    jitterbuffer_msec_min: Int | None = None
    jitterbuffer_msec_max: Int | None = None


class NoiseSuppression(ApiObject, frozen=True, gc=False):
    """Settings of noise suppression. The attenuation limit is 0 to 100."""

    engine: str | None = None
    attenuation_limit: Int | None = None


class Rtcp(ApiObject, frozen=True, gc=False):
    """RTCP settings. The report frequency is in seconds; older responses use its old name."""

    port: str | None = None
    capture_enabled: bool | None = None
    report_frequency_secs: Int | None = None
    report_frequency_seconds: Int | None = None

    @property
    def report_interval(self) -> int | None:
        """Seconds between two RTCP reports, under either name."""
        return self.report_frequency_seconds if self.report_frequency_secs is None else self.report_frequency_secs


class Connection(Row, frozen=True, gc=False, kw_only=True):
    """One credential connection."""

    record_type: str | None = None
    active: bool | None = None
    connection_name: str | None = None
    user_name: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    anchorsite_override: str | None = None
    encrypted_media: str | None = None
    dtmf_type: str | None = None
    sip_uri_calling_preference: str | None = None
    default_on_hold_comfort_noise_enabled: bool | None = None
    encode_contact_header_enabled: bool | None = None
    onnet_t38_passthrough_enabled: bool | None = None
    call_cost_in_webhooks: bool | None = None
    ios_push_credential_id: Id | None = None
    android_push_credential_id: Id | None = None
    webhook_event_url: str | None = None
    webhook_event_failover_url: str | None = None
    webhook_api_version: str | Int | None = None
    webhook_timeout_secs: Int | None = None
    tags: tuple[str, ...] | None = None
    noise_suppression: str | None = None
    noise_suppression_details: NoiseSuppression | None = None
    jitter_buffer: JitterBuffer | None = None
    rtcp_settings: Rtcp | None = None
    inbound: Inbound | None = None
    outbound: Outbound | None = None

    def __post_init__(self) -> None:
        """Convert ids to text."""
        ids_to_text(self, "id", "ios_push_credential_id", "android_push_credential_id")

    @property
    def anchorsite(self) -> str | None:
        """The site where media enters Telnyx."""
        return self.anchorsite_override

    @property
    def media_encryption(self) -> str:
        """`SRTP`, or `none` when Telnyx sends null."""
        return self.encrypted_media or "none"

    @property
    def webhook_version(self) -> str | None:
        """The version of the webhook API as text. Telnyx sends text or a number."""
        return None if self.webhook_api_version is None else str(self.webhook_api_version)

    @property
    def webhook_host(self) -> str | None:
        """The host that receives events."""
        return host_of(self.webhook_event_url)

    @property
    def webhook_failover_host(self) -> str | None:
        """The host that receives events when the first one is unreachable."""
        return host_of(self.webhook_event_failover_url)

    @property
    def noise_suppression_engine(self) -> str | None:
        """The engine that suppresses noise."""
        return self.noise_suppression_details.engine if self.noise_suppression_details else None


def _index_record(row: Connection) -> ConnectionRecord:
    return ConnectionRecord(
        id=row.id,
        name=row.connection_name or "",
        record_type=row.record_type or "",
        active=row.active,
        anchorsite=row.anchorsite or "",
        media_encryption=row.media_encryption,
        inbound_channel_limit=_inbound(row).channel_limit,
        outbound_channel_limit=_outbound(row).channel_limit,
        updated_at=row.updated_at,
    )


def _codecs(row: Connection) -> Iterable[Sample]:
    codecs = dict.fromkeys((row.inbound and row.inbound.codecs) or ())
    return [((codec,), priority) for priority, codec in enumerate(codecs, start=1)]


def _tags(row: Connection) -> Iterable[Sample]:
    return [((tag,), 1) for tag in dict.fromkeys(row.tags or ())]


_inbound = nested("inbound", Inbound)
_outbound = nested("outbound", Outbound)
_jitter_buffer = nested("jitter_buffer", JitterBuffer)
_noise_suppression = nested("noise_suppression_details", NoiseSuppression)
_rtcp = nested("rtcp_settings", Rtcp)

# These are tables. The formatter would spread each entry over seven lines.
# fmt: off
_SNAPSHOT_FAMILIES: tuple[SnapshotFamily, ...] = (
    connection_count("credential_connection"),
    SnapshotGauge(
        "telnyx_connections_malformed", "Connections left out because they could not be decoded; the log names them.",
        (), lambda snapshot: (((), len(snapshot.unreadable)),)),
    SnapshotGauge(
        "telnyx_connections_missing",
        "Connections that the list's total includes but that none of its pages contained.",
        (), lambda snapshot: (((), snapshot.missing),)),
)
_ROW_FAMILIES: tuple[RowFamily, ...] = (
    info("telnyx_connection_info", "General settings of the connection.", whole_row,
         "record_type", "anchorsite", "encrypted_media=media_encryption", "dtmf_type", "sip_uri_calling_preference",
         "default_on_hold_comfort_noise_enabled", "encode_contact_header_enabled", "onnet_t38_passthrough_enabled",
         "ios_push_credential_id", "android_push_credential_id",
         sensitive=("user_name",)),
    gauge("telnyx_connection_active", "Whether the connection is active (1) or disabled (0).",
          whole_row, bool_as_number("active")),
    gauge("telnyx_connection_created_timestamp_seconds", "When the connection was created, in Unix seconds.",
          whole_row, unix_time("created_at")),
    gauge("telnyx_connection_updated_timestamp_seconds",
          "When a setting of the connection was last changed, in Unix seconds.",
          whole_row, unix_time("updated_at")),
    gauge("telnyx_connection_inbound_channel_limit",
          "Maximum number of concurrent calls to the connection; absent if there is no limit.",
          _inbound, "channel_limit"),
    gauge("telnyx_connection_outbound_channel_limit",
          "Maximum number of concurrent calls from the connection; absent if there is no limit.",
          _outbound, "channel_limit"),
    info("telnyx_connection_inbound_info", "Settings of calls to the connection.", _inbound,
         "ani_number_format", "dnis_number_format", "default_routing_method", "simultaneous_ringing",
         "generate_ringback_tone", "isup_headers_enabled", "prack_enabled", "sip_compact_headers_enabled",
         "shaken_stir_enabled"),
    gauge("telnyx_connection_inbound_timeout_1xx_seconds",
          "How long a call to the connection waits for the first provisional response.", _inbound, "timeout_1xx_secs"),
    gauge("telnyx_connection_inbound_timeout_2xx_seconds",
          "How long a call to the connection waits to be answered.", _inbound, "timeout_2xx_secs"),
    MultiGauge("telnyx_connection_inbound_codec_priority",
               "Position of the codec in the order of preference; 1 is the first choice.", ("codec",), _codecs),
    info("telnyx_connection_outbound_info", "Settings of calls from the connection.", _outbound,
         "ani_override_type", "localization", "t38_reinvite_source", "outbound_voice_profile_id",
         "call_parking_enabled", "instant_ringback_enabled", "generate_ringback_tone",
         sensitive=("ani_override",)),
    info("telnyx_connection_webhook_info",
         "Where events of the connection are sent; hosts only, because a URL can contain secrets.", whole_row,
         "webhook_api_version=webhook_version", "webhook_host", "webhook_failover_host", "call_cost_in_webhooks",
         sensitive=("webhook_event_url", "webhook_event_failover_url")),
    gauge("telnyx_connection_webhook_timeout_seconds",
          "How long Telnyx waits for the webhook before it uses the failover.", whole_row, "webhook_timeout_secs"),
    info("telnyx_connection_rtcp_info", "RTCP settings.", _rtcp, "port", "capture_enabled"),
    gauge("telnyx_connection_rtcp_report_interval_seconds", "Time between two RTCP reports.", _rtcp, "report_interval"),
    info("telnyx_connection_noise_suppression_info", "Direction and engine of noise suppression.", whole_row,
         "direction=noise_suppression", "engine=noise_suppression_engine"),
    gauge("telnyx_connection_noise_suppression_attenuation_limit", "Maximum attenuation of noise, 0 to 100.",
          _noise_suppression, "attenuation_limit"),
    gauge("telnyx_connection_jitter_buffer_enabled", "Whether the jitter buffer is on (1) or off (0).",
          _jitter_buffer, bool_as_number("enable_jitter_buffer")),
    gauge("telnyx_connection_jitter_buffer_min_seconds", "Minimum size of the jitter buffer.",
          _jitter_buffer, milliseconds_as_seconds("jitterbuffer_msec_min")),
    gauge("telnyx_connection_jitter_buffer_max_seconds", "Maximum size of the jitter buffer.",
          _jitter_buffer, milliseconds_as_seconds("jitterbuffer_msec_max")),
    MultiGauge("telnyx_connection_tag_info", "A tag of the connection.", ("tag",), _tags),
)
# fmt: on


COLLECTOR = Collector(
    name="credential-connections",
    title="Credential connections",
    endpoint=ListEndpoint("/credential_connections", sort="created_at", filters=connection_filters),
    row_type=Connection,
    index_type=ConnectionRecord,
    index_record=_index_record,
    identity_labels={"connection_id": "id", "connection_name": "connection_name"},
    snapshot_families=_SNAPSHOT_FAMILIES,
    row_families=_ROW_FAMILIES,
    on_by_default=True,
)
