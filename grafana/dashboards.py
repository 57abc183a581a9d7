"""Generate the Grafana dashboards: all connections, one connection, and the exporter.

To write the files, run `make generate` or this script in a checkout. `--check` only compares them.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from panels import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    Column,
    Link,
    build_dashboard,
    custom_variable,
    graph,
    map_missing,
    map_values,
    scoped,
    stat_panel,
    table_panel,
    thresholds,
    timeline,
    variable,
)

from exporter.collectors.credential_connections import COLLECTOR
from exporter.collectors.families import MultiGauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, ThresholdsConfig

FOLDER = Path(__file__).with_name("dashboards")

# Replicas expose the same connections, so each query removes duplicates before it counts or sums. A query about
# connections takes each connection from the replica that refreshed last. Therefore each connection is one row with its
# newest name, and the headline numbers add up even while another replica still exposes an older list.
NEWEST = (
    "topk by (connection_id) (1, telnyx_connection_info{only}{offset}"
    " * on (job, instance) group_left () telnyx_last_success_timestamp_seconds{offset})"
)
BY_ID, BY_ID_AND_NAME = "max by (connection_id)", "max by (connection_id, connection_name)"


def newest(promql: str, only: str = "", offset: str = "") -> str:
    """Limit a query to one series for each connection, from the replica that refreshed last.

    `only` and `offset` repeat the selector and the offset of the query.
    """
    return f"{promql} and on (job, instance, connection_id) {NEWEST.format(only=only, offset=offset)}"


def by_id(metric: str) -> str:
    """Return a query for a connection metric with the connection ID as its only label."""
    return f"{BY_ID} ({newest(metric)})"


CONNECTION_NAMES = f"{BY_ID_AND_NAME} ({newest('telnyx_connection_info')})"
ACTIVE = by_id("telnyx_connection_active")
UPDATED = by_id("telnyx_connection_updated_timestamp_seconds")

SHOW_OPTIONS = {
    "all": ("All", "telnyx_connection_info"),
    "active": ("Active", "telnyx_connection_active == 1"),
    "disabled": ("Disabled", "telnyx_connection_active == 0"),
    "unencrypted": ("Without media encryption", 'telnyx_connection_info{encrypted_media="none"}'),
    "unlimited": (
        "Without an outbound limit",
        "telnyx_connection_info unless on (job, instance, connection_id) telnyx_connection_outbound_channel_limit",
    ),
    "changed": ("Changed in the time shown", "telnyx_connection_updated_timestamp_seconds > time() - $__range_s"),
}
"""Values of the variable `show`, each with its text and query. The headline numbers count the same connections."""

ON_OFF = map_values({"1": ("Active", GREEN), "0": ("Disabled", RED)})
YES_NO = map_values({"true": ("yes", ""), "false": ("no", "")})
LIMIT = map_values({"-1": ("no limit", ORANGE)})
WARN_ABOVE_ZERO = thresholds((1, ORANGE))

LINK_PARAMETERS = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
"""URL parameters that a link copies from the current dashboard."""


def headline(title: str, description: str, show: str, limits: ThresholdsConfig | None = None) -> Panel:
    """Return a panel with the number of connections for a value of `show`, linked to the list of them."""
    return stat_panel(
        title,
        description,
        f"count({newest(SHOW_OPTIONS[show][1])}) or 0 * max(telnyx_connections)",
        limits=limits,
        link=Link(title="List these connections", url=f"/d/telnyx-connections?var-show={show}&{LINK_PARAMETERS}"),
    )


def selected_connections() -> str:
    """Return a query for the connections that the variable `show` selects, with their names."""
    options = " or ".join(
        f'label_replace({promql}, "show", "{show}", "", "")' for show, (_, promql) in SHOW_OPTIONS.items()
    )
    selected = 'label_replace(vector(1), "show", "$show", "", "")'
    return f"{BY_ID_AND_NAME} ({newest(f'({options}) and on (show) {selected}')})"


def count_connections(matcher: str = "", by: str = "") -> str:
    """Return a query that counts connections: the highest `telnyx_connections` of all replicas."""
    summed = ", ".join(label for label in ("record_type", "active", "anchorsite", "encrypted_media") if label != by)
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (max without (instance, pod) (sum without ({summed}) (telnyx_connections{matcher})))"


def disabled_since() -> str:
    """Return a query for the times at which disabled connections were disabled, in Unix milliseconds.

    Disabling a connection changes it, so the query returns the time of the last change. If Prometheus recorded the
    connection as disabled before that, it returns this earlier time.
    """
    last_active = f"{BY_ID} (max_over_time(timestamp(telnyx_connection_active == 1)[$__range:$__interval]))"
    first_disabled = f'label_replace({last_active} + $__interval_ms / 1000, "first_seen", "off", "", "")'
    since = f"min by (connection_id) ({UPDATED} or {first_disabled})"
    return f"1000 * ({since} and on (connection_id) ({newest('telnyx_connection_active == 0')}))"


def channel_limit(direction: str, offset: str = "") -> str:
    """Return a query for channel limits by connection ID. The value -1 means no limit."""
    metric, active = f"telnyx_connection_{direction}_channel_limit{offset}", f"telnyx_connection_active{offset}"
    return f"{BY_ID} ({newest(f'({metric} or {active} * 0 - 1)', offset=offset)})"


def limit_changes(direction: str) -> str:
    """Return a query for how often a channel limit changed in the selected time range, by connection ID.

    The query uses the highest limit of all replicas, so a new limit counts once even if replicas read it one after the
    other.
    """
    limits = f"{BY_ID} (telnyx_connection_{direction}_channel_limit) or {BY_ID} (telnyx_connection_active) * 0 - 1"
    return f"changes(({limits})[$__range:$__interval]) > 0"


def both_directions(query: Callable[[str], str]) -> str:
    """Combine a query by connection ID for both directions. Adds the labels `direction` and `connection_name`."""
    directions = " or ".join(
        f'label_replace({query(direction)}, "direction", "{direction}", "", "")'
        for direction in ("outbound", "inbound")
    )
    return f"({directions}) * on (connection_id) group_left (connection_name) {CONNECTION_NAMES}"


LIMIT_CHANGES = both_directions(limit_changes)


def count_unlimited(direction: str) -> str:
    """Return a query that counts the connections that have no channel limit on any replica."""
    limited = f"group by (connection_id) (telnyx_connection_{direction}_channel_limit)"
    return f"count(group by (connection_id) (telnyx_connection_info) unless {limited}) or 0 * max(telnyx_connections)"


def info_labels(metric: str, labels: str) -> str:
    """Return a query for these labels of an info metric, by connection ID."""
    return f"max by (connection_id, {labels}) ({newest(metric)})"


def connection_column() -> Column:
    """Return a column with the connection's name, which links to its dashboard."""
    link = f"/d/telnyx-connection?var-connection=${{__data.fields.connection_id:percentencode}}&{LINK_PARAMETERS}"
    return Column("Connection", label="connection_name", link=link)


def connections() -> Dashboard:
    """Return the dashboard of all connections."""
    return build_dashboard(
        "telnyx-connections",
        "Telnyx / Connections",
        "All credential connections: how many, which are off and since when, whose limits changed.",
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
                    "Connections whose calls can be listened to on the way, as their media is not encrypted.",
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
                table_panel(
                    "Off",
                    "Connections that are switched off. Since when is the time of their last change, or if they were"
                    " changed while off, the time they were first seen off in the time shown.",
                    connection_column(),
                    Column("Off since", promql=disabled_since(), unit="dateTimeFromNow"),
                    Column("ID", label="connection_id"),
                    rows=f"{BY_ID_AND_NAME} ({newest(SHOW_OPTIONS['disabled'][1])})",
                    sort="Off since",
                    descending=True,
                    width=8,
                    max_data_points=300,
                ),
                table_panel(
                    "Limits changed",
                    "Channel limits that are not what they were all through the time shown, with what they were at"
                    " its beginning; that is empty where the connection is newer.",
                    connection_column(),
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
                    Column("ID", label="connection_id"),
                    rows=LIMIT_CHANGES,
                    sort="Connection",
                    width=9,
                    max_data_points=300,
                ),
                table_panel(
                    "Changed lately",
                    "Connections of which any setting was changed in the time shown, the latest first.",
                    connection_column(),
                    Column(
                        "Changed", promql=f"1000 * {UPDATED} > 1000 * (time() - $__range_s)", unit="dateTimeFromNow"
                    ),
                    Column("State", promql=ACTIVE, mappings=ON_OFF, colored=True),
                    Column("ID", label="connection_id"),
                    rows=f"{BY_ID_AND_NAME} ({newest(SHOW_OPTIONS['changed'][1])})",
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
                    connection_column(),
                    Column("State", promql=ACTIVE, mappings=ON_OFF, colored=True),
                    Column("Anchorsite", label="anchorsite"),
                    Column(
                        "Media encryption",
                        label="encrypted_media",
                        mappings=map_values({"none": ("none", ORANGE)}),
                        colored=True,
                    ),
                    Column(
                        "Outbound limit",
                        promql=by_id("telnyx_connection_outbound_channel_limit"),
                        mappings=map_missing("no limit"),
                    ),
                    Column(
                        "Inbound limit",
                        promql=by_id("telnyx_connection_inbound_channel_limit"),
                        mappings=map_missing("no limit"),
                    ),
                    Column(
                        "SIP URI calling",
                        label="sip_uri_calling_preference",
                        mappings=map_values({"unrestricted": ("unrestricted", ORANGE)}),
                        colored=True,
                    ),
                    Column("Localization", label="localization"),
                    Column("Outbound voice profile", label="outbound_voice_profile_id"),
                    Column("Webhook host", label="webhook_host"),
                    Column(
                        "Created",
                        promql=f"1000 * {by_id('telnyx_connection_created_timestamp_seconds')}",
                        unit="dateTimeAsIso",
                    ),
                    Column("Changed", promql=f"1000 * {UPDATED}", unit="dateTimeAsIso"),
                    Column("ID", label="connection_id"),
                    rows=selected_connections(),
                    labels=(
                        info_labels(
                            "telnyx_connection_info", "anchorsite, encrypted_media, sip_uri_calling_preference"
                        ),
                        info_labels("telnyx_connection_outbound_info", "localization, outbound_voice_profile_id"),
                        info_labels("telnyx_connection_webhook_info", "webhook_host"),
                    ),
                    height=16,
                ),
            ),
        ),
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
                    "Connections with encrypted media and without.",
                    ("SRTP", count_connections('{encrypted_media="SRTP"}')),
                    ("Not encrypted", count_connections('{encrypted_media="none"}')),
                    stacked=True,
                    steps=True,
                    colors={"SRTP": GREEN, "Not encrypted": ORANGE},
                ),
                graph(
                    "By anchorsite",
                    "Connections by the place that their media passes through; Latency is whichever answers fastest.",
                    ("{{anchorsite}}", f"{count_connections(by='anchorsite')} > 0"),
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
    )


SETTINGS = {
    "General": {
        "Record type": "telnyx_connection_info record_type",
        "Anchorsite": "telnyx_connection_info anchorsite",
        "Media encryption": "telnyx_connection_info encrypted_media",
        "DTMF type": "telnyx_connection_info dtmf_type",
        "SIP URI calling": "telnyx_connection_info sip_uri_calling_preference",
        "Comfort noise on hold": "telnyx_connection_info default_on_hold_comfort_noise_enabled",
        "Encode contact header": "telnyx_connection_info encode_contact_header_enabled",
        "T.38 passthrough on-net": "telnyx_connection_info onnet_t38_passthrough_enabled",
        "iOS push credential": "telnyx_connection_info ios_push_credential_id",
        "Android push credential": "telnyx_connection_info android_push_credential_id",
    },
    "Calls to the connection": {
        "Channel limit": "telnyx_connection_inbound_channel_limit",
        "Caller number format": "telnyx_connection_inbound_info ani_number_format",
        "Called number format": "telnyx_connection_inbound_info dnis_number_format",
        "Routing method": "telnyx_connection_inbound_info default_routing_method",
        "Simultaneous ringing": "telnyx_connection_inbound_info simultaneous_ringing",
        "Ringback tone": "telnyx_connection_inbound_info generate_ringback_tone",
        "ISUP headers": "telnyx_connection_inbound_info isup_headers_enabled",
        "PRACK": "telnyx_connection_inbound_info prack_enabled",
        "Compact SIP headers": "telnyx_connection_inbound_info sip_compact_headers_enabled",
        "STIR/SHAKEN": "telnyx_connection_inbound_info shaken_stir_enabled",
        "First answer within (s)": "telnyx_connection_inbound_timeout_1xx_seconds",
        "Picked up within (s)": "telnyx_connection_inbound_timeout_2xx_seconds",
    },
    "Calls from the connection": {
        "Channel limit": "telnyx_connection_outbound_channel_limit",
        "Caller ID override": "telnyx_connection_outbound_info ani_override_type",
        "Localization": "telnyx_connection_outbound_info localization",
        "T.38 reinvite from": "telnyx_connection_outbound_info t38_reinvite_source",
        "Outbound voice profile": "telnyx_connection_outbound_info outbound_voice_profile_id",
        "Call parking": "telnyx_connection_outbound_info call_parking_enabled",
        "Instant ringback": "telnyx_connection_outbound_info instant_ringback_enabled",
        "Ringback tone": "telnyx_connection_outbound_info generate_ringback_tone",
    },
    "Webhooks": {
        "API version": "telnyx_connection_webhook_info webhook_api_version",
        "Host": "telnyx_connection_webhook_info webhook_host",
        "Failover host": "telnyx_connection_webhook_info webhook_failover_host",
        "Call cost included": "telnyx_connection_webhook_info call_cost_in_webhooks",
        "Failover after (s)": "telnyx_connection_webhook_timeout_seconds",
    },
    "Media": {
        "RTCP port": "telnyx_connection_rtcp_info port",
        "RTCP capture": "telnyx_connection_rtcp_info capture_enabled",
        "RTCP report every (s)": "telnyx_connection_rtcp_report_interval_seconds",
        "Noise suppression": "telnyx_connection_noise_suppression_info direction",
        "Noise suppression engine": "telnyx_connection_noise_suppression_info engine",
        "Noise attenuation limit": "telnyx_connection_noise_suppression_attenuation_limit",
        "Jitter buffer (1 is on)": "telnyx_connection_jitter_buffer_enabled",
        "Jitter buffer at least (s)": "telnyx_connection_jitter_buffer_min_seconds",
        "Jitter buffer at most (s)": "telnyx_connection_jitter_buffer_max_seconds",
    },
}
"""Settings by table title and display name. The source is a metric, or a metric and one of its labels."""

SHOWN_ELSEWHERE = {
    "telnyx_connection_active",
    "telnyx_connection_created_timestamp_seconds",
    "telnyx_connection_updated_timestamp_seconds",
}
"""Metrics that have panels of their own."""


def settings_tables() -> dict[str, dict[str, str]]:
    """Return SETTINGS, and the metrics and labels that it does not list, which are displayed under their own names.

    A label appears in the first table that has another label of its metric. Anything else appears in the first table.
    """
    tables = {title: dict(settings) for title, settings in SETTINGS.items()}
    listed = {source for settings in SETTINGS.values() for source in settings.values()} | SHOWN_ELSEWHERE
    for family in COLLECTOR.row_families:
        if isinstance(family, MultiGauge):
            continue
        for source in [f"{family.name} {label}" for label in family.labels] or [family.name]:
            if source not in listed:
                name = source.rpartition(" ")[2].removeprefix("telnyx_connection_").removesuffix("_enabled")
                siblings = (
                    table
                    for table in tables.values()
                    if any(other.partition(" ")[0] == family.name for other in table.values())
                )
                next(siblings, tables["General"])[name.replace("_", " ").capitalize()] = source
    return tables


THIS_CONNECTION = '{connection_id="$connection"}'
THIS_ENCRYPTED = '{connection_id="$connection",encrypted_media="SRTP"}'


def this_connection(metric: str, only: str = "") -> str:
    """Return a query for a metric of the selected connection, from the replica that refreshed last."""
    return newest(f"{metric}{only or THIS_CONNECTION}", THIS_CONNECTION)


def setting(title: str, source: str) -> str:
    """Return a query for a setting, with its title in the label `setting` and its value in `set_to`."""
    metric, _, label = source.partition(" ")
    value = (
        f'label_replace({metric}{THIS_CONNECTION}, "set_to", "$1", "{label}", "(.*)")'
        if label
        else f'count_values by (job, instance, connection_id) ("set_to", {metric}{THIS_CONNECTION})'
    )
    return f'label_replace({value}, "setting", "{title}", "", "")'


INFO = this_connection("telnyx_connection_info")


def settings_panels() -> Iterator[Panel]:
    """Yield a table for each group of settings, one for the codecs, and one for the tags."""
    for title, settings in settings_tables().items():
        samples = " or ".join(setting(name, source) for name, source in settings.items())
        yield table_panel(
            title,
            f"Settings of the connection: {title[0].lower()}{title[1:]}. What has no limit has no row.",
            Column("Setting", label="setting"),
            Column("Value", label="set_to", mappings=[*YES_NO, *map_missing("-")]),
            labels=(f"max by (setting, set_to) ({newest(f'({samples})', THIS_CONNECTION)})",),
            width=8,
            height=12,
        )
    yield table_panel(
        "Codecs",
        "The codecs for calls to the connection, the preferred one first.",
        Column(
            "Order", promql=f"max by (codec) ({this_connection('telnyx_connection_inbound_codec_priority')})", width=80
        ),
        Column("Codec", label="codec"),
        width=4,
        height=12,
    )
    yield table_panel(
        "Tags",
        "The tags of the connection.",
        Column("Tag", label="tag"),
        labels=(f"max by (tag) ({this_connection('telnyx_connection_tag_info')})",),
        width=4,
        height=12,
    )


def connection() -> Dashboard:
    """Return the dashboard of one connection."""
    return build_dashboard(
        "telnyx-connection",
        "Telnyx / Connection",
        "One credential connection: its state and limits over time, and every setting.",
        (
            "",
            (
                stat_panel(
                    "Name",
                    "What the connection is called now.",
                    f"{BY_ID_AND_NAME} ({INFO})",
                    label="connection_name",
                    width=6,
                ),
                stat_panel(
                    "State",
                    "Whether the connection is switched on.",
                    f"max({this_connection('telnyx_connection_active')})",
                    mappings=ON_OFF,
                    width=3,
                ),
                stat_panel(
                    "Outbound limit",
                    "Calls from the connection allowed at the same time.",
                    f"max({this_connection('telnyx_connection_outbound_channel_limit')})",
                    no_value="no limit",
                    width=3,
                ),
                stat_panel(
                    "Inbound limit",
                    "Calls to the connection allowed at the same time.",
                    f"max({this_connection('telnyx_connection_inbound_channel_limit')})",
                    no_value="no limit",
                    width=3,
                ),
                stat_panel(
                    "Created",
                    "When the connection was created.",
                    f"1000 * max({this_connection('telnyx_connection_created_timestamp_seconds')})",
                    unit="dateTimeFromNow",
                    width=3,
                ),
                stat_panel(
                    "Changed",
                    "When a setting of the connection was last changed.",
                    f"1000 * max({this_connection('telnyx_connection_updated_timestamp_seconds')})",
                    unit="dateTimeFromNow",
                    width=3,
                ),
                stat_panel(
                    "Times changed",
                    "How often a change of the connection was seen in the time shown.",
                    "sum(changes((max by (connection_id)"
                    f" (telnyx_connection_updated_timestamp_seconds{THIS_CONNECTION}))[$__range:$__interval]))",
                    width=3,
                ),
                timeline(
                    "State and media encryption over time",
                    "When the connection was switched on and off, and when its media was encrypted.",
                    ("State", f"max({this_connection('telnyx_connection_active')})"),
                    (
                        "Media",
                        f"2 + max({this_connection('telnyx_connection_info', THIS_ENCRYPTED)}) or 2 * max({INFO})",
                    ),
                    mappings=map_values(
                        {
                            "0": ("Disabled", RED),
                            "1": ("Active", GREEN),
                            "2": ("Not encrypted", ORANGE),
                            "3": ("SRTP", GREEN),
                        }
                    ),
                ),
                graph(
                    "Limits over time",
                    "Calls allowed at the same time; there is no line where there is no limit.",
                    ("Outbound", f"max({this_connection('telnyx_connection_outbound_channel_limit')})"),
                    ("Inbound", f"max({this_connection('telnyx_connection_inbound_channel_limit')})"),
                    width=24,
                    steps=True,
                ),
            ),
        ),
        ("Settings", tuple(settings_panels())),
        variables=(
            variable(
                "connection",
                f"query_result({scoped(CONNECTION_NAMES)})",
                regex='/connection_id="(?<value>[^"]*)",connection_name="(?<text>.*)"}/',
            ),
        ),
        alerts=',connection_id="$connection"',
    )


def quantile(q: float) -> str:
    """Return a query for a quantile of the duration of API requests."""
    buckets = "sum by (le) (rate(telnyx_api_request_duration_seconds_bucket[$__rate_interval]))"
    return f"histogram_quantile({q}, {buckets})"


def ratio(counter: str) -> str:
    """Return a query for the share of scrapes that a counter counts."""
    requests = "sum(rate(telnyx_exporter_cache_requests_total[$__rate_interval]))"
    return f"sum(rate({counter}[$__rate_interval])) / {requests}"


def exporter() -> Dashboard:
    """Return the dashboard of the exporter."""
    return build_dashboard(
        "telnyx-exporter",
        "Telnyx / Exporter",
        "Whether the numbers of the other dashboards can be trusted: Telnyx's API as the exporter sees it, the age of"
        " what it shows, and its process.",
        (
            "",
            (
                stat_panel(
                    "Exporter",
                    "Whether Prometheus reaches every exporter.",
                    "min(up)",
                    mappings=map_values({"1": ("Up", GREEN), "0": ("Down", RED)}),
                ),
                stat_panel(
                    "API",
                    "Whether the last refresh of every exporter succeeded.",
                    "min(telnyx_up)",
                    mappings=map_values({"1": ("Up", GREEN), "0": ("Down", RED)}),
                ),
                stat_panel(
                    "Snapshot age",
                    "How old the oldest list is that an exporter shows. The graph below has the ages at which a scrape"
                    " refreshes it and at which its connections vanish.",
                    "max(time() - telnyx_last_success_timestamp_seconds)",
                    unit="s",
                    limits=thresholds((120, ORANGE)),
                ),
                stat_panel(
                    "Rate limit left",
                    "The share of Telnyx's rate limit that is left in this period.",
                    "min(telnyx_api_rate_limit_remaining / telnyx_api_rate_limit)",
                    unit="percentunit",
                    limits=thresholds((0.1, ORANGE), (0.3, GREEN), base=RED),
                    no_value="not told",
                ),
                stat_panel(
                    "Rows not shown",
                    "Connections that could not be read, or that the list counts and does not have.",
                    "sum(max without (instance, pod) (telnyx_connections_malformed + telnyx_connections_missing))",
                    limits=WARN_ABOVE_ZERO,
                ),
                stat_panel(
                    "Version",
                    "What is running.",
                    "count by (version) (telnyx_exporter_build_info)",
                    label="version",
                ),
            ),
        ),
        (
            "Telnyx's API",
            (
                graph(
                    "Requests by status",
                    "Requests to Telnyx by HTTP status; none is a request without an answer.",
                    ("{{code}}", "sum by (code) (rate(telnyx_api_requests_total[$__rate_interval]))"),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Request duration",
                    "How long requests to Telnyx take: half of them, 90 and 99 percent of them, at the most.",
                    ("Half", quantile(0.5)),
                    ("90 percent", quantile(0.9)),
                    ("99 percent", quantile(0.99)),
                    unit="s",
                ),
                graph(
                    "Failed refreshes by reason",
                    "Refreshes of the list that failed. Until one succeeds the last list is shown.",
                    ("{{reason}}", "sum by (reason) (increase(telnyx_refresh_failures_total[$__rate_interval]))"),
                    stacked=True,
                ),
                graph(
                    "Refreshes",
                    "Refreshes of the list, failed ones too.",
                    ("Refreshes", "sum(rate(telnyx_refreshes_total[$__rate_interval]))"),
                    unit="ops",
                ),
                graph(
                    "Refresh duration",
                    "How long the last refresh took: all pages, with retries and waits.",
                    ("{{instance}}", "max by (instance) (telnyx_refresh_duration_seconds)"),
                    unit="s",
                ),
                graph(
                    "Rate limit",
                    "Requests that Telnyx allows in a period, and those left in it.",
                    ("Left, {{instance}}", "min by (instance) (telnyx_api_rate_limit_remaining)"),
                    ("Allowed", "max(telnyx_api_rate_limit)"),
                    colors={"Allowed": RED},
                ),
            ),
        ),
        (
            "What is shown",
            (
                graph(
                    "Snapshot age",
                    "How old the list on show is. A scrape refreshes it at the age --cache.ttl, and its connections"
                    " vanish at the age --cache.max-stale.",
                    ("{{instance}}", "max by (instance) (time() - telnyx_last_success_timestamp_seconds)"),
                    ("--cache.ttl", "min(telnyx_exporter_cache_ttl_seconds)"),
                    ("--cache.max-stale", "min(telnyx_exporter_cache_max_stale_seconds)"),
                    unit="s",
                    colors={"--cache.ttl": BLUE, "--cache.max-stale": RED},
                ),
                graph(
                    "Scrapes by what the cache had",
                    "The share of scrapes that found a fresh list, and of those that had to be shown a stale one.",
                    ("Fresh", ratio("telnyx_exporter_cache_hits_total")),
                    ("Stale", ratio("telnyx_exporter_stale_responses_total")),
                    unit="percentunit",
                    max_value=1,
                    colors={"Fresh": GREEN, "Stale": RED},
                ),
                graph(
                    "Restarts and rows not shown",
                    "Walks begun again because the list changed underneath, connections that could not be read, and"
                    " connections that the list counts and does not have.",
                    ("Restarts", "sum(increase(telnyx_list_restarts_total[$__rate_interval]))"),
                    ("Malformed", "sum(max without (instance, pod) (telnyx_connections_malformed))"),
                    ("Missing", "sum(max without (instance, pod) (telnyx_connections_missing))"),
                ),
            ),
        ),
        (
            "Process",
            (
                graph(
                    "Memory",
                    "Memory of the process that is in RAM.",
                    ("{{instance}}", "max by (instance) (process_resident_memory_bytes)"),
                    unit="bytes",
                ),
                graph(
                    "CPU",
                    "How much of one CPU the process uses.",
                    ("{{instance}}", "sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))"),
                    unit="percentunit",
                ),
                graph(
                    "File descriptors",
                    "Files and connections that are open, and how many may be.",
                    ("Open, {{instance}}", "max by (instance) (process_open_fds)"),
                    ("Allowed", "min(process_max_fds)"),
                    colors={"Allowed": RED},
                ),
            ),
        ),
    )


def main() -> None:
    """Write the files. With `--check`, exit with a message that names those that are out of date."""
    outdated = []
    for dashboard in (connections(), connection(), exporter()):
        path = FOLDER / f"{dashboard.uid}.json"
        text = json.dumps(dashboard, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        elif path.read_text() != text:
            outdated.append(f"grafana/dashboards/{path.name}")
    if outdated:
        sys.exit(f"out of date: {', '.join(outdated)}: run `make generate`")


if __name__ == "__main__":
    main()
