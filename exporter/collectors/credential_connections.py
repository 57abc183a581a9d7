"""Every metric family that is made from the list of connections, one entry each.

A label's value is text, a bool (shown as `true` or `false`) or None (shown as an empty label); a number that is None
has no sample. The labels `connection_id` and `connection_name` are every per-connection family's first and are added
where it is rendered.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from exporter.telnyx.pages import Connection, Inbound, JitterBuffer, NoiseSuppression, Outbound, Rtcp, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

LabelValue: TypeAlias = str | bool | None
Sample: TypeAlias = tuple[tuple[LabelValue, ...], float]
"""The values of a family's labels, and the number."""
Part: TypeAlias = "Callable[[Connection], Any]"
"""Gives the part of a connection that a family is about."""

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
class Family:
    """A metric family: what it is called, what it says, and the labels behind the common ones."""

    name: str
    """As in the Prometheus text format."""
    help: str
    labels: tuple[str, ...]

    @property
    def type(self) -> str:
        """`info` for a family whose labels are all that it says, else `gauge`."""
        return "info" if self.name.endswith("_info") else "gauge"

    @property
    def unit(self) -> str:
        """The unit that the name ends with, or nothing."""
        return "seconds" if self.name.endswith("_seconds") else ""


@dataclass(frozen=True, slots=True)
class Count(Family):
    """Samples of the list as a whole."""

    samples: Callable[[Snapshot], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Gauge(Family):
    """One number of each connection that has it."""

    part: Part
    value: Callable[[Any], float | None]


@dataclass(frozen=True, slots=True)
class Info(Family):
    """Settings of each connection, as labels."""

    part: Part
    attributes: tuple[str, ...]
    """Where the labels' values come from, two or more."""
    sensitive: tuple[str, ...] = ()
    """Labels, named as their attributes, that are shown only when they are asked for by name."""

    @property
    def values(self) -> Callable[[Any], tuple[LabelValue, ...]]:
        """The values of the labels, from the part."""
        return attrgetter(*self.attributes)

    def showing(self, names: Collection[str]) -> Info:
        """Return the family with those of its sensitive labels that are named."""
        more = tuple(name for name in self.sensitive if name in names)
        return replace(self, labels=(*self.labels, *more), attributes=(*self.attributes, *more))


@dataclass(frozen=True, slots=True)
class Many(Family):
    """Any number of samples of each connection."""

    samples: Callable[[Connection], Iterable[Sample]]


def _gauge(name: str, text: str, part: Part, value: str | Callable[[Any], float | None]) -> Gauge:
    """Declare a number by its attribute, or by a function of the part."""
    return Gauge(name, text, (), part, attrgetter(value) if isinstance(value, str) else value)


def _info(name: str, text: str, part: Part, *labels: str, sensitive: tuple[str, ...] = ()) -> Info:
    """Declare settings by their labels, which are named as their attributes are or given as `label=attribute`."""
    pairs = [(label, attribute or label) for label, _, attribute in (label.partition("=") for label in labels)]
    return Info(name, text, tuple(label for label, _ in pairs), part, tuple(path for _, path in pairs), sensitive)


def _whole(connection: Connection) -> Connection:
    return connection


def _part(field: str, kind: type) -> Part:
    """Return what gives a part of a connection, an empty one where it is absent."""
    get, nothing = attrgetter(field), kind()
    return lambda connection: get(connection) or nothing


_inbound = _part("inbound", Inbound)
_outbound = _part("outbound", Outbound)
_jitter_buffer = _part("jitter_buffer", JitterBuffer)
_noise_suppression = _part("noise_suppression_details", NoiseSuppression)
_rtcp = _part("rtcp_settings", Rtcp)


def _number(attribute: str) -> Callable[[Any], float | None]:
    """Return what gives a bool as a number."""
    get = attrgetter(attribute)
    return lambda part: None if (value := get(part)) is None else int(value)


def _unix_time(attribute: str) -> Callable[[Any], float | None]:
    """Return what gives an ISO 8601 time as Unix seconds, UTC where it names no zone, None for anything else."""
    get = attrgetter(attribute)

    def unix_time(part: Any) -> float | None:
        try:
            time = datetime.fromisoformat(get(part) or "")
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None

    return unix_time


def _seconds(attribute: str) -> Callable[[Any], float | None]:
    """Return what gives milliseconds as seconds."""
    get = attrgetter(attribute)
    return lambda part: None if (value := get(part)) is None else value / 1000


def _codecs(connection: Connection) -> Iterable[Sample]:
    codecs = dict.fromkeys(_inbound(connection).codecs or ())
    return [((codec,), priority) for priority, codec in enumerate(codecs, start=1)]


def _tags(connection: Connection) -> Iterable[Sample]:
    return [((tag,), 1) for tag in dict.fromkeys(connection.tags or ())]


def _count(snapshot: Snapshot) -> Iterable[Sample]:
    documented = itertools.product(("credential_connection",), (True, False), ANCHORSITES, ("SRTP", "none"))
    counts: Counter[tuple[LabelValue, ...]] = Counter(dict.fromkeys(documented, 0))
    counts.update(
        (connection.record_type or "", connection.active, connection.anchorsite or "", connection.media_encryption)
        for connection in snapshot.connections
    )
    return counts.items()


SNAPSHOT_FAMILIES: tuple[Count, ...] = (
    Count(
        "telnyx_connections",
        "Connections by type, state, anchorsite and media encryption; every documented combination, zeros too.",
        ("record_type", "active", "anchorsite", "encrypted_media"),
        _count,
    ),
    Count(
        "telnyx_connections_malformed",
        "Connections left out because they could not be read; the log names them.",
        (),
        lambda snapshot: (((), len(snapshot.unreadable)),),
    ),
    Count(
        "telnyx_connections_missing",
        "Connections that the list says it has and that none of its pages showed.",
        (),
        lambda snapshot: (((), snapshot.missing),),
    ),
)

CONNECTION_FAMILIES: tuple[Gauge | Info | Many, ...] = (
    _info(
        "telnyx_connection_info",
        "Settings of the connection as a whole.",
        _whole,
        "record_type",
        "anchorsite",
        "encrypted_media=media_encryption",
        "dtmf_type",
        "sip_uri_calling_preference",
        "default_on_hold_comfort_noise_enabled",
        "encode_contact_header_enabled",
        "onnet_t38_passthrough_enabled",
        "ios_push_credential_id",
        "android_push_credential_id",
        sensitive=("user_name",),
    ),
    _gauge(
        "telnyx_connection_active",
        "Whether the connection is active (1) or disabled (0).",
        _whole,
        _number("active"),
    ),
    _gauge(
        "telnyx_connection_created_timestamp_seconds",
        "When the connection was created, in Unix seconds.",
        _whole,
        _unix_time("created_at"),
    ),
    _gauge(
        "telnyx_connection_updated_timestamp_seconds",
        "When a setting of the connection was last changed, in Unix seconds.",
        _whole,
        _unix_time("updated_at"),
    ),
    _gauge(
        "telnyx_connection_inbound_channel_limit",
        "Calls to the connection allowed at the same time; absent when there is no limit.",
        _inbound,
        "channel_limit",
    ),
    _gauge(
        "telnyx_connection_outbound_channel_limit",
        "Calls from the connection allowed at the same time; absent when there is no limit.",
        _outbound,
        "channel_limit",
    ),
    _info(
        "telnyx_connection_inbound_info",
        "Settings of calls to the connection.",
        _inbound,
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
    _gauge(
        "telnyx_connection_inbound_timeout_1xx_seconds",
        "How long a call to the connection waits for its first provisional answer.",
        _inbound,
        "timeout_1xx_secs",
    ),
    _gauge(
        "telnyx_connection_inbound_timeout_2xx_seconds",
        "How long a call to the connection waits for being picked up.",
        _inbound,
        "timeout_2xx_secs",
    ),
    Many(
        "telnyx_connection_inbound_codec_priority",
        "Place of the codec in the order of preference; 1 is the first choice.",
        ("codec",),
        _codecs,
    ),
    _info(
        "telnyx_connection_outbound_info",
        "Settings of calls from the connection.",
        _outbound,
        "ani_override_type",
        "localization",
        "t38_reinvite_source",
        "outbound_voice_profile_id",
        "call_parking_enabled",
        "instant_ringback_enabled",
        "generate_ringback_tone",
        sensitive=("ani_override",),
    ),
    _info(
        "telnyx_connection_webhook_info",
        "Where events of the connection are sent; hosts only, as a URL can hold secrets.",
        _whole,
        "webhook_api_version=webhook_version",
        "webhook_host",
        "webhook_failover_host",
        "call_cost_in_webhooks",
        sensitive=("webhook_event_url", "webhook_event_failover_url"),
    ),
    _gauge(
        "telnyx_connection_webhook_timeout_seconds",
        "How long an event waits for its webhook before the failover is tried.",
        _whole,
        "webhook_timeout_secs",
    ),
    _info(
        "telnyx_connection_rtcp_info",
        "RTCP settings.",
        _rtcp,
        "port",
        "capture_enabled",
    ),
    _gauge(
        "telnyx_connection_rtcp_report_interval_seconds",
        "Time between two RTCP reports.",
        _rtcp,
        "report_interval",
    ),
    _info(
        "telnyx_connection_noise_suppression_info",
        "Which direction's noise is suppressed, and by what.",
        _whole,
        "direction=noise_suppression",
        "engine=noise_suppression_engine",
    ),
    _gauge(
        "telnyx_connection_noise_suppression_attenuation_limit",
        "How far noise is attenuated at the most, 0 to 100.",
        _noise_suppression,
        "attenuation_limit",
    ),
    _gauge(
        "telnyx_connection_jitter_buffer_enabled",
        "Whether the jitter buffer is on (1) or off (0).",
        _jitter_buffer,
        _number("enable_jitter_buffer"),
    ),
    _gauge(
        "telnyx_connection_jitter_buffer_min_seconds",
        "Smallest size of the jitter buffer.",
        _jitter_buffer,
        _seconds("jitterbuffer_msec_min"),
    ),
    _gauge(
        "telnyx_connection_jitter_buffer_max_seconds",
        "Largest size of the jitter buffer.",
        _jitter_buffer,
        _seconds("jitterbuffer_msec_max"),
    ),
    Many(
        "telnyx_connection_tag_info",
        "A tag of the connection.",
        ("tag",),
        _tags,
    ),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """The families to show."""

    snapshot: tuple[Count, ...] = SNAPSHOT_FAMILIES
    connection: tuple[Gauge | Info | Many, ...] = CONNECTION_FAMILIES


def matching(allow: str, deny: str) -> Callable[[str], bool]:
    """Return what tells whether a metric is shown, by regular expressions for its whole name; no `allow` is all."""
    allowed, denied = re.compile(allow or ".*"), re.compile(deny)
    return lambda name: bool(allowed.fullmatch(name)) and not denied.fullmatch(name)


def select(shown: Callable[[str], bool] = lambda _: True, sensitive: Collection[str] = ()) -> Selection:
    """Return the families whose name is `shown`, with those of their sensitive labels that are asked for."""
    return Selection(
        tuple(family for family in SNAPSHOT_FAMILIES if shown(family.name)),
        tuple(
            family.showing(sensitive) if isinstance(family, Info) else family
            for family in CONNECTION_FAMILIES
            if shown(family.name)
        ),
    )
