"""Generates believable rows from tables that list the possible values of each field.

The rows belong to nobody: hosts end in `.example`, phone numbers come from ranges that regulators reserve for fiction,
IP addresses come from ranges that are reserved for documentation, and secrets are random.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

Row: TypeAlias = dict[str, Any]
"""A row of a list, with the field names of the API."""

FIRST_CREATED = 1_546_300_800_000
"""2019-01-01, in Unix milliseconds, as all creation and update times."""
LAST_CREATED = 1_780_272_000_000
"""2026-06-01."""
DAY = 86_400_000
"""Milliseconds."""

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
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
_ODD_NAMES = ('Café "Zürich" ', "Køkken & Bar ", r"Lobby \ Reception ", "東京サポート ", "O'Brien “Hotline” ☎ ")
_URLS = (
    "https://telnyx.{company}.example/voice",
    "https://telnyx:{secret}@hooks.{company}.example/events",
    "https://hooks.{company}.example/services/{secret}",
    "https://hooks.{company}.example/telnyx?token={secret}",
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A row before its fields are drawn: what several of its fields depend on."""

    rng: random.Random
    index: int
    id: str
    created_at: str
    company: str
    city: str
    anchorsite: str
    country: str
    number: str
    has_webhook: bool
    now: int
    """The time when the row is generated, in Unix milliseconds."""
    owners: Sequence[str]
    """The ids of connections that the row can belong to."""


Values: TypeAlias = "tuple[Any, ...] | Callable[[Draft], Any] | Fields"
"""The possible values of a field, all equally likely; or a function that draws one; or the fields of an object."""
Fields: TypeAlias = dict[str, Any]
"""The `Values` of each field. Use `merge` to extend the fields of another kind of row."""


def generate(
    fields: Fields, rng: random.Random, index: int, row_id: int, created: int, *, now: int, owners: Sequence[str]
) -> Row:
    """Generate a row. Rare states depend on the index, so that small accounts contain them too."""
    company, city, has_webhook = rng.choice(_COMPANIES), rng.choice(_CITIES), rng.choice((True, True, False))
    draft = Draft(rng, index, str(row_id), iso_time(created), company, *city, has_webhook, now, owners)
    row: Row = draw(draft, fields)
    return row


def draw(draft: Draft, values: Values) -> Any:
    """Draw one of these values."""
    if isinstance(values, tuple):
        return values[int(draft.rng.random() * len(values))]  # three times as fast as `choice`
    if isinstance(values, dict):
        return {name: draw(draft, each) for name, each in values.items()}
    return values(draft)


def merge(row: Row, fields: Row) -> Row:
    """Return a copy of the row with these fields. Nested objects are merged field by field."""
    return row | {
        name: row[name] | value if isinstance(value, dict) and isinstance(row.get(name), dict) else value
        for name, value in fields.items()
    }


def nested_object(row: Row, name: str) -> Row:
    """Return an object inside the row, or an empty one if it is null."""
    nested: Row = row[name] or {}
    return nested


def iso_time(milliseconds: int) -> str:
    """Format a time as Telnyx does, for example `2026-06-01T00:00:00.000Z`."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


# Functions that draw a value, for tables of fields


def every(nth: int, first: int, rare: Values, usual: Values) -> Callable[[Draft], Any]:
    """Draw a rare value for every nth row of a list, counted from the first one's index, and a usual one for others."""
    return lambda draft: draw(draft, rare if draft.index % nth == first else usual)


def maybe(values: Values) -> Callable[[Draft], Any]:
    """Draw a value, or null, both equally likely."""
    return lambda draft: draw(draft, values) if draw(draft, HALF) else None


def name(*systems: str) -> Callable[[Draft], str]:
    """Draw the name of one of these systems. It is unique in its list. Some names have unusual characters."""

    def regular(draft: Draft) -> str:
        return f"{draft.company}-{draft.city}-{draft.rng.choice(systems)}-"

    prefix = every(12, 3, _ODD_NAMES, regular)
    return lambda draft: f"{prefix(draft)}{draft.index + 1:02}"


def secret(draft: Draft) -> str:
    """Draw a password or token."""
    return f"{draft.rng.getrandbits(80):020x}"


def login(draft: Draft) -> str:
    """Draw a SIP login."""
    return f"{draft.company}{draft.rng.randrange(10_000, 100_000)}"


def host(draft: Draft) -> str:
    """Return the name of the company's SIP server, which is the same in all fields of a row."""
    return f"sip{draft.index + 1}.{draft.company}.example"


def other_id(draft: Draft) -> str:
    """Draw the id of an object that is not in the account."""
    return str(draft.rng.randrange(10**18, 2 * 10**18))


def unique_login(draft: Draft) -> str:
    """Draw a SIP login that no other row of the list has."""
    return f"{login(draft)}{draft.index + 1}"


def owner(draft: Draft) -> str | None:
    """Draw the id of the connection that the row belongs to, or null in an account without connections."""
    return draft.rng.choice(draft.owners) if draft.owners else None


def uuid(draft: Draft) -> str:
    """Draw the id of an object that is not in the account, in the other format of Telnyx's ids."""
    return str(UUID(int=draft.rng.getrandbits(128), version=4))


def ip_address(draft: Draft) -> str:
    """Draw a public IP address."""
    return random_ip_address(draft.rng)


def random_ip_address(rng: random.Random) -> str:
    """Return a public IP address."""
    return f"{rng.choice(_NETWORKS)}.{rng.randrange(1, 255)}"


def days_from_now(first: int, last: int) -> Callable[[Draft], str]:
    """Draw a time that is so many days after now, or before now if the numbers are negative."""
    return lambda draft: iso_time(draft.now + draft.rng.randrange(first * DAY, last * DAY))


def phone_number(draft: Draft) -> str:
    """Draw a phone number of the city."""
    return f"{draft.number}{draft.rng.randrange(100):02}"


def time_since_creation(draft: Draft) -> str:
    """Draw a time at which the row existed."""
    return max(draft.created_at, iso_time(draft.rng.randrange(FIRST_CREATED, LAST_CREATED)))


def url(draft: Draft) -> str:
    """Draw the URL of a server of the company. Most contain a secret."""
    return draft.rng.choice(_URLS).format(company=draft.company, secret=secret(draft))


def _anchorsite(draft: Draft) -> str:
    return draft.rng.choice((draft.anchorsite, "Latency", "Latency"))


# Fields that several kinds of rows have

CHANNEL_LIMITS = (None, 5, 10, 25, 50, 100, 250)
HALF = (True, False)
ONE_IN_FOUR = (True, False, False, False)
PROFILE_IDS = ("1293384261075731499", "1583046725390141820", "1902755384112408573", "2001846310774899713")
"""The ids of the outbound voice profiles. No connection uses the last one."""
DTMF_TYPES = ("RFC 2833", "RFC 2833", "RFC 2833", "RFC 2833", "Inband", "SIP INFO")

ANCHORSITE: Fields = {"anchorsite_override": _anchorsite}
SUBDOMAIN: Fields = {
    "sip_subdomain": maybe(attrgetter("company")),
    "sip_subdomain_receive_settings": ("only_my_connections", "from_anyone"),
}
ROW: Fields = {
    "id": attrgetter("id"),
    "created_at": attrgetter("created_at"),
    "updated_at": time_since_creation,
}
"""The fields that every row has."""
MUTING_TAG = "no-alert"
"""The tag that mutes the alerts about a connection. Only disabled connections have it: they are meant to be off."""
_TAGS: tuple[list[str], ...] = (
    [],
    [],
    [],
    ["production"],
    ["staging"],
    ["production", "recorded"],
    ["emergency", "production"],
)
TRUNK: Fields = ROW | {
    "active": every(11, 4, (False,), (True,)),
    "tags": every(33, 15, ([MUTING_TAG],), _TAGS),
    "inbound": {"channel_limit": CHANNEL_LIMITS},
    "outbound": {
        "channel_limit": CHANNEL_LIMITS,
        "outbound_voice_profile_id": PROFILE_IDS[:-1],
    },
}
"""The fields that every kind of trunk has."""
WEBHOOKS: Fields = {
    "webhook_event_url": lambda draft: url(draft) if draft.has_webhook else None,
    "webhook_event_failover_url": lambda draft: draw(draft, maybe(url)) if draft.has_webhook else None,
    "webhook_timeout_secs": (None, 5, 10, 25),
}
