"""Connections of all types: the structs of their rows.

A connection is a SIP trunk, or an application that takes calls. Telnyx has a list for each type, and most settings
occur in several of them.

Source of the structs: the reference of `GET /v2/credential_connections` and of the lists beside it.
"""

from __future__ import annotations

from typing import ClassVar

from exporter.collectors.families import host_of
from exporter.telnyx.structs import ApiObject, Id, Int, Row, ids_to_text


class Inbound(ApiObject, frozen=True, gc=False):
    """Settings of calls from Telnyx to the connection."""

    ani_number_format: str | None = None
    dnis_number_format: str | None = None
    codecs: tuple[str, ...] | None = None
    default_routing_method: str | None = None
    channel_limit: Int | None = None
    generate_ringback_tone: bool | None = None
    instant_ringback_enabled: bool | None = None
    isup_headers_enabled: bool | None = None
    prack_enabled: bool | None = None
    sip_compact_headers_enabled: bool | None = None
    shaken_stir_enabled: bool | None = None
    simultaneous_ringing: str | None = None
    sip_region: str | None = None
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
    fqdn_authentication_method: str | None = None
    ip_authentication_method: str | None = None

    def __post_init__(self) -> None:
        """Convert the id to text."""
        ids_to_text(self, "outbound_voice_profile_id")

    @property
    def authentication_method(self) -> str | None:
        """How calls are authenticated, under either name."""
        return self.fqdn_authentication_method or self.ip_authentication_method


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


ANCHORSITES = (
    *("Latency", "Chicago, IL", "Ashburn, VA", "San Jose, CA", "Sydney, Australia", "Amsterdam, Netherlands"),
    *("London, UK", "Toronto, Canada", "Vancouver, Canada", "Frankfurt, Germany"),
)
"""The sites that Telnyx documents."""
NOT_A_SETTING = ("",)
"""The documented values of a setting that connections of a type lack."""
_REGISTERED = {"Registered": True, "Not Registered": False, "Unregistered": False, "Expired": False, "Failed": False}
"""Whether a SIP registration exists, by status. Any other status, such as `Not Applicable`, does not say."""


class Connection(Row, frozen=True, gc=False, kw_only=True):
    """A connection of any type. Each type is a subclass."""

    documented_type: ClassVar[str] = ""
    """The `record_type` of the connections in the list."""
    documented_anchorsites: ClassVar[tuple[str, ...]] = ANCHORSITES
    documented_encryptions: ClassVar[tuple[str, ...]] = ("SRTP", "none")
    """Values of `media_encryption`. The last one is that of connections for which Telnyx sends null."""

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
    conversation_persistence: bool | None = None
    bridge_generate_comfort_noise_on_cn: bool | None = None
    third_party_control_enabled: bool | None = None
    microsoft_teams_sbc: bool | None = None
    transport_protocol: str | None = None
    registration_status: str | None = None
    registration_status_updated_at: str | None = None
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
    def type(self) -> str:
        """The record type. If Telnyx does not send it, the one of the list."""
        return self.record_type or self.documented_type

    @property
    def anchorsite(self) -> str | None:
        """The site where media enters Telnyx."""
        return self.anchorsite_override

    @property
    def media_encryption(self) -> str:
        """`SRTP`, or `none` when Telnyx sends null. Empty if connections of the type have no such setting."""
        return self.encrypted_media or self.documented_encryptions[-1]

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

    @property
    def transport(self) -> str | None:
        """The transport protocol of SIP messages."""
        return self.transport_protocol

    @property
    def sip_region(self) -> str | None:
        """The region whose SIP servers send calls to the connection."""
        return self.inbound.sip_region if self.inbound else None

    @property
    def outbound_authentication(self) -> str | None:
        """How calls from the connection are authenticated."""
        return self.outbound.authentication_method if self.outbound else None

    @property
    def registered(self) -> bool | None:
        """Whether a SIP registration exists. None if the status does not say."""
        return _REGISTERED.get(self.registration_status or "")
