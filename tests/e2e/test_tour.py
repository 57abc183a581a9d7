"""The tour of the README, command by command as it is written, with rules that wait for seconds instead of minutes."""

import json
import re
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from commands_of import commands_of
from grafana_files import DASHBOARDS
from network_shell import NetworkShell
from programs import find_program, wait_until
from quick_rules import RULES

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "README.md").read_text().partition("\n## Tour\n")[2].partition("\n## ")[0]
ALERT = "TelnyxConnectionBecameDisabled"
CONFIG = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())


def seconds(duration):
    """Return the seconds of a duration with one unit."""
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


@pytest.fixture
def tour(tmp_path):
    """Yield a shell in a copy of the repository, and the commands of the tour. All durations are a few seconds."""
    for name in ("prometheus", "promtool", "curl", "jq", "ip"):
        find_program(name)
    rules = json.loads(json.dumps(RULES))
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.update({key: "3s" for key in ("for", "keep_firing_for") if key in rule})
    config = {**CONFIG, "global": dict.fromkeys(CONFIG["global"], "1s")}
    (tmp_path / "prometheus" / "rules").mkdir(parents=True)
    (tmp_path / "prometheus" / "rules" / "telnyx.rules.yaml").write_text(yaml.safe_dump(rules))
    (tmp_path / "prometheus" / "prometheus.yml").write_text(yaml.safe_dump(config))
    names = ("sandbox", "exporter", "prometheus", "query", "disable", "alerts", "enable")
    commands = SimpleNamespace(**dict(zip(names, commands_of(TOUR), strict=True)))
    with NetworkShell(tmp_path, TELNYX_EXPORTER_CACHE__TTL="500ms") as shell:
        yield shell, commands


def test_the_alert_of_the_tour_fires_and_ends(tour):
    """After the PATCH, the alert is pending, then firing, with links that work. After the second PATCH, it ends."""
    shell, commands = tour
    for command in (commands.sandbox, commands.exporter, commands.prometheus):
        shell.start(command)
    wait_until(lambda: re.search(r" => 1 @\[", shell.run(f"{commands.query.rstrip()} || true")), "the connection")
    assert shell.run(commands.alerts) == ""

    assert shell.run(commands.disable) == "false\n"
    states = []

    def is_firing():
        alert = json.loads(shell.run(commands.alerts) or "{}")
        states.append(alert.get("state"))
        return states[-1] == "firing" and alert

    alert = wait_until(is_firing, "the alert")
    assert list(dict.fromkeys(filter(None, states))) == ["pending", "firing"]
    assert alert["runbook_url"] == re.search(r"`runbook_url`, <(\S+)>", TOUR)[1]
    page = shell.run(f"curl -sf {alert['runbook_url']}")
    assert re.search(rf"<h1[^>]*>{ALERT}</h1>", page)
    dashboard = urllib.request.Request(alert["dashboard_url"])
    assert dashboard.selector.startswith("/d/telnyx-connection?var-connection=1381893374499453584&")
    assert "telnyx-connection" in {dashboard["uid"] for dashboard in DASHBOARDS.values()}

    assert shell.run(commands.enable) == "true\n"
    wait_until(lambda: shell.run(commands.alerts) == "", "the end of the alert")


def test_the_times_of_the_tour_are_those_of_the_rules():
    """The tour states how long the alert takes, with the intervals of the configuration and the waits of the rule."""
    (rule,) = (rule for group in RULES["groups"] for rule in group["rules"] if rule.get("alert") == ALERT)
    until_seen = seconds(CONFIG["global"]["scrape_interval"]) + seconds(RULES["groups"][0]["interval"])
    assert until_seen == 60
    assert "After a minute, the value is `1`" in TOUR
    assert "Within a minute, the state of this one is `pending`" in TOUR
    assert seconds(rule["for"]) == 60
    assert "`pending`, and a minute later `firing`" in TOUR
    assert seconds(rule["keep_firing_for"]) + until_seen == 360
    assert "about six minutes later" in TOUR
