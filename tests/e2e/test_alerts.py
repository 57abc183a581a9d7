"""The project's rules and its example for Alertmanager, on real servers, against an account that the test changes."""

import contextlib
import json
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from programs import START_TIMEOUT, alertmanager, exporter, free_port, get, get_json, prometheus, sandbox, wait_until

from exporter.sandbox import Account

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "prometheus" / "rules" / "telnyx.rules.yaml").read_text())
INHIBITION = ROOT / "prometheus" / "alertmanager.yml"
KEY = "KEY-of-tests"
SILENT = {
    "TelnyxConnectionsMissing": "the sandbox's list is always complete",
    "TelnyxExporterAbsent": "exporters are there",
    "TelnyxExporterMisconfigured": "their configuration can be used",
    "TelnyxRateLimited": "the sandbox allows more requests than are made here",
    "TelnyxSnapshotStale": "it takes ten minutes",
}
"""Alerts that have nothing to say here, with the reason."""


def quick_rules():
    """Return the rules, evaluated each second and with no time to wait."""
    groups = []
    for group in RULES["groups"]:
        rules = [
            {key: value for key, value in rule.items() if key not in {"for", "keep_firing_for"}}
            for rule in group["rules"]
        ]
        groups.append({**group, "interval": "1s", "rules": rules})
    return yaml.safe_dump({"groups": groups})


def quick_config(rules, alertmanager_url, *targets):
    """Return the project's configuration with these rules, peers and targets, and an interval of a second."""
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], "1s")
    config["rule_files"] = [str(rules)]
    (peers,), (scrape,) = config["alerting"]["alertmanagers"], config["scrape_configs"]
    peers["static_configs"] = [{"targets": [alertmanager_url.removeprefix("http://")]}]
    scrape["static_configs"] = [{"targets": list(targets)}]
    return yaml.safe_dump(config)


def firing(url, **labels):
    """Return the alerts that Alertmanager has, with these labels."""
    parameters = urllib.parse.urlencode([("filter", f'{name}="{value}"') for name, value in labels.items()])
    return json.loads(get(f"{url}/api/v2/alerts?{parameters}"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Run all of it: one exporter that is well, one whose key is refused, and a target that is not there."""
    folder = tmp_path_factory.mktemp("stack")
    account = Account(8, step=None)
    rows = SimpleNamespace(
        steady=account.add(active=True, tags=[]),
        fallen=account.add(active=True, tags=[]),
        disabled=account.add(active=False, tags=[]),
        muted=account.add(active=False, tags=["no-alert"]),
        unlimited=account.add(active=True, tags=[], outbound={"channel_limit": None}),
        open=account.add(active=True, tags=[], sip_uri_calling_preference="unrestricted"),
        clear=account.add(active=True, tags=[], encrypted_media=None),
        decrypted=account.add(active=True, tags=[], encrypted_media="SRTP"),
        limited=account.add(active=True, tags=[], inbound={"channel_limit": 50}),
        raised=account.add(active=True, tags=[], outbound={"channel_limit": 10}),
        old=account.update(account.rows[0]["id"], active=True, tags=[]),
        doomed=account.add(active=True, tags=[]),
        malformed=account.add(inbound="not an object"),
    )
    (folder / "quick.rules.yaml").write_text(quick_rules())
    (folder / "refused").mkdir()
    with contextlib.ExitStack() as running:
        flags = (f"--telnyx.base-url={running.enter_context(sandbox(account, KEY))}", "--cache.ttl=500ms")
        well = running.enter_context(exporter(folder, *flags, TELNYX_API_KEY=KEY))
        refused = running.enter_context(exporter(folder / "refused", *flags, TELNYX_API_KEY="wrong"))
        alerts = running.enter_context(alertmanager(folder, INHIBITION))
        targets = [url.removeprefix("http://") for url in (well, refused)]
        config = quick_config(folder / "quick.rules.yaml", alerts, *targets, f"127.0.0.1:{free_port()}")
        url = running.enter_context(prometheus(folder, config, f"--web.user-assets={ROOT / 'docs'}"))

        def query(expression):
            answer = get_json(f"{url}/api/v1/query", query=expression)
            assert answer["status"] == "success"
            return answer["data"]["result"]

        wait_until(lambda: query("connection:telnyx_connection_active:min"), "a recorded rule")
        account.update(rows.fallen["id"], active=False)
        account.update(rows.decrypted["id"], encrypted_media=None)
        account.update(rows.limited["id"], inbound={"channel_limit": 10})
        account.update(rows.raised["id"], outbound={"channel_limit": 50})
        account.remove(rows.doomed["id"])
        yield SimpleNamespace(account=account, rows=rows, url=url, alerts=alerts, query=query)


def test_a_connection_is_disabled_and_enabled_again(stack):
    """Somebody is paged for it, with a runbook that opens, and the page ends when it is active again."""
    row = stack.rows.steady
    about = {"alertname": "TelnyxConnectionBecameDisabled", "connection_id": row["id"]}
    assert not firing(stack.alerts, **about)
    stack.account.update(row["id"], active=False)
    (alert,) = wait_until(lambda: firing(stack.alerts, **about), "the alert")
    assert alert["labels"] == {
        **about,
        "connection_name": row["connection_name"],
        "job": "telnyx",
        "severity": "critical",
    }
    assert [receiver["name"] for receiver in alert["receivers"]] == ["critical"]
    assert f"Connection {row['connection_name']} ({row['id']}) was active" in alert["annotations"]["description"]
    page = urllib.parse.urlsplit(alert["annotations"]["runbook_url"]).path
    assert get(stack.url + page).startswith("# TelnyxConnectionBecameDisabled\n")
    dashboard = urllib.parse.parse_qs(urllib.parse.urlsplit(alert["annotations"]["dashboard_url"]).query)
    assert dashboard["var-connection"] == [row["id"]]
    assert 3600 <= time.time() - int(dashboard["from"][0]) / 1000 < 7200 + START_TIMEOUT
    ticket = {**about, "alertname": "TelnyxConnectionDisabled"}
    (ticket,) = wait_until(lambda: firing(stack.alerts, **ticket), "the ticket")
    assert ticket["status"]["inhibitedBy"] == [alert["fingerprint"]]
    stack.account.update(row["id"], active=True)
    wait_until(lambda: not firing(stack.alerts, connection_id=row["id"], alertname=about["alertname"]), "its end")


def test_every_expression_works_on_real_data(stack):
    """Each rule is evaluated without an error and has something to say, but for those that can't here."""
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]

    def silent():
        return {rule.get("alert") or rule["record"] for rule in rules if not stack.query(rule["expr"])}

    wait_until(lambda: silent() == SILENT.keys(), "something of every rule")
    loaded = get_json(f"{stack.url}/api/v1/rules")["data"]["groups"]
    health = {(rule["health"], rule.get("lastError", "")) for group in loaded for rule in group["rules"]}
    assert health == {("ok", "")}


def test_each_alert_is_about_the_right_connection(stack):
    """Each connection has the alerts that its settings call for, and one that is tagged has none."""
    for row, alert in (
        (stack.rows.fallen, "TelnyxConnectionBecameDisabled"),
        (stack.rows.disabled, "TelnyxConnectionDisabled"),
        (stack.rows.unlimited, "TelnyxOutboundChannelsUnlimited"),
        (stack.rows.open, "TelnyxSipUriCallingUnrestricted"),
        (stack.rows.clear, "TelnyxMediaUnencrypted"),
        (stack.rows.decrypted, "TelnyxMediaEncryptionDisabled"),
        (stack.rows.raised, "TelnyxOutboundChannelLimitRaised"),
        (stack.rows.steady, "TelnyxConnectionCreated"),
        (stack.rows.old, "TelnyxConnectionChanged"),
        (stack.rows.limited, "TelnyxChannelLimitLowered"),
        (stack.rows.doomed, "TelnyxConnectionVanished"),
    ):
        wait_until(lambda row=row, alert=alert: firing(stack.alerts, alertname=alert, connection_id=row["id"]), alert)
    assert not firing(stack.alerts, alertname="TelnyxConnectionBecameDisabled", connection_id=stack.rows.disabled["id"])
    assert not firing(stack.alerts, connection_id=stack.rows.muted["id"])


def test_every_query_of_the_runbooks_parses(stack):
    """What a runbook says to run, runs."""
    found = [
        query
        for page in (ROOT / "docs" / "runbooks").glob("*.md")
        for query in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    assert found
    for query in found:
        stack.query(query)


def test_what_silences_what(tmp_path):
    """Without an exporter all else is silent; one that is down silences what is said of it, and nothing more."""

    def alert(name, **labels):
        return {"labels": {"alertname": f"Telnyx{name}", **labels}}

    here, there = {"job": "telnyx", "instance": "a"}, {"job": "telnyx", "instance": "b"}
    connection, other = {"job": "telnyx", "connection_id": "17"}, {"job": "telnyx", "connection_id": "18"}
    with alertmanager(tmp_path, INHIBITION) as url:

        def about(found):
            """Return the name of an alert and what it is about."""
            labels = found["labels"]
            return labels["alertname"].removeprefix("Telnyx"), labels.get("instance") or labels.get("connection_id")

        def tell(*alerts):
            """Send alerts and return those that are inhibited."""
            body = json.dumps(alerts).encode()
            request = urllib.request.Request(f"{url}/api/v2/alerts", body, headers={"content-type": "application/json"})
            urllib.request.urlopen(request, timeout=START_TIMEOUT).close()
            return {about(found) for found in firing(url) if found["status"]["state"] == "suppressed"}

        some = [
            alert("ApiDown", **here),
            alert("ApiDown", **there),
            alert("ConnectionDisabled", **connection),
            alert("ConnectionChanged", **connection),
            alert("ConnectionChanged", **other),
            alert("SnapshotStale", **there),
        ]
        assert tell(*some) == set()
        assert tell(alert("KeyRejected", **there)) == {("ApiDown", "b")}
        inhibited = {("ApiDown", "b"), ("ConnectionDisabled", "17"), ("ConnectionChanged", "17")}
        assert tell(alert("ConnectionBecameDisabled", **connection)) == inhibited
        inhibited |= {("ApiDown", "a")}
        wait_until(lambda: tell(alert("ExporterDown", **here)) == inhibited, "silence about one exporter")
        everything = set(map(about, firing(url)))
        wait_until(lambda: tell(alert("ExporterAbsent")) == everything, "silence")
