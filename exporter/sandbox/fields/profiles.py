"""The fields of outbound voice profiles, which say how their connections may call out."""

from __future__ import annotations

from exporter.sandbox.rows import PROFILE_IDS, TRUNK, Draft, Fields, every, maybe, name, phone_number, uuid


def _id(draft: Draft) -> str:
    return PROFILE_IDS[draft.index] if draft.index < len(PROFILE_IDS) else draft.id


PROFILE: Fields = {
    "id": _id,
    "record_type": ("outbound_voice_profile",),
    "name": name("default", "domestic", "international"),
    "enabled": (True,),
    "connections_count": (0,),  # the account counts them
    "concurrent_call_limit": every(4, 1, (None,), (10, 50, 100)),
    "daily_spend_limit": ("100.00", "250.00", "1000.00"),
    "daily_spend_limit_enabled": every(4, 2, (False,), (True,)),
    "max_destination_rate": every(4, 0, (None,), (0.05, 0.25, 1.5)),
    "whitelisted_destinations": (["US", "CA"], ["US", "CA", "GB"], ["DE", "FR", "GB", "US"]),
    "service_plan": ("global",),
    "traffic_type": ("conversational",),
    "usage_payment_method": ("rate-deck",),
    "billing_group_id": maybe(uuid),
    "calling_window": {
        "start_time": ("08:00:00.00Z", "00:00:00.00Z"),
        "end_time": ("18:00:00.00Z", "22:00:00.00Z"),
        "calls_per_cld": (None, 5),
    },
    "call_recording": {
        "call_recording_type": every(4, 1, ("by_caller_phone_number",), ("all", "none")),
        "call_recording_caller_phone_numbers": every(4, 1, lambda draft: [phone_number(draft)], ([],)),
        "call_recording_channels": ("single", "dual"),
        "call_recording_format": ("wav", "mp3"),
    },
    **{field: TRUNK[field] for field in ("tags", "created_at", "updated_at")},
}
