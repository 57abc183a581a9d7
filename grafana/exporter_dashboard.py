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
            "Each account on each exporter that reads it, those that it can't read first. The log says why, and names"
            " the account. The data and the refresh are those of the credential connections.",
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
            "Failed refreshes of the credential connections. Without --telnyx.api-key-files, accounts have no names.",
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
            "Accounts that an exporter reads. If there are fewer than API key files, a shard has no exporter, or not"
            " the same files.",
            "count(group by (job, account) (telnyx_up))",
            width=8,
            trend=True,
        ),
        stat_panel(
            "API key files",
            "API key files with a valid name, on all shards. Each is an account. If the exporters disagree, the highest"
            " number. With 0, no account is monitored.",
            "sum(max by (job) (telnyx_exporter_api_key_files))",
            limits=thresholds((1, "text"), base=RED),
            width=8,
            no_value=NEEDS_KEY_FILES,
            trend=True,
        ),
        stat_panel(
            "Total shards",
            "How many exporters share the accounts. Replicas do not count.",
            "max(telnyx_exporter_total_shards)",
            width=8,
            no_value=NEEDS_KEY_FILES,
            trend=True,
        ),
        table_panel(
            "Shards",
            "How the exporters share the accounts. Replicas have the same shard. All exporters must have the same total"
            " number of shards, and all shards from 0 must exist.",
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
            "Accounts of each exporter's shard. A shard can have none.",
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
        "Whether the numbers of the other dashboards can be trusted: Telnyx's API as the exporter sees it, the age of"
        " what it shows, and its process.",
        (
            "",
            (
                stat_panel(
                    "Exporter",
                    "Whether Prometheus reaches every exporter.",
                    "min(up)",
                    mappings=UP,
                    width=3,
                    trend=True,
                ),
                stat_panel(
                    "API",
                    "Whether the last refresh of the credential connections succeeded for every account on every"
                    " exporter. If their collector is off, whether the last refresh of any other collector did.",
                    "min(telnyx_up)",
                    mappings=UP,
                    width=3,
                    trend=True,
                ),
                stat_panel(
                    "Failing collectors",
                    "Collectors whose last refresh failed on at least one exporter. Each account has its own. Click the"
                    " number to see which, and why.",
                    FAILING_COLLECTORS,
                    limits=WARN_ABOVE_ZERO,
                    trend=True,
                    link=Link(
                        title="Show the collectors", url=f"/d/telnyx-trunks?var-record_type=$__all&{LINK_PARAMETERS}"
                    ),
                ),
                stat_panel(
                    "Snapshot age",
                    "Age of the oldest list of credential connections that an exporter exposes. The graph below has the"
                    " age at which a scrape refreshes it, and the age at which its connections vanish.",
                    "max(time() - telnyx_last_success_timestamp_seconds)",
                    unit="s",
                    limits=thresholds((120, ORANGE)),
                    no_value="n/a",
                    trend=True,
                ),
                stat_panel(
                    "Rate limit left",
                    "The share of Telnyx's rate limit that is left in this period. If you select several accounts, the"
                    " lowest.",
                    f"min({RATE_LIMIT_LEFT})",
                    unit="percentunit",
                    limits=RATE_LIMIT_COLORS,
                    no_value="not told",
                    trend=True,
                ),
                stat_panel(
                    "Rows not shown",
                    "Rows of all collectors that could not be decoded, or that the list's total includes but no page"
                    " contained.",
                    f"sum(max without (instance, pod) ({MALFORMED} + {MISSING}))",
                    limits=WARN_ABOVE_ZERO,
                    width=3,
                    trend=True,
                ),
                stat_panel(
                    "Version",
                    "What is running.",
                    "count by (version) (telnyx_exporter_build_info)",
                    label="version",
                    width=3,
                ),
                stat_panel(
                    "Configuration",
                    "Whether every exporter uses its present configuration. If one is invalid, the exporter uses the"
                    " previous one, and its log says what is wrong.",
                    "min(telnyx_exporter_config_last_reload_successful)",
                    mappings=map_values({"1": ("Valid", GREEN), "0": ("Invalid", RED)}),
                    width=5,
                    trend=True,
                ),
                stat_panel(
                    "Configuration loaded",
                    "When an exporter last loaded a valid configuration, at its start or at a reload. If you select"
                    " several exporters, the one that did so first.",
                    "1000 * min(telnyx_exporter_config_last_reload_success_timestamp_seconds)",
                    unit="dateTimeFromNow",
                    width=5,
                ),
                stat_panel(
                    "Uptime",
                    "How long the exporter has been running. If you select several exporters, the one that started"
                    " last.",
                    "time() - max(process_start_time_seconds)",
                    unit="s",
                    width=5,
                    trend=True,
                ),
                stat_panel(
                    "Rate limit resets",
                    "When Telnyx's rate limit begins a new period. If you select several exporters, the last of them.",
                    "1000 * max(telnyx_api_rate_limit_reset_timestamp_seconds)",
                    unit="dateTimeFromNow",
                    no_value="not told",
                    width=5,
                ),
                stat_panel(
                    "Accounts down",
                    "Accounts whose last refresh failed on at least one exporter.",
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
                    "Failed refreshes of the credential connections. Until one succeeds, the exporter exposes the last"
                    " list. The dashboard Telnyx / Trunks shows all collectors.",
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
                    "How long the last refresh of the credential connections took: all pages, with retries and waits."
                    " If an exporter has several accounts, the slowest.",
                    ("{{instance}}", "max by (instance) (telnyx_refresh_duration_seconds)"),
                    unit="s",
                ),
                graph(
                    "Rate limit",
                    "Requests that Telnyx allows in a period, and those left in it. If an exporter has several"
                    " accounts, the account with the fewest.",
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
                    "Snapshot age over time",
                    "Age of the list of credential connections. If an exporter has several accounts, the oldest. A"
                    " scrape refreshes it at the age --cache.ttl, and its connections vanish at the age"
                    " --cache.max-stale.",
                    ("{{instance}}", "max by (instance) (time() - telnyx_last_success_timestamp_seconds)"),
                    ("--cache.ttl", "min(telnyx_exporter_cache_ttl_seconds)"),
                    ("--cache.max-stale", "min(telnyx_exporter_cache_max_stale_seconds)"),
                    unit="s",
                    colors={"--cache.ttl": BLUE, "--cache.max-stale": RED},
                ),
                graph(
                    "Scrapes by what the cache had",
                    "How often a scrape found fresh data of a collector in the cache, and how often it got stale data.",
                    ("Fresh", ratio("telnyx_exporter_cache_hits_total")),
                    ("Stale", ratio("telnyx_exporter_stale_responses_total")),
                    unit="percentunit",
                    max_value=1,
                    colors={"Fresh": GREEN, "Stale": RED},
                ),
                graph(
                    "Restarts and rows not shown",
                    "Restarts count how often the list of credential connections was read again because it changed."
                    " Malformed rows of all collectors could not be decoded. Missing rows are in a list's total, but on"
                    " none of its pages.",
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
                    "Connections that the exporter closed, requests that it refused, and TLS handshakes that failed."
                    " The runbook of TelnyxExporterClientsRefused explains the reasons.",
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
        ("API key files and shards", shards()),
        annotations=(mark_alerts(ABOUT_EXPORTERS), mark_configurations()),
    )
