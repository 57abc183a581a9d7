"""PromQL for the dashboards: one series per connection, however many replicas expose it.

With --telnyx.api-key-files, one exporter exposes several accounts, and each series of an account has the label
`account`. So a query that joins series of one exporter joins them on the account, too. Connection IDs are unique across
accounts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Replicas expose the same connections, so each query removes duplicates before it counts or sums. A query about
# connections takes each connection from the replica that refreshed last. Therefore each connection is one row with its
# newest name, and the headline numbers add up even while another replica still exposes an older list.
BY_ID = "max by (connection_id)"
ON_REPLICA = "on (job, instance, account, connection_id)"


def newest(promql: str, only: str = "", offset: str = "") -> str:
    """Limit a query to one series for each connection, from the replica that refreshed last.

    `only` and `offset` repeat the selector and the offset of the query. Each type of connections has its own collector,
    named after the type: `ip-connections` reads `ip_connection`. If the time of its last refresh is not exposed, any
    replica counts.
    """
    connections = f"telnyx_connection_info{only}{offset}"
    collectors = '{collector=~".+-(connections|applications)"}'
    refreshed = f"telnyx_collector_last_success_timestamp_seconds{collectors}{offset}"
    for record_type, name in (("${1}_$2", "(.+)-(.+)s"), ("${1}_${2}_$3", "(.+)-(.+)-(.+)s")):
        refreshed = f'label_replace({refreshed}, "record_type", "{record_type}", "collector", "{name}")'
    times = f"{connections} * on (job, instance, account, record_type) group_left () {refreshed}"
    replica = f"topk by (connection_id) (1, {times} or {connections})"
    return f"{promql} and {ON_REPLICA} {replica}"


def _refreshed(collector: str) -> str:
    """Return a query for the time at which a collector last refreshed."""
    return f'telnyx_collector_last_success_timestamp_seconds{{collector="{collector}"}}'


def latest(promql: str, collector: str) -> str:
    """Limit a query to the replica whose collector refreshed last, for data that is not about connections.

    It chooses a replica for each job and account. If the time of the last refresh is not exposed, any replica counts.
    """
    exporter = "job, instance, account"
    refreshed = f"{_refreshed(collector)} or on ({exporter}) group by ({exporter}) ({promql})"
    return f"{promql} and on ({exporter}) topk by (job, account) (1, {refreshed})"


def latest_of_connection(metric: str, collector: str, condition: str = "") -> str:
    """Limit a metric of another collector to one replica for each connection: the one that refreshed last.

    `condition` continues the query, for example with a comparison.
    """
    shown = f"group by (job, instance, account, connection_id) ({metric})"
    refreshed = f"{shown} * on (job, instance, account) group_left () {_refreshed(collector)} or {shown}"
    replica = f"topk by (connection_id) (1, {refreshed})"
    return f"{metric}{condition} and {ON_REPLICA} {replica}"


def by_id(metric: str) -> str:
    """Return a query for a connection metric with the connection ID as its only label."""
    return f"{BY_ID} ({newest(metric)})"


def by_id_and_name(promql: str, *labels: str) -> str:
    """Return a query for values by account, connection ID, name and these labels.

    A connection without a name, as all external connections are, gets its ID as the name.
    """
    joined = f'label_join({promql}, "connection_name", "\\n", "connection_name", "connection_id")'
    named = f'label_replace({joined}, "connection_name", "$1$2", "connection_name", "(.+)\\n.*|\\n(.*)")'
    return f"max by ({', '.join(('account', 'connection_id', 'connection_name', *labels))}) ({named})"


CONNECTION_NAMES = by_id_and_name(newest("telnyx_connection_info"))
ACTIVE = by_id("telnyx_connection_active")
UPDATED = by_id("telnyx_connection_updated_timestamp_seconds")

SHOW_OPTIONS = {
    "all": ("All", "telnyx_connection_info"),
    "active": ("Active", "telnyx_connection_active == 1"),
    "disabled": ("Disabled", "telnyx_connection_active == 0"),
    "unencrypted": ("Without media encryption", 'telnyx_connection_info{encrypted_media="none"}'),
    "unlimited": (
        "Without an outbound limit",
        f"telnyx_connection_info unless {ON_REPLICA} telnyx_connection_outbound_channel_limit",
    ),
    "changed": ("Changed in the time range", "telnyx_connection_updated_timestamp_seconds > time() - $__range_s"),
}
"""Values of the variable `show`, each with its text and query. The headline numbers count the same connections."""


def selected_connections() -> str:
    """Return a query for the connections that the variable `show` selects, with their names."""
    options = " or ".join(
        f'label_replace({promql}, "show", "{show}", "", "")' for show, (_, promql) in SHOW_OPTIONS.items()
    )
    selected = 'label_replace(vector(1), "show", "$show", "", "")'
    return by_id_and_name(newest(f"({options}) and on (show) {selected}"))


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
    """Combine a query by connection ID for both directions. Adds the direction, the account and the name."""
    directions = " or ".join(
        f'label_replace({query(direction)}, "direction", "{direction}", "", "")'
        for direction in ("outbound", "inbound")
    )
    return f"({directions}) * on (connection_id) group_left (account, connection_name) {CONNECTION_NAMES}"


LIMIT_CHANGES = both_directions(limit_changes)


def count_unlimited(direction: str) -> str:
    """Return a query that counts the connections that have no channel limit on any replica."""
    limited = f"group by (connection_id) (telnyx_connection_{direction}_channel_limit)"
    return f"count(group by (connection_id) (telnyx_connection_info) unless {limited}) or 0 * max(telnyx_connections)"


def info_labels(metric: str, labels: str) -> str:
    """Return a query for these labels of an info metric, by connection ID."""
    return f"max by (connection_id, {labels}) ({newest(metric)})"


FAILING_COLLECTORS = "count(group by (job, account, collector) (telnyx_collector_success == 0)) or 0 * max(telnyx_up)"
"""Counts the collectors whose last refresh failed on at least one exporter. Each account has its own collectors."""
