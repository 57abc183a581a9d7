import re
import subprocess

import pytest
import yaml
from chart import EVERYTHING, OPERATOR, ROOT, RUNBOOKS, SECRET, SECRETS, object_of_kind, render, render_error
from programs import find_program

RULES = (ROOT / "prometheus" / "rules" / "telnyx.rules.yaml").read_text()
(GROUP,) = yaml.safe_load(RULES)["groups"]
ALERTS = {rule["alert"]: rule for rule in GROUP["rules"] if "alert" in rule}
RECORDS = [rule for rule in GROUP["rules"] if "record" in rule]
WITH_THRESHOLD = {
    "TelnyxChannelLimitNear": "0.8",
    "TelnyxTelephonyCredentialExpires": "604800",
    "TelnyxSpendNearLimit": "0.8",
    "TelnyxConnectionsNearAccountLimit": "0.9",
    "TelnyxRateLimited": "0",
    "TelnyxConnectionsMalformed": "0",
    "TelnyxConnectionsMissing": "0",
    "TelnyxExporterClientsRefused": "0.1",
}
"""Alerts that compare with a number that users may want to change, and the number."""
LOW_CREDIT = EVERYTHING["prometheusRule"]["rules"][0]


def rules_of(**values):
    """Return the spec of the rules that the chart renders."""
    rule = OPERATOR["prometheusRule"] | values
    return object_of_kind(render({**SECRET, **OPERATOR, "prometheusRule": rule}), "PrometheusRule")["spec"]


def alerts_of(**values):
    """Return the alerts that the chart renders, without their link to Grafana, by name."""
    (group,) = rules_of(**values)["groups"]
    return {rule["alert"]: rule for rule in group["rules"] if "alert" in rule}


def without_dashboards(spec):
    """Return the rules without the annotation that links to Grafana."""
    for rule in (rule for group in spec["groups"] for rule in group["rules"]):
        rule.get("annotations", {}).pop("dashboard_url", None)
    return spec


def error_of(**values):
    """Return the first line of the error with which the chart rejects values of the rules."""
    error = render_error({**SECRET, "prometheusRule": {"enabled": True, **values}})
    return error.splitlines()[0].partition("): ")[2]


def promtool(*arguments):
    """Run promtool, and return its output."""
    result = subprocess.run([find_program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def check(spec, folder):
    """Return how many rules `promtool check rules` accepts."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(spec))
    return int(re.search(r"SUCCESS: (\d+) rules found", promtool("check", "rules", folder / "rules.yaml"))[1])


def test_rules_match_the_repository(tmp_path):
    """Without other links, the rules are those of the repository, and `promtool check rules` accepts them."""
    spec = rules_of(grafanaUrl="http://localhost:3000", runbookUrl=RUNBOOKS)
    assert spec == yaml.safe_load(RULES)
    assert check(spec, tmp_path) == len(GROUP["rules"])


def test_runbook_url_can_be_changed():
    """`runbookUrl` changes the runbook link of each alert, and nothing else."""
    expected = RULES.replace(RUNBOOKS, "https://wiki.example/telnyx")
    assert rules_of(runbookUrl="https://wiki.example/telnyx") == without_dashboards(yaml.safe_load(expected))
    assert expected.count("https://wiki.example/telnyx/Telnyx") == RULES.count("runbook_url: ")


def test_runbook_url_can_begin_with_the_default_of_grafana():
    """`grafanaUrl` does not change `runbookUrl`."""
    urls = {"runbookUrl": "http://localhost:3000/wiki", "grafanaUrl": "https://grafana.example"}
    alerts = [rule for rule in rules_of(**urls)["groups"][0]["rules"] if "alert" in rule]
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"http://localhost:3000/wiki/{alert['alert']}"
        assert alert["annotations"]["dashboard_url"].startswith("https://grafana.example/d/")


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "http://here-telnyx-exporter.there.svc:10142"),
        ({"service": {"port": 8080}, "namespaceOverride": "other"}, "http://here-telnyx-exporter.other.svc:8080"),
        ({**SECRETS, "apiKey": {}, "shards": 3}, "http://here-telnyx-exporter.there.svc:10142"),
        ({"settings": {"web.route-prefix": "/in/"}}, "http://here-telnyx-exporter.there.svc:10142/in"),
        ({"webConfig": {"existingSecret": "web", "tls": True}}, "https://here-telnyx-exporter.there.svc:10142"),
        ({"settings": {"web.external-url": "https://x.example//"}}, "https://x.example"),
        ({"settings": {"web.external-url": "HTTPS://x.example"}}, "HTTPS://x.example"),
        ({"settings": {"web.external-url": "https://x.example/a", "web.route-prefix": "/"}}, "https://x.example/a"),
    ],
    ids=[
        "default",
        "port and namespace",
        "shards",
        "prefix",
        "TLS",
        "external URL",
        "scheme in capitals",
        "external URL with a path",
    ],
)
def test_alerts_and_dashboards_link_to_the_runbooks_of_the_exporter(values, url):
    """By default, links lead to the exporter: at its external URL, or else through the Service that has the ports."""
    documents = render({**SECRET, **OPERATOR, "dashboards": {"enabled": True}, **values})
    spec = object_of_kind(documents, "PrometheusRule")["spec"]
    expected = yaml.safe_load(RULES.replace(RUNBOOKS, f"{url}/runbooks"))
    assert spec == without_dashboards(expected)
    dashboards = [each["data"] for each in documents if each["kind"] == "ConfigMap"]
    assert dashboards
    for dashboard in dashboards:
        assert f'"{url}/runbooks/${{__data.fields.alertname:percentencode}}"' in str(dashboard)
        assert RUNBOOKS not in str(dashboard)


@pytest.mark.parametrize(
    "url", ["x.example", "https://x.example/'", 'https://x.example/"', "https://x/{{a}}", "https://x/ a"]
)
def test_external_url_that_breaks_links_is_rejected(url):
    """An external URL that is none, or that would break the rules or dashboards, is rejected."""
    error = render_error({**SECRET, "prometheusRule": {"enabled": True}, "settings": {"web.external-url": url}})
    assert "settings.web.external-url must be an http or https URL such as https://example.com/telnyx" in error


def test_grafana_url_can_be_changed():
    """Alerts link to dashboards at `grafanaUrl`. Without it, alerts have no dashboard link."""
    expected = RULES.replace("http://localhost:3000", "https://grafana.example/telnyx")
    assert rules_of(grafanaUrl="https://grafana.example/telnyx", runbookUrl=RUNBOOKS) == yaml.safe_load(expected)
    assert rules_of(runbookUrl=RUNBOOKS) == without_dashboards(yaml.safe_load(RULES))
    assert "localhost" not in str(rules_of())


def test_all_changes_together_load(tmp_path):
    """`promtool check rules` accepts the rules with every kind of change."""
    spec = rules_of(**EVERYTHING["prometheusRule"])
    assert check(spec, tmp_path) == len(GROUP["rules"]) - 1 + len(EVERYTHING["prometheusRule"]["rules"])


def test_disabled_alerts_are_left_out():
    """Alerts that are disabled with true are left out, and all others and the recording rules stay."""
    (group,) = rules_of(disabled={"TelnyxApiDown": True, "TelnyxKeyRejected": False})["groups"]
    names = [rule.get("alert") or rule["record"] for rule in group["rules"]]
    expected = [rule.get("alert") or rule["record"] for rule in GROUP["rules"]]
    assert names == [name for name in expected if name != "TelnyxApiDown"]


def test_override_changes_one_alert():
    """An override changes the fields that it names, of the alert that it names."""
    override = {
        "for": "10m",
        "keep_firing_for": "1d",
        "severity": "page",
        "labels": {"team": "voice"},
        "annotations": {"summary": "It is {{ $value }}.", "dashboard_url": "https://grafana.example/d/voice"},
    }
    default, changed = alerts_of(), alerts_of(overrides={"TelnyxApiDown": override})
    alert = default["TelnyxApiDown"]
    assert changed["TelnyxApiDown"] == {
        **alert,
        "for": "10m",
        "keep_firing_for": "1d",
        "labels": {"severity": "page", "team": "voice"},
        "annotations": {**alert["annotations"], **override["annotations"]},
    }
    assert changed == {**default, "TelnyxApiDown": changed["TelnyxApiDown"]}


def test_labels_apply_to_all_alerts():
    """`additionalRuleLabels` are labels of each alert and of no recording rule. An override of one alert wins."""
    (group,) = rules_of(
        additionalRuleLabels={"team": "voice", "severity": "none"},
        overrides={"TelnyxApiDown": {"severity": "page", "labels": {"team": "web"}}},
    )["groups"]
    labels = {rule["alert"]: rule["labels"] for rule in group["rules"] if "alert" in rule}
    assert labels == {
        **{name: {"team": "voice", "severity": "none"} for name in ALERTS},
        "TelnyxApiDown": {"team": "web", "severity": "page"},
    }
    assert [rule for rule in group["rules"] if "record" in rule] == RECORDS


def test_numbers_to_change_are_marked():
    """These alerts, and no others, have a number with the comment `# threshold`."""
    found = {name: re.findall(r"(\S+)  # threshold$", rule["expr"], re.MULTILINE) for name, rule in ALERTS.items()}
    assert {name: numbers for name, numbers in found.items() if numbers} == {
        name: [number] for name, number in WITH_THRESHOLD.items()
    }
    assert RULES.count("  # threshold\n") == len(WITH_THRESHOLD)


@pytest.mark.parametrize(
    ("name", "number", "text"),
    [
        *((name, 0.85, "0.85") for name in WITH_THRESHOLD),
        *(
            ("TelnyxSpendNearLimit", *each)
            for each in [(0, "0"), (1000000, "1000000"), (-3, "-3"), (25920.5, "25920.5")]
        ),
    ],
)
def test_threshold_can_be_changed(name, number, text, tmp_path):
    """A threshold replaces the marked number and nothing else, and the rules load."""
    spec = rules_of(overrides={name: {"threshold": number}})
    (expression,) = (rule["expr"] for rule in spec["groups"][0]["rules"] if rule.get("alert") == name)
    marked = f"{WITH_THRESHOLD[name]}  # threshold"
    assert expression == ALERTS[name]["expr"].replace(marked, f"{text}  # threshold")
    assert check(spec, tmp_path) == len(GROUP["rules"])


def test_changed_threshold_is_used(tmp_path):
    """With a threshold of 0.5, an alert fires for a value that is below the default."""
    rules, tests = tmp_path / "rules", tmp_path / "tests"
    rules.write_text(yaml.safe_dump(rules_of(overrides={"TelnyxSpendNearLimit": {"threshold": 0.5, "for": "1m"}})))
    series = '{job="telnyx",instance="a:10142",product="voice",period="daily"}'
    firing = 'ALERTS{alertname="TelnyxSpendNearLimit",alertstate="firing",severity="warning",' + series[1:]
    group = {
        "interval": "1m",
        "input_series": [
            {"series": f"telnyx_spend_usd{series}", "values": "60+0x10"},
            {"series": f"telnyx_spend_limit_usd{series}", "values": "100+0x10"},
        ],
        "promql_expr_test": [
            {
                "expr": 'ALERTS{alertname="TelnyxSpendNearLimit",alertstate="firing"}',
                "eval_time": "5m",
                "exp_samples": [{"labels": firing, "value": 1}],
            }
        ],
    }
    tests.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "30s", "tests": [group]}))
    promtool("test", "rules", tests)


def test_own_rules_come_between_recording_rules_and_alerts():
    """Own rules see what is recorded, and alerts see what they record. They are no templates of Helm."""
    own = EVERYTHING["prometheusRule"]["rules"]
    (group,) = rules_of(rules=own, runbookUrl=RUNBOOKS)["groups"]
    alerts = [rule for rule in without_dashboards(yaml.safe_load(RULES))["groups"][0]["rules"] if "alert" in rule]
    assert group["rules"] == [*RECORDS, *own, *alerts]


def test_own_rule_turns_on_the_alert_about_low_credit(tmp_path):
    """The example in `values.yaml` is what `TelnyxCreditLow` needs. The alert sees its value at the same evaluation."""
    text = (ROOT / "deploy" / "helm" / "telnyx-exporter" / "values.yaml").read_text()
    commented = re.search(r"^  #   - record: .*\n  #     expr: .*\n", text, re.MULTILINE)[0]
    (example,) = yaml.safe_load(commented.replace("  # ", ""))
    assert example["record"] == LOW_CREDIT["record"] == ALERTS["TelnyxCreditLow"]["expr"]
    rules, tests = tmp_path / "rules", tmp_path / "tests"
    spec = rules_of(rules=[example], overrides={"TelnyxCreditLow": {"for": "0s"}})
    rules.write_text(yaml.safe_dump(spec))
    group = {
        "interval": "30s",
        "input_series": [
            {
                "series": 'telnyx_account_available_credit{job="telnyx",instance="a:10142",currency="USD"}',
                "values": "49 49",
            }
        ],
        "promql_expr_test": [
            {
                "expr": 'count(ALERTS{alertname="TelnyxCreditLow",alertstate="firing"})',
                "eval_time": "0s",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
        ],
    }
    tests.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "30s", "tests": [group]}))
    promtool("test", "rules", tests)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"disabled": {"TelnyxApiDwn": True}},
            f"prometheusRule.disabled.TelnyxApiDwn: there is no such alert; use one of {', '.join(sorted(ALERTS))}",
        ),
        (
            {"overrides": {"telnyxapidown": {"for": "1m"}}},
            f"prometheusRule.overrides.telnyxapidown: there is no such alert; use one of {', '.join(sorted(ALERTS))}",
        ),
        (
            {"overrides": {"TelnyxApiDown": {"threshold": 0}}},
            "prometheusRule.overrides.TelnyxApiDown.threshold: the alert has no threshold; these have one: "
            + ", ".join(sorted(WITH_THRESHOLD)),
        ),
        (
            {"overrides": {"TelnyxCreditLow": {"threshold": 50}}},
            "prometheusRule.overrides.TelnyxCreditLow.threshold: set it in prometheusRule.rules; see values.yaml",
        ),
    ],
    ids=["disabled", "override", "threshold", "credit"],
)
def test_change_that_has_no_effect_is_rejected(values, expected):
    """A misspelled alert and a threshold of an alert that has none are rejected, with the names that work."""
    assert error_of(**values) == expected
