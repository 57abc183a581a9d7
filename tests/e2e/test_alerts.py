"""The alerting rules and the example Alertmanager configuration, on real servers, with an account that changes."""

import contextlib
import json
import time
import urllib.parse
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from programs import START_TIMEOUT, alertmanager, exporter, free_port, get, get_json, prometheus, sandbox, wait_until
from quick_rules import RULES, quick_rules

from exporter.sandbox import Account
from exporter.sandbox.api.connections.calls import active_calls

ROOT = Path(__file__).parents[2]
INHIBITION = ROOT / "prometheus" / "alertmanager.yml"
KEY = "KEY-of-tests"
MONEY = ("balance", "spend-limits", "connection-counts")
"""Collectors of the account as a whole."""
LISTS = (
    *("ip-connections", "uac-connections", "call-control-applications", "texml-applications"),
    *("outbound-voice-profiles", "endpoints", "telephony-credentials", *MONEY),
)
FAN_OUTS = ("registrations", "active-calls")
NEVER_FIRING = {
    "TelnyxCreditLow": "it is off by default",
    "TelnyxCreditRunsOut": "it needs half an hour of spending",
    "TelnyxConnectionsMissing": "the sandbox's list is always complete",
    "TelnyxExporterAbsent": "exporters are running",
    "TelnyxExporterClientsRefused": "its clients are well-behaved",
    "TelnyxExporterMisconfigured": "their configuration is valid",
    "TelnyxNoAccounts": "each exporter has one key",
    "TelnyxRateLimited": "the tests stay below the rate limit of the sandbox",
    "TelnyxShardMissing": "there are no shards",
    "TelnyxShardsDisagree": "there are no shards",
    "TelnyxSnapshotStale": "it takes ten minutes to fire",
}
"""Alerts that don't fire in this stack, with the reason."""


def quick_config(rules, alertmanager_url, *targets):
    """Return the example configuration with these rules, Alertmanager and targets, and with intervals of one second."""
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], "1s")
    config["rule_files"] = [str(rules)]
    (alertmanagers,), (scrape,) = config["alerting"]["alertmanagers"], config["scrape_configs"]
    alertmanagers["static_configs"] = [{"targets": [alertmanager_url.removeprefix("http://")]}]
    scrape["static_configs"] = [{"targets": list(targets)}]
    return yaml.safe_dump(config)


def firing(url, **labels):
    """Return the alerts with these labels in Alertmanager."""
    parameters = urllib.parse.urlencode([("filter", f'{name}="{value}"') for name, value in labels.items()])
    return json.loads(get(f"{url}/api/v2/alerts?{parameters}"))


def account_at(step):
    """Return an account that has made this many steps, and that changes no more."""
    now, seconds = time.time(), 45.0
    moments = [now - step * seconds]
    account = Account(8, step=seconds, clock=lambda: moments[-1])
    moments.append(now)
    return account


def busy_application(account):
    """Add an application with more than 16 calls on 20 channels. The number depends on its random id."""
    applications = account["/call_control_applications"]
    while True:
        row = applications.add(active=True, tags=[], inbound={"channel_limit": 10}, outbound={"channel_limit": 10})
        if active_calls(account, {"connection_id": row["id"]})["meta"]["total_items"] > 16:
            return row
        applications.remove(row["id"])


def flags_for(url, *collectors):
    """Return the flags of an exporter that reads this API often, with these collectors."""
    switches = [f"--collector.{name}" for name in collectors]
    ttls = [f"{switch}.ttl=500ms" for switch in switches]
    return (f"--telnyx.base-url={url}", "--cache.ttl=500ms", "--telnyx.max-requests-per-second=1000", *switches, *ttls)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Run the whole stack: two healthy exporters, one with a rejected API key, and a target that is down.

    The second one reads an account that has exceeded a spend limit.
    """
    folder = tmp_path_factory.mktemp("stack")
    account = account_at(7)  # when a product is near its spend limit
    profile = account["/outbound_voice_profiles"].rows[0]
    account["/outbound_voice_profiles"].update(profile["id"], enabled=False)
    for _ in range(8):  # all but one of those that the account may have
        account["/texml_applications"].add(active=True, tags=[])
    rows = SimpleNamespace(
        steady=account.add(active=True, tags=[]),
        disabled_later=account.add(active=True, tags=[]),
        disabled=account.add(active=False, tags=[]),
        muted=account.add(active=False, tags=["no-alert"]),
        unlimited=account.add(active=True, tags=[], outbound={"channel_limit": None}),
        open=account.add(active=True, tags=[], sip_uri_calling_preference="unrestricted"),
        unencrypted=account.add(active=True, tags=[], encrypted_media=None),
        unencrypted_later=account.add(active=True, tags=[], encrypted_media="SRTP"),
        lowered=account.add(active=True, tags=[], inbound={"channel_limit": 50}),
        raised=account.add(active=True, tags=[], outbound={"channel_limit": 10}),
        old=account.update(account.rows[0]["id"], active=True, tags=[]),
        removed=account.add(active=True, tags=[]),
        removed_ip=account["/ip_connections"].add(active=True, tags=[]),
        without_ip=account["/ip_connections"].add(active=True, tags=[]),
        busy=busy_application(account),
        registered=account.add(active=True, tags=[], registration_status="Registered"),
        registered_uac=account["/uac_connections"].add(active=True, tags=[], registration_status="Registered"),
        malformed=account.add(inbound="not an object"),
    )
    (folder / "quick.rules.yaml").write_text(quick_rules())
    for name in ("rejected", "blocked"):
        (folder / name).mkdir()
    with contextlib.ExitStack() as running:
        url = running.enter_context(sandbox(account, KEY))
        flags = (*flags_for(url, *LISTS, *FAN_OUTS), *(f"--collector.{name}.rate=100" for name in FAN_OUTS))
        healthy = running.enter_context(exporter(folder, *flags, TELNYX_API_KEY=KEY))
        rejected = running.enter_context(exporter(folder / "rejected", *flags, TELNYX_API_KEY="wrong"))
        money = (
            *flags_for(running.enter_context(sandbox(account_at(9), KEY)), *MONEY),
            "--no-collector.credential-connections",
        )
        blocked = running.enter_context(exporter(folder / "blocked", *money, TELNYX_API_KEY=KEY))
        alerts = running.enter_context(alertmanager(folder, INHIBITION))
        targets = [url.removeprefix("http://") for url in (healthy, rejected, blocked)]
        config = quick_config(folder / "quick.rules.yaml", alerts, *targets, f"127.0.0.1:{free_port()}")
        url = running.enter_context(prometheus(folder, config))

        def query(expression):
            response = get_json(f"{url}/api/v1/query", query=expression)
            assert response["status"] == "success"
            return response["data"]["result"]

        for row in (rows.removed, rows.removed_ip, rows.registered_uac):
            recorded = f'connection:telnyx_connection_active:min{{connection_id="{row["id"]}"}}'
            wait_until(lambda recorded=recorded: query(recorded), "a recorded rule")
        account.update(rows.disabled_later["id"], active=False)
        account.update(rows.unencrypted_later["id"], encrypted_media=None)
        account.update(rows.lowered["id"], inbound={"channel_limit": 10})
        account.update(rows.raised["id"], outbound={"channel_limit": 50})
        account.remove(rows.removed["id"])
        account["/ip_connections"].remove(rows.removed_ip["id"])
        account.update(rows.registered["id"], registration_status="Expired")
        account["/uac_connections"].update(rows.registered_uac["id"], registration_status="Failed")
        yield SimpleNamespace(account=account, rows=rows, exporter=healthy, url=url, alerts=alerts, query=query)


def test_disabling_and_enabling_a_connection(stack):
    """A disabled connection triggers a critical alert, whose runbook exists. The alert resolves once it is enabled."""
    row = stack.rows.steady
    labels = {"alertname": "TelnyxConnectionBecameDisabled", "connection_id": row["id"]}
    assert not firing(stack.alerts, **labels)
    stack.account.update(row["id"], active=False)
    (alert,) = wait_until(lambda: firing(stack.alerts, **labels), "the alert")
    assert alert["labels"] == {
        **labels,
        "connection_name": row["connection_name"],
        "job": "telnyx",
        "severity": "critical",
    }
    assert [receiver["name"] for receiver in alert["receivers"]] == ["critical"]
    assert f"Connection {row['connection_name']} ({row['id']}) was active" in alert["annotations"]["description"]
    page = urllib.parse.urlsplit(alert["annotations"]["runbook_url"]).path
    assert "<title>TelnyxConnectionBecameDisabled - " in get(stack.exporter + page)
    dashboard = urllib.parse.parse_qs(urllib.parse.urlsplit(alert["annotations"]["dashboard_url"]).query)
    assert dashboard["var-connection"] == [row["id"]]
    assert 3600 <= time.time() - int(dashboard["from"][0]) / 1000 < 7200 + START_TIMEOUT
    ticket = {**labels, "alertname": "TelnyxConnectionDisabled"}
    (ticket,) = wait_until(lambda: firing(stack.alerts, **ticket), "the ticket")
    assert ticket["status"]["inhibitedBy"] == [alert["fingerprint"]]
    stack.account.update(row["id"], active=True)
    wait_until(
        lambda: not firing(stack.alerts, connection_id=row["id"], alertname=labels["alertname"]), "the resolution"
    )


def test_every_expression_works_on_real_data(stack):
    """Every rule evaluates without an error, and returns something unless it is in `NEVER_FIRING`."""
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]

    def without_result():
        return {rule.get("alert") or rule["record"] for rule in rules if not stack.query(rule["expr"])}

    wait_until(lambda: without_result() == NEVER_FIRING.keys(), "a result for every rule")
    loaded = get_json(f"{stack.url}/api/v1/rules")["data"]["groups"]
    health = {(rule["health"], rule.get("lastError", "")) for group in loaded for rule in group["rules"]}
    assert health == {("ok", "")}


def test_each_alert_is_about_the_right_connection(stack):
    """Each connection triggers the alert for its settings. A connection with the tag `no-alert` triggers none."""
    for row, alert in (
        (stack.rows.disabled_later, "TelnyxConnectionBecameDisabled"),
        (stack.rows.disabled, "TelnyxConnectionDisabled"),
        (stack.rows.unlimited, "TelnyxOutboundChannelsUnlimited"),
        (stack.rows.open, "TelnyxSipUriCallingUnrestricted"),
        (stack.rows.unencrypted, "TelnyxMediaUnencrypted"),
        (stack.rows.unencrypted_later, "TelnyxMediaEncryptionDisabled"),
        (stack.rows.raised, "TelnyxOutboundChannelLimitRaised"),
        (stack.rows.steady, "TelnyxConnectionCreated"),
        (stack.rows.old, "TelnyxConnectionChanged"),
        (stack.rows.lowered, "TelnyxChannelLimitLowered"),
        (stack.rows.removed, "TelnyxConnectionVanished"),
        (stack.rows.removed_ip, "TelnyxConnectionVanished"),
        (stack.rows.registered, "TelnyxConnectionRegistrationLost"),
        (stack.rows.registered_uac, "TelnyxConnectionRegistrationLost"),
        (stack.rows.without_ip, "TelnyxConnectionWithoutEndpoint"),
        (stack.rows.busy, "TelnyxChannelLimitNear"),
    ):
        wait_until(lambda row=row, alert=alert: firing(stack.alerts, alertname=alert, connection_id=row["id"]), alert)
    assert not firing(stack.alerts, alertname="TelnyxConnectionBecameDisabled", connection_id=stack.rows.disabled["id"])
    assert not firing(stack.alerts, connection_id=stack.rows.muted["id"])


def test_each_alert_links_to_its_object_in_the_api(stack):
    """The annotation `api_url` is the API's URL of the connection or profile, also of a connection that is gone."""
    for label, path, row in (
        ("connection_id", "/credential_connections", stack.rows.disabled),
        ("connection_id", "/credential_connections", stack.rows.removed),
        ("connection_id", "/ip_connections", stack.rows.without_ip),
        ("connection_id", "/ip_connections", stack.rows.removed_ip),
        ("connection_id", "/uac_connections", stack.rows.registered_uac),
        ("connection_id", "/call_control_applications", stack.rows.busy),
        ("profile_id", "/outbound_voice_profiles", stack.account["/outbound_voice_profiles"].rows[0]),
    ):
        alerts = wait_until(lambda label=label, row=row: firing(stack.alerts, **{label: row["id"]}), "an alert")
        links = {alert["annotations"].get("api_url") for alert in alerts}
        assert links == {f"https://api.telnyx.com/v2{path}/{row['id']}"}


def test_failing_collectors_are_inhibited_by_their_cause(stack):
    """If Telnyx rejects the key, each collector but that of credential connections triggers an inhibited alert."""

    def inhibited():
        alerts = firing(stack.alerts, alertname="TelnyxCollectorFailing")
        return {alert["labels"]["collector"] for alert in alerts if alert["status"]["inhibitedBy"]}

    wait_until(lambda: inhibited() == set(LISTS), "the inhibited alerts")


def test_inhibition(tmp_path):
    """`TelnyxExporterAbsent` inhibits all alerts, `TelnyxExporterDown` those about one exporter and its account."""

    def alert(name, **labels):
        return {"labels": {"alertname": f"Telnyx{name}", **labels}}

    instance_a, instance_b, instance_c = ({"job": "telnyx", "instance": name} for name in "abc")
    connection, other = {"job": "telnyx", "connection_id": "17"}, {"job": "telnyx", "connection_id": "18"}
    with alertmanager(tmp_path, INHIBITION) as url:

        def subject(found):
            """Return the name of an alert, and the exporter, its account, or the connection that it is about."""
            labels = found["labels"]
            of_exporter = "/".join(labels[name] for name in ("instance", "account") if name in labels)
            return labels["alertname"].removeprefix("Telnyx"), of_exporter or labels.get("connection_id")

        def send(*alerts):
            """Send alerts and return those that are inhibited."""
            body = json.dumps(alerts).encode()
            request = urllib.request.Request(f"{url}/api/v2/alerts", body, headers={"content-type": "application/json"})
            urllib.request.urlopen(request, timeout=START_TIMEOUT).close()
            return {subject(found) for found in firing(url) if found["status"]["state"] == "suppressed"}

        def wait_until_inhibited(expected, *alerts):
            """Send alerts until exactly the expected ones are inhibited: Alertmanager inhibits in the background."""
            wait_until(lambda: send(*alerts) == expected, f"inhibition of {sorted(expected)}")

        independent = [
            alert("ApiDown", **instance_a),
            alert("ApiDown", **instance_b),
            alert("CollectorFailing", **instance_c),
            alert("ConnectionDisabled", **connection),
            alert("ConnectionRegistrationLost", **connection),
            alert("ConnectionRegistrationLost", **other),
            alert("ConnectionChanged", **connection),
            alert("ConnectionChanged", **other),
            alert("SnapshotStale", **instance_b),
            alert("SpendNearLimit", **instance_b, product="voice", period="daily"),
            alert("SpendNearLimit", **instance_c, product="voice", period="daily"),
            alert("CreditLow", **instance_b, currency="USD"),
            alert("CreditLow", **instance_c, currency="USD"),
            *(alert("ApiDown", **instance_c, account=account) for account in ("acme", "zebra")),
            *(alert("CollectorFailing", **instance_a, account=account) for account in ("acme", "zebra")),
        ]
        assert send(*independent) == set()
        inhibited = {("ApiDown", "b")}
        wait_until_inhibited(inhibited, alert("KeyRejected", **instance_b))
        inhibited |= {("CollectorFailing", "a")}  # because of `TelnyxApiDown`
        wait_until_inhibited(inhibited, alert("CollectorFailing", **instance_a))
        inhibited |= {("CollectorFailing", "c")}
        wait_until_inhibited(inhibited, alert("KeyRejected", **instance_c))
        inhibited |= {(f"Connection{what}", "17") for what in ("Disabled", "RegistrationLost", "Changed")}
        wait_until_inhibited(inhibited, alert("ConnectionBecameDisabled", **connection))
        inhibited |= {("ApiDown", "c/acme")}
        wait_until_inhibited(inhibited, alert("KeyRejected", **instance_c, account="acme"))
        inhibited |= {("CollectorFailing", "a/zebra")}
        wait_until_inhibited(inhibited, alert("ApiDown", **instance_a, account="zebra"))
        inhibited |= {("SpendNearLimit", "b")}
        other_period = alert("SpendBlocked", **instance_c, product="voice", period="monthly")
        wait_until_inhibited(
            inhibited, other_period, alert("SpendBlocked", **instance_b, product="voice", period="daily")
        )
        inhibited |= {("CreditLow", "b")}
        wait_until_inhibited(inhibited, alert("CreditRunsOut", **instance_b, currency="USD"))
        inhibited |= {("ApiDown", "a"), ("ApiDown", "a/zebra"), ("CollectorFailing", "a/acme")}
        wait_until_inhibited(inhibited, alert("ExporterDown", **instance_a))
        everything = set(map(subject, firing(url)))
        wait_until_inhibited(everything, alert("ExporterAbsent"))
