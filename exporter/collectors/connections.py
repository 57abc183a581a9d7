"""What the collectors of all types of connections have in common: the count and the filters."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

from exporter.collectors.collector import Collector
from exporter.collectors.connection_index import ConnectionRecord, connection_record
from exporter.collectors.connection_rows import Connection
from exporter.collectors.families import RowCount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.collectors.collector import ListEndpoint
    from exporter.collectors.families import RowFamily, SnapshotFamily
    from exporter.config.settings import FilterSettings

ConnectionT = TypeVar("ConnectionT", bound=Connection)


def connection_collector(
    row_type: type[ConnectionT],
    *,
    name: str,
    title: str,
    endpoint: ListEndpoint,
    families: tuple[RowFamily, ...],
    snapshot_families: tuple[SnapshotFamily, ...] = (),
    default_ttl: float | None = 60.0,
    on_by_default: bool = False,
) -> Collector[ConnectionT]:
    """Return the collector of a type of connections."""
    return Collector(
        name=name,
        title=title,
        endpoint=endpoint,
        row_type=row_type,
        index_type=ConnectionRecord,
        index_record=connection_record,
        identity_labels={"connection_id": "id", "connection_name": "connection_name"},
        snapshot_families=(connection_count(row_type), *snapshot_families),
        row_families=families,
        default_ttl=default_ttl,
        on_by_default=on_by_default,
    )


def connection_filters(filters: FilterSettings) -> Mapping[str, str]:
    """Return the query parameters of the filters. Only lists of SIP trunks have them."""
    return {
        "filter[connection_name][contains]": filters.connection_name,
        "filter[fqdn]": filters.fqdn,
        "filter[outbound_voice_profile_id]": filters.outbound_voice_profile_id,
    }


def connection_count(row_type: type[Connection]) -> RowCount:
    """Return the family that counts connections, with zeros for the documented combinations of a type."""
    settings = (row_type.documented_anchorsites, row_type.documented_encryptions)
    return RowCount(
        "telnyx_connections",
        "Number of connections by type, state, anchorsite and media encryption. Unused combinations are 0.",
        ("record_type", "active", "anchorsite", "encrypted_media"),
        ("record_type", "active", "anchorsite", "media_encryption"),
        tuple(itertools.product((row_type.documented_type,), (True, False), *settings)),
    )
