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
            "Calls in progress and the channel limits, the most used first. The limit is the sum of both directions,"
            " because Telnyx counts their calls together. Telnyx counts only the calls of applications and of"
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
            "IP connections without an IP address, and FQDN connections without an FQDN. Calls to them fail: add an"
            " endpoint. Normally empty.",
            CONNECTION,
            ACCOUNT,
            STATE,
            ID,
            rows=WITHOUT_ENDPOINT,
            width=12,
            no_value=f"No connections. {needs('endpoints')}",
        ),
    )


def connections() -> Dashboard:
    """Return the dashboard of all connections."""
    return build_dashboard(
        "telnyx-connections",
        "Telnyx / Connections",
        "Connections of all types: how many there are, and which have alerts, are disabled, or have new limits.",
        (
            "",
            (
                headline("Connections", "Number of connections, active or disabled.", "all"),
                headline("Active", "Number of active connections.", "active", thresholds()),
                headline(
                    "Disabled",
                    "Number of disabled connections. All their calls fail. Click the number to list them.",
                    "disabled",
                    thresholds((1, RED)),
                ),
                headline(
                    "Without media encryption",
                    "Connections whose media is not encrypted, so that calls can be intercepted. Applications and"
                    " external connections do not count, because they lack this setting.",
                    "unencrypted",
                    WARN_ABOVE_ZERO,
                ),
                headline(
                    "Without an outbound limit",
                    "Connections without an outbound channel limit. Set a limit to bound the cost of fraud.",
                    "unlimited",
                    WARN_ABOVE_ZERO,
                ),
                headline(
                    "Changed",
                    "Connections that were changed or created in the selected time range.",
                    "changed",
                ),
                connection_alerts(),
                table_panel(
                    "Disabled since",
                    "Disabled connections, the latest first. Since is the time of the last change, or the first time"
                    " in the selected range at which Prometheus saw the connection disabled, if that is earlier.",
                    CONNECTION,
                    ACCOUNT,
                    Column("Since", promql=disabled_since(), unit="dateTimeFromNow"),
                    ID,
                    rows=by_id_and_name(newest(SHOW_OPTIONS["disabled"][1])),
                    sort="Since",
                    descending=True,
                    width=8,
                    max_data_points=300,
                ),
                table_panel(
                    "Limits changed",
                    "Channel limits that changed in the selected time range. Before is the limit at the start of the"
                    " range. It is empty for connections that are newer.",
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
                    "Recently changed",
                    "Connections that were changed in the selected time range, the latest first.",
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
                    "The connections that the variable Show selects, with their main settings. You can filter each"
                    " column. Click a name to see the connection's dashboard.",
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
                    "Number of active and disabled connections.",
                    ("Active", count_connections('{active="true"}')),
                    ("Disabled", count_connections('{active="false"}')),
                    stacked=True,
                    steps=True,
                    colors={"Active": GREEN, "Disabled": RED},
                ),
                graph(
                    "By media encryption",
                    "Connections with and without media encryption. Applications and external connections lack this"
                    " setting.",
                    ("SRTP", count_connections('{encrypted_media="SRTP"}')),
                    ("Not encrypted", count_connections('{encrypted_media="none"}')),
                    stacked=True,
                    steps=True,
                    colors={"SRTP": GREEN, "Not encrypted": ORANGE},
                ),
                graph(
                    "By anchorsite",
                    "Connections by anchorsite, the site where media enters Telnyx. Latency means the site with the"
                    " lowest latency. External connections lack this setting.",
                    ("{{anchorsite}}", f"{count_connections(ANY_ANCHORSITE, by='anchorsite')} > 0"),
                    stacked=True,
                    steps=True,
                ),
                graph(
                    "Sum of the channel limits",
                    "The sum of all channel limits. Connections without a limit do not count.",
                    ("Outbound", f"sum({BY_ID} (telnyx_connection_outbound_channel_limit))"),
                    ("Inbound", f"sum({BY_ID} (telnyx_connection_inbound_channel_limit))"),
                    width=12,
                    steps=True,
                ),
                graph(
                    "Without a channel limit",
                    "Number of connections without a channel limit.",
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
