import re
import runpy
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from connections import CONNECTION_COLLECTORS
from grafana_files import DASHBOARDS
from metric_labels import metric_labels
from programs import find_program

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "prometheus"
RULES = PROMETHEUS / "rules" / "telnyx.rules.yaml"
TESTS = {path.stem: path for path in (PROMETHEUS / "tests").glob("*.yaml")}
RUNBOOKS = {path.stem: path for path in (ROOT / "docs" / "runbooks").glob("*.md") if path.stem != "README"}
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
used_by = runpy.run_path(str(ROOT / ".ci" / "mutate_rules.py"))["used_by"]
"""Returns the recording rules that a rule needs, from a list of rules."""
RECORDS = [rule for group in GROUPS for rule in group["rules"] if "record" in rule]
CONNECTION_ALERTS = [name for name, rule in ALERTS.items() if "connection_id" in rule["expr"]]
FLEET_ALERTS = [name for name, rule in ALERTS.items() if "by (job)" in rule["expr"]]
PROFILE_ALERTS = [name for name, rule in ALERTS.items() if "on (profile_id)" in rule["expr"]]
API_LINKS = {
    name: ALERTS[group[0]]["annotations"]["api_url"] for group in (CONNECTION_ALERTS, PROFILE_ALERTS) for name in group
}
"""The link to the API of each alert that is about one object. All alerts about the same kind of object share one."""
EXPRESSIONS = [rule["expr"] for group in GROUPS for rule in group["rules"]]
SEVERITIES = {"critical", "warning", "info"}
"""The severities of other mixins, which routes and inhibitions of kube-prometheus-stack expect."""
KINDS = {"fires", "not yet", "near miss", "resolves", "missing series"}
"""The kinds of tests that each alert has. The name of a test group starts with its kind, up to a colon."""

VERBS = ("add", "ask", "check", "delete", "find", "list", "look", "query", "read", "top up")
"""What a first step can begin with."""
SOURCES = "\n".join(path.read_text() for path in (ROOT / "exporter").rglob("*.py"))
MUTED = "connection:telnyx_connection_tag_info:muted"
LOW_CREDIT = "account:telnyx_account_available_credit:low"
"""A metric whose rule is commented out, because each user needs another threshold."""
TARGET = {"job", "instance", "account"}
"""Labels that Prometheus adds to each series, and the one that an exporter of several accounts adds to theirs."""
ALL_ALERTS = "accounts"
"""The file of tests of all rules together. Each other file tests the alert whose name it has."""
ADDED = {"pod", "direction"}
"""Labels that a target in Kubernetes can have, or that a rule adds."""

each_alert = pytest.mark.parametrize("name", ALERTS)
each_lingering_alert = pytest.mark.parametrize(
    "name", [name for name, rule in ALERTS.items() if "keep_firing_for" in rule]
)

SCRAPE_CONFIGS = [
    pytest.param(config, id=f"{page.name}-{number}")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, config in enumerate(re.findall(r"```yaml\n(scrape_configs:.*?)```", page.read_text(), re.DOTALL))
]
"""The scrape configurations in documents."""

LEVELS = {
    "connection": {"connection_id", "connection_name"},
    "profile": {"profile_id", "profile_name"},
    "account": {"currency"},
}
"""The labels that recorded metrics can have besides those that their rule adds, by the first part of their name."""
METRIC_LABELS = metric_labels() | {
    record: LEVELS[record.partition(":")[0]] | {label for rule in RECORDS for label in rule.get("labels", ())}
    for record in (LOW_CREDIT, *(rule["record"] for rule in RECORDS))
}
"""The labels of each metric of the exporter, of Prometheus itself, and of the recording rules."""
KNOWN_LABELS = set().union(*METRIC_LABELS.values()) | TARGET | ADDED


def references(expression):
    """Return the metrics in an expression, each with the labels of its selectors, and the labels elsewhere."""
    bare = re.sub(r'"[^"]*"|#.*', '""', expression)
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


def sentences(text):
    """Return the sentences of a description without its templates."""
    return re.split(r"(?<=\.) ", re.sub(r"{{.*?}}", "", text))


def selected_alert(expression):
    """Return the name of the alert that an expression selects while it fires."""
    (name,) = re.findall(r'ALERTS\{alertname="(\w+)",alertstate="firing"\}', expression)
    return name


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_rules_load():
    """`promtool check rules` accepts the rules."""
    assert f"SUCCESS: {len(EXPRESSIONS)} rules found" in run(find_program("promtool"), "check", "rules", str(RULES))


def test_rules_work_with_the_oldest_prometheus():
    """Groups and rules only use fields that Prometheus 2.42 supports."""
    common = {"expr", "labels"}
    for group in GROUPS:
        assert group.keys() <= {"name", "interval", "rules"}
        for rule in group["rules"]:
            assert rule.keys() <= common | (
                {"record"} if "record" in rule else {"alert", "for", "keep_firing_for", "annotations"}
            )


def test_configurations_load():
    """The scrape configuration is valid and finds the rules, and the Alertmanager example is valid."""
    check = run(find_program("promtool"), "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert "1 rule files found" in check
    assert f"SUCCESS: {len(EXPRESSIONS)} rules found" in check
    assert "SUCCESS" in run(find_program("amtool"), "check-config", str(PROMETHEUS / "alertmanager.yml"))


@pytest.mark.parametrize("config", SCRAPE_CONFIGS)
def test_scrape_configurations_of_documents_load(config, tmp_path):
    """Prometheus accepts each scrape configuration that a document shows."""
    (tmp_path / "prometheus.yml").write_text(config)
    assert "SUCCESS" in run(find_program("promtool"), "check", "config", str(tmp_path / "prometheus.yml"))


def test_alertmanager_has_the_severities_and_alerts():
    """Each severity has a receiver, and inhibition rules only name alerts that exist."""
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    assert {receiver["name"] for receiver in config["receivers"]} == SEVERITIES
    matchers = [text for rule in config["inhibit_rules"] for text in rule["source_matchers"] + rule["target_matchers"]]
    assert {name for text in matchers for name in re.findall(r'[|"](Telnyx\w+)', text)} <= ALERTS.keys() | {"Telnyx"}


def test_job_matches_the_scrape_configuration():
    """The rules select the job of the scrape configuration."""
    (scrape,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    jobs = {job for expression in EXPRESSIONS for job in re.findall(r'job="(\w+)"', expression)}
    assert jobs == {scrape["job_name"]}


@each_alert
def test_alert_is_complete(name):
    """Each alert has a severity, texts with the location of the problem, and its links, and nothing else."""
    rule = ALERTS[name]
    assert re.fullmatch(r"Telnyx([A-Z][a-z]+)+", name)
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"] == {
        "summary": rule["annotations"]["summary"],
        "description": rule["annotations"]["description"],
        "runbook_url": f"http://localhost:10142/runbooks/{name}",
        "dashboard_url": rule["annotations"]["dashboard_url"],
        **({"api_url": API_LINKS[name]} if name in API_LINKS else {}),
    }
    assert "{{" not in rule["annotations"]["summary"]
    assert "$labels." in rule["annotations"]["description"] or rule["expr"].startswith("absent(")


@each_alert
def test_description_ends_with_the_first_step(name):
    """The last sentence of a description, and no other one, is the first step to take: "First, check …"."""
    *before, step = sentences(ALERTS[name]["annotations"]["description"])
    assert len(before) >= 2
    assert re.fullmatch(rf"First, ({'|'.join(VERBS)}) .+\.", step), step
    assert not [text for text in before if re.search(r"\bfirst\b", text, re.IGNORECASE)]


@each_alert
def test_descriptions_are_short(name):
    """A description has at most 60 words in each unit test, so that it fits on a phone."""
    groups = yaml.safe_load(TESTS[name].read_text())["tests"]
    alerts = [
        alert for group in groups for test in group.get("alert_rule_test", ()) for alert in test.get("exp_alerts", ())
    ]
    assert alerts
    for text in {alert["exp_annotations"]["description"] for alert in alerts}:
        assert len(text.split()) <= 60, text


@each_alert
def test_log_lines_of_descriptions_exist(name):
    """Each log line that a description quotes is one that the exporter writes."""
    quoted = re.findall(r'"([^"]+)"', re.sub(r"{{.*?}}", "", ALERTS[name]["annotations"]["description"]))
    assert bool(quoted) == ("in the exporter's log" in ALERTS[name]["annotations"]["description"])
    for line in quoted:
        assert re.search(rf'"[^"\n]*{re.escape(line)}', SOURCES), line


@each_alert
def test_alert_links_to_its_dashboard(name):
    """The link opens a dashboard with what the alert is about selected, from before the alert until now."""
    url = urlsplit(re.sub(r"({{.*?}})+", "TEMPLATE", ALERTS[name]["annotations"]["dashboard_url"]))
    dashboard = DASHBOARDS[url.path.removeprefix("/d/")]
    parameters = dict(parse_qsl(url.query))
    assert (parameters.pop("from"), parameters.pop("to")) == ("TEMPLATE", "now")
    variables = {f"var-{variable['name']}" for variable in dashboard["templating"]["list"]}
    assert parameters.keys() <= variables
    if name in CONNECTION_ALERTS:
        assert parameters == {"var-connection": "TEMPLATE"}
    elif name in PROFILE_ALERTS:
        assert parameters == {"var-profile": "TEMPLATE"}
    elif name in FLEET_ALERTS:
        assert parameters == {"var-job": "TEMPLATE"}
    elif not ALERTS[name]["expr"].startswith("absent("):
        assert parameters == dict.fromkeys(("var-job", "var-instance", "var-account"), "TEMPLATE")


@each_lingering_alert
def test_text_of_a_lingering_alert_stays_true(name):
    """Prometheus shows the text for minutes after the condition ends, so it says what happened, not what is so now."""
    annotations = ALERTS[name]["annotations"]
    first, *more, _ = sentences(annotations["description"])
    for text in (annotations["summary"], first):
        assert re.search(r"\b(was|were|had|did|accepted|encrypted|disappeared)\b", text), text
    for text in (annotations["summary"], annotations["description"]):
        assert not re.search(r"\b(now|still|currently|no longer|any more|has been|have been)\b", text), text
    for text in more:
        assert re.match(r"While|If|Otherwise|Without|With|Anyone|Telnyx refuses", text), text


@each_lingering_alert
def test_runbook_of_a_lingering_alert_says_so(name):
    """The runbook says that the condition can be over, and how long after that the alert ends."""
    meaning = RUNBOOKS[name].read_text().partition("## Meaning")[2].partition("## Impact")[0]
    assert re.search(r"five\s+minutes\s+after|65\s+minutes\s+after", meaning)
    assert ALERTS[name]["keep_firing_for"] == "5m"


@each_alert
def test_alert_explains_its_delay(name):
    """The line before each `for` is a comment with the reason."""
    (text,) = re.findall(rf"- alert: {name}\n(.*?)(?:\n\n|\Z)", RULES.read_text(), re.DOTALL)
    assert re.search(r"^ +# .*\n +for: \w+$", text, re.MULTILINE)


@pytest.mark.parametrize("name", CONNECTION_ALERTS)
def test_alert_about_a_connection_names_it_and_can_be_muted(name):
    """Each alert about a connection has its name and ID, and the tag mutes it by ID."""
    rule = ALERTS[name]
    assert "onnection {{ $labels.connection_name }} ({{ $labels.connection_id }})" in rule["annotations"]["description"]
    assert re.search(rf"unless on \(connection_id\) (max_over_time\()?{MUTED}\b", rule["expr"])
    assert "keep_firing_for" in rule


@pytest.mark.parametrize("name", PROFILE_ALERTS)
def test_alert_about_a_profile_names_it(name):
    """Each alert about an outbound voice profile has its name and ID, and ignores a gap in its metrics."""
    rule = ALERTS[name]
    assert "profile {{ $labels.profile_name }} ({{ $labels.profile_id }})" in rule["annotations"]["description"]
    assert "keep_firing_for" in rule


@pytest.mark.parametrize("page", [RULES, RUNBOOKS["TelnyxCreditLow"]], ids=lambda path: path.name)
def test_threshold_for_low_credit_is_one_rule(page, tmp_path):
    """`TelnyxCreditLow` is off until users uncomment one rule, or copy it from the runbook to a file of their own."""
    assert ALERTS["TelnyxCreditLow"]["expr"] == LOW_CREDIT
    assert LOW_CREDIT not in {rule["record"] for rule in RECORDS}
    (rule,) = re.findall(rf"- record: {LOW_CREDIT}\n[ #]+expr: (.+)\n", page.read_text())
    test = yaml.safe_load(TESTS["TelnyxCreditLow"].read_text())
    (group,) = [group for group in test["tests"] if group["name"] == "near miss: no threshold is set"]
    sample = {"labels": f'{LOW_CREDIT}{{job="telnyx",instance="a:10142",currency="USD"}}', "value": -5}
    group = {
        "interval": "1m",
        "input_series": group["input_series"],
        "promql_expr_test": [{"expr": LOW_CREDIT, "eval_time": "30m", "exp_samples": [sample]}],
    }
    rules = {"groups": [{"name": "thresholds", "rules": [{"record": LOW_CREDIT, "expr": rule}]}]}
    for name, content in (("rules", rules), ("tests", {"rule_files": ["rules"], "tests": [group]})):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    run(find_program("promtool"), "test", "rules", str(tmp_path / "tests"))


def test_tag_is_named_once():
    """To use another tag, only one line needs to change."""
    assert RULES.read_text().count("no-alert") == 1


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        *((rule.get("alert") or rule["record"], rule["expr"]) for group in GROUPS for rule in group["rules"]),
        *((page.name, query) for page in RUNBOOKS.values() for query in queries(page)),
    ],
)
def test_metrics_and_labels_exist(where, expression):
    """Each metric and label in rules and runbooks comes from the exporter, Prometheus or a recording rule."""
    metrics, labels = references(expression)
    assert metrics
    assert metrics.keys() <= METRIC_LABELS.keys()
    assert labels <= KNOWN_LABELS
    for metric, selected in metrics.items():
        assert selected <= METRIC_LABELS[metric] | TARGET


@each_alert
def test_labels_of_annotations_exist(name):
    """Annotations only use labels that a metric has."""
    assert set(re.findall(r"\$labels\.(\w+)", str(ALERTS[name]["annotations"]))) <= KNOWN_LABELS


def test_every_alert_has_tests():
    """Each alert has one test file, and there is one for all rules together."""
    assert TESTS.keys() == ALERTS.keys() | {ALL_ALERTS}


@each_alert
def test_tests_are_complete(name):
    """Each alert has tests of firing, not firing yet, a near miss, resolving, and missing series."""
    found = set()
    for group in yaml.safe_load(TESTS[name].read_text())["tests"]:
        kind = group["name"].partition(":")[0]
        found.add(kind)
        tests = group.get("alert_rule_test") or group["promql_expr_test"]
        assert {test.get("alertname") or selected_alert(test["expr"]) for test in tests} == {name}
        fires = [bool(test.get("exp_alerts") or test.get("exp_samples")) for test in tests]
        assert {
            "fires": all(fires),
            "not yet": not any(fires),
            "near miss": not any(fires),
            "resolves": fires[0] and not fires[-1],
            "missing series": True,
        }[kind], group["name"]
    assert found == KINDS


@pytest.mark.parametrize("name", CONNECTION_ALERTS)
def test_alert_is_tested_with_each_kind_of_connection(name):
    """One test of each alert about connections has a connection of each kind, and lists those that it fires for."""
    kinds = {collector.row_type.documented_type for collector in CONNECTION_COLLECTORS}
    (group,) = [group for group in yaml.safe_load(TESTS[name].read_text())["tests"] if "promql_expr_test" in group]
    series = str(group["input_series"])
    assert set(re.findall(r'telnyx_connection_info\{[^}]*record_type="(\w+)"', series)) == kinds


@each_alert
def test_unit_tests_of_alert_pass(name, tmp_path):
    """The unit tests of the alert pass in `promtool`, with the rules that it needs. With all, they take minutes."""
    (group,) = GROUPS
    needed = [*used_by(ALERTS[name], group["rules"]), ALERTS[name]]
    rules, tests = tmp_path / "rules", tmp_path / "tests"
    rules.write_text(yaml.safe_dump({"groups": [{**group, "rules": needed}]}, sort_keys=False))
    tests.write_text(yaml.safe_dump(yaml.safe_load(TESTS[name].read_text()) | {"rule_files": [str(rules)]}))
    run(find_program("promtool"), "test", "rules", str(tests))


def test_unit_tests_find_the_rules():
    """The files of unit tests refer to the rules, so that `promtool test rules` can be run on them."""
    run(find_program("promtool"), "test", "rules", str(TESTS["TelnyxApiDown"]))
    assert {tuple(yaml.safe_load(path.read_text())["rule_files"]) for path in TESTS.values()} == {
        ("../rules/telnyx.rules.yaml",)
    }


def test_every_alert_has_a_runbook():
    """Each alert has one runbook, and there are no others."""
    assert RUNBOOKS.keys() == ALERTS.keys()


@each_alert
def test_runbook_is_complete(name):
    """A runbook has the alert's name and summary, all sections, and queries to run."""
    lines = RUNBOOKS[name].read_text().splitlines()
    assert lines[:3] == [f"# {name}", "", ALERTS[name]["annotations"]["summary"]]
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]
    assert queries(RUNBOOKS[name])


def test_all_alerts_are_documented():
    """The table in docs/alerts.md matches the rules."""
    rows = [
        f"| [`{name}`](runbooks/{name}.md) | {rule['labels']['severity']} | {rule['for']}"
        f" | {rule['annotations']['summary'].rstrip('.')} |"
        for name, rule in ALERTS.items()
    ]
    assert re.findall(r"^\| \[`Telnyx.*$", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE) == rows
