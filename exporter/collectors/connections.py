"""What connections of all types have in common: the index record, their count and the filters."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from exporter.collectors.families import RowCount
from exporter.collectors.index import IndexRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from exporter.config.settings import FilterSettings


class ConnectionRecord(IndexRecord, frozen=True, gc=False, array_like=True):
    """The attributes of a connection that are counted, or whose changes are logged."""

    record_type: str
    active: bool | None
    anchorsite: str
    media_encryption: str
    inbound_channel_limit: int | None
    outbound_channel_limit: int | None
    updated_at: str | None

    def changes_since(self, previous: Self) -> Iterable[str]:
        """Return what changed: the state, the limits or the encryption."""
        if self.active is not None and self.active != previous.active:
            yield "enabled" if self.active else "disabled"
        if (self.inbound_channel_limit, self.outbound_channel_limit) != (
            previous.inbound_channel_limit,
            previous.outbound_channel_limit,
        ):
            yield "limits_changed"
        if self.media_encryption != previous.media_encryption:
            yield "encryption_changed"


_ANCHORSITES = (
    *("Latency", "Chicago, IL", "Ashburn, VA", "San Jose, CA", "Sydney, Australia", "Amsterdam, Netherlands"),
    *("London, UK", "Toronto, Canada", "Vancouver, Canada", "Frankfurt, Germany"),
)
"""The sites that Telnyx documents."""


def connection_count(record_type: str) -> RowCount:
    """Return the family that counts connections, with zeros for the documented combinations of a record type."""
    return RowCount(
        "telnyx_connections",
        "Connections by type, state, anchorsite and media encryption, including zeros for documented combinations.",
        ("record_type", "active", "anchorsite", "encrypted_media"),
        ("record_type", "active", "anchorsite", "media_encryption"),
        tuple(itertools.product((record_type,), (True, False), _ANCHORSITES, ("SRTP", "none"))),
    )


def connection_filters(filters: FilterSettings) -> Mapping[str, str]:
    """Return the query parameters of the filters."""
    return {
        "filter[connection_name][contains]": filters.connection_name,
        "filter[fqdn]": filters.fqdn,
        "filter[outbound_voice_profile_id]": filters.outbound_voice_profile_id,
    }
