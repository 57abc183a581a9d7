"""Phone numbers: how many there are by connection and status. The numbers themselves are not decoded."""

from __future__ import annotations

from exporter.collectors.collector import Collector, ListEndpoint
from exporter.collectors.families import RowCount
from exporter.collectors.index import IndexRecord
from exporter.telnyx.structs import Id, Row, ids_to_text


class PhoneNumber(Row, frozen=True, gc=False, kw_only=True):
    """One phone number. Its id only shows whether a row is on two pages."""

    connection_id: Id | None = None
    status: str | None = None
    phone_number_type: str | None = None
    country_iso_alpha2: str | None = None

    def __post_init__(self) -> None:
        """Convert ids to text."""
        ids_to_text(self, "id", "connection_id")


class PhoneNumberRecord(IndexRecord, frozen=True, gc=False, array_like=True):
    """The attributes of a phone number that are counted."""

    connection_id: str
    status: str
    phone_number_type: str
    country: str


def _index_record(row: PhoneNumber) -> PhoneNumberRecord:
    return PhoneNumberRecord(
        id=row.id,
        name="",
        connection_id=row.connection_id or "",
        status=row.status or "",
        phone_number_type=row.phone_number_type or "",
        country=row.country_iso_alpha2 or "",
    )


_LABELS = ("connection_id", "status", "phone_number_type", "country")

COLLECTOR = Collector(
    name="phone-numbers",
    title="Phone numbers",
    # Telnyx can sort the list by `purchased_at` only, which can be null.
    endpoint=ListEndpoint("/phone_numbers/slim"),
    row_type=PhoneNumber,
    index_type=PhoneNumberRecord,
    index_record=_index_record,
    identity_labels={},
    snapshot_families=(
        RowCount(
            "telnyx_phone_numbers",
            "Number of phone numbers by connection, status, type and country. "
            "The connection_id is empty for numbers without a connection.",
            _LABELS,
            _LABELS,
            (),
        ),
    ),
    default_ttl=900.0,
    log_rows=False,
)
