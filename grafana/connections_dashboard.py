"""The dashboard of all connections."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from alerts import connection_alerts, mark_alerts, mark_changes
from columns import ACCOUNT, ANCHORSITE, CONNECTION, ID, INBOUND_LIMIT, MEDIA_ENCRYPTION, OUTBOUND_LIMIT, STATE, TYPE
from panels import (
    GREEN,
    LINK_PARAMETERS,
    ORANGE,
    RED,
    SHARE_USED,
    WARN_ABOVE_ZERO,
    Column,
    Link,
    build_dashboard,
    custom_variable,
    graph,
    map_values,
    needs,
    stat_panel,
    table_panel,
    thresholds,
)
from queries import (
    BY_ID,
    LIMIT_CHANGES,
    SHOW_OPTIONS,
    UPDATED,
    both_directions,
    by_id,
    by_id_and_name,
    channel_limit,
    count_connections,
    count_unlimited,
    disabled_since,
    info_labels,
    latest_of_connection,
    newest,
    selected_connections,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, ThresholdsConfig


LIMIT = map_values({"-1": ("no limit", ORANGE)})
ANY_ANCHORSITE = '{anchorsite!=""}'


def headline(title: str, description: str, show: str, limits: ThresholdsConfig | None = None) -> Panel:
    """Return a panel with the number of connections for a value of `show`, linked to the list of them."""
    return stat_panel(
        title,
        description,
        f"count({newest(SHOW_OPTIONS[show][1])}) or 0 * max(telnyx_connections)",
        limits=limits,
        link=Link(title="List these connections", url=f"/d/telnyx-connections?var-show={show}&{LINK_PARAMETERS}"),
    )


MAX_ROWS = 20
"""Maximum number of rows in the table of calls."""
ACTIVE_CALLS = latest_of_connection("telnyx_connection_active_calls", "active-calls")
_NO_PROFILE = 'telnyx_connection_outbound_info{outbound_voice_profile_id=""}'
CALL_LIMIT = (
    f"({channel_limit('inbound')} >= 0) + on (connection_id)"
    f" (0 * {BY_ID} ({newest(_NO_PROFILE)}) or on (connection_id) {channel_limit('outbound')} >= 0)"
)
"""The sum of both channel limits, because Telnyx does not say which direction a call has.

Without a profile a connection has only inbound calls. If a direction has no limit, neither has the sum.
"""
FULLEST = f"topk({MAX_ROWS}, {by_id_and_name(ACTIVE_CALLS)} / on (connection_id) group_left () ({CALL_LIMIT}))"
WITHOUT_ENDPOINT = " or ".join(
    by_id_and_name(latest_of_connection(f"telnyx_connection_{kind}", "endpoints", " == 0")) for kind in ("ips", "fqdns")
)


def calls() -> tuple[Panel, ...]:
    """Return the tables of connections whose calls can fail although they are active."""
    return (
        table_panel(
            "Calls against limits",
            "Calls in progress against the channel limits, the fullest connection first. The limit is the sum of both"
            " directions, because Telnyx counts their calls together. Telnyx counts the calls of applications, and of"
            " connections with a webhook.",
            CONNECTION,
            ACCOUNT,
            Column("Calls", promql=f"{BY_ID} ({ACTIVE_CALLS})"),
            Column("Limit", promql=CALL_LIMIT),
            Column(
                "Used",
                promql=FULLEST,
                unit="percentunit",
                colored=True,
                limits=SHARE_USED,
            ),
            ID,
            rows=FULLEST,
            sort="Used",
            descending=True,
            width=12,
            no_value=needs("active-calls"),
        ),
        table_panel(
            "Without an endpoint",
            "IP connections without an IP address, and FQDN connections without an FQDN. Calls to them fail.",
            CONNECTION,
            ACCOUNT,
            STATE,
            ID,
            rows=WITHOUT_ENDPOINT,
            width=12,
            no_value=f"None. {needs('endpoints')}",
        ),
    )


def connections() -> Dashboard:
    """Return the dashboard of all connections."""
    return build_dashboard(
        "telnyx-connections",
        "Telnyx / Connections",
        "Connections of all types: how many, which have alerts, which are off and since when, whose limits changed.",
        (
            "",
            (
                headline("Connections", "How many connections there are, active or not.", "all"),
                headline("Active", "Connections that are switched on.", "active", thresholds()),
                headline(
                    "Disabled",
                    "Connections that are switched off: calls from and to them fail.",
                    "disabled",
                    thresholds((1, RED)),
                ),
                headline(
                    "Without media encryption",
                    "Connections whose calls can be listened to on the way, as their media is not encrypted."
                    " Applications and external connections have no such setting, so they do not count.",
                    "unencrypted",
                    WARN_ABOVE_ZERO,
                ),
                headline(
                    "Without an outbound limit",
                    "Connections that may make any number of calls at once, so that nothing bounds the cost of fraud.",
                    "unlimited",
                    WARN_ABOVE_ZERO,
                ),
                headline(
                    "Changed",
                    "Connections of which a setting was changed, or which were created, in the time shown.",
                    "changed",
                ),
                connection_alerts(),
                table_panel(
                    "Off",
                    "Connections that are switched off. Since when is the time of their last change, or if they were"
                    " changed while off, the time they were first seen off in the time shown.",
                    CONNECTION,
                    ACCOUNT,
                    Column("Off since", promql=disabled_since(), unit="dateTimeFromNow"),
                    ID,
                    rows=by_id_and_name(newest(SHOW_OPTIONS["disabled"][1])),
                    sort="Off since",
                    descending=True,
                    width=8,
                    max_data_points=300,
                ),
                table_panel(
                    "Limits changed",
                    "Channel limits that are not what they were all through the time shown, with what they were at"
                    " its beginning; that is empty where the connection is newer.",
                    CONNECTION,
                    ACCOUNT,
                    Column("Direction", label="direction"),
                    Column(
                        "Before",
                        promql=both_directions(partial(channel_limit, offset=" offset $__range")),
                        mappings=LIMIT,
                        colored=True,
                    ),
                    Column(
                        "Now",
                        promql=both_directions(channel_limit),
                        mappings=LIMIT,
                        colored=True,
                    ),
                    Column("Changes", promql=LIMIT_CHANGES),
                    ID,
                    rows=LIMIT_CHANGES,
                    sort="Connection",
                    width=9,
                    max_data_points=300,
                ),
                table_panel(
                    "Changed lately",
                    "Connections of which any setting was changed in the time shown, the latest first.",
                    CONNECTION,
                    ACCOUNT,
                    Column(
                        "Changed", promql=f"1000 * {UPDATED} > 1000 * (time() - $__range_s)", unit="dateTimeFromNow"
                    ),
                    STATE,
                    ID,
                    rows=by_id_and_name(newest(SHOW_OPTIONS["changed"][1])),
                    sort="Changed",
                    descending=True,
                    width=7,
                ),
            ),
        ),
        (
            "List",
            (
                table_panel(
                    "Connections: ${show:text}",
                    "The connections that the variable Show selects, with their main settings. The numbers at the top"
                    " lead here. You can filter any column, and a name leads to the connection's own dashboard.",
                    CONNECTION,
                    ACCOUNT,
                    TYPE,
                    STATE,
                    ANCHORSITE,
                    MEDIA_ENCRYPTION,
                    OUTBOUND_LIMIT,
                    INBOUND_LIMIT,
                    Column(
                        "SIP URI calling",
                        label="sip_uri_calling_preference",
                        mappings=map_values({"unrestricted": ("unrestricted", ORANGE)}),
                        colored=True,
                    ),
                    Column("Localization", label="localization"),
                    Column(
                        "Outbound voice profile",
                        label="outbound_voice_profile_id",
                        link="/d/telnyx-money?var-profile=${__data.fields.outbound_voice_profile_id:percentencode}"
                        f"&{LINK_PARAMETERS}",
                    ),
                    Column("Webhook host", label="webhook_host"),
                    Column(
                        "Created",
                        promql=f"1000 * {by_id('telnyx_connection_created_timestamp_seconds')}",
                        unit="dateTimeAsIso",
                    ),
                    Column("Changed", promql=f"1000 * {UPDATED}", unit="dateTimeAsIso"),
                    ID,
                    rows=selected_connections(),
                    labels=(
                        info_labels("telnyx_connection_info", "record_type, anchorsite, encrypted_media"),
                        info_labels("telnyx_connection_info", "sip_uri_calling_preference"),
                        info_labels("telnyx_connection_outbound_info", "localization, outbound_voice_profile_id"),
                        info_labels("telnyx_connection_webhook_info", "webhook_host"),
                    ),
                    height=16,
                ),
            ),
        ),
        ("Calls", calls()),
        (
            "Over time",
            (
                graph(
                    "By state",
                    "Connections that are switched on and off.",
                    ("Active", count_connections('{active="true"}')),
                    ("Disabled", count_connections('{active="false"}')),
                    stacked=True,
                    steps=True,
                    colors={"Active": GREEN, "Disabled": RED},
                ),
                graph(
                    "By media encryption",
                    "Connections with encrypted media and without. Applications and external connections have no such"
                    " setting.",
                    ("SRTP", count_connections('{encrypted_media="SRTP"}')),
                    ("Not encrypted", count_connections('{encrypted_media="none"}')),
                    stacked=True,
                    steps=True,
                    colors={"SRTP": GREEN, "Not encrypted": ORANGE},
                ),
                graph(
                    "By anchorsite",
                    "Connections by the place that their media passes through; Latency is whichever answers fastest."
                    " External connections have no such setting.",
                    ("{{anchorsite}}", f"{count_connections(ANY_ANCHORSITE, by='anchorsite')} > 0"),
                    stacked=True,
                    steps=True,
                ),
                graph(
                    "Calls allowed at the same time",
                    "The sum of all channel limits; connections without a limit are not in it.",
                    ("Outbound", f"sum({BY_ID} (telnyx_connection_outbound_channel_limit))"),
                    ("Inbound", f"sum({BY_ID} (telnyx_connection_inbound_channel_limit))"),
                    width=12,
                    steps=True,
                ),
                graph(
                    "Without a limit",
                    "Connections that have no channel limit.",
                    ("Outbound", count_unlimited("outbound")),
                    ("Inbound", count_unlimited("inbound")),
                    width=12,
                    steps=True,
                ),
            ),
        ),
        variables=(custom_variable("show", "Show", {value: text for value, (text, _) in SHOW_OPTIONS.items()}),),
        annotations=(mark_alerts(), mark_changes()),
    )
