"""Outbound voice profiles: which calls connections can place, how many, and how much they can cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.collectors.collector import Collector, ListEndpoint
from exporter.collectors.families import MultiGauge, bool_as_number, decimal, gauge, info, whole_row
from exporter.collectors.index import Difference, IndexRecord, values_changed
from exporter.telnyx.structs import ApiObject, Decimal, Id, Int, Row, ids_to_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from exporter.collectors.families import Sample


class CallRecording(ApiObject, frozen=True, gc=False):
    """Which calls are recorded. The numbers of recorded callers are personal data, so they are not declared."""

    call_recording_type: str | None = None


class OutboundVoiceProfile(Row, frozen=True, gc=False, kw_only=True):
    """One outbound voice profile."""

    name: str | None = None
    enabled: bool | None = None
    service_plan: str | None = None
    traffic_type: str | None = None
    usage_payment_method: str | None = None
    billing_group_id: Id | None = None
    call_recording: CallRecording | None = None
    concurrent_call_limit: Int | None = None
    daily_spend_limit_enabled: bool | None = None
    daily_spend_limit: Decimal | None = None
    max_destination_rate: Decimal | None = None
    connections_count: Int | None = None
    whitelisted_destinations: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Convert ids to text."""
        ids_to_text(self, "id", "billing_group_id")

    @property
    def call_recording_type(self) -> str | None:
        """Which calls are recorded, such as `all`."""
        return self.call_recording.call_recording_type if self.call_recording else None

    @property
    def effective_daily_spend_limit(self) -> Decimal | None:
        """The daily spend limit. None if it is off."""
        return self.daily_spend_limit if self.daily_spend_limit_enabled else None


class ProfileRecord(IndexRecord, frozen=True, gc=False, array_like=True):
    """The attributes of a profile whose changes are logged."""

    enabled: bool | None
    concurrent_call_limit: int | None
    daily_spend_limit_enabled: bool | None
    daily_spend_limit: float | None
    max_destination_rate: float | None

    def changes_since(self, previous: Self) -> Iterable[Difference]:
        """Return what changed: the state or the limits of calls, spend and prices."""
        if self.enabled is not None and self.enabled != previous.enabled:
            yield Difference("enabled" if self.enabled else "disabled")
        limits = values_changed(
            ("concurrent calls", previous.concurrent_call_limit, self.concurrent_call_limit),
            ("daily spend limit", previous.daily_spend_limit_enabled, self.daily_spend_limit_enabled),
            ("USD per day", previous.daily_spend_limit, self.daily_spend_limit),
            ("USD per minute", previous.max_destination_rate, self.max_destination_rate),
        )
        if limits:
            yield Difference("limits_changed", limits)


_daily_spend_limit = decimal("effective_daily_spend_limit")
_max_destination_rate = decimal("max_destination_rate")


def _index_record(row: OutboundVoiceProfile) -> ProfileRecord:
    return ProfileRecord(
        id=row.id,
        name=row.name or "",
        enabled=row.enabled,
        concurrent_call_limit=row.concurrent_call_limit,
        daily_spend_limit_enabled=row.daily_spend_limit_enabled,
        daily_spend_limit=_daily_spend_limit(row),
        max_destination_rate=_max_destination_rate(row),
    )


def _destinations(row: OutboundVoiceProfile) -> Iterable[Sample]:
    return [((country,), 1) for country in dict.fromkeys(row.whitelisted_destinations or ())]


# This is a table. The formatter would spread each entry over several lines.
# fmt: off
COLLECTOR = Collector(
    name="outbound-voice-profiles",
    title="Outbound voice profiles",
    endpoint=ListEndpoint("/outbound_voice_profiles", sort="created_at"),
    row_type=OutboundVoiceProfile,
    index_type=ProfileRecord,
    index_record=_index_record,
    identity_labels={"profile_id": "id", "profile_name": "name"},
    row_families=(
        info("telnyx_outbound_voice_profile_info", "General settings of the profile.", whole_row,
             "service_plan", "traffic_type", "usage_payment_method", "billing_group_id", "call_recording_type"),
        gauge("telnyx_outbound_voice_profile_enabled",
              "Whether the profile is enabled (1) or not (0). If not, its connections can't place calls.",
              whole_row, bool_as_number("enabled")),
        gauge("telnyx_outbound_voice_profile_concurrent_call_limit",
              "Maximum number of concurrent calls with the profile; absent if there is no limit.",
              whole_row, "concurrent_call_limit"),
        gauge("telnyx_outbound_voice_profile_daily_spend_limit_enabled",
              "Whether the daily spend limit is on (1) or not (0).",
              whole_row, bool_as_number("daily_spend_limit_enabled")),
        gauge("telnyx_outbound_voice_profile_daily_spend_limit_usd",
              "Maximum spend per day, in USD; absent if the limit is off.", whole_row, _daily_spend_limit),
        gauge("telnyx_outbound_voice_profile_max_destination_rate_usd",
              "Maximum price of a minute of a call, in USD; absent if there is no limit.",
              whole_row, _max_destination_rate),
        gauge("telnyx_outbound_voice_profile_connections", "Number of connections that use the profile.",
              whole_row, "connections_count"),
        MultiGauge("telnyx_outbound_voice_profile_destination_info",
                   "Country that the profile can call, as a two-letter ISO 3166 code.",
                   ("country",), _destinations),
    ),
)
# fmt: on
