"""Tests of the mutation run, with small example rules."""

import json
import runpy
from pathlib import Path

import pytest
from programs import find_program

SCRIPT = Path(__file__).parents[2] / ".ci" / "mutate_rules.py"
ALERT = {
    "alert": "Down",
    "expr": 'up{job="api"} == 0',
    "for": "2m",
    "labels": {"severity": "critical"},
    "annotations": {"summary": "It is down."},
}
DOWN = {"series": 'up{job="api"}', "values": "1x2 0x10"}
FIRING = {"exp_labels": {"severity": "critical", "job": "api"}, "exp_annotations": {"summary": "It is down."}}


def case(series, *times):
    """Return a test group. Each time comes with whether the alert fires then."""
    checks = [
        {"eval_time": time, "alertname": "Down", "exp_alerts": [FIRING] if fires else []} for time, fires in times
    ]
    return {"interval": "1m", "input_series": series, "alert_rule_test": checks}


FIRES = case([DOWN], ("2m", False), ("4m30s", False), ("5m", True))
OTHER_JOB = case([{"series": 'up{job="other"}', "values": "0x10"}], ("5m", False))


@pytest.fixture
def run(tmp_path, capsys):
    """Return a function that runs the mutants of rules against test groups and returns the fault and the output."""
    find_program("promtool")
    main = runpy.run_path(str(SCRIPT))["main"]
    for folder in ("rules", "tests"):
        (tmp_path / folder).mkdir()

    def run(*groups, rules=(ALERT,), equivalent=()):
        document = {"groups": [{"name": "all", "rules": list(rules)}]}
        tests = {"evaluation_interval": "30s", "tests": list(groups)}
        (tmp_path / "rules" / "some.yaml").write_text(json.dumps(document))
        (tmp_path / "tests" / "Down.yaml").write_text(json.dumps(tests))
        fault = main(tmp_path, dict.fromkeys(equivalent, "a reason"))
        return fault, capsys.readouterr().out

    return run


def test_good_tests_kill_every_mutant(run):
    """If tests cover the time, another job and the texts, no mutant survives and the run passes."""
    fault, output = run(FIRES, OTHER_JOB)
    assert fault is None
    assert "0 equivalent, 0 survived" in output


def test_an_equivalent_mutant_may_survive(run):
    """If a mutant that can't make a difference is listed with a reason, the run passes."""
    rule = {**ALERT, "expr": 'max_over_time(up{job="api"}[1m]) == 0'}
    fault, _ = run(FIRES, OTHER_JOB, rules=[rule])
    survivors = [line.partition(": ")[2] for line in fault.splitlines()]
    fault, output = run(FIRES, OTHER_JOB, rules=[rule], equivalent=survivors)
    assert fault is None
    assert f"{len(survivors)} equivalent, 0 survived" in output


def test_a_survivor_is_reported(run):
    """Without a test of another job, the mutant that ignores the job survives and the run fails."""
    fault, output = run(FIRES)
    assert 'survived, add a test that kills it: Down: {job="api"} -> nothing' in fault.splitlines()
    assert "0 survived" not in output


def test_mutants_of_an_alert_without_tests_survive(run):
    """Without tests, no mutant is killed."""
    fault, output = run()
    assert ": 0 killed, 0 equivalent" in output
    assert all(line.startswith("survived") for line in fault.splitlines())


def test_a_killed_mutant_is_not_equivalent(run):
    """If a test kills a mutant that is listed as equivalent, the run reports it."""
    fault, _ = run(FIRES, OTHER_JOB, equivalent=["Down: for: 2m -> 60s"])
    assert "not equivalent, a test kills it: Down: for: 2m -> 60s" in fault.splitlines()


def test_an_unknown_equivalent_mutant_is_reported(run):
    """If a listed mutant no longer exists, because its rule changed, the run reports it."""
    fault, _ = run(FIRES, OTHER_JOB, equivalent=["Gone: == -> !="])
    assert "listed as equivalent, but there is no such mutant: Gone: == -> !=" in fault.splitlines()


def test_a_recording_rule_is_tested_by_the_alerts_that_use_it(run):
    """The tests of an alert kill mutants of the recording rules that it uses."""
    record = {"record": "job:up:min", "expr": 'min by (job) (up{job="api"})'}
    fault, _ = run(FIRES, OTHER_JOB, rules=(record, {**ALERT, "expr": "job:up:min == 0"}))
    assert "job:up:min: by (job) -> by ()" not in fault
    assert "job:up:min: min -> max" in fault


def test_a_recording_rule_of_a_recording_rule_is_tested(run):
    """An alert is tested with all recording rules that it depends on, and kills mutants of each."""
    first = {"record": "job:up:min", "expr": 'min by (job) (up{job="api"})'}
    second = {"record": "job:down:bool", "expr": "job:up:min == bool 0"}
    fault, _ = run(FIRES, OTHER_JOB, rules=(first, second, {**ALERT, "expr": "job:down:bool == 1"}))
    assert "job:up:min: by (job) -> by ()" not in fault
    assert "job:down:bool: == -> !=" not in fault
    assert "job:up:min: min -> max" in fault


def test_a_mutant_that_cannot_be_evaluated_hides_no_other(run):
    """A mutant that Prometheus can't evaluate is killed, and all others are still tested."""
    expression = 'max by (job) (up{job="api"} * on (job) group_left () size) == 0'
    series = [{"series": f'up{{job="api",instance="{name}"}}', "values": "1x2 0x10"} for name in "ab"]
    series.append({"series": 'size{job="api"}', "values": "1x20"})
    fires = case(series, ("2m", False), ("4m30s", False), ("5m", True))
    fault, _ = run(fires, rules=[{**ALERT, "expr": expression}])
    survivors = {line.partition("Down: ")[2] for line in fault.splitlines()}
    assert survivors == {'{job="api"} -> nothing', "max -> min", "on (job) -> on ()"}


def test_the_value_in_a_text_is_tested(run):
    """A mutant that only changes the value in a text is killed."""
    expression = 'up{job="api"} - 60 < 0'
    for summary, expected, is_killed in (
        ("It is {{ $value }}.", "It is -60.", True),
        ("It is down.", "It is down.", False),
    ):
        firing = {**FIRING, "exp_annotations": {"summary": expected}}
        fires = case([{**DOWN, "values": "1000x2 0x10"}], ("2m", False), ("5m", True))
        fires["alert_rule_test"][-1]["exp_alerts"] = [firing]
        fault, _ = run(fires, rules=[{**ALERT, "expr": expression, "annotations": {"summary": summary}}])
        assert ("60 -> 120" not in fault) == is_killed
        assert "summary: another text" not in fault


def test_ratios_and_subqueries_are_changed():
    """A ratio changes by 0.05, both durations of a subquery by a twelfth, and a clause ends at a comma."""
    script = runpy.run_path(str(SCRIPT))
    rule = {**ALERT, "expr": "clamp_min(a and b, 0) > 0.8 and sum_over_time(c[24h:30m]) >= 60"}
    changed = {mutant.name.removeprefix("Down: ") for mutant in script["mutants"]([rule])}
    assert {
        "clamp_min -> clamp_max",
        "0.8 -> 0.75",
        "0.8 -> 0.85",
        "[24h:30m] -> [79200s:30m]",
        "[24h:30m] -> [93600s:30m]",
        "[24h:30m] -> [24h:1650s]",
        "[24h:30m] -> [24h:1950s]",
        "sum_over_time -> max_over_time",
        ">= -> >",
        "60 -> 120",
        "and b -> nothing",
    } <= changed


def test_each_kind_of_change_is_made():
    """Label lists, matchers, comparisons, set operators, functions, windows, durations and texts are all changed."""
    script = runpy.run_path(str(SCRIPT))
    rule = {
        **ALERT,
        "expr": 'max by (a, b) (increase(x{c=~"d|e"}[10m])) > 0 unless on (a, connection_id) last_over_time(y[2m])',
        "keep_firing_for": "5m",
    }
    changed = {mutant.name.removeprefix("Down: ") for mutant in script["mutants"]([rule])}
    assert {
        "by (a, b) -> by ()",
        "by (a, b) -> by (a)",
        "d|e -> d",
        "> -> >=",
        "0 unless -> 1 unless",
        "increase -> delta",
        "[10m] -> [540s]",
        "max -> min",
        "on (a, connection_id) -> on ()",
        "on (a, connection_id) -> on (a, connection_id, job)",
        "unless -> and",
        "unless on (a, connection_id) last_over_time(y[2m]) -> nothing",
        "last_over_time -> min_over_time",
        "for: 2m -> nothing",
        "keep_firing_for: 5m -> 240s",
        "severity: another text",
        "summary: another text",
    } <= changed
