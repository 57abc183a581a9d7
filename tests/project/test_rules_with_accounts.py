"""The alerting rules with exporters that read several accounts."""

import re
import runpy
import subprocess
from pathlib import Path

import pytest
import yaml
from programs import find_program

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "prometheus" / "tests"
(GROUP,) = yaml.safe_load((ROOT / "prometheus" / "rules" / "telnyx.rules.yaml").read_text())["groups"]
ABOUT_EXPORTERS = {
    "TelnyxExporterDown",
    "TelnyxExporterMisconfigured",
    "TelnyxNoAccounts",
    "TelnyxShardMissing",
    "TelnyxShardsDisagree",
    "TelnyxExporterClientsRefused",
    "TelnyxExporterAbsent",
}
"""Alerts about exporters as a whole."""
ALERTS = {rule["alert"]: rule for rule in GROUP["rules"] if "alert" in rule}
ABOUT_ACCOUNTS = [name for name in ALERTS if name not in ABOUT_EXPORTERS]
OF_EXPORTER = re.compile(r"up{|process_|telnyx_exporter_(?!cache_)")
"""Series of an exporter as a whole."""
used_by = runpy.run_path(str(ROOT / ".ci" / "mutate_rules.py"))["used_by"]

each_alert = pytest.mark.parametrize("name", ABOUT_ACCOUNTS)


def series_of(account, group):
    """Return the series of a test with the label `account`. Connections and profiles get IDs of their own."""
    found = []
    for each in group["input_series"]:
        if not OF_EXPORTER.match(each["series"]):
            labelled = each["series"].replace("{", f'{{account="{account}",', 1)
            own_ids = re.sub(r'((?:connection|profile)_id=")(?=[^"])', rf"\1{account}-", labelled)
            found.append({**each, "series": own_ids})
    return found


def expected_of(test, name):
    """Return a test of how many alerts about `acme` fire, from one that lists alerts."""
    if "expr" in test:
        expression = test["expr"].replace('alertstate="firing"', 'alertstate="firing",account="acme"')
        number = len(test.get("exp_samples", ()))
    else:
        expression = f'ALERTS{{alertname="{name}",alertstate="firing",account="acme"}}'
        number = len(test.get("exp_alerts", ()))
    samples = [{"labels": "{}", "value": number}] if number else []
    return {"expr": f"count({expression})", "eval_time": test["eval_time"], "exp_samples": samples}


@each_alert
def test_alert_names_its_account(name):
    """The text of an alert about an account names the account, but only if it has a name."""
    text = ALERTS[name]["annotations"]["description"]
    assert (
        len(re.findall(r"{{ with \$labels\.account }}[^{]*account {{ \. }}", text.replace("Account", "account"))) == 1
    )
    without = re.sub(r"{{ (?:with \$labels|if and \$labels)\.account .*?(?:{{ else }}(.*?))?{{ end }}", r"\1", text)
    assert "account }}" not in without
    assert "  " not in without


@pytest.mark.parametrize("name", sorted(ABOUT_EXPORTERS))
def test_alert_about_an_exporter_names_no_account(name):
    """Alerts about exporters depend on no series of an account, so they work for an exporter without one."""
    assert ALERTS.keys() >= ABOUT_EXPORTERS
    assert "account" not in str(used_by(ALERTS[name], GROUP["rules"])) + ALERTS[name]["expr"]


@each_alert
def test_accounts_of_an_exporter_are_independent(name, tmp_path):
    """Tests of an alert have the same result for an account, while the alert fires for another one of the exporter.

    To save time, only the first test of each kind runs.
    """
    document = yaml.safe_load((TESTS / f"{name}.yaml").read_text())
    first_of_kinds = {group["name"].partition(":")[0]: group for group in reversed(document["tests"])}
    fires = first_of_kinds["fires"]
    rules = [*used_by(ALERTS[name], GROUP["rules"]), ALERTS[name]]
    independent = [
        {
            "name": group["name"],
            "interval": group["interval"],
            "input_series": [
                *(series for series in group["input_series"] if OF_EXPORTER.match(series["series"])),
                *series_of("acme", group),
                *(series_of("zebra", fires) if fires["interval"] == group["interval"] else ()),
            ],
            "promql_expr_test": [
                expected_of(test, name) for test in group.get("alert_rule_test") or group["promql_expr_test"]
            ],
        }
        for group in first_of_kinds.values()
    ]
    (tmp_path / "rules").write_text(yaml.safe_dump({"groups": [{**GROUP, "rules": rules}]}, sort_keys=False))
    tests = document | {"rule_files": ["rules"], "tests": independent}
    (tmp_path / "tests").write_text(yaml.safe_dump(tests, sort_keys=False))
    command = [find_program("promtool"), "test", "rules", tmp_path / "tests"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_all_rules_work_with_accounts():
    """With all rules, one account that is down, removed, added or moved fires only alerts about itself."""
    command = [find_program("promtool"), "test", "rules", TESTS / "accounts.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
