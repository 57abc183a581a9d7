"""The dashboard of what stops calls without a fault: money, limits, profiles, numbers and credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerts import ABOUT_MONEY, mark_alerts, money_alerts
from columns import ACCOUNT, CONNECTION, ID, STATE
from panels import (
    GREEN,
    ORANGE,
    RED,
    SHARE_USED,
    Column,
    build_dashboard,
    graph,
    map_missing,
    map_values,
    multi_value_variable,
    needs,
    scoped,
    stat_panel,
    table_panel,
    thresholds,
)
from profile_columns import DAILY_SPEND_LIMIT, PROFILE, PROFILE_STATE, PROFILE_STATES
from profile_queries import (
    ENABLED,
    PROFILES,
    USED,
    by_profile,
    by_profile_and_name,
    connection_profiles,
    profile_metric,
)
from queries import by_id_and_name, latest, latest_of_connection

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

SELECTED = '{profile_id=~"$profile"}'
NO_LIMIT = map_missing("no limit")


def by_currency(metric: str) -> str:
    """Return a query for an amount of each account. If several have no name, it is the lowest of them."""
    return f"min by (account, currency) ({latest(metric, 'balance')})"


AVAILABLE = by_currency("telnyx_account_available_credit")
SPENT_STEP, SPENT_STEP_SECONDS = "5m", 300
"""The credit at the end of each step is compared with the one before."""


def credit_lasts() -> str:
    """Return a query for the seconds until each account's credit ends at the average rate of the last 24 hours.

    Only decreases count, so that a payment does not hide what is spent. The value is 0 if there is no credit, -1 if
    nothing is spent, and -2 if Prometheus has no two values yet.
    """
    credit = "min by (account, currency) (telnyx_account_available_credit{})"
    before, now = credit.format(f" offset {SPENT_STEP}"), credit.format("")
    spent = f"avg_over_time(clamp_min({before} - {now}, 0)[1d:{SPENT_STEP}])"
    rate = f"({spent} > 0) / {SPENT_STEP_SECONDS}"
    return (
        f"clamp_min({AVAILABLE}, 0) / on (account, currency) ({rate}) or ({AVAILABLE} <= 0) * 0"
        f" or {AVAILABLE} * 0 - 1 and on (account, currency) {spent} or {AVAILABLE} * 0 - 2"
    )


CREDIT_LASTS = credit_lasts()
CREDIT_LASTS_TEXTS = map_values({"-2": ("not known yet", "text"), "-1": ("not falling", GREEN), "0": ("used up", RED)})
CREDIT_LASTS_COLORS = thresholds((86_400, ORANGE), (7 * 86_400, GREEN), base=RED)


def first_to_end() -> str:
    """Return a query for the account whose credit ends first. If no credit falls, it is one of which that is known."""
    return f"bottomk by (currency) (1, ({CREDIT_LASTS}) >= 0) or on (currency) topk by (currency) (1, {CREDIT_LASTS})"


def spend(promql: str) -> str:
    """Return a query by account, product and period."""
    return f"max by (account, product, period) ({latest(promql, 'spend-limits')})"


BLOCKED = spend("telnyx_spend_blocked")
SPEND_SHARE = spend("telnyx_spend_usd / (telnyx_spend_limit_usd > 0)")

KINDS = {
    "credential_connections": "Credential connections",
    "ip_connections": "IP connections",
    "fqdn_connections": "FQDN connections",
    "uac_connections": "UAC connections",
    "external_connections": "External connections",
    "mobile_voice_connections": "Mobile voice connections",
    "call_control_applications": "Call Control applications",
    "texml_applications": "TeXML applications",
    "fax_connections": "Fax applications",
    "microsoft_teams_sbc_connections": "Microsoft Teams SBC connections",
    "operator_connect_connections": "Operator Connect connections",
    "third_party_provider_connections": "Third-party provider connections",
    "zoom_sbc_connections": "Zoom SBC connections",
}
"""The kinds of connections that an account has, in words."""
SCOPES = {
    "global": ("All", ""),
    "standard": ("Others", '{kind!~"texml_applications|uac_connections"}'),
    "texml": ("TeXML applications", '{kind="texml_applications"}'),
    "uac": ("UAC connections", '{kind="uac_connections"}'),
}
"""The limits of connections: in words, and the kinds that count."""


def connections_by_scope(promql: str = "") -> str:
    """Return a query for the number of connections that each limit is about, which `promql` continues."""
    by_account = "sum by (job, instance, account)"
    counts = " or ".join(
        f'label_replace({by_account} (telnyx_account_connections{kinds}), "scope", "{scope}", "", "")'
        for scope, (_, kinds) in SCOPES.items()
    )
    limits = "telnyx_account_connections_limit"
    counted = f"({counts}) {promql or 'and'} on (job, instance, account, scope) {limits}"
    return f"max by (account, scope) ({latest(counted, 'connection-counts')})"


LIMIT_SHARE = connections_by_scope("/")

PROFILE_LABELS = ("traffic_type", "service_plan", "usage_payment_method", "call_recording_type", "billing_group_id")
DESTINATIONS = by_profile_and_name(profile_metric("destination_info"), "country")
_SELECTED_CONNECTIONS = connection_profiles('{outbound_voice_profile_id=~"$profile"}')
_WITH_PROFILE = (
    f"{_SELECTED_CONNECTIONS} * on (account, profile_id) group_left (profile_name)"
    f" topk by (account, profile_id) (1, {by_profile_and_name(profile_metric('enabled'))})"
)
PROFILE_OF_CONNECTIONS = f"max by (account, connection_id, connection_name, profile_name) ({_WITH_PROFILE})"
"""Whether the profile of each connection is enabled."""


def state() -> tuple[Panel, ...]:
    """Return the numbers at the top: whether something stops calls."""
    in_use = f"{ENABLED} == 0 and on (account, profile_id) ({USED})"
    return (
        stat_panel(
            "Blocked products",
            "Products that Telnyx blocks because of a spend limit, counted for each account. If voice is blocked,"
            " calls fail: raise the limit.",
            f"count(group by (account, product) ({BLOCKED} == 1)) or 0 * max({BLOCKED})",
            limits=thresholds((1, RED)),
            no_value=needs("spend-limits"),
            trend=True,
        ),
        stat_panel(
            "Disabled profiles in use",
            "Disabled outbound voice profiles that connections use. These connections can't place calls: enable the"
            " profile, or assign another one.",
            f"count({in_use}) or 0 * max({ENABLED})",
            limits=thresholds((1, RED)),
            no_value=needs(PROFILES),
        ),
        stat_panel(
            "Available credit",
            "Balance plus credit limit. Without credit, calls fail: add money. For several accounts, the lowest"
            " amount.",
            f"bottomk by (currency) (1, {AVAILABLE})",
            unit="locale",
            legend="{{currency}} {{account}}",
            limits=thresholds((0.01, GREEN), base=RED),
            no_value=needs("balance"),
        ),
        stat_panel(
            "Credit lasts",
            "How long the credit lasts at the average spend of the last 24 hours, without payments. For several"
            " accounts, the shortest time.",
            first_to_end(),
            unit="s",
            limits=CREDIT_LASTS_COLORS,
            mappings=CREDIT_LASTS_TEXTS,
            no_value=needs("balance"),
        ),
        stat_panel(
            "Spend limit used",
            "The highest used share of any spend limit. At 100 %, Telnyx blocks the product: raise the limit before.",
            f"max({SPEND_SHARE}) or 0 * max({BLOCKED}) - 1",
            unit="percentunit",
            limits=SHARE_USED,
            mappings=map_values({"-1": ("no limit", "")}),
            no_value=needs("spend-limits"),
            trend=True,
        ),
        stat_panel(
            "Connection limit used",
            "The used share of the account's limit of connections. At 100 %, you can't create connections. For several"
            " accounts, the highest share.",
            f"max({LIMIT_SHARE})",
            unit="percentunit",
            limits=SHARE_USED,
            no_value=needs("connection-counts"),
            trend=True,
        ),
    )


def spend_limits() -> tuple[Panel, ...]:
    """Return the panels about spend limits."""
    return (
        table_panel(
            "Spend and limits",
            "Spend and limit of each product and period in USD, the most used first. Telnyx updates the spend with a"
            " delay of about a minute.",
            ACCOUNT,
            Column("Product", label="product"),
            Column("Period", label="period"),
            Column(
                "State",
                promql=BLOCKED,
                mappings=map_values({"0": ("open", GREEN), "1": ("blocked", RED)}),
                colored=True,
            ),
            Column(
                "Blocked until",
                promql=spend("1000 * telnyx_spend_blocked_until_timestamp_seconds"),
                unit="dateTimeAsIso",
            ),
            Column("Spend", promql=spend("telnyx_spend_usd"), unit="currencyUSD", mappings=map_missing("not known")),
            Column("Limit", promql=spend("telnyx_spend_limit_usd"), unit="currencyUSD", mappings=NO_LIMIT),
            Column("Used", promql=SPEND_SHARE, unit="percentunit", colored=True, limits=SHARE_USED),
            sort="Used",
            descending=True,
            width=14,
            height=8,
            no_value=needs("spend-limits"),
        ),
        graph(
            "Spend limits used",
            "The used share of each spend limit. Products without a limit have no line.",
            ("{{product}}, {{period}} {{account}}", SPEND_SHARE),
            unit="percentunit",
            width=10,
            no_value=needs("spend-limits"),
        ),
    )


def credit() -> tuple[Panel, ...]:
    """Return the panels about the balance."""
    amounts = {
        "Balance": by_currency("telnyx_account_balance"),
        "Available credit": AVAILABLE,
        "Credit limit": by_currency("telnyx_account_credit_limit"),
        "Pending": by_currency("telnyx_account_pending_balance"),
    }
    return (
        table_panel(
            "Balance",
            "The balance of each account, the lowest available credit first. Available credit is balance plus credit"
            " limit. Credit lasts assumes the average spend of the last 24 hours.",
            ACCOUNT,
            *(Column(name, promql=promql, unit="locale") for name, promql in amounts.items()),
            Column("Currency", label="currency"),
            Column(
                "Credit lasts",
                promql=CREDIT_LASTS,
                unit="s",
                mappings=CREDIT_LASTS_TEXTS,
                colored=True,
                limits=CREDIT_LASTS_COLORS,
            ),
            sort="Available credit",
            width=14,
            height=8,
            no_value=needs("balance"),
        ),
        graph(
            "Balance over time",
            "The balance and the available credit. Calls fail when the available credit is used up.",
            ("Balance, {{currency}} {{account}}", amounts["Balance"]),
            ("Available credit, {{currency}} {{account}}", AVAILABLE),
            ("Pending, {{currency}} {{account}}", amounts["Pending"]),
            unit="locale",
            width=10,
            min_value=None,
            no_value=needs("balance"),
        ),
    )


def profiles() -> tuple[Panel, ...]:
    """Return the tables about outbound voice profiles."""
    return (
        table_panel(
            "Profiles",
            "The selected outbound voice profiles, which determine the calls that their connections can place. Telnyx"
            " counts connections of all types; the exporter counts those that it reads. Click a name to select the"
            " profile.",
            PROFILE,
            ACCOUNT,
            PROFILE_STATE,
            DAILY_SPEND_LIMIT,
            Column("Calls at once", promql=by_profile("concurrent_call_limit"), mappings=NO_LIMIT),
            Column(
                "Highest price a minute",
                promql=by_profile("max_destination_rate_usd"),
                unit="currencyUSD",
                mappings=NO_LIMIT,
            ),
            Column("Countries", promql=f"count by (account, profile_id) ({DESTINATIONS})"),
            Column("Connections (Telnyx)", promql=by_profile("connections")),
            Column(
                "Connections (exporter)",
                promql=f"count by (account, profile_id) ({connection_profiles()}) or 0 * {ENABLED}",
            ),
            Column("Traffic", label="traffic_type"),
            Column("Plan", label="service_plan"),
            Column("Payment", label="usage_payment_method"),
            Column("Recording", label="call_recording_type"),
            Column("Billing group", label="billing_group_id"),
            Column("ID", label="profile_id"),
            rows=by_profile_and_name(profile_metric("info", SELECTED)),
            labels=(f"max by (account, profile_id, {', '.join(PROFILE_LABELS)}) ({profile_metric('info')})",),
            sort="State",
            no_value=needs(PROFILES),
        ),
        table_panel(
            "Connections of the profiles",
            "Connections that use the selected profiles. If a profile is disabled, its connections can't place calls."
            " Click a name to see the connection.",
            CONNECTION,
            ACCOUNT,
            STATE,
            Column("Profile", label="profile_name"),
            Column("Profile state", promql=PROFILE_OF_CONNECTIONS, mappings=PROFILE_STATES, colored=True),
            ID,
            rows=PROFILE_OF_CONNECTIONS,
            sort="Profile state",
            width=16,
            no_value=needs(PROFILES),
        ),
        table_panel(
            "Countries",
            "Countries that the selected profiles can call. Calls to all others fail.",
            Column("Country", label="country"),
            Column("Profile", label="profile_name"),
            ACCOUNT,
            labels=(f"max by (account, profile_name, country) ({profile_metric('destination_info', SELECTED)})",),
            width=8,
            no_value=needs(PROFILES),
        ),
    )


def limits() -> tuple[Panel, ...]:
    """Return the panels about the number of connections."""
    return (
        table_panel(
            "Connections by kind",
            "Connections of the selected accounts, as Telnyx counts them.",
            Column("Kind", label="kind", mappings=map_values({kind: (text, "") for kind, text in KINDS.items()})),
            Column(
                "Connections",
                promql=f"sum by (kind) ({latest('telnyx_account_connections', 'connection-counts')})",
            ),
            sort="Connections",
            descending=True,
            width=8,
            height=8,
            no_value=needs("connection-counts"),
        ),
        table_panel(
            "Limits of connections",
            "Number of connections of each account, and the maximum. An account has one limit for all connections, or"
            " three limits.",
            ACCOUNT,
            Column("Limit for", label="scope", mappings=map_values({s: (text, "") for s, (text, _) in SCOPES.items()})),
            Column("Connections", promql=connections_by_scope()),
            Column(
                "Limit",
                promql=f"max by (account, scope) ({latest('telnyx_account_connections_limit', 'connection-counts')})",
            ),
            Column("Used", promql=LIMIT_SHARE, unit="percentunit", colored=True, limits=SHARE_USED),
            sort="Used",
            descending=True,
            width=8,
            height=8,
            no_value=needs("connection-counts"),
        ),
        graph(
            "Connections over time",
            "Connections of the selected accounts by kind.",
            ("{{kind}}", f"sum by (kind) ({latest('telnyx_account_connections', 'connection-counts')})"),
            stacked=True,
            steps=True,
            names=KINDS,
            no_value=needs("connection-counts"),
        ),
    )


NUMBER_STATUSES = map_values(
    {
        "active": ("active", GREEN),
        "purchase-failed": ("purchase-failed", RED),
        "port-failed": ("port-failed", RED),
        "port-out-pending": ("port-out-pending", ORANGE),
        "requirement-info-exception": ("requirement-info-exception", ORANGE),
    }
)
NUMBERS = latest("telnyx_phone_numbers", "phone-numbers")


def numbers() -> tuple[Panel, ...]:
    """Return the panels about phone numbers."""
    return (
        table_panel(
            "Phone numbers",
            "Phone numbers of the selected accounts by status, type and country.",
            Column("Status", label="status", mappings=NUMBER_STATUSES, colored=True),
            Column("Number type", label="phone_number_type"),
            Column("Country", label="country"),
            Column("Numbers", promql=f"sum by (status, phone_number_type, country) ({NUMBERS})"),
            sort="Numbers",
            descending=True,
            width=12,
            height=8,
            no_value=needs("phone-numbers"),
        ),
        graph(
            "Phone numbers by status",
            "Phone numbers of the selected accounts by status. Only active numbers receive calls.",
            ("{{status}}", f"sum by (status) ({NUMBERS})"),
            stacked=True,
            steps=True,
            width=12,
            colors={"active": GREEN},
            no_value=needs("phone-numbers"),
        ),
    )


def credentials(selector: str = "") -> str:
    """Return a query for the number of telephony credentials by connection."""
    metric = f"telnyx_connection_telephony_credentials{selector}"
    return by_id_and_name(latest_of_connection(metric, "telephony-credentials"))


def telephony_credentials() -> Panel:
    """Return the table of telephony credentials by connection."""
    expiry = latest_of_connection(
        "telnyx_connection_telephony_credentials_next_expiry_timestamp_seconds", "telephony-credentials"
    )
    return table_panel(
        "Telephony credentials",
        "Telephony credentials by connection, the next to expire first. Nobody can register or call with an expired"
        " credential. Click a name to see the connection.",
        CONNECTION,
        ACCOUNT,
        Column("Valid", promql=credentials('{expired="false"}')),
        Column(
            "Expired",
            promql=credentials('{expired="true"}'),
            colored=True,
            limits=thresholds((1, ORANGE), base="text"),
        ),
        Column("Next expiry", promql=f"1000 * {by_id_and_name(expiry)}", unit="dateTimeFromNow"),
        ID,
        rows=credentials(),
        sort="Next expiry",
        no_value=needs("telephony-credentials"),
    )


def money() -> Dashboard:
    """Return the dashboard of money, limits and outbound voice profiles."""
    return build_dashboard(
        "telnyx-money",
        "Telnyx / Money",
        "Balance, spend limits, outbound voice profiles, phone numbers and credentials: what can stop calls although"
        " the connections are active.",
        ("", (*state(), money_alerts())),
        ("Money", (*spend_limits(), *credit())),
        ("Outbound voice profiles", profiles()),
        ("Number of connections", limits()),
        ("Phone numbers and credentials", (*numbers(), telephony_credentials())),
        variables=(
            multi_value_variable(
                "profile",
                f"query_result({scoped(by_profile_and_name(profile_metric('info')))})",
                regex='/profile_id="(?<value>[^"]*)",profile_name="(?<text>.*)"}/',
            ),
        ),
        annotations=(mark_alerts(ABOUT_MONEY),),
    )
