"""Firing alerts and changes: tables of alerts, and marks in graphs, which users switch on and off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from columns import ACCOUNT, CONNECTION, ID
from panels import BLUE, ORANGE, RED, WIDTH, Column, annotation, map_values, scoped, table_panel
from queries import by_id_and_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.models.dashboard import AnnotationQuery, Panel

RUNBOOKS = "http://localhost:10142/runbooks"
"""Where an exporter on the same machine serves the runbooks. `deploy/links.py` and the chart replace it."""
MAX_ALERTS = 500
"""Maximum number of rows in a table of alerts."""
MAX_CHANGES = 20
"""Maximum number of changes to mark in each step of a graph, in case that all connections change at once."""

_SCOPE = 'job=~"$job|",instance=~"$instance|",account=~"$account|"'
"""Alerts about connections have no instance. Alerts about an exporter have no account.

An alert about a missing exporter has no job either.
"""
_MONEY = "Telnyx(Profile|Spend|Credit|ConnectionsNear).*"
ABOUT_MONEY = f'alertname=~"{_MONEY}"'
ABOUT_EXPORTERS = f'alertname=~"Telnyx.*",alertname!~"{_MONEY}",connection_id=""'
ABOUT_CONNECTIONS = 'alertname=~"Telnyx.*",connection_id!=""'
ABOUT_THIS_CONNECTION = 'alertname=~"Telnyx.*",connection_id="$connection"'


def firing(only: str) -> str:
    """Return a query for the times at which the conditions of firing alerts began, in Unix milliseconds."""
    since = f"ALERTS_FOR_STATE{{{only},{_SCOPE}}}"
    return f'1000 * ({since} and ignoring (alertstate) ALERTS{{alertstate="firing",{only},{_SCOPE}}})'


ALERT = Column("Alert", label="alertname", link=f"{RUNBOOKS}/${{__data.fields.alertname:percentencode}}")
"""The alert's name, which links to its runbook."""
SEVERITY = Column(
    "Severity",
    label="severity",
    mappings=map_values({"critical": ("critical", RED), "warning": ("warning", ORANGE), "info": ("info", BLUE)}),
    colored=True,
)
DIRECTION = Column("Direction", label="direction")


def alert_table(about: str, promql: str, columns: Sequence[Column], *, width: int = WIDTH, height: int = 7) -> Panel:
    """Return a table of firing alerts, the latest first. `promql` returns the time of each in Unix milliseconds."""
    return table_panel(
        "Alerts",
        f"Firing alerts about {about}, the latest first. Since is the time at which the condition began. Click an"
        " alert's name for its runbook: it says what to do.",
        ALERT,
        SEVERITY,
        *columns[:1],
        Column("Since", promql=f"topk({MAX_ALERTS}, {promql})", unit="dateTimeFromNow"),
        *columns[1:],
        sort="Since",
        descending=True,
        width=width,
        height=height,
        no_value="No firing alerts. Needs the alerting rules",
    )


def connection_alerts(unless: str = "") -> Panel:
    """Return a table of alerts about connections, with links to these. `unless` excludes some connections."""
    promql = by_id_and_name(firing(ABOUT_CONNECTIONS), "alertname", "severity", "direction")
    return alert_table(
        f"connections (at most {MAX_ALERTS})",
        f"{promql} {unless}".strip(),
        (CONNECTION, ACCOUNT, DIRECTION, ID),
    )


def alerts_of_this_connection() -> Panel:
    """Return a table of alerts about the selected connection."""
    promql = f"max by (alertname, severity, direction) ({firing(ABOUT_THIS_CONNECTION)})"
    return alert_table("this connection", promql, (DIRECTION,), width=9, height=6)


def money_alerts() -> Panel:
    """Return a table of alerts about profiles and the account."""
    labels = ("profile_name", "account", "instance", "product", "period")
    promql = f"max by (alertname, severity, {', '.join(labels)}) ({firing(ABOUT_MONEY)})"
    return alert_table(
        "profiles and the account",
        promql,
        (
            Column("Profile", label="profile_name"),
            ACCOUNT,
            Column("Product", label="product"),
            Column("Period", label="period"),
            Column("Exporter", label="instance"),
        ),
        height=5,
    )


def exporter_alerts() -> Panel:
    """Return a table of alerts about exporters, and how they reach Telnyx."""
    promql = f"max by (alertname, severity, account, instance, collector, reason) ({firing(ABOUT_EXPORTERS)})"
    columns = (
        Column("Exporter", label="instance"),
        ACCOUNT,
        Column("Collector", label="collector"),
        Column("Reason", label="reason"),
    )
    return alert_table("exporters and Telnyx's API", promql, columns, height=5)


def mark_alerts(only: str = 'alertname=~"Telnyx.*"') -> AnnotationQuery:
    """Mark firing alerts in graphs. `only` says which."""
    return annotation(
        "Firing alerts",
        f'ALERTS{{alertstate="firing",{only},{_SCOPE}}}',
        RED,
        title="{{alertname}}",
        text="{{connection_name}}",
        tags="severity",
    )


def _recent(metric: str) -> str:
    """Return a query for timestamps that are younger than a step of the graph.

    Five minutes more are longer than it takes until Prometheus has a new timestamp. Grafana marks each timestamp once,
    even if two steps contain it.
    """
    return f"{metric} > time() - $__interval_ms / 1000 - 300"


def mark_changes(selector: str = "") -> AnnotationQuery:
    """Mark changes of connections in graphs. `selector` limits them to some connections.

    For all connections, users have to switch the marks on, because the query reads all of them for each step.
    """
    changed = by_id_and_name(_recent(f"telnyx_connection_updated_timestamp_seconds{selector}"))
    return annotation(
        "Setting changes",
        scoped(f"1000 * topk({MAX_CHANGES}, {changed})"),
        BLUE,
        title="Changed or created",
        text="{{connection_name}}",
        time_is_value=True,
        enabled=bool(selector),
    )


def mark_configurations() -> AnnotationQuery:
    """Mark in graphs when an exporter started, or loaded its configuration again."""
    loaded = _recent("telnyx_exporter_config_last_reload_success_timestamp_seconds")
    return annotation(
        "Configuration loaded",
        scoped(f"1000 * max by (instance) ({loaded})"),
        BLUE,
        title="Configuration loaded",
        text="{{instance}}",
        time_is_value=True,
    )
