"""Mutation-test the Prometheus rules: change one thing at a time, and check that a unit test notices.

A changed rule is a mutant. A test in `prometheus/tests` kills the mutant if it fails. If all tests pass, the mutant
survives, which shows that no test covers the change. Add a test that kills it. If the change can't make a difference,
list the mutant in `EQUIVALENT` instead.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

PROMETHEUS = Path(__file__).parents[1] / "prometheus"

ZERO_OR_ONE = "telnyx_connection_active is 0 or 1"
ALWAYS_ONE = "the value is always 1, only its presence counts"
PROFILE_ZERO_OR_ONE = "telnyx_outbound_voice_profile_enabled is 0 or 1"
BLOCKED_ZERO_OR_ONE = "telnyx_spend_blocked is 0 or 1"
ONE_KIND = "each exporter has one series of this kind"
SAME_WINDOW = "the other window of the rule is not longer"
NO_OUTAGE = "promtool evaluates without an outage, so the last value is always from the evaluation before"
EQUIVALENT = {
    "connection:telnyx_connection_registered:last_hour: == -> >=": "telnyx_connection_registered is 0 or 1",
    "connection:telnyx_connection_registered:last_hour: [1h] -> [3300s]": NO_OUTAGE,
    "connection:telnyx_connection_registered:last_hour: [1h] -> [3900s]": NO_OUTAGE,
    "profile:telnyx_connection_active:count: == -> >=": ZERO_OR_ONE,
    **{
        "profile:telnyx_connection_active:count: on (connection_id) connection:telnyx_connection_tag_info:muted"
        f" -> on (connection_id, {label}) connection:telnyx_connection_tag_info:muted": "both sides lack this label"
        for label in ("connection_name", "job")
    },
    'account:telnyx_account_connections:sum{scope="texml"}: sum -> max': ONE_KIND,
    'account:telnyx_account_connections:sum{scope="uac"}: sum -> max': ONE_KIND,
    "account:telnyx_last_success_timestamp_seconds:or_first_seen: == 0) -> >= 0)": "while telnyx_up is 1, this is now",
    'account:telnyx_last_success_timestamp_seconds:or_first_seen: {account=""} -> nothing': (
        "an exporter of several accounts has no maximum age without this label"
    ),
    "TelnyxConnectionBecameDisabled: == 1 -> >= 1": ZERO_OR_ONE,
    "TelnyxConnectionVanished: max without -> min without": "all values are 1 after the comparison",
    "TelnyxConnectionVanished: == -> >=": ZERO_OR_ONE,
    "TelnyxConnectionVanished: [1h]) == -> [3900s]) ==": SAME_WINDOW,
    "TelnyxConnectionVanished: [1h]) and -> [3900s]) and": SAME_WINDOW,
    "TelnyxConnectionVanished: on (job, instance, account, connection_id)"
    " -> on (job, instance, account, connection_id, connection_name)": "both metrics have the same name at each moment",
    "TelnyxConnectionVanished: max_over_time(telnyx_connection_info"
    " -> last_over_time(telnyx_connection_info": ALWAYS_ONE,
    "TelnyxConnectionVanished: max_over_time(telnyx_connection_info"
    " -> min_over_time(telnyx_connection_info": ALWAYS_ONE,
    "TelnyxConnectionVanished: max_over_time(connection:telnyx_connection_tag_info:muted"
    " -> last_over_time(connection:telnyx_connection_tag_info:muted": ALWAYS_ONE,
    "TelnyxConnectionVanished: max_over_time(connection:telnyx_connection_tag_info:muted"
    " -> min_over_time(connection:telnyx_connection_tag_info:muted": ALWAYS_ONE,
    "TelnyxConnectionRegistrationLost: == 1 -> >= 1": ZERO_OR_ONE,
    "TelnyxConnectionCreated: max -> min": "the creation time never changes, so it is the same on all replicas",
    "TelnyxOutboundChannelsUnlimited: == 1 -> >= 1": ZERO_OR_ONE,
    "TelnyxOutboundChannelsUnlimited: == Inf -> >= Inf": "nothing is larger than Inf",
    "TelnyxSipUriCallingUnrestricted: == -> >=": ZERO_OR_ONE,
    "TelnyxMediaUnencrypted: == -> >=": ZERO_OR_ONE,
    "TelnyxMediaEncryptionDisabled: == -> >=": ZERO_OR_ONE,
    "TelnyxMediaEncryptionDisabled: max_over_time -> last_over_time": ALWAYS_ONE,
    "TelnyxMediaEncryptionDisabled: max_over_time -> min_over_time": ALWAYS_ONE,
    'TelnyxChannelLimitNear: {direction="outbound"} -> nothing': "the left side of `or` already has the inbound limit",
    "TelnyxConnectionWithoutEndpoint: == 1 -> >= 1": ZERO_OR_ONE,
    "TelnyxTelephonyCredentialExpires: == -> >=": ZERO_OR_ONE,
    "TelnyxProfileWithoutDailyLimit: == 1 -> >= 1": PROFILE_ZERO_OR_ONE,
    "TelnyxSpendBlocked: == -> >=": BLOCKED_ZERO_OR_ONE,
    "TelnyxSpendNearLimit: == -> >=": BLOCKED_ZERO_OR_ONE,
    "TelnyxKeyRejected: increase -> rate": "both are above 0 at the same times, and no annotation contains the value",
    "TelnyxRateLimited: sum -> max": "each exporter has one series with this code",
}
"""Mutants that can't change a result, each with the reason."""

SWAPS: dict[str, tuple[str, ...]] = {
    "==": ("!=", ">="),
    ">": (">=", "<"),
    "<": ("<=", ">"),
    ">=": (">", "<"),
    "<=": ("<", ">"),
    "=": ("!=",),
    "=~": ("!~",),
    "and": ("unless", "or"),
    "unless": ("and",),
    "or": ("and",),
    "min": ("max",),
    "max": ("min",),
    "sum": ("max",),
    "increase": ("delta", "rate"),
    "clamp_min": ("clamp_max",),
    "sum_over_time": ("max_over_time",),
    "max_over_time": ("last_over_time", "min_over_time"),
    "min_over_time": ("last_over_time", "max_over_time"),
    "last_over_time": ("min_over_time",),
    "+": ("-",),
    "-": ("+",),
    "Inf": ("0",),
}
"""Tokens of an expression and their replacements. Functions below replace numbers, windows and lists of labels."""

TOKEN = re.compile(r'"[^"]*"|\[[^]]*\]|[a-zA-Z_:][\w:]*|\d+(?:\.\d+)?|[=!<>]=|[=!]~|\S')
LABEL_LIST = re.compile(r"\b(on|ignoring|by|without) \(([^)]*)\)")
MATCHERS = re.compile(r"\{([^}]*)\}")
REMOVABLE_PARTS = (
    re.compile(r"[*+-] (?:\d+|Inf)"),
    re.compile(r"time\(\) -"),
    re.compile(r"group_left \(\)"),
    re.compile(r"absent\b"),
)
"""Parts of an expression that can be removed."""
ADDED_TO_ON = {"connection_id": ("connection_name", "job"), "profile_id": ("profile_name", "job")}
"""Labels that someone might add to an `on` list that contains the key."""
MINUTE, HOUR = 60, 3600

Rule: TypeAlias = dict[str, Any]


class Edit(NamedTuple):
    """A replacement of one part of an expression."""

    start: int
    end: int
    new: str


class Mutant(NamedTuple):
    """A rule with one change."""

    name: str
    """The name of the rule and the change."""
    index: int
    """The index of the rule among all rules."""
    rule: Rule


def seconds(duration: str) -> int:
    """Parse a Prometheus duration with one unit, and return seconds."""
    return int(duration[:-1]) * {"s": 1, "m": MINUTE, "h": HOUR}[duration[-1]]


def durations(duration: str, step: int) -> list[str]:
    """Return durations one step shorter and longer. A test that notices these also notices larger changes."""
    length = seconds(duration)
    return [f"{other}s" for other in (length - step, length + step) if other > 0]


def numbers(number: str) -> tuple[str, ...]:
    """Return replacements: 0 and 1 replace each other. Ratios change by 0.05, and seconds by one minute."""
    if "." in number:
        return tuple(f"{float(number) + step:g}" for step in (-0.05, 0.05))
    whole = int(number)
    return tuple(map(str, (1 - whole,) if whole in {0, 1} else (whole - MINUTE, whole + MINUTE)))


def windows(window: str) -> list[str]:
    """Return replacements of a range, or of a subquery's range and resolution, each changed by a twelfth."""
    range_, colon, resolution = window.partition(":")

    def changed(duration: str) -> list[str]:
        return durations(duration, max(seconds(duration) // 12, MINUTE)) if duration else []

    return [f"{other}{colon}{resolution}" for other in changed(range_)] + [
        f"{range_}:{other}" for other in changed(resolution)
    ]


def without_each(items: list[str]) -> list[list[str]]:
    """Return copies of the list, each without one of the items."""
    return [items[:index] + items[index + 1 :] for index in range(len(items))]


def token_edits(tokens: list[re.Match[str]]) -> Iterator[Edit]:
    """Replace one token at a time: operators, functions, numbers and windows."""
    for token in tokens:
        text = token[0]
        if text[0].isdecimal():
            replacements: Iterable[str] = numbers(text)
        elif text.startswith("["):
            replacements = (f"[{other}]" for other in windows(text[1:-1]))
        else:
            replacements = SWAPS.get(text, ())
        yield from (Edit(*token.span(), new) for new in replacements)


def clause_edits(tokens: list[re.Match[str]]) -> Iterator[Edit]:
    """Remove one set operator at a time, together with its right side."""
    for index, token in enumerate(tokens):
        if token[0] not in {"and", "or", "unless"}:
            continue
        ends = {",", "or"} if token[0] == "or" else {",", "and", "or", "unless"}
        depth, end = 0, token.end()
        for following in tokens[index + 1 :]:
            depth += {"(": 1, ")": -1}.get(following[0], 0)
            if depth < 0 or (depth == 0 and following[0] in ends):
                break
            end = following.end()
        yield Edit(token.start(), end, "")


def label_edits(expression: str) -> Iterator[Edit]:
    """Clear each list of labels, remove each label, and add labels that seem harmless."""
    for match in LABEL_LIST.finditer(expression):
        labels = match[2].split(", ")
        lists = [[], *without_each(labels)]
        if match[1] == "on":
            added = [label for key in labels for label in ADDED_TO_ON.get(key, ()) if label not in labels]
            lists += [[*labels, label] for label in added]
        yield from (Edit(*match.span(), f"{match[1]} ({', '.join(new)})") for new in lists)


def matcher_edits(expression: str) -> Iterator[Edit]:
    """Remove each matcher, and each alternative of a regular expression."""
    for match in MATCHERS.finditer(expression):
        for kept in without_each(match[1].split(",")):
            yield Edit(*match.span(), f"{{{','.join(kept)}}}" if kept else "")
        for alternatives in re.finditer(r'=~"([^"]*)"', match[1]):
            start, end = (match.start(1) + place for place in alternatives.span(1))
            yield from (Edit(start, end, "|".join(kept)) for kept in without_each(alternatives[1].split("|")))


def expression_edits(expression: str) -> Iterator[Edit]:
    """Yield all edits of an expression."""
    tokens = list(TOKEN.finditer(expression))
    yield from token_edits(tokens)
    yield from clause_edits(tokens)
    yield from label_edits(expression)
    yield from matcher_edits(expression)
    for part in REMOVABLE_PARTS:
        yield from (Edit(*match.span(), "") for match in part.finditer(expression))


def describe(expression: str, edit: Edit) -> str:
    """Return the old and new text of an edit, with enough context to be unique in the expression."""
    tokens = list(TOKEN.finditer(expression))
    start, end = edit.start, edit.end
    while expression.count(expression[start:end]) > 1:
        following = [token.end() for token in tokens if token.end() > end]
        if following:
            end = following[0]
        else:
            start = max(token.start() for token in tokens if token.start() < start)
    old = expression[start:end]
    new = expression[start : edit.start] + edit.new + expression[edit.end : end]
    return f"{' '.join(old.split())} -> {' '.join(new.split()) or 'nothing'}"


def changes(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Yield a description of each change, and the changed copy of the rule."""
    expression = rule["expr"]
    for edit in expression_edits(expression):
        yield describe(expression, edit), {**rule, "expr": expression[: edit.start] + edit.new + expression[edit.end :]}
    for field in rule.keys() & {"for", "keep_firing_for"}:
        yield f"{field}: {rule[field]} -> nothing", {key: value for key, value in rule.items() if key != field}
        for new in durations(rule[field], MINUTE):
            yield f"{field}: {rule[field]} -> {new}", {**rule, field: new}
    if "record" in rule:
        yield "record: another name", {**rule, "record": f"{rule['record']}_changed"}
    for field in rule.keys() & {"labels", "annotations"}:
        for name, text in rule[field].items():
            yield f"{name}: another text", {**rule, field: {**rule[field], name: f"{text} changed"}}


def rule_name(rule: Rule) -> str:
    """Return a rule's name. The name of a recording rule includes the labels that it adds."""
    labels = ",".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
    return rule.get("alert") or rule["record"] + (f"{{{labels}}}" if labels else "")


def mutants(rules: list[Rule]) -> list[Mutant]:
    """Return all mutants without duplicates."""
    unique: dict[str, Mutant] = {}
    for index, rule in enumerate(rules):
        for change, mutated in changes(rule):
            unique.setdefault(repr((index, mutated)), Mutant(f"{rule_name(rule)}: {change}", index, mutated))
    return list(unique.values())


def used_by(rule: Rule, rules: list[Rule]) -> list[Rule]:
    """Return the recording rules that a rule uses, in their order, including those that other ones use."""
    expressions = [rule["expr"]]
    used = []
    for other in reversed(rules):
        if "record" in other and any(other["record"] in expression for expression in expressions):
            expressions.append(other["expr"])
            used.append(other)
    return used[::-1]


def renamed(rule: Rule, names: Iterable[str], suffix: str) -> Rule:
    """Return a copy of a rule in which these names of rules end in the suffix, wherever they occur."""
    pattern = re.compile(rf"(?<![\w:])({'|'.join(map(re.escape, names))})(?![\w:])")
    copy: Rule = json.loads(pattern.sub(rf"\1{suffix}", json.dumps(rule)))
    return copy


def length(group: Rule) -> int:
    """Return how many seconds of time a group of tests evaluates."""
    times = [test["eval_time"] for test in group.get("alert_rule_test") or group["promql_expr_test"]]
    return max(sum(map(seconds, re.findall(r"\d+[smh]", time))) for time in times)


def with_annotations(value: Any, kept: Collection[str]) -> Any:
    """Return a copy of a rule or its test that has only these annotations, because each takes long to evaluate."""
    if isinstance(value, dict):
        return {
            key: {name: text for name, text in item.items() if name in kept}
            if key in {"annotations", "exp_annotations"}
            else with_annotations(item, kept)
            for key, item in value.items()
        }
    return [with_annotations(item, kept) for item in value] if isinstance(value, list) else value


class Suite:
    """Rules and their unit tests."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        (rules,) = (folder / "rules").glob("*.yaml")
        (self._group,) = yaml.safe_load(rules.read_text())["groups"]
        self.rules: list[Rule] = self._group["rules"]
        self._tests = {path.stem: yaml.safe_load(path.read_text()) for path in (folder / "tests").glob("*.yaml")}
        self._scratch = scratch

    def check(self, candidates: Iterable[Mutant]) -> str:
        """Return promtool's message about mutants that don't parse. It is empty if all parse."""
        groups = [{"name": str(number), "rules": [mutant.rule]} for number, mutant in enumerate(candidates)]
        return self._promtool("check", {"mutants": {"groups": groups}})

    def kill(self, alert: Rule, alive: dict[int, Mutant]) -> None:
        """Remove the mutants that a test of this alert kills: of the alert itself, and of recording rules that it uses.

        Each test runs once, with all mutants side by side: the names of their rules end in their numbers.
        """
        used = used_by(alert, self.rules)
        of_alert = {index for index, rule in enumerate(self.rules) if any(rule is other for other in (*used, alert))}
        tests = self._tests.get(alert["alert"], {"tests": []})
        for group in sorted(tests["tests"], key=length):  # a long test takes long for each mutant that is left
            is_complete = False
            while not is_complete:
                mutants = {number: mutant for number, mutant in list(alive.items()) if mutant.index in of_alert}
                if not mutants:
                    return
                rules, run = self._side_by_side(alert, mutants, group)
                files = {"tests": {**tests, "rule_files": ["rules"], "tests": [run]}, "rules": rules}
                output = self._promtool("test", files)
                killed = {int(number) for number in re.findall(r"_mutant(\d+)", output)}
                if output and not killed:
                    raise RuntimeError(output)
                for number in killed:
                    alive.pop(number, None)
                is_complete = ", err: " not in output  # a rule that can't be evaluated ends the test for all mutants

    def _side_by_side(self, alert: Rule, mutants: Mapping[int, Mutant], group: Rule) -> tuple[Rule, Rule]:
        """Return rules that contain all of these mutants, and a copy of a group of tests that tests each of them."""
        rules = used_by(alert, self.rules)
        checks = "alert_rule_test" if "alert_rule_test" in group else "promql_expr_test"
        run = {**group, checks: []}
        for number, mutant in mutants.items():
            suffix = f"_mutant{number}"
            variant, names = self._variant(alert, mutant)
            kept = {name for name, text in alert["annotations"].items() if text != variant[-1]["annotations"][name]}
            kept |= {name for name, text in alert["annotations"].items() if "$value" in text}
            rules += [renamed(with_annotations(rule, kept), names, suffix) for rule in variant]
            run[checks] += [renamed(with_annotations(test, kept), [alert["alert"]], suffix) for test in group[checks]]
        return {"groups": [{**self._group, "rules": rules}]}, run

    def _variant(self, alert: Rule, mutant: Mutant) -> tuple[list[Rule], set[str]]:
        """Return the mutant, the rules that depend on it and the alert, and the names of these before the change."""
        original = self.rules[mutant.index]
        used = used_by(alert, self.rules)
        names = {original.get("record", alert["alert"]), alert["alert"]}
        for rule in used:
            if any(name in rule["expr"] for name in names):
                names.add(rule["record"])
        rules = [rule for rule in (*used, alert) if rule.get("record", alert["alert"]) in names]
        return [mutant.rule if rule is original else rule for rule in rules], names

    def _promtool(self, command: str, files: dict[str, Any]) -> str:
        """Run promtool on the first of the files. Return its output if it fails, else an empty string."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            paths = [Path(folder, name) for name in files]
            for path, content in zip(paths, files.values(), strict=True):
                path.write_text(json.dumps(content))  # JSON is valid YAML
            result = subprocess.run(  # noqa: S603 -- fixed command
                ["promtool", command, "rules", paths[0]],  # noqa: S607 -- found on PATH
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | {"GOGC": "400"},  # less time for Go's garbage collection
            )
        return result.stdout + result.stderr if result.returncode else ""


def main(folder: Path = PROMETHEUS, equivalent: Mapping[str, str] = EQUIVALENT) -> str | None:
    """Test all mutants, print how many there are of each kind, and return the error message or None."""
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        suite = Suite(folder, Path(scratch))
        candidates = mutants(suite.rules)
        if fault := suite.check(candidates):
            return fault
        alive = dict(enumerate(candidates))
        alerts = [rule for rule in suite.rules if "alert" in rule]
        list(pool.map(lambda alert: suite.kill(alert, alive), alerts))
        killed = {mutant.name for number, mutant in enumerate(candidates) if number not in alive}
    survived = [mutant.name for mutant in candidates if mutant.name not in killed]
    known = [name for name in survived if name in equivalent]
    counts = f"{len(killed)} killed, {len(known)} equivalent, {len(survived) - len(known)} survived"
    print(f"{len(candidates)} mutants: {counts}")  # noqa: T201 -- the result
    faults = [f"survived, add a test that kills it: {name}" for name in survived if name not in equivalent]
    faults += [f"not equivalent, a test kills it: {name}" for name in equivalent if name in killed]
    names = {mutant.name for mutant in candidates}
    faults += [f"listed as equivalent, but there is no such mutant: {name}" for name in equivalent if name not in names]
    return "\n".join(faults) or None


if __name__ == "__main__":
    sys.exit(main())
