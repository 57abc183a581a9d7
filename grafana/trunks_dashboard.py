"""The dashboard of trunks by type: connections and applications, their registrations, and the collectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerts import connection_alerts, mark_alerts, mark_changes
from columns import ACCOUNT, ANCHORSITE, CONNECTION, ID, INBOUND_LIMIT, MEDIA_ENCRYPTION, OUTBOUND_LIMIT, STATE, TYPE
from panels import (
    BLUE,
    GREEN,
    LINK_PARAMETERS,
    ORANGE,
    RED,
    WARN_ABOVE_ZERO,
    Column,
    Link,
    build_dashboard,
    custom_variable,
    graph,
    map_values,
    stat_panel,
    table_panel,
    thresholds,
    timeline,
)
from queries import BY_ID, FAILING_COLLECTORS, ON_REPLICA, by_id, by_id_and_name, count_connections, info_labels, newest
from record_types import RECORD_TYPES, types_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

SELECTED = '{record_type=~"$record_type"}'
REGISTERED = map_values({"1": ("Registered", GREEN), "0": ("Not registered", ORANGE)})
MAX_LINES = 30
"""Maximum number of lines in the timeline."""

NOT_DISABLED = f"unless {ON_REPLICA} telnyx_connection_active == 0"
WITH_STATE = f"telnyx_connection_info and {ON_REPLICA} telnyx_connection_active"
NOT_REGISTERED = f"telnyx_connection_registered == 0 {NOT_DISABLED}"


def selected(promql: str) -> str:
    """Limit a query to the selected types."""
    return f"{promql} and {ON_REPLICA} telnyx_connection_info{SELECTED}"


def newest_selected(promql: str) -> str:
    """Limit a query to the selected types, and each connection to the replica that refreshed last."""
    return newest(promql, SELECTED)


def count_by_type(promql: str) -> str:
    """Return a query that counts the trunks of each selected type, including types that have none."""
    none = f"0 * max by (record_type) (telnyx_connections{SELECTED})"
    return f"count by (record_type) ({newest_selected(promql)}) or {none}"


def count_registered(value: int, limit: Callable[[str], str]) -> str:
    """Return a query that counts the trunks that are not disabled and are registered (1) or not (0)."""
    registered = f"{BY_ID} ({limit(f'telnyx_connection_registered {NOT_DISABLED}')})"
    return f"count({registered} == {value}) or 0 * max(telnyx_connections)"


def count_unknown(limit: Callable[[str], str]) -> str:
    """Return a query that counts the trunks that are not disabled and could register, but whose status does not say."""
    types = types_with("telnyx_connection_registered")
    trunks = f'telnyx_connection_info{{record_type=~"{types}"}} {NOT_DISABLED}'
    unknown = f"{BY_ID} ({limit(trunks)}) unless on (connection_id) telnyx_connection_registered"
    return f"count({unknown}) or 0 * max(telnyx_connections)"


def registrations_over_time() -> str:
    """Return a query for the registrations that were missing in the selected time range, the most changed first.

    A registration counts as missing if no replica shows it.
    """
    registered = f"({BY_ID} ({selected(f'telnyx_connection_registered {NOT_DISABLED}')}))[$__range:$__interval] @ end()"
    missing = f"changes({registered}) and on (connection_id) min_over_time({registered}) == 0"
    return by_id_and_name(f"telnyx_connection_registered and on (connection_id) topk({MAX_LINES}, {missing})")


def headlines() -> tuple[Panel, ...]:
    """Return the numbers at the top."""
    return (
        stat_panel(
            "Trunks",
            "Number of connections and applications of the selected types, active or disabled.",
            f"count({newest_selected('telnyx_connection_info')}) or 0 * max(telnyx_connections)",
        ),
        stat_panel(
            "Disabled",
            "Number of disabled trunks. All their calls fail. Click the number to list them.",
            f"count({newest_selected('telnyx_connection_active == 0')}) or 0 * max(telnyx_connections)",
            limits=thresholds((1, RED)),
            link=Link(
                title="List the disabled connections of all types",
                url=f"/d/telnyx-connections?var-show=disabled&{LINK_PARAMETERS}",
            ),
        ),
        stat_panel(
            "Registered",
            "Number of trunks with a SIP registration. Disabled trunks do not count.",
            count_registered(1, newest_selected),
        ),
        stat_panel(
            "Not registered",
            "Number of trunks without a SIP registration. Disabled trunks do not count.",
            count_registered(0, newest_selected),
            limits=WARN_ABOVE_ZERO,
        ),
        stat_panel(
            "Registration unknown",
            "Credential and UAC connections whose registration Telnyx does not report. Disabled trunks do not count.",
            count_unknown(newest_selected),
        ),
        stat_panel(
            "Failing collectors",
            "Collectors whose last refresh failed on at least one exporter. Normally 0. If not, the tables below can"
            " lack trunks.",
            FAILING_COLLECTORS,
            limits=WARN_ABOVE_ZERO,
            trend=True,
        ),
        # A connection that disappeared has no type, but an alert.
        connection_alerts('unless on (connection_id) telnyx_connection_info{record_type!~"$record_type"}'),
    )


def types() -> tuple[Panel, ...]:
    """Return the panels about the types."""
    return (
        table_panel(
            "By type",
            "Number of trunks of each type. Types whose collector is disabled have no row.",
            TYPE,
            Column("Trunks", promql=count_by_type("telnyx_connection_info")),
            Column("Active", promql=count_by_type(f"{WITH_STATE} == 1")),
            Column(
                "Disabled",
                promql=count_by_type(f"{WITH_STATE} == 0"),
            ),
            sort="Trunks",
            descending=True,
            width=8,
            height=8,
        ),
        graph(
            "Trunks by type",
            "Connections and applications of each type, active or disabled.",
            ("{{record_type}}", count_connections(SELECTED, by="record_type")),
            stacked=True,
            steps=True,
            names=RECORD_TYPES,
        ),
        graph(
            "Disabled by type",
            "Disabled trunks of each type.",
            (
                "{{record_type}}",
                count_connections('{record_type=~"$record_type",active="false"}', by="record_type"),
            ),
            stacked=True,
            steps=True,
            names=RECORD_TYPES,
        ),
    )


def registration() -> tuple[Panel, ...]:
    """Return the panels about registrations."""
    return (
        graph(
            "By registration",
            "Trunks with and without a SIP registration. Disabled trunks, and types that do not register, do not"
            " count.",
            ("Registered", count_registered(1, selected)),
            ("Not registered", count_registered(0, selected)),
            ("Unknown", count_unknown(selected)),
            stacked=True,
            steps=True,
            colors={"Registered": GREEN, "Not registered": ORANGE, "Unknown": BLUE},
        ),
        table_panel(
            "Not registered since",
            "Trunks that are neither registered nor disabled, the latest first. Click a name to see the connection.",
            CONNECTION,
            ACCOUNT,
            TYPE,
            Column("Status", label="status"),
            Column(
                "Since",
                promql=f"1000 * {by_id('telnyx_connection_registration_updated_timestamp_seconds')}",
                unit="dateTimeFromNow",
            ),
            ID,
            rows=by_id_and_name(newest_selected(NOT_REGISTERED)),
            labels=(
                info_labels("telnyx_connection_info", "record_type"),
                info_labels("telnyx_connection_registration_status", "status"),
            ),
            sort="Since",
            descending=True,
            width=16,
            height=8,
        ),
        timeline(
            "Registrations lost",
            "Trunks that lost their registration, or had none, in the selected time range. Disabled trunks do not"
            f" count. At most {MAX_LINES}, those whose registration changed most often.",
            ("{{connection_name}}", registrations_over_time()),
            mappings=REGISTERED,
            height=10,
        ),
    )


def trunk_list() -> Panel:
    """Return the table of all trunks."""
    return table_panel(
        "Trunks: ${record_type:text}",
        "All trunks of the selected types. A setting that a type lacks is empty or n/a. You can filter each column."
        " Click a name to see the connection.",
        TYPE,
        CONNECTION,
        ACCOUNT,
        STATE,
        Column("Registration", promql=by_id("telnyx_connection_registered"), mappings=REGISTERED, colored=True),
        Column("Transport", label="transport_protocol"),
        Column("SIP region", label="sip_region"),
        Column("Authentication", label="outbound_authentication"),
        ANCHORSITE,
        MEDIA_ENCRYPTION,
        OUTBOUND_LIMIT,
        INBOUND_LIMIT,
        ID,
        rows=by_id_and_name(newest_selected("telnyx_connection_info"), "record_type", "anchorsite", "encrypted_media"),
        labels=(
            info_labels("telnyx_connection_transport_info", "transport_protocol, sip_region, outbound_authentication"),
        ),
        height=16,
    )


def collectors() -> tuple[Panel, ...]:
    """Return the panels about the collectors."""
    by_collector = "max by (account, collector, instance)"
    return (
        table_panel(
            "Collectors",
            "The last refresh of each collector on each exporter. Rows left out are rows that could not be decoded, or"
            " that are in a list's total but on none of its pages.",
            ACCOUNT,
            Column("Collector", label="collector"),
            Column("Exporter", label="instance"),
            Column(
                "Last refresh",
                promql="min by (account, collector, instance) (telnyx_collector_success)",
                mappings=map_values({"1": ("succeeded", GREEN), "0": ("failed", RED)}),
                colored=True,
            ),
            Column("Rows", promql=f"{by_collector} (telnyx_collector_rows)"),
            Column(
                "Rows left out",
                promql=f"{by_collector} (telnyx_collector_malformed_rows + telnyx_collector_missing_rows)",
            ),
            Column("Duration", promql=f"{by_collector} (telnyx_collector_duration_seconds)", unit="s"),
            Column(
                "Age of the data",
                promql=f"{by_collector} (time() - telnyx_collector_last_success_timestamp_seconds)",
                unit="s",
            ),
            height=11,
        ),
        graph(
            "Age of the data",
            "Age of the oldest snapshot that an exporter serves, by collector. Normally below the collector's TTL plus"
            " the scrape interval.",
            ("{{collector}}", "max by (collector) (time() - telnyx_collector_last_success_timestamp_seconds)"),
            unit="s",
            width=12,
        ),
        graph(
            "Duration of the refresh",
            "Duration of the last refresh, including retries and waits.",
            ("{{collector}}", "max by (collector) (telnyx_collector_duration_seconds)"),
            unit="s",
            width=12,
        ),
        graph(
            "Failed refreshes by collector",
            "Failed refreshes of each collector. Normally 0. Meanwhile, the exporter serves the last snapshot.",
            ("{{collector}}", "sum by (collector) (increase(telnyx_collector_failures_total[$__rate_interval]))"),
            stacked=True,
            width=12,
        ),
        graph(
            "Failed refreshes by reason",
            "Failed refreshes of all collectors by reason. The log names the collector and shows the advice.",
            ("{{reason}}", "sum by (reason) (increase(telnyx_collector_failures_total[$__rate_interval]))"),
            stacked=True,
            width=12,
        ),
    )


def trunks() -> Dashboard:
    """Return the dashboard of trunks by type."""
    return build_dashboard(
        "telnyx-trunks",
        "Telnyx / Trunks",
        "SIP trunks and applications by type: state, registration and transport, and the collectors that read them.",
        ("", headlines()),
        ("Types", types()),
        ("Registration", registration()),
        ("List", (trunk_list(),)),
        ("Collectors", collectors()),
        variables=(custom_variable("record_type", "Type", RECORD_TYPES, multi=True),),
        annotations=(mark_alerts(), mark_changes()),
    )
