"""The API's JSON as frozen structs, and the snapshot that a refresh yields.

The structs declare what the exporter uses and nothing else, so that a SIP password is skipped by the decoder and never
becomes an object of this process. Every field but the id is optional, as in Telnyx's schema; `None` stands for both
`null` and absent. Source: the reference of `GET /v2/credential_connections`.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

Int: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""What a sample, which is a float, can hold exactly; JSON allows integers that nobody can read."""

if TYPE_CHECKING:
    Id: TypeAlias = str
else:
    Id: TypeAlias = str | int
    """An id. Telnyx sends strings and integers of 19 digits; a decoded struct holds the exact digits as text."""


def _ids_to_text(struct: msgspec.Struct, *fields: str) -> None:
    """Replace ids that came as integers by their digits."""
    for field in fields:
        value = getattr(struct, field)
        if type(value) is int:
            msgspec.structs.force_setattr(struct, field, str(value))


class _Part(msgspec.Struct, frozen=True, gc=False):
    """A struct whose `repr` shows no field: some hold logins, phone numbers or URLs with credentials."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Inbound(_Part, frozen=True, gc=False):
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


class Outbound(_Part, frozen=True, gc=False):
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
        """Hold the id as text."""
        _ids_to_text(self, "outbound_voice_profile_id")


class JitterBuffer(_Part, frozen=True, gc=False):
    """The jitter buffer; bounds in milliseconds."""

    enable_jitter_buffer: bool | None = None
    jitterbuffer_msec_min: Int | None = None
    jitterbuffer_msec_max: Int | None = None


class NoiseSuppression(_Part, frozen=True, gc=False):
    """How noise is suppressed; the attenuation limit runs from 0 to 100."""

    engine: str | None = None
    attenuation_limit: Int | None = None


class Rtcp(_Part, frozen=True, gc=False):
    """RTCP settings; the report frequency is in seconds, under a new name and, in older answers, an old one."""

    port: str | None = None
    capture_enabled: bool | None = None
    report_frequency_secs: Int | None = None
    report_frequency_seconds: Int | None = None

    @property
    def report_interval(self) -> int | None:
        """Seconds between two RTCP reports, under whichever name they came."""
        return self.report_frequency_seconds if self.report_frequency_secs is None else self.report_frequency_secs


class Connection(_Part, frozen=True, gc=False, kw_only=True):
    """One credential connection. Its `id` is the only field it cannot be without."""

    id: Id
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
        """Hold ids as text."""
        _ids_to_text(self, "id", "ios_push_credential_id", "android_push_credential_id")

    @property
    def anchorsite(self) -> str | None:
        """Where media enters Telnyx."""
        return self.anchorsite_override

    @property
    def media_encryption(self) -> str:
        """`SRTP`, or `none` where Telnyx says null."""
        return self.encrypted_media or "none"

    @property
    def webhook_version(self) -> str | None:
        """The version of the webhook API as text; Telnyx sends text or a number."""
        return None if self.webhook_api_version is None else str(self.webhook_api_version)

    @property
    def webhook_host(self) -> str | None:
        """The host that events are sent to."""
        return host_of(self.webhook_event_url)

    @property
    def webhook_failover_host(self) -> str | None:
        """The host that events are sent to when the first can't be reached."""
        return host_of(self.webhook_event_failover_url)

    @property
    def noise_suppression_engine(self) -> str | None:
        """What suppresses noise."""
        return self.noise_suppression_details.engine if self.noise_suppression_details else None


_HOST = re.compile(
    r"https?://(?:[^/?#\\\s]*@)?(?P<host>\[[0-9a-f:.]+\]|[\w.-]+)(?::\d*)?(?:[/?#].*)?", re.DOTALL | re.IGNORECASE
)


def host_of(url: str | None) -> str | None:
    """Return the host of a webhook's URL, the rest of which can hold credentials; None for what is no http URL."""
    match = _HOST.fullmatch(url) if url else None
    return match["host"].lower() if match else None


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A row that could not be read: its id where that much could be, and why in the decoder's words."""

    id: str | None
    problem: str


class Meta(msgspec.Struct, frozen=True, gc=False):
    """What a page says of the list. Telnyx promises none of it."""

    total_pages: Int | None = None
    total_results: Int | None = None
    page_number: Int | None = None
    page_size: Int | None = None


class Page(msgspec.Struct, frozen=True):
    """One page of the list, each row at its place."""

    rows: tuple[Connection | Unreadable, ...]
    meta: Meta


class Snapshot(msgspec.Struct, frozen=True):
    """The whole list as one refresh found it."""

    chunks: tuple[tuple[Connection, ...], ...]
    """The connections in the order of the list, each id once, page by page; an unchanged page is the same object."""
    unreadable: tuple[Unreadable, ...] = ()
    """Rows that were left out."""
    missing: int = 0
    """Rows that the list says it has and that no page showed."""

    @property
    def connections(self) -> Iterator[Connection]:
        """All connections."""
        return chain.from_iterable(self.chunks)

    @property
    def size(self) -> int:
        """How many connections there are."""
        return sum(map(len, self.chunks))


class _Strict(msgspec.Struct, frozen=True):
    data: tuple[Connection, ...]
    meta: Meta | None = None


class _Lenient(msgspec.Struct, frozen=True):
    data: tuple[msgspec.Raw, ...]
    meta: Meta | None = None


class _Identified(msgspec.Struct, frozen=True):
    id: Id | None = None

    def __post_init__(self) -> None:
        _ids_to_text(self, "id")


_strict = msgspec.json.Decoder(_Strict)
_lenient = msgspec.json.Decoder(_Lenient, strict=False)
_row = msgspec.json.Decoder(Connection, strict=False)
_identified = msgspec.json.Decoder(_Identified)

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NO_META = Meta()

_ESCAPE = re.compile(
    rb"\\(?:"
    rb"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|"  # a surrogate pair: one character, kept
    rb"(u[dD][89a-fA-F][0-9a-fA-F]{2})|"  # half a pair: group 1
    rb".)",  # any other escape, a backslash among them, kept
    re.DOTALL,
)


def _without_lone_surrogates(body: bytes) -> bytes:
    """Return the JSON with each half surrogate pair, which is JSON but no Unicode, as U+FFFD."""
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], body)


def decode_page(body: bytes) -> Page:
    """Decode one answer of the list endpoint.

    The whole page is decoded strictly. If that fails, row by row: numbers may come as text then, and a row that can't
    be read becomes an `Unreadable`. Raises `ValueError` if the answer is no page at all.
    """
    try:
        page = _strict.decode(body)
    except _UNREADABLE:
        return _decode_rows(body)
    if not all(connection.id for connection in page.data):
        return _decode_rows(body)
    return Page(page.data, page.meta or _NO_META)


def _decode_rows(body: bytes) -> Page:
    problem = ""
    try:
        page = _lenient.decode(_without_lone_surrogates(body))
    except _UNREADABLE as error:
        problem = str(error)
    if problem:  # raised here, because as its context the caught error would keep the body, and what is in it
        raise ValueError(problem)
    return Page(tuple(map(_decode_row, page.data)), page.meta or _NO_META)


def _decode_row(raw: msgspec.Raw) -> Connection | Unreadable:
    try:
        connection = _row.decode(raw)
    except _UNREADABLE as error:
        return Unreadable(_identify(raw), str(error))
    return connection if connection.id else Unreadable(None, "the id is empty")


def _identify(raw: msgspec.Raw) -> str | None:
    try:
        return _identified.decode(raw).id or None
    except _UNREADABLE:
        return None
