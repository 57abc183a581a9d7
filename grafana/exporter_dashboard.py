"""The dashboard of the exporter: refreshes, API requests, scrapes and the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerts import ABOUT_EXPORTERS, exporter_alerts, mark_alerts, mark_configurations
from columns import ACCOUNT
from panels import (
    BLUE,
    GREEN,
    LINK_PARAMETERS,
    ORANGE,
    RED,
    WARN_ABOVE_ZERO,
    WIDTH,
    Column,
    Link,
    build_dashboard,
    graph,
    map_values,
    stat_panel,
    table_panel,
    thresholds,
)
from queries import FAILING_COLLECTORS

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard, Panel


MALFORMED, MISSING = "telnyx_collector_malformed_rows", "telnyx_collector_missing_rows"


def quantile(q: float) -> str:
    """Return a query for a quantile of the duration of API requests."""
    buckets = "sum by (le) (rate(telnyx_api_request_duration_seconds_bucket[$__rate_interval]))"
    return f"histogram_quantile({q}, {buckets})"


def ratio(counter: str) -> str:
    """Return a query for the share of cache requests that a counter counts."""
    requests = "sum(rate(telnyx_exporter_cache_requests_total[$__rate_interval]))"
    return f"sum(rate({counter}[$__rate_interval])) / {requests}"


UP = map_values({"1": ("Up", GREEN), "0": ("Down", RED)})
RATE_LIMIT_LEFT = "telnyx_api_rate_limit_remaining / telnyx_api_rate_limit"
RATE_LIMIT_COLORS = thresholds((0.1, ORANGE), (0.3, GREEN), base=RED)
NEEDS_KEY_FILES = "Needs --telnyx.api-key-files"
BY_EXPORTER = "max by (instance)"


def accounts() -> tuple[Panel, ...]:
    """Return the panels about the accounts."""
    by_account = "max by (account, instance)"
    failing = "count by (account, instance) (telnyx_collector_success == 0)"
    return (
        table_panel(
            "Accounts",
            "Each account on each exporter that reads it, failing ones first. The log names the account and the cause."
            " Age and duration are those of the credential connections.",
            ACCOUNT,
            Column("Exporter", label="instance"),
            Column("API", promql="min by (account, instance) (telnyx_up)", mappings=UP, colored=True),
            Column(
                "Failing collectors",
                promql=f"{failing} or 0 * {by_account} (telnyx_up)",
                colored=True,
                limits=thresholds((1, ORANGE), base="text"),
            ),
            Column(
                "Age of the data", promql=f"{by_account} (time() - telnyx_last_success_timestamp_seconds)", unit="s"
            ),
            Column("Refresh duration", promql=f"{by_account} (telnyx_refresh_duration_seconds)", unit="s"),
            Column(
                "Rate limit left",
                promql=f"min by (account, instance) ({RATE_LIMIT_LEFT})",
                unit="percentunit",
                colored=True,
                limits=RATE_LIMIT_COLORS,
            ),
            rows=f"{by_account} (telnyx_up)",
            sort="API",
            width=16,
        ),
        graph(
            "Failed refreshes by account",
            "Failed refreshes of the credential connections. Normally 0. Without --telnyx.api-key-files, the account"
            " has no name.",
            ("Account {{account}}", "sum by (account) (increase(telnyx_refresh_failures_total[$__rate_interval]))"),
            stacked=True,
            height=9,
        ),
    )


def shards() -> tuple[Panel, ...]:
    """Return the panels about the API key files, and how exporters share the accounts."""
    return (
        stat_panel(
            "Accounts with an exporter",
            "Accounts that an exporter reads. If this is less than the number of API key files, a shard has no"
            " exporter, or the exporters have different files.",
            "count(group by (job, account) (telnyx_up))",
            width=8,
            trend=True,
        ),
        stat_panel(
            "API key files",
            "API key files with a valid name, over all shards. Each file is an account. If exporters differ, the"
            " highest number. If it is 0, no account is monitored.",
            "sum(max by (job) (telnyx_exporter_api_key_files))",
            limits=thresholds((1, "text"), base=RED),
            width=8,
            no_value=NEEDS_KEY_FILES,
            trend=True,
        ),
        stat_panel(
            "Total shards",
            "Number of shards that divide the accounts (--total-shards). Replicas do not count.",
            "max(telnyx_exporter_total_shards)",
            width=8,
            no_value=NEEDS_KEY_FILES,
            trend=True,
        ),
        table_panel(
            "Shards",
            "The shard of each exporter. Replicas have the same shard. All exporters must have the same total, and"
            " each shard from 0 to the total minus 1 needs an exporter.",
            Column("Exporter", label="instance"),
            Column("Shard", promql=f"{BY_EXPORTER} (telnyx_exporter_shard_ordinal)"),
            Column("Total shards", promql=f"{BY_EXPORTER} (telnyx_exporter_total_shards)"),
            Column("Accounts", promql=f"{BY_EXPORTER} (telnyx_exporter_accounts)"),
            Column("API key files", promql=f"{BY_EXPORTER} (telnyx_exporter_api_key_files)"),
            sort="Shard",
            width=12,
            height=8,
            no_value=NEEDS_KEY_FILES,
        ),
        graph(
            "Accounts by exporter",
            "Number of accounts in each exporter's shard. A shard can have none.",
            ("{{instance}}", f"{BY_EXPORTER} (telnyx_exporter_accounts)"),
            width=12,
            stacked=True,
            steps=True,
            no_value=NEEDS_KEY_FILES,
        ),
    )


def exporter() -> Dashboard:
    """Return the dashboard of the exporter."""
    return build_dashboard(
        "telnyx-exporter",
        "Telnyx / Exporter",
        "The health of the exporter: requests to Telnyx's API, the age of the data, accounts and shards, and the"
        " process.",
        (
            "",
            (
                stat_panel(
                    "Exporter",
                    "Whether Prometheus can scrape every exporter. If not, see the targets page of Prometheus.",
                    "min(up)",
                    mappings=UP,
                    width=3,
                    trend=True,
                ),
                stat_panel(
                    "API",
                    "Whether the last refresh of the credential connections succeeded, for every account on every"
                    " exporter. If that collector is disabled, whether that of any other collector succeeded. The"
                    " exporter's log shows the cause.",
                    "min(telnyx_up)",
                    mappings=UP,
                    width=3,
                    trend=True,
                ),
                stat_panel(
                    "Failing collectors",
                    "Collectors whose last refresh failed on at least one exporter, counted for each account. Normally"
                    " 0. Click the number to see which ones failed, and why.",
                    FAILING_COLLECTORS,
                    limits=WARN_ABOVE_ZERO,
                    trend=True,
                    link=Link(
                        title="Show the collectors", url=f"/d/telnyx-trunks?var-record_type=$__all&{LINK_PARAMETERS}"
                    ),
                ),
                stat_panel(
                    "Snapshot age",
                    "Age of the oldest snapshot of credential connections. Normally below --cache.ttl plus the scrape"
                    " interval. At --cache.max-stale, the connections disappear.",
                    "max(time() - telnyx_last_success_timestamp_seconds)",
                    unit="s",
                    limits=thresholds((120, ORANGE)),
                    no_value="n/a",
                    trend=True,
                ),
                stat_panel(
                    "Rate limit left",
                    "The share of Telnyx's rate limit that is left in the current period. For several accounts, the"
                    " lowest share.",
                    f"min({RATE_LIMIT_LEFT})",
                    unit="percentunit",
                    limits=RATE_LIMIT_COLORS,
                    no_value="not reported",
                    trend=True,
                ),
                stat_panel(
                    "Rows left out",
                    "Rows of all collectors that could not be decoded, or that are in a list's total but on none of"
                    " its pages. Normally 0. The log names the rows that could not be decoded.",
                    f"sum(max without (instance, pod) ({MALFORMED} + {MISSING}))",
                    limits=WARN_ABOVE_ZERO,
                    width=3,
                    trend=True,
                ),
                stat_panel(
                    "Version",
                    "The version of the exporter.",
                    "count by (version) (telnyx_exporter_build_info)",
                    label="version",
                    width=3,
                ),
                stat_panel(
                    "Configuration",
                    "Whether the configuration of every exporter is valid. If it is invalid, the exporter keeps the"
                    " previous one and logs what is wrong.",
                    "min(telnyx_exporter_config_last_reload_successful)",
                    mappings=map_values({"1": ("Valid", GREEN), "0": ("Invalid", RED)}),
                    width=5,
                    trend=True,
                ),
                stat_panel(
                    "Configuration loaded",
                    "When the exporter last loaded a valid configuration, at its start or at a reload. For several"
                    " exporters, the earliest time.",
                    "1000 * min(telnyx_exporter_config_last_reload_success_timestamp_seconds)",
                    unit="dateTimeFromNow",
                    width=5,
                ),
                stat_panel(
                    "Uptime",
                    "Time since the exporter started. For several exporters, the shortest time.",
                    "time() - max(process_start_time_seconds)",
                    unit="s",
                    width=5,
                    trend=True,
                ),
                stat_panel(
                    "Rate limit resets",
                    "When the current period of Telnyx's rate limit ends. For several exporters, the latest time.",
                    "1000 * max(telnyx_api_rate_limit_reset_timestamp_seconds)",
                    unit="dateTimeFromNow",
                    no_value="not reported",
                    width=5,
                ),
                stat_panel(
                    "Accounts down",
                    "Accounts whose last refresh failed on at least one exporter. Normally 0.",
                    "count(group by (job, account) (telnyx_up == 0)) or 0 * max(telnyx_up)",
                    limits=WARN_ABOVE_ZERO,
                    width=4,
                    trend=True,
                ),
                exporter_alerts(),
            ),
        ),
        ("Accounts", accounts()),
        (
            "Telnyx's API",
            (
                graph(
                    "Requests by status",
                    "Requests to Telnyx by HTTP status. The status none means that there was no response.",
                    ("{{code}}", "sum by (code) (rate(telnyx_api_requests_total[$__rate_interval]))"),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Request duration",
                    "The time within which 50, 90 and 99 percent of the requests to Telnyx are answered.",
                    ("50 percent", quantile(0.5)),
                    ("90 percent", quantile(0.9)),
                    ("99 percent", quantile(0.99)),
                    unit="s",
                ),
                graph(
                    "Failed refreshes by reason",
                    "Failed refreshes of the credential connections. Normally 0. Meanwhile, the exporter serves the"
                    " last snapshot. The dashboard Telnyx / Trunks shows all collectors.",
                    ("{{reason}}", "sum by (reason) (increase(telnyx_refresh_failures_total[$__rate_interval]))"),
                    stacked=True,
                ),
                graph(
                    "Refreshes",
                    "Refreshes of the credential connections, including failed ones.",
                    ("Refreshes", "sum(rate(telnyx_refreshes_total[$__rate_interval]))"),
                    unit="ops",
                ),
                graph(
                    "Refresh duration",
                    "Duration of the last refresh of the credential connections, including retries and waits. For"
                    " several accounts, the longest.",
                    ("{{instance}}", "max by (instance) (telnyx_refresh_duration_seconds)"),
                    unit="s",
                ),
                graph(
                    "Rate limit",
                    "Requests that Telnyx allows per period, and requests left in the current one. For several"
                    " accounts, the lowest number.",
                    ("Left, {{instance}}", "min by (instance) (telnyx_api_rate_limit_remaining)"),
                    ("Allowed", "max(telnyx_api_rate_limit)"),
                    colors={"Allowed": RED},
                ),
            ),
        ),
        (
            "Cache",
            (
                graph(
                    "Snapshot age over time",
                    "Age of the snapshot of credential connections; for several accounts, the oldest. A scrape"
                    " refreshes it at --cache.ttl. At --cache.max-stale, its connections disappear.",
                    ("{{instance}}", "max by (instance) (time() - telnyx_last_success_timestamp_seconds)"),
                    ("--cache.ttl", "min(telnyx_exporter_cache_ttl_seconds)"),
                    ("--cache.max-stale", "min(telnyx_exporter_cache_max_stale_seconds)"),
                    unit="s",
                    colors={"--cache.ttl": BLUE, "--cache.max-stale": RED},
                ),
                graph(
                    "Cache hits and stale responses",
                    "The share of cache lookups that found a fresh snapshot, and the share that got a stale one. Stale"
                    " responses mean that refreshes are slow or fail.",
                    ("Fresh", ratio("telnyx_exporter_cache_hits_total")),
                    ("Stale", ratio("telnyx_exporter_stale_responses_total")),
                    unit="percentunit",
                    max_value=1,
                    colors={"Fresh": GREEN, "Stale": RED},
                ),
                graph(
                    "Restarts and rows left out",
                    "Restarts: the list of credential connections changed while it was read, and was read again."
                    " Malformed: rows that could not be decoded. Missing: rows that are in a list's total but on none"
                    " of its pages.",
                    ("Restarts", "sum(increase(telnyx_list_restarts_total[$__rate_interval]))"),
                    ("Malformed", f"sum(max without (instance, pod) ({MALFORMED}))"),
                    ("Missing", f"sum(max without (instance, pod) ({MISSING}))"),
                ),
            ),
        ),
        (
            "Clients",
            (
                graph(
                    "Refused clients by reason",
                    "Client connections that the exporter closed, requests that it refused, and TLS handshakes that"
                    " failed. The log names the clients. The runbook TelnyxExporterClientsRefused explains the"
                    " reasons.",
                    *(
                        (f"{kind}: {{{{reason}}}}", f"sum by (reason) (rate({counter}[$__rate_interval]))")
                        for kind, counter in (
                            ("Connection", "telnyx_exporter_connections_closed_total"),
                            ("Request", "telnyx_exporter_requests_refused_total"),
                            ("Handshake", "telnyx_exporter_tls_handshake_failures_total"),
                        )
                    ),
                    unit="ops",
                    width=WIDTH,
                ),
            ),
        ),
        (
            "Process",
            (
                graph(
                    "Memory",
                    "Resident memory of the process.",
                    ("{{instance}}", "max by (instance) (process_resident_memory_bytes)"),
                    unit="bytes",
                ),
                graph(
                    "CPU",
                    "CPU usage of the process. 100 % is one CPU.",
                    ("{{instance}}", "sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))"),
                    unit="percentunit",
                ),
                graph(
                    "File descriptors",
                    "Open file descriptors of the process, and the maximum. Each connection needs one.",
                    ("Open, {{instance}}", "max by (instance) (process_open_fds)"),
                    ("Allowed", "min(process_max_fds)"),
                    colors={"Allowed": RED},
                ),
            ),
        ),
        ("API key files and shards", shards()),
        annotations=(mark_alerts(ABOUT_EXPORTERS), mark_configurations()),
    )
