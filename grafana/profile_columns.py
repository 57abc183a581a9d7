"""Columns that tables of outbound voice profiles share."""

from __future__ import annotations

from panels import GREEN, LINK_PARAMETERS, ORANGE, RED, Column, map_missing, map_values
from profile_queries import DAILY_LIMIT, STATE

PROFILE = Column(
    "Profile",
    label="profile_name",
    link=f"/d/telnyx-money?var-profile=${{__data.fields.profile_id:percentencode}}&{LINK_PARAMETERS}",
)
"""The profile's name, which selects it on its dashboard. It needs the label `profile_id`, too."""
PROFILE_STATES = map_values({"1": ("Enabled", GREEN), "0": ("Disabled, in use", RED), "2": ("Disabled", ORANGE)})
PROFILE_STATE = Column("State", promql=STATE, mappings=PROFILE_STATES, colored=True)
LIMIT_OFF = map_values({"-1": ("off", ORANGE)})
DAILY_SPEND_LIMIT = Column(
    "Daily limit",
    promql=DAILY_LIMIT,
    unit="currencyUSD",
    mappings=[*LIMIT_OFF, *map_missing("not known")],
    colored=True,
)
