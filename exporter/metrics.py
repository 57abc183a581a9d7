"""Every metric family that is made from the list of connections, one entry each.

A family's `samples` gives, for its source, the values of its further labels and the number. A label's value is text, a
bool (shown as `true` or `false`) or None (shown as an empty label); a number that is absent has no sample. The labels
`connection_id` and `connection_name` are every per-connection family's first and are added where it is rendered.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from .models import Connection, Inbound, JitterBuffer, NoiseSuppression, Outbound, Rtcp, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

LabelValue: TypeAlias = str | bool | None
Sample: TypeAlias = "tuple[Sequence[LabelValue], float]"
Source = TypeVar("Source")

ANCHORSITES = (
    "Latency",
    "Chicago, IL",
    "Ashburn, VA",
    "San Jose, CA",
    "Sydney, Australia",
    "Amsterdam, Netherlands",
    "London, UK",
    "Toronto, Canada",
    "Vancouver, Canada",
    "Frankfurt, Germany",
)
"""As Telnyx documents them."""


@dataclass(frozen=True, slots=True)
class Family(Generic[Source]):
    """A metric family: what is exposed, and how its samples are found in their source."""

    name: str
    """As in the Prometheus text format."""
    help: str
    labels: tuple[str, ...]
    """Without `connection_id` and `connection_name`."""
    samples: Callable[[Source], Iterable[Sample]]
    type: Literal["gauge", "info"] = "gauge"
    sensitive: tuple[str, ...] = ()
    """Labels that are shown only when they are asked for by name."""
    widen: Callable[[tuple[str, ...]], Callable[[Source], Iterable[Sample]]] | None = None
    """Gives `samples` with sensitive labels behind the others."""

    @property
    def unit(self) -> str:
        """The unit that the name ends with, or nothing."""
        return "seconds" if self.name.endswith("_seconds") else ""


def _whole(connection: Connection) -> Connection:
    return connection


_NOTHING: dict[type, Any] = {part: part() for part in (Inbound, Outbound, JitterBuffer, NoiseSuppression, Rtcp)}


def _part(field: str, kind: type) -> Callable[[Connection], Any]:
    """Return a function that gives this part of a connection, an empty one where it is absent."""
    get, nothing = attrgetter(field), _NOTHING[kind]
    return lambda connection: get(connection) or nothing


_inbound = _part("inbound", Inbound)
_outbound = _part("outbound", Outbound)
_jitter_buffer = _part("jitter_buffer", JitterBuffer)
_noise_suppression = _part("noise_suppression_details", NoiseSuppression)
_rtcp = _part("rtcp_settings", Rtcp)


def _gauge(name: str, text: str, value: Callable[[Connection], float | None]) -> Family[Connection]:
    def samples(connection: Connection) -> Iterable[Sample]:
        number = value(connection)
        return () if number is None else (((), +number),)  # a bool becomes a number

    return Family(name, text, (), samples)


def _info(
    name: str,
    text: str,
    part: Callable[[Connection], Any],
    labels: dict[str, str | Callable[[Any], LabelValue]],
    sensitive: tuple[str, ...] = (),
) -> Family[Connection]:
    """Declare an info family whose labels are attributes of a part of the connection, or are computed from it."""

    def widen(more: tuple[str, ...]) -> Callable[[Connection], Iterable[Sample]]:
        getters = [attrgetter(get) if isinstance(get, str) else get for get in (*labels.values(), *more)]

        def samples(connection: Connection) -> Iterable[Sample]:
            source = part(connection)
            return (([get(source) for get in getters], 1),)

        return samples

    return Family(name, text, tuple(labels), widen(()), "info", sensitive, widen)


def _same(*fields: str) -> dict[str, str | Callable[[Any], LabelValue]]:
    """Return labels that are named as their fields are."""
    return {field: field for field in fields}


def _encrypted_media(connection: Connection) -> str:
    return connection.encrypted_media or "none"


_HOST = re.compile(
    r"https?://(?:[^/?#\\\s]*@)?(?P<host>\[[0-9a-f:.]+\]|[\w.-]+)(?::\d*)?(?:[/?#].*)?", re.DOTALL | re.IGNORECASE
)


def _host(url: str | None) -> str | None:
    """Return the host of a webhook's URL; the rest can hold credentials. None for what is no http URL."""
    match = _HOST.fullmatch(url) if url else None
    return match["host"].lower() if match else None


def _version(connection: Connection) -> str | None:
    version = connection.webhook_api_version
    return None if version is None else str(version)


def _unix_time(text: str | None) -> float | None:
    """Return the Unix seconds of an ISO 8601 time, UTC where it names no zone; None for anything else."""
    try:
        time = datetime.fromisoformat(text or "")
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _codecs(connection: Connection) -> Iterable[Sample]:
    codecs = dict.fromkeys(_inbound(connection).codecs or ())
    return [((codec,), priority) for priority, codec in enumerate(codecs, start=1)]


def _tags(connection: Connection) -> Iterable[Sample]:
    return [((tag,), 1) for tag in dict.fromkeys(connection.tags or ())]


def _count(snapshot: Snapshot) -> Iterable[Sample]:
    documented = itertools.product(("credential_connection",), (True, False), ANCHORSITES, ("SRTP", "none"))
    counts: Counter[tuple[LabelValue, ...]] = Counter(dict.fromkeys(documented, 0))
    counts.update(
        (
            connection.record_type or "",
            connection.active,
            connection.anchorsite_override or "",
            _encrypted_media(connection),
        )
        for connection in snapshot.connections
    )
    return counts.items()


SNAPSHOT_FAMILIES: tuple[Family[Snapshot], ...] = (
    Family(
        "telnyx_connections",
        "Connections by type, state, anchorsite and media encryption; every documented combination, zeros too.",
        ("record_type", "active", "anchorsite", "encrypted_media"),
        _count,
    ),
    Family(
        "telnyx_connections_malformed",
        "Connections left out because they could not be read; the log names them.",
        (),
        lambda snapshot: (((), len(snapshot.unreadable)),),
    ),
    Family(
        "telnyx_connections_missing",
        "Connections that the list says it has and that none of its pages showed.",
        (),
        lambda snapshot: (((), snapshot.missing),),
    ),
)

CONNECTION_FAMILIES: tuple[Family[Connection], ...] = (
    _info(
        "telnyx_connection_info",
        "Settings of the connection as a whole.",
        _whole,
        {
            "record_type": "record_type",
            "anchorsite": "anchorsite_override",
            "encrypted_media": _encrypted_media,
            **_same(
                "dtmf_type",
                "sip_uri_calling_preference",
                "default_on_hold_comfort_noise_enabled",
                "encode_contact_header_enabled",
                "onnet_t38_passthrough_enabled",
                "ios_push_credential_id",
                "android_push_credential_id",
            ),
        },
        sensitive=("user_name",),
    ),
    _gauge(
        "telnyx_connection_active",
        "Whether the connection is active (1) or disabled (0).",
        lambda connection: connection.active,
    ),
    _gauge(
        "telnyx_connection_created_timestamp_seconds",
        "When the connection was created, in Unix seconds.",
        lambda connection: _unix_time(connection.created_at),
    ),
    _gauge(
        "telnyx_connection_updated_timestamp_seconds",
        "When a setting of the connection was last changed, in Unix seconds.",
        lambda connection: _unix_time(connection.updated_at),
    ),
    _gauge(
        "telnyx_connection_inbound_channel_limit",
        "Calls to the connection allowed at the same time; absent when there is no limit.",
        lambda connection: _inbound(connection).channel_limit,
    ),
    _gauge(
        "telnyx_connection_outbound_channel_limit",
        "Calls from the connection allowed at the same time; absent when there is no limit.",
        lambda connection: _outbound(connection).channel_limit,
    ),
    _info(
        "telnyx_connection_inbound_info",
        "Settings of calls to the connection.",
        _inbound,
        _same(
            "ani_number_format",
            "dnis_number_format",
            "default_routing_method",
            "simultaneous_ringing",
            "generate_ringback_tone",
            "isup_headers_enabled",
            "prack_enabled",
            "sip_compact_headers_enabled",
            "shaken_stir_enabled",
        ),
    ),
    _gauge(
        "telnyx_connection_inbound_timeout_1xx_seconds",
        "How long a call to the connection waits for its first provisional answer.",
        lambda connection: _inbound(connection).timeout_1xx_secs,
    ),
    _gauge(
        "telnyx_connection_inbound_timeout_2xx_seconds",
        "How long a call to the connection waits for being picked up.",
        lambda connection: _inbound(connection).timeout_2xx_secs,
    ),
    Family(
        "telnyx_connection_inbound_codec_priority",
        "Place of the codec in the order of preference; 1 is the first choice.",
        ("codec",),
        _codecs,
    ),
    _info(
        "telnyx_connection_outbound_info",
        "Settings of calls from the connection.",
        _outbound,
        _same(
            "ani_override_type",
            "localization",
            "t38_reinvite_source",
            "outbound_voice_profile_id",
            "call_parking_enabled",
            "instant_ringback_enabled",
            "generate_ringback_tone",
        ),
        sensitive=("ani_override",),
    ),
    _info(
        "telnyx_connection_webhook_info",
        "Where events of the connection are sent; hosts only, as a URL can hold secrets.",
        _whole,
        {
            "webhook_api_version": _version,
            "webhook_host": lambda connection: _host(connection.webhook_event_url),
            "webhook_failover_host": lambda connection: _host(connection.webhook_event_failover_url),
            "call_cost_in_webhooks": "call_cost_in_webhooks",
        },
        sensitive=("webhook_event_url", "webhook_event_failover_url"),
    ),
    _gauge(
        "telnyx_connection_webhook_timeout_seconds",
        "How long an event waits for its webhook before the failover is tried.",
        lambda connection: connection.webhook_timeout_secs,
    ),
    _info(
        "telnyx_connection_rtcp_info",
        "RTCP settings.",
        _rtcp,
        _same("port", "capture_enabled"),
    ),
    _gauge(
        "telnyx_connection_rtcp_report_interval_seconds",
        "Time between two RTCP reports.",
        lambda connection: _rtcp(connection).report_interval,
    ),
    _info(
        "telnyx_connection_noise_suppression_info",
        "Which direction's noise is suppressed, and by what.",
        _whole,
        {
            "direction": "noise_suppression",
            "engine": lambda connection: _noise_suppression(connection).engine,
        },
    ),
    _gauge(
        "telnyx_connection_noise_suppression_attenuation_limit",
        "How far noise is attenuated at the most, 0 to 100.",
        lambda connection: _noise_suppression(connection).attenuation_limit,
    ),
    _gauge(
        "telnyx_connection_jitter_buffer_enabled",
        "Whether the jitter buffer is on (1) or off (0).",
        lambda connection: _jitter_buffer(connection).enable_jitter_buffer,
    ),
    _gauge(
        "telnyx_connection_jitter_buffer_min_seconds",
        "Smallest size of the jitter buffer.",
        lambda connection: _seconds(_jitter_buffer(connection).jitterbuffer_msec_min),
    ),
    _gauge(
        "telnyx_connection_jitter_buffer_max_seconds",
        "Largest size of the jitter buffer.",
        lambda connection: _seconds(_jitter_buffer(connection).jitterbuffer_msec_max),
    ),
    Family(
        "telnyx_connection_tag_info",
        "A tag of the connection.",
        ("tag",),
        _tags,
        "info",
    ),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """The families to show."""

    snapshot: tuple[Family[Snapshot], ...] = SNAPSHOT_FAMILIES
    connection: tuple[Family[Connection], ...] = CONNECTION_FAMILIES


def select(shown: Callable[[str], bool] = lambda _: True, sensitive: Collection[str] = ()) -> Selection:
    """Return the families whose name is `shown`, with those of their sensitive labels that are asked for."""
    return Selection(
        tuple(family for family in SNAPSHOT_FAMILIES if shown(family.name)),
        tuple(_widened(family, sensitive) for family in CONNECTION_FAMILIES if shown(family.name)),
    )


def _widened(family: Family[Connection], sensitive: Collection[str]) -> Family[Connection]:
    more = tuple(label for label in family.sensitive if label in sensitive)
    if not more or family.widen is None:
        return family
    return replace(family, labels=(*family.labels, *more), samples=family.widen(more))
