import re
import runpy
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from grafana_files import DASHBOARDS
from programs import find_program

from exporter.collectors.credential_connections import COLLECTOR

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "prometheus"
RULES = PROMETHEUS / "rules" / "telnyx.rules.yaml"
TESTS = {path.stem: path for path in (PROMETHEUS / "tests").glob("*.yaml")}
RUNBOOKS = {path.stem: path for path in (ROOT / "docs" / "runbooks").glob("*.md") if path.stem != "README"}
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDS = [rule for group in GROUPS for rule in group["rules"] if "record" in rule]
ABOUT_CONNECTIONS = [name for name, rule in ALERTS.items() if "connection_id" in rule["expr"]]
EXPRESSIONS = [rule["expr"] for group in GROUPS for rule in group["rules"]]
SEVERITIES = {"critical", "warning", "info"}
"""Those of other mixins, which routes and inhibitions of kube-prometheus-stack expect."""
KINDS = {"fires", "not yet", "near miss", "resolves", "missing series"}
"""What each alert is tested for: the name of a group of tests, up to a colon."""

MUTED = "connection:telnyx_connection_tag_info:muted"
TARGET = {"job", "instance"}
"""Labels that Prometheus gives each series."""
ADDED = {"pod", "direction"}
"""Labels that a target in Kubernetes may have, and that a rule adds."""

each_alert = pytest.mark.parametrize("name", ALERTS)
each_lingering_alert = pytest.mark.parametrize(
    "name", [name for name, rule in ALERTS.items() if "keep_firing_for" in rule]
)


def known():
    """Return the labels of each metric: the exporter's, Prometheus's own and those that rules record."""
    observed = runpy.run_path(str(ROOT / "docs" / "generate.py"))["_observed"]()
    labels = {family.name: {*family.labels, "connection_id", "connection_name"} for family in COLLECTOR.row_families}
    labels |= {family.name: set(family.labels) for family in COLLECTOR.snapshot_families}
    for metric in observed.values():
        for sample in metric.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    labels["up"] = set()
    labels |= {rule["record"]: {"connection_id", "connection_name", *rule.get("labels", ())} for rule in RECORDS}
    return labels


KNOWN = known()
KNOWN_LABELS = set().union(*KNOWN.values()) | TARGET | ADDED


def names(expression):
    """Return the metrics that an expression names, each with the labels of its selectors, and other labels."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    grouping = r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    labels = {label for found in re.findall(grouping, bare) for label in re.findall(r"\w+", found)}
    bare = re.sub(r"\[[^]]*\]|\boffset \w+", "", re.sub(grouping, "", bare))
    metrics = {}
    for name, selectors in re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\{([^}]*)\})?", bare):
        if name not in {"and", "or", "unless", "Inf"}:
            metrics.setdefault(name, set()).update(re.findall(r"(\w+)\s*[=!]", selectors))
    return metrics, labels


def queries(page):
    return re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL)


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_rules_load():
    """Prometheus's own check has nothing against them."""
    assert f"SUCCESS: {len(EXPRESSIONS)} rules found" in run(find_program("promtool"), "check", "rules", str(RULES))


def test_nothing_is_newer_than_the_oldest_prometheus():
    """Groups and rules have no field that Prometheus 2.42 does not know."""
    common = {"expr", "labels"}
    for group in GROUPS:
        assert group.keys() <= {"name", "interval", "rules"}
        for rule in group["rules"]:
            assert rule.keys() <= common | (
                {"record"} if "record" in rule else {"alert", "for", "keep_firing_for", "annotations"}
            )


def test_configurations_load():
    """The scrape configuration is good and finds the rules, and the example for Alertmanager is good."""
    check = run(find_program("promtool"), "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert "1 rule files found" in check
    assert f"SUCCESS: {len(EXPRESSIONS)} rules found" in check
    assert "SUCCESS" in run(find_program("amtool"), "check-config", str(PROMETHEUS / "alertmanager.yml"))


def test_alertmanager_knows_the_severities_and_the_alerts():
    """Each severity has a receiver, and inhibition is by alerts that there are."""
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    assert {receiver["name"] for receiver in config["receivers"]} == SEVERITIES
    matchers = [text for rule in config["inhibit_rules"] for text in rule["source_matchers"] + rule["target_matchers"]]
    assert {name for text in matchers for name in re.findall(r'[|"](Telnyx\w+)', text)} <= ALERTS.keys() | {"Telnyx"}


def test_the_job_is_the_one_that_is_scraped():
    """The rules look for the job that the scrape configuration has."""
    (scrape,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    jobs = {job for expression in EXPRESSIONS for job in re.findall(r'job="(\w+)"', expression)}
    assert jobs == {scrape["job_name"]}


@each_alert
def test_alert_is_complete(name):
    """Each says how urgent it is, what is the matter, where, and what to do, and nothing else."""
    rule = ALERTS[name]
    assert re.fullmatch(r"Telnyx([A-Z][a-z]+)+", name)
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"] == {
        "summary": rule["annotations"]["summary"],
        "description": rule["annotations"]["description"],
        "runbook_url": f"{{{{ $externalURL }}}}/user/runbooks/{name}.md",
        "dashboard_url": rule["annotations"]["dashboard_url"],
    }
    assert "{{" not in rule["annotations"]["summary"]
    assert "$labels." in rule["annotations"]["description"] or rule["expr"].startswith("absent(")


@each_alert
def test_alert_links_to_its_dashboard(name):
    """The link opens a dashboard with the connection or the exporter selected, from before the alert on."""
    url = urlsplit(re.sub(r"({{.*?}})+", "TEMPLATE", ALERTS[name]["annotations"]["dashboard_url"]))
    dashboard = DASHBOARDS[url.path.removeprefix("/d/")]
    parameters = dict(parse_qsl(url.query))
    assert (parameters.pop("from"), parameters.pop("to")) == ("TEMPLATE", "now")
    variables = {f"var-{variable['name']}" for variable in dashboard["templating"]["list"]}
    assert parameters.keys() <= variables
    if name in ABOUT_CONNECTIONS:
        assert parameters == {"var-connection": "TEMPLATE"}
    elif not ALERTS[name]["expr"].startswith("absent("):
        assert parameters == {"var-job": "TEMPLATE", "var-instance": "TEMPLATE"}


@each_lingering_alert
def test_the_text_of_an_alert_that_lingers_stays_true(name):
    """Prometheus shows the text for minutes after the condition ends, so it says what happened and not what is so."""
    annotations = ALERTS[name]["annotations"]
    first, *more = re.split(r"(?<=\.) ", annotations["description"])
    for text in (annotations["summary"], first):
        assert re.search(r"\b(was|were|had|did|accepted|encrypted|disappeared)\b", text), text
    for text in (annotations["summary"], annotations["description"]):
        assert not re.search(r"\b(now|still|currently|no longer|any more|has been|have been)\b", text), text
    for text in more:
        assert re.match(r"While|If|Otherwise|Without|With|Anyone|Telnyx refuses", text), text


@each_lingering_alert
def test_the_runbook_of_an_alert_that_lingers_says_so(name):
    """The reader learns that the condition can be over, and after how long the alert ends."""
    meaning = RUNBOOKS[name].read_text().partition("## Meaning")[2].partition("## Impact")[0]
    assert re.search(r"five\s+minutes\s+after|65\s+minutes\s+after", meaning)
    assert ALERTS[name]["keep_firing_for"] == "5m"


@each_alert
def test_alert_waits_and_says_why(name):
    """The line before each `for` is a comment, which has the reason."""
    (text,) = re.findall(rf"- alert: {name}\n(.*?)(?:\n\n|\Z)", RULES.read_text(), re.DOTALL)
    assert re.search(r"^ +# .*\n +for: \w+$", text, re.MULTILINE)


@pytest.mark.parametrize("name", ABOUT_CONNECTIONS)
def test_alert_about_a_connection_names_it_and_can_be_muted(name):
    """Each names the connection and heeds the tag, by its id."""
    rule = ALERTS[name]
    assert "onnection {{ $labels.connection_name }} ({{ $labels.connection_id }})" in rule["annotations"]["description"]
    assert re.search(rf"unless on \(connection_id\) (max_over_time\()?{MUTED}\b", rule["expr"])
    assert "keep_firing_for" in rule


def test_the_tag_is_named_once():
    """To take another tag, one line is changed."""
    assert RULES.read_text().count("no-alert") == 1


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        *((rule.get("alert") or rule["record"], rule["expr"]) for group in GROUPS for rule in group["rules"]),
        *((page.name, query) for page in RUNBOOKS.values() for query in queries(page)),
    ],
)
def test_what_is_named_exists(where, expression):
    """Each metric and label in rules and runbooks is one of the exporter's, of Prometheus's own, or recorded."""
    metrics, labels = names(expression)
    assert metrics
    assert metrics.keys() <= KNOWN.keys()
    assert labels <= KNOWN_LABELS
    for metric, selected in metrics.items():
        assert selected <= KNOWN[metric] | TARGET


@each_alert
def test_labels_of_annotations_exist(name):
    """An annotation names no label that no metric has."""
    assert set(re.findall(r"\$labels\.(\w+)", str(ALERTS[name]["annotations"]))) <= KNOWN_LABELS


def test_every_alert_has_tests():
    """There is one file of tests for each alert."""
    assert TESTS.keys() == ALERTS.keys()


@each_alert
def test_tests_are_complete(name):
    """Each alert is seen to fire, not yet to fire, not to fire on a near miss, to resolve, and to survive gaps."""
    found = set()
    for group in yaml.safe_load(TESTS[name].read_text())["tests"]:
        kind = group["name"].partition(":")[0]
        found.add(kind)
        assert {test["alertname"] for test in group["alert_rule_test"]} == {name}
        fires = [bool(test.get("exp_alerts")) for test in group["alert_rule_test"]]
        assert {
            "fires": all(fires),
            "not yet": not any(fires),
            "near miss": not any(fires),
            "resolves": fires[0] and not fires[-1],
            "missing series": True,
        }[kind], group["name"]
    assert found == KINDS


@each_alert
def test_alert_behaves(name):
    """Prometheus's own unit tests of the alert pass."""
    run(find_program("promtool"), "test", "rules", str(TESTS[name]))


def test_every_alert_has_a_runbook():
    """There is one page for each alert, and no other."""
    assert RUNBOOKS.keys() == ALERTS.keys()


@each_alert
def test_runbook_is_complete(name):
    """A page has the alert's name and summary, says what to do, and has queries to run."""
    lines = RUNBOOKS[name].read_text().splitlines()
    assert lines[:3] == [f"# {name}", "", ALERTS[name]["annotations"]["summary"]]
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]
    assert queries(RUNBOOKS[name])


def test_the_readme_lists_the_alerts():
    """The README's table is what the rules say."""
    rows = [
        f"| [`{name}`](docs/runbooks/{name}.md) | {rule['labels']['severity']} | {rule['for']}"
        f" | {rule['annotations']['summary'].rstrip('.')} |"
        for name, rule in ALERTS.items()
    ]
    assert re.findall(r"^\| \[`Telnyx.*$", (ROOT / "README.md").read_text(), re.MULTILINE) == rows
