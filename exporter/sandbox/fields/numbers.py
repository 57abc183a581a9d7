"""The fields of phone numbers, and of telephony credentials, which softphones log in with."""

from __future__ import annotations

from operator import attrgetter

from exporter.sandbox.rows import (
    HALF,
    ONE_IN_FOUR,
    ROW,
    Draft,
    Fields,
    days_from_now,
    every,
    maybe,
    name,
    other_id,
    owner,
    phone_number,
    secret,
    time_since_creation,
    uuid,
)

_PENDING = (
    *("purchase-pending", "port-pending", "provision-pending"),
    *("requirement-info-pending", "requirement-info-under-review", "requirement-info-exception"),
)
PHONE_NUMBER: Fields = ROW | {
    "record_type": ("phone_number",),
    "phone_number": phone_number,
    "phone_number_type": ("local", "local", "local", "mobile", "national", "toll_free", "shared_cost", "longcode"),
    "country_iso_alpha2": attrgetter("country"),
    "status": every(15, 6, _PENDING, ("active",)),
    "connection_id": every(10, 3, (None,), owner),
    "billing_group_id": maybe(uuid),
    "customer_reference": maybe(lambda draft: f"PO-{draft.company}-{draft.rng.randrange(10_000, 100_000)}"),
    "external_pin": maybe(secret),
    "purchased_at": attrgetter("created_at"),
    "activated_at": every(15, 6, (None,), time_since_creation),
    "emergency_enabled": every(4, 1, (True,), (False,)),
    "emergency_address_id": every(4, 1, other_id, (None,)),
    "emergency_status": every(4, 1, ("active", "active", "provisioning-failed"), ("disabled",)),
    "call_forwarding_enabled": HALF,
    "call_recording_enabled": ONE_IN_FOUR,
    "caller_id_name_enabled": ONE_IN_FOUR,
    "cnam_listing_enabled": ONE_IN_FOUR,
    "hd_voice_enabled": ONE_IN_FOUR,
    "inbound_call_screening": ("disabled", "disabled", "reject_calls", "flag_calls"),
    "t38_fax_gateway_enabled": HALF,
}


def _resource_id(draft: Draft) -> str | None:
    connection_id = owner(draft)
    return connection_id and f"connection:{connection_id}"


TELEPHONY_CREDENTIAL: Fields = ROW | {
    "record_type": ("credential",),
    "name": name("softphone", "mobile", "webrtc"),
    "resource_id": _resource_id,
    "sip_username": lambda draft: f"gencred{secret(draft)}",
    "sip_password": secret,
    "user_id": uuid,
    "expired": every(20, 5, (True,), (False,)),
    "expires_at": every(20, 5, days_from_now(-90, 0), every(80, 7, days_from_now(2, 5), maybe(days_from_now(30, 700)))),
}
