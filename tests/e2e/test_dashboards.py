import json
import re
import subprocess
import sys
import urllib.error

import pytest
from account_labels import merge_accounts, serve_metrics
from grafana_files import DASHBOARDS, TARGETS, VARIABLES, substitute_variables
from programs import ALL_COLLECTORS, exporter, find_program, get, get_json, prometheus, running, wait_until
from quick_rules import quick_config

QUERIES = {name: promql for name, (promql, _) in TARGETS.items()} | {
    f"{uid}: {annotation['name']}": annotation["expr"]
    for uid, dashboard in DASHBOARDS.items()
    for annotation in dashboard["annotations"]["list"]
}

EVERYTHING = " and on (connection_id) ".join(
    f"telnyx_connection_{name}"
    for name in (
        *("outbound_channel_limit", "inbound_channel_limit", "tag_info", "transport_info", "registered"),
        *('outbound_info{outbound_voice_profile_id!=""}', "active_calls"),
    )
)
"""Selects connections for which the dashboard of one connection has data in every panel except `OTHER_CONNECTIONS`."""
OTHER_CONNECTIONS = {
    "telnyx-connection: Next expiry A": "telnyx_connection_telephony_credentials_next_expiry_timestamp_seconds",
    "telnyx-connection: Alerts A": 'ALERTS{alertstate="firing",connection_id!=""}',
    "telnyx-connection: Firing alerts": 'ALERTS{alertstate="firing",connection_id!=""}',
    "telnyx-connection: Setting changes": "telnyx_connection_updated_timestamp_seconds > time() - 60",
}
"""Selects connections that have data for queries for which no connection of `EVERYTHING` has."""


@pytest.fixture(scope="module")
def query(tmp_path_factory):
    """Yield a function that queries a Prometheus. It scrapes all lists of an account, which changes every second.

    An exporter is down, and alerts fire at once. Another exporter shows the account with a name.
    """
    folder = tmp_path_factory.mktemp("dashboards")
    log = folder / "sandbox.log"
    sandbox = (sys.executable, "-m", "exporter.sandbox", "--listen-address=127.0.0.1:0", "--step=1", "--size=150")
    with running(*sandbox, log=log, TELNYX_API_KEY="sandbox"):
        upstream = wait_until(lambda: re.search(r"http://\S+", log.read_text()), "the sandbox listening")[0]
        # A product is blocked for a few seconds, and a connection loses its endpoints for a few.
        ttls = ("--cache.ttl=1s", "--collector.spend-limits.ttl=1s", "--collector.endpoints.ttl=1s")
        flags = (*ttls, *ALL_COLLECTORS)
        with exporter(folder, *flags, TELNYX_API_KEY="sandbox", TELNYX_BASE_URL=upstream) as url:
            target = url.removeprefix("http://")
            with (
                serve_metrics(lambda: merge_accounts({"main": get(f"{url}/metrics")})) as several,
                prometheus(folder, quick_config(folder, target, "127.0.0.1:1", several)) as server,
            ):

                def run_query(promql):
                    try:
                        return get_json(f"{server}/api/v1/query", query=promql)["data"]["result"]
                    except urllib.error.HTTPError as error:
                        return pytest.fail(error.read().decode())

                yield run_query


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_returns_data(query, name):
    """Every query of every panel, and of every kind of mark in graphs, is valid and returns data."""

    def run():
        return query(substitute_variables(QUERIES[name], connection=connection_id()))

    def connection_id():
        selector = OTHER_CONNECTIONS.get(name, EVERYTHING)
        return wait_until(lambda: query(selector), "a connection with all settings")[0]["metric"]["connection_id"]

    assert wait_until(run, name)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_has_values(query, name):
    """A variable has values. Connections and profiles are listed by name, whatever characters the name has."""
    variable = VARIABLES[name]
    function, argument = re.fullmatch(r"(\w+)\((.+)\)", variable["query"]["query"]).groups()
    if function == "label_values":
        promql, label = argument.rsplit(", ", 1)
        assert wait_until(
            lambda: any(sample["metric"].get(label) for sample in query(substitute_variables(promql))), name
        )
        return
    pattern = re.compile(variable["regex"].strip("/").replace("(?<", "(?P<"))
    for sample in wait_until(lambda: query(substitute_variables(argument)), name):
        labels = ",".join(f'{label}="{value}"' for label, value in sample["metric"].items())  # as Grafana does
        found = pattern.search(f"{{{labels}}} 1 1700000000000")
        assert found.groupdict() == {
            "value": sample["metric"][f"{variable['name']}_id"],
            "text": sample["metric"][f"{variable['name']}_name"],
        }


def series(metric, connection, values, name=None, instance="a"):
    name = connection if name is None else name
    labels = f'connection_id="{connection}",connection_name="{name}",instance="{instance}",job="j"'
    return {"series": f"{metric}{{{labels}}}", "values": values}


def active(connection, values, name=None, instance="a", record_type="credential_connection"):
    """Return the two series that each connection has."""
    info = series("telnyx_connection_info", connection, re.sub(r"\b\d+x", "1x", values), name, instance)
    info["series"] = info["series"].replace("{", f'{{record_type="{record_type}",')
    return (
        info,
        series("telnyx_connection_active", connection, values, name, instance),
    )


def updated(connection, values):
    return series("telnyx_connection_updated_timestamp_seconds", connection, values)


def registered(connection, values, state="1x60", instance="a"):
    """Return the series of a connection that registers, with these values over time."""
    registered = series("telnyx_connection_registered", connection, values, instance=instance)
    return (*active(connection, state, instance=instance), registered)


def outbound(connection, values, name=None, instance="a"):
    return series("telnyx_connection_outbound_channel_limit", connection, values, name, instance)


def profile(name, profile_id, values, instance="a", profile_name=None):
    """Return the series of a metric of an outbound voice profile."""
    labels = f'profile_id="{profile_id}",profile_name="{profile_name or profile_id}",instance="{instance}",job="j"'
    return {"series": f"telnyx_outbound_voice_profile_{name}{{{labels}}}", "values": values}


def uses(connection, profile_id, instance="a"):
    """Return the series of a connection with this profile, or without one if the id is empty."""
    labels = f'connection_id="{connection}",connection_name="{connection}",instance="{instance}",job="j"'
    outbound_info = f'telnyx_connection_outbound_info{{outbound_voice_profile_id="{profile_id}",{labels}}}'
    return (*active(connection, "1x60", instance=instance), {"series": outbound_info, "values": "1x60"})


def alert(name, since, state="firing", **labels):
    """Return the series of an alert whose condition began at this time."""
    text = ",".join(
        f'{label}="{value}"' for label, value in {"severity": "warning", "job": "j", **labels}.items() if value
    )
    return (
        {"series": f'ALERTS{{alertname="{name}",alertstate="{state}",{text}}}', "values": "1x60"},
        {"series": f'ALERTS_FOR_STATE{{alertname="{name}",{text}}}', "values": since},
    )


def credit(values, instance="a"):
    labels = f'currency="EUR",instance="{instance}",job="j"'
    return {"series": f"telnyx_account_available_credit{{{labels}}}", "values": values}


def of_account(name, *series):
    """Return the series with the label of an account."""
    return [{**one, "series": one["series"].replace("{", f'{{account="{name}",', 1)} for one in series]


def account(metric, values, instance="a", **labels):
    """Return a series of an account."""
    text = ",".join(f'{name}="{value}"' for name, value in {**labels, "instance": instance, "job": "j"}.items())
    return {"series": f"{metric}{{{text}}}", "values": values}


def counted(instance, **kinds):
    """Return the series of an account that has so many connections of each kind."""
    return [account("telnyx_account_connections", f"{n}x60", instance, kind=kind) for kind, n in kinds.items()]


def limited_connection(connection, calls, profile_id="p", inbound=None, outbound=None):
    """Return the series of a connection with so many calls and these limits."""
    limits = {"inbound": inbound, "outbound": outbound}
    return (
        *uses(connection, profile_id),
        series("telnyx_connection_active_calls", connection, f"{calls}x60"),
        *(
            series(f"telnyx_connection_{direction}_channel_limit", connection, f"{limit}x60")
            for direction, limit in limits.items()
            if limit is not None
        ),
    )


def refreshed(collector, instance, offset):
    """Return the series of the time of a collector's last refresh."""
    labels = f'collector="{collector}",instance="{instance}",job="j"'
    return {
        "series": f"telnyx_collector_last_success_timestamp_seconds{{{labels}}}",
        "values": f"{offset}+60x60",
    }


def refreshed_balance(**offsets):
    """Return the series of the times at which replicas refreshed the balance."""
    return [refreshed("balance", instance, offset) for instance, offset in offsets.items()]


LAST_SUCCESS = [
    refreshed(collector, instance, offset)
    for collector, instance, offset in (
        ("credential-connections", "a", 15),
        ("credential-connections", "b", 0),
        ("ip-connections", "a", 0),
        ("ip-connections", "b", 30),
        ("outbound-voice-profiles", "a", 0),
        ("outbound-voice-profiles", "b", 15),
        ("active-calls", "a", 0),
        ("endpoints", "a", 0),
        ("endpoints", "b", 15),
        ("balance", "a", 15),
        ("balance", "b", 0),
        ("spend-limits", "a", 15),
        ("spend-limits", "b", 0),
        ("connection-counts", "a", 0),
        ("connection-counts", "b", 15),
    )
]
"""Replica a reads the credential connections 15 seconds after replica b. Of some others, b has newer data."""

CASES = {
    "telnyx-connections: Disabled since B": (
        [
            *(*active("on", "1x60"), updated("on", "0x60")),
            *(*active("just-off", "1x30 0x29"), updated("just-off", "0x30 1815x29")),
            *(*active("changed-while-off", "1x10 0x49"), updated("changed-while-off", "0x10 615x30 2500x29")),
            *(*active("long-off", "0x60"), updated("long-off", "100x60")),
        ],
        {
            '{connection_id="just-off"}': 1_815_000,
            '{connection_id="changed-while-off"}': 660_000,
            '{connection_id="long-off"}': 100_000,
        },
    ),
    "telnyx-connections: Limits changed A": (
        [
            *(*active("same", "1x60"), outbound("same", "10x60")),
            *(*active("raised", "1x60"), outbound("raised", "10x30 50x29")),
            *(*active("unbounded", "1x60"), outbound("unbounded", "10x30 stale")),
            *(*active("bounded", "1x60"), outbound("bounded", "_x30 10x30")),
            *(*active("renamed", "1x30 stale", "before"), *active("renamed", "_x31 1x30", "after")),
            *(outbound("renamed", "10x30 stale", "before"), outbound("renamed", "_x31 10x30", "after")),
        ],
        {
            f'{{connection_id="{name}", connection_name="{name}", direction="outbound"}}': 1
            for name in ("raised", "unbounded", "bounded")
        },
    ),
    "telnyx-connections: Limits changed A, with a replica that is behind": (
        [
            *(*active("raised", "1x60"), outbound("raised", "10x30 50x29")),
            *(*active("raised", "1x60", instance="b"), outbound("raised", "10x31 50x28", instance="b")),
            *(*active("renamed", "1x59 stale", "before"), *active("renamed", "_x60 1", "after")),
            *(outbound("renamed", "10x30 50x28 stale", "before"), outbound("renamed", "_x60 50", "after")),
            *active("renamed", "1x60", "before", instance="b"),
            outbound("renamed", "10x30 50x30", "before", instance="b"),
        ],
        {
            '{connection_id="raised", connection_name="raised", direction="outbound"}': 1,
            '{connection_id="renamed", connection_name="after", direction="outbound"}': 1,
        },
    ),
    "telnyx-connections: Disabled since A": (
        active("nameless", "0x60", name=""),
        {'{connection_id="nameless", connection_name="nameless"}': 0},
    ),
    "telnyx-connections: Disabled A": (
        [
            *(*active("both", "0x60"), *active("both", "0x60", instance="b")),
            *(*active("enabled-again", "1x60"), *active("enabled-again", "0x60", instance="b")),
            *active("of-a-type-without-a-collector", "0x60", record_type="new_connection"),
        ],
        {"{}": 2},
    ),
    "telnyx-connection: State, media encryption and registration over time A": (active("this", "0x60"), {"{}": 0}),
    "telnyx-connection: State, media encryption and registration over time B": (active("this", "1x60"), {}),
    "telnyx-trunks: Registrations lost A": (
        [
            *(*registered("always", "1x60"), *registered("never", "0x60"), *registered("off", "0x60", "0x60")),
            *(*registered("lost", "1x30 0x29"), *registered("regained", "1x20 0x20 1x18")),
            *(*registered("late", "1x20 0x20 1x18"), *registered("late", "1x22 0x20 1x16", instance="b")),
            *(*registered("on-one-replica", "1x60"), *registered("on-one-replica", "0x60", instance="b")),
        ],
        {
            f'{{connection_id="{name}", connection_name="{name}"}}': value
            for name, value in (("never", 0), ("lost", 0), ("regained", 1), ("late", 1))
        },
    ),
    "telnyx-trunks: Not registered A": (
        [
            *(*registered("registered", "1x60"), *registered("lost", "0x60"), *registered("off", "0x60", "0x60")),
            *(*registered("regained", "1x60"), *registered("regained", "0x60", instance="b")),
            *active("unknown", "1x60"),
        ],
        {"{}": 1},
    ),
    "telnyx-trunks: By registration B": (
        [
            *(*registered("registered", "1x60"), *registered("lost", "0x60"), *registered("off", "0x60", "0x60")),
            *(*registered("regained", "1x60"), *registered("regained", "0x60", instance="b")),
        ],
        {"{}": 1},
    ),
    "telnyx-trunks: Registration unknown A": (
        [
            *(*registered("registered", "1x60"), *registered("lost", "0x60"), *active("off", "0x60")),
            *(*active("unknown", "1x60"), *active("unknown", "1x60", instance="b")),
        ],
        {"{}": 1},
    ),
    "telnyx-connections: Calls against limits A": (
        [
            *limited_connection("both", 15, inbound=10, outbound=20),
            *limited_connection("without-an-outbound-limit", 9, inbound=10),
            *limited_connection("that-can-only-be-called", 9, inbound=10, profile_id=""),
            *limited_connection("unlimited", 9),
        ],
        {
            f'{{connection_id="{name}", connection_name="{name}"}}': value
            for name, value in (("both", 0.5), ("that-can-only-be-called", 0.9))
        },
    ),
    "telnyx-connections: Without an endpoint A": (
        [
            *(
                series("telnyx_connection_ips", "new", "0x60"),
                series("telnyx_connection_ips", "new", "2x60", None, "b"),
            ),
            *(
                series("telnyx_connection_ips", "old", "1x60"),
                series("telnyx_connection_ips", "old", "0x60", None, "b"),
            ),
            series("telnyx_connection_ips", "on-one-replica", "0x60"),
        ],
        {f'{{connection_id="{name}", connection_name="{name}"}}': 0 for name in ("old", "on-one-replica")},
    ),
    "telnyx-connections: Alerts A": (
        [
            *alert("TelnyxConnectionDisabled", "_x10 600x49", connection_id="1", connection_name="one"),
            *alert("TelnyxChannelLimitLowered", "1200x60", connection_id="2", connection_name="", direction="inbound"),
            *alert("TelnyxConnectionDisabled", "600x60", "pending", connection_id="3", connection_name="three"),
            *alert("TelnyxExporterDown", "600x60", instance="a"),
            *alert("Watchdog", "600x60", connection_id="4", connection_name="four"),
        ],
        {
            '{alertname="TelnyxConnectionDisabled", connection_id="1", connection_name="one", severity="warning"}': 6e5,
            '{alertname="TelnyxChannelLimitLowered", connection_id="2", connection_name="2", direction="inbound",'
            ' severity="warning"}': 1.2e6,
        },
    ),
    "telnyx-connection: Alerts A": (
        [
            *alert("TelnyxConnectionDisabled", "600x60", connection_id="this", connection_name="one"),
            *alert("TelnyxConnectionDisabled", "600x60", connection_id="other", connection_name="two"),
        ],
        {'{alertname="TelnyxConnectionDisabled", severity="warning"}': 6e5},
    ),
    "telnyx-exporter: Alerts A": (
        [
            *alert("TelnyxExporterDown", "600x60", instance="a"),
            *alert("TelnyxExporterAbsent", "1200x60", job=""),
            *alert("TelnyxConnectionDisabled", "600x60", connection_id="1", connection_name="one"),
            *alert("TelnyxCreditLow", "600x60", instance="a", currency="EUR"),
        ],
        {
            '{alertname="TelnyxExporterDown", instance="a", severity="warning"}': 6e5,
            '{alertname="TelnyxExporterAbsent", severity="warning"}': 1.2e6,
        },
    ),
    "telnyx-money: Alerts A": (
        [
            *alert("TelnyxProfileDisabled", "600x60", profile_id="p", profile_name="profile"),
            *alert("TelnyxExporterDown", "600x60", instance="a"),
            *alert("TelnyxSpendBlocked", "1200x60", instance="a", product="voice", period="daily"),
        ],
        {
            '{alertname="TelnyxProfileDisabled", profile_name="profile", severity="warning"}': 6e5,
            '{alertname="TelnyxSpendBlocked", instance="a", period="daily", product="voice",'
            ' severity="warning"}': 1.2e6,
        },
    ),
    "telnyx-connections: Setting changes": (
        [
            *(updated("before", "3000x60"), updated("just-changed", "0x58 3400")),
            series("telnyx_connection_updated_timestamp_seconds", "just-changed", "0x56 3400x3", instance="b"),
        ],
        {'{connection_id="just-changed", connection_name="just-changed"}': 3_400_000},
    ),
    "telnyx-money: Disabled profiles in use A": (
        [
            *(profile("enabled", "on", "1x60"), *uses("one", "on")),
            *(profile("enabled", "off", "0x60"), *uses("two", "off"), *uses("two", "off", instance="b")),
            *(profile("enabled", "off", "0x60", "b"), profile("connections", "off", "1x60", "b")),
            *(profile("enabled", "enabled-again", "0x60"), profile("enabled", "enabled-again", "1x60", "b")),
            *uses("three", "enabled-again"),
            *(profile("enabled", "unused", "0x60", "b"), profile("connections", "unused", "0x60", "b")),
            *(profile("enabled", "of-other-types", "0x60", "b"), profile("connections", "of-other-types", "2x60", "b")),
        ],
        {"{}": 2},
    ),
    "telnyx-money: Profiles B": (
        [
            *(profile("enabled", name, f"{value}x60", "b") for name, value in (("on", 1), ("off", 0), ("unused", 0))),
            *uses("one", "off"),
        ],
        {'{profile_id="on"}': 1, '{profile_id="off"}': 0, '{profile_id="unused"}': 2},
    ),
    "telnyx-money: Profiles C": (
        [
            profile("daily_spend_limit_enabled", "limited", "1x60", "b"),
            profile("daily_spend_limit_usd", "limited", "100x60", "b"),
            profile("daily_spend_limit_enabled", "off", "0x60", "b"),
            profile("daily_spend_limit_enabled", "unknown", "1x60", "b"),
        ],
        {'{profile_id="limited"}': 100, '{profile_id="off"}': -1},
    ),
    "telnyx-money: Connections of the profiles A": (
        [
            *(profile("enabled", "p", "1x60", "a", "before"), profile("enabled", "p", "0x60", "b", "after")),
            *(*uses("one", "p"), *uses("one", "p", instance="b"), *uses("two", "p"), *uses("three", "")),
        ],
        {f'{{connection_id="{name}", connection_name="{name}", profile_name="after"}}': 0 for name in ("one", "two")},
    ),
    "telnyx-money: Available credit A": ([credit("50x60"), credit("80x60", "b")], {'{currency="EUR"}': 50}),
    "telnyx-money: Credit lasts A, with a payment": (
        [credit("100-1x29 1000-1x29"), credit("100-1x29 1000-1x29", "b")],
        {'{currency="EUR"}': 971 / (54 / 12 / 300)},
    ),
    "telnyx-money: Available credit A, with accounts": (
        [
            *of_account("rich", credit("90x60"), credit("10x60", "b")),
            *of_account("poor", credit("70x60"), credit("95x60", "b")),
            *of_account("rich", *refreshed_balance(a=30, b=0)),
            *of_account("poor", *refreshed_balance(a=0, b=30)),
            *of_account("empty", credit("80x60", "c")),
        ],
        {'{account="empty", currency="EUR"}': 80},
    ),
    "telnyx-money: Credit lasts A, with accounts": (
        [
            *of_account("slow", credit("1000-1x60")),
            *of_account("fast", credit("1000-5x60")),
            *of_account("constant", credit("1x60")),
            *of_account("new", credit("_x58 5 4 3")),
        ],
        {'{account="fast", currency="EUR"}': 700 / (25 / 300)},
    ),
    "telnyx-money: Credit lasts A, with accounts that spend nothing": (
        [*of_account("constant", credit("1x60")), *of_account("new", credit("_x58 5 4 3"))],
        {'{account="constant", currency="EUR"}': -1},
    ),
    "telnyx-money: Blocked products A, with accounts": (
        [
            series
            for name, blocked in (("one", 1), ("two", 1), ("three", 0))
            for instance in ("c", "d")
            for series in of_account(
                name, account("telnyx_spend_blocked", f"{blocked}x60", instance, product="voice", period="daily")
            )
        ],
        {"{}": 2},
    ),
    "telnyx-money: Limits of connections C, with accounts": (
        [
            series
            for name, number in (("one", 2), ("two", 7))
            for series in of_account(
                name,
                *counted("c", ip_connections=number, uac_connections=1),
                account("telnyx_account_connections_limit", "10x60", "c", scope="global"),
            )
        ],
        {'{account="one", scope="global"}': 0.3, '{account="two", scope="global"}': 0.8},
    ),
    "telnyx-connections: Disabled since A, with accounts": (
        [
            *of_account("one", *active("off", "0x60", instance="c"), *active("on", "1x60", instance="c")),
            *of_account("two", *active("other", "0x60", instance="c"), *active("other", "0x60", instance="d")),
            *of_account("two", *active("enabled-again", "0x60", instance="c")),
            *of_account("two", *active("enabled-again", "1x60", instance="d")),
            *of_account(
                "one", refreshed("credential-connections", "c", 0), refreshed("credential-connections", "d", 9)
            ),
            *of_account(
                "two", refreshed("credential-connections", "c", 0), refreshed("credential-connections", "d", 9)
            ),
        ],
        {
            '{account="one", connection_id="off", connection_name="off"}': 0,
            '{account="two", connection_id="other", connection_name="other"}': 0,
        },
    ),
    "telnyx-exporter: Alerts A, with accounts": (
        [
            *alert("TelnyxKeyRejected", "600x60", instance="a", account="one"),
            *alert("TelnyxKeyRejected", "600x60", instance="a", account="two"),
            *alert("TelnyxExporterDown", "600x60", instance="a"),
        ],
        {
            '{alertname="TelnyxKeyRejected", account="one", instance="a", severity="warning"}': 6e5,
            '{alertname="TelnyxKeyRejected", account="two", instance="a", severity="warning"}': 6e5,
            '{alertname="TelnyxExporterDown", instance="a", severity="warning"}': 6e5,
        },
    ),
    "telnyx-money: Credit lasts A, with nothing spent": ([credit("100x30 200x29")], {'{currency="EUR"}': -1}),
    "telnyx-money: Credit lasts A, with no credit": ([credit("-5x60")], {'{currency="EUR"}': 0}),
    "telnyx-money: Credit lasts A, with little history": ([credit("_x58 5 4 3")], {'{currency="EUR"}': -2}),
    "telnyx-money: Blocked products A": (
        [
            *(
                account("telnyx_spend_blocked", f"{blocked}x60", instance, product=product, period=period)
                for product, period, blocked, instance in (
                    *(("voice", "daily", 1, "a"), ("voice", "monthly", 1, "a"), ("voice", "daily", 1, "b")),
                    *(("sms", "daily", 0, "a"), ("sms", "daily", 1, "b"), ("fax", "daily", 1, "a")),
                )
            ),
        ],
        {"{}": 2},
    ),
    "telnyx-money: Phone numbers A, with unknown times of the refresh": (
        [
            *(account("up", "1x60", instance) for instance in ("a", "b")),
            *(account("telnyx_phone_numbers", "3x60", i, connection_id="1", status="active") for i in ("a", "b")),
            *(account("telnyx_phone_numbers", "2x60", i, connection_id="2", status="active") for i in ("a", "b")),
        ],
        {'{status="active"}': 5},
    ),
    "telnyx-money: Limits of connections C": (
        [
            *counted("a", ip_connections=1, texml_applications=9),
            *counted("b", ip_connections=2, fqdn_connections=2, texml_applications=5, uac_connections=4),
            *(
                account("telnyx_account_connections_limit", "10x60", instance, scope=scope)
                for instance in ("a", "b")
                for scope in ("standard", "texml", "uac")
            ),
        ],
        {'{scope="standard"}': 0.4, '{scope="texml"}': 0.5, '{scope="uac"}': 0.4},
    ),
    "telnyx-money: Connection limit used A": (
        [
            *counted("b", ip_connections=3, texml_applications=5, uac_connections=1),
            account("telnyx_account_connections_limit", "10x60", "b", scope="global"),
        ],
        {"{}": 0.9},
    ),
}
"""Queries at the end of an hour, the selected time range: the input series and the expected results."""


@pytest.mark.parametrize("name", CASES)
def test_replicas_and_changes(name, tmp_path):
    """Each connection counts once, as the replica shows it that read its list last.

    The tables show since when it has been disabled, and which limits or registrations changed in the time range.
    """
    input_series, expected = CASES[name]
    hour = {"__range": "1h", "__interval": "1m", "__interval_ms": "60000", "connection": "this"}
    case = {
        "expr": substitute_variables(QUERIES[name.partition(", with ")[0]], **hour),
        "eval_time": "1h",
        "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()],
    }
    tests = tmp_path / "tests.yml"
    tests.write_text(
        json.dumps(
            {"tests": [{"interval": "1m", "input_series": [*LAST_SUCCESS, *input_series], "promql_expr_test": [case]}]}
        )
    )
    promtool = subprocess.run(
        [find_program("promtool"), "test", "rules", tests], capture_output=True, text=True, check=False
    )
    assert promtool.returncode == 0, promtool.stderr
