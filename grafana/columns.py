"""Columns that tables of connections share. A column with a label needs a query that has this label."""

from __future__ import annotations

from panels import LINK_PARAMETERS, ON_OFF, ORANGE, Column, map_missing, map_values
from queries import ACTIVE, by_id
from record_types import RECORD_TYPE

CONNECTION = Column(
    "Connection",
    label="connection_name",
    link=f"/d/telnyx-connection?var-connection=${{__data.fields.connection_id:percentencode}}&{LINK_PARAMETERS}",
)
"""The connection's name, which links to its dashboard. It needs the label `connection_id`, too."""
ACCOUNT = Column("Account", label="account")
"""The account's name. Grafana leaves out a column whose label no series has, as without --telnyx.api-key-files."""
ID = Column("ID", label="connection_id")
TYPE = Column(
    "Type", label="record_type", mappings=map_values({name: (text, "") for name, text in RECORD_TYPE.items()})
)
STATE = Column("State", promql=ACTIVE, mappings=ON_OFF, colored=True)
ANCHORSITE = Column("Anchorsite", label="anchorsite")
MEDIA_ENCRYPTION = Column(
    "Media encryption",
    label="encrypted_media",
    mappings=[*map_values({"none": ("none", ORANGE)}), *map_missing("n/a")],
    colored=True,
)
OUTBOUND_LIMIT, INBOUND_LIMIT = (
    Column(
        f"{direction} limit",
        promql=by_id(f"telnyx_connection_{direction.lower()}_channel_limit"),
        mappings=map_missing("no limit"),
    )
    for direction in ("Outbound", "Inbound")
)
