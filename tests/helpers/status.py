"""Index records, states and pages for tests of the status."""

from collectors import view_of

from exporter.account.cached_collector import CollectorState
from exporter.cache import Entry
from exporter.collectors.connection_index import ConnectionRecord
from exporter.collectors.index import PageIndex
from exporter.collectors.registrations import RegistrationRecord
from exporter.collectors.spend_limits import SpendRecord

NOW = 1_517_610_327.5
"""2018-02-02T22:25:27Z"""


def connection(number=1, **fields):
    """Return the index record of a connection without a problem."""
    values = {
        "id": str(number),
        "name": f"pbx {number}",
        "record_type": "credential_connection",
        "active": True,
        "anchorsite": "Latency",
        "media_encryption": "SRTP",
        "inbound_channel_limit": 5,
        "outbound_channel_limit": 10,
        "registered": True,
        "updated_at": "2018-02-02T22:25:27Z",
        "has_webhook": False,
    }
    return ConnectionRecord(**values | fields)


def page_of(*records):
    """Return the index of a page with these records, which have the same type. Without records, of connections."""
    return PageIndex(type(records[0]) if records else ConnectionRecord, records)


def pages_of(records, size):
    """Return the indexes of pages of this size."""
    return [page_of(*records[start : start + size]) for start in range(0, len(records), size)]


def registration(number, registered):
    """Return the index record of a registration that was read one by one."""
    return RegistrationRecord(str(number), f"pbx {number}", registered)


def spend(product="voice", *, blocked=False, spend_usd=1.0, limit_usd=10.0):
    """Return the index record of a spend limit."""
    return SpendRecord(f"{product} daily", "", blocked, spend_usd, limit_usd)


def state_of(
    *pages, name="credential-connections", account="", age=12.5, view=True, stale=False, error=None, **details
):
    """Return the state of a collector whose data is this old. Without `view`, it has no data.

    `details` are those of the view, of the state, and `wait`, the seconds until the next refresh.
    """
    counts = {key: details.pop(key) for key in ("row_count", "malformed", "missing") if key in details}
    value = view_of(refreshed_at=NOW - age, indexes=pages, **counts) if view else None
    entry = Entry(value, age if view else None, stale=stale, error=error, hit=not stale)
    return CollectorState(name, entry, details.pop("wait", 0.0), account, **details)
