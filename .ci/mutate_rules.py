"""Mutation-test the Prometheus rules: change one thing at a time, and check that a unit test notices.

A changed rule is a mutant. A mutant is killed when a test in `prometheus/tests` fails, and survives when all pass. A
survivor shows what no test covers. Add a test that kills it. If the change can't make a difference, list the mutant in
`EQUIVALENT` instead.
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
    from collections.abc import Iterable, Iterator, Mapping

PROMETHEUS = Path(__file__).parents[1] / "prometheus"

ZERO_OR_ONE = "telnyx_connection_active is 0 or 1"
ALWAYS_ONE = "the value is always 1, only its presence counts"
EQUIVALENT = {
    "TelnyxConnectionBecameDisabled: == 1 -> >= 1": ZERO_OR_ONE,
    "TelnyxConnectionVanished: max without -> min without": "all values are 1 after the comparison",
    "TelnyxConnectionVanished: == 1 and -> >= 1 and": ZERO_OR_ONE,
    "TelnyxConnectionVanished: == 1 ) -> >= 1 )": "telnyx_up is 0 or 1",
    "TelnyxConnectionVanished: max_over_time(connection:telnyx_connection_tag_info:muted"
    " -> last_over_time(connection:telnyx_connection_tag_info:muted": ALWAYS_ONE,
    "TelnyxConnectionVanished: max_over_time(connection:telnyx_connection_tag_info:muted"
    " -> min_over_time(connection:telnyx_connection_tag_info:muted": ALWAYS_ONE,
    "TelnyxConnectionCreated: max -> min": "the time of creation never changes, so all replicas have the same",
    "TelnyxOutboundChannelsUnlimited: == 1 -> >= 1": ZERO_OR_ONE,
    "TelnyxOutboundChannelsUnlimited: == Inf -> >= Inf": "nothing is larger than Inf",
    "TelnyxSipUriCallingUnrestricted: == -> >=": ZERO_OR_ONE,
    "TelnyxMediaUnencrypted: == -> >=": ZERO_OR_ONE,
    "TelnyxMediaEncryptionDisabled: == -> >=": ZERO_OR_ONE,
    "TelnyxMediaEncryptionDisabled: max_over_time -> last_over_time": ALWAYS_ONE,
    "TelnyxMediaEncryptionDisabled: max_over_time -> min_over_time": ALWAYS_ONE,
    "TelnyxKeyRejected: increase -> rate": "both are above 0 at the same times, and the texts don't show the value",
    "TelnyxRateLimited: sum -> max": "each exporter has one series with this code",
}
"""Mutants that can't change a result, each with the reason."""

SWAPS: dict[str, tuple[str, ...]] = {
    "==": ("!=", ">="),
    ">": (">=", "<"),
    "<": ("<=", ">"),
    "=": ("!=",),
    "=~": ("!~",),
    "and": ("unless", "or"),
    "unless": ("and",),
    "or": ("and",),
    "min": ("max",),
    "max": ("min",),
    "sum": ("max",),
    "increase": ("delta", "rate"),
    "max_over_time": ("last_over_time", "min_over_time"),
    "min_over_time": ("last_over_time", "max_over_time"),
    "+": ("-",),
    "-": ("+",),
    "Inf": ("0",),
}
"""Tokens of an expression, each with what replaces it. Numbers, windows and lists of labels have functions below."""

TOKEN = re.compile(r'"[^"]*"|\[[^]]*\]|[a-zA-Z_:][\w:]*|\d+|[=!<>]=|[=!]~|\S')
LABEL_LIST = re.compile(r"\b(on|ignoring|by|without) \(([^)]*)\)")
MATCHERS = re.compile(r"\{([^}]*)\}")
UNWRAPPED = (
    re.compile(r"[*+-] (?:\d+|Inf)"),
    re.compile(r"time\(\) -"),
    re.compile(r"group_left \(\)"),
    re.compile(r"absent\b"),
)
"""Parts of an expression that can be left out."""
ADDED_TO_ON = {"connection_id": ("connection_name", "job")}
"""Labels that someone might add to a list after `on`."""
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
    """Says which rule was changed, and how."""
    index: int
    """The place of the rule among all rules."""
    rule: Rule


def seconds(duration: str) -> int:
    """Parse a Prometheus duration of one unit."""
    return int(duration[:-1]) * {"s": 1, "m": MINUTE, "h": HOUR}[duration[-1]]


def durations(duration: str, step: int) -> list[str]:
    """Return durations that miss this one by a step. A test that notices these notices larger changes, too."""
    length = seconds(duration)
    return [f"{other}s" for other in (length - step, length + step) if other > 0]


def numbers(number: int) -> tuple[int, ...]:
    """Return other numbers: 0 and 1 replace each other. Larger numbers are seconds and are missed by a minute."""
    return (1 - number,) if number in {0, 1} else (number - MINUTE, number + MINUTE)


def without_each(items: list[str]) -> list[list[str]]:
    """Return the list without each of its items."""
    return [items[:index] + items[index + 1 :] for index in range(len(items))]


def token_edits(tokens: list[re.Match[str]]) -> Iterator[Edit]:
    """Replace tokens one by one: operators, functions, numbers and windows."""
    for token in tokens:
        text = token[0]
        if text.isdecimal():
            replacements: Iterable[str] = map(str, numbers(int(text)))
        elif text.startswith("["):
            window = text[1:-1]
            step = max(seconds(window) // 12, MINUTE)
            replacements = (f"[{other}]" for other in durations(window, step))
        else:
            replacements = SWAPS.get(text, ())
        yield from (Edit(*token.span(), new) for new in replacements)


def clause_edits(tokens: list[re.Match[str]]) -> Iterator[Edit]:
    """Remove each set operator together with its right side."""
    for index, token in enumerate(tokens):
        if token[0] not in {"and", "or", "unless"}:
            continue
        ends = {"or"} if token[0] == "or" else {"and", "or", "unless"}
        depth, end = 0, token.end()
        for following in tokens[index + 1 :]:
            depth += {"(": 1, ")": -1}.get(following[0], 0)
            if depth < 0 or (depth == 0 and following[0] in ends):
                break
            end = following.end()
        yield Edit(token.start(), end, "")


def label_edits(expression: str) -> Iterator[Edit]:
    """Empty each list of labels, drop each label, and add labels that look harmless."""
    for found in LABEL_LIST.finditer(expression):
        labels = found[2].split(", ")
        lists = [[], *without_each(labels)]
        if found[1] == "on":
            lists += [[*labels, added] for label in labels for added in ADDED_TO_ON.get(label, ())]
        yield from (Edit(*found.span(), f"{found[1]} ({', '.join(new)})") for new in lists)


def matcher_edits(expression: str) -> Iterator[Edit]:
    """Drop each matcher and each alternative of a regular expression."""
    for found in MATCHERS.finditer(expression):
        for kept in without_each(found[1].split(",")):
            yield Edit(*found.span(), f"{{{','.join(kept)}}}" if kept else "")
        for alternatives in re.finditer(r'=~"([^"]*)"', found[1]):
            start, end = (found.start(1) + place for place in alternatives.span(1))
            yield from (Edit(start, end, "|".join(kept)) for kept in without_each(alternatives[1].split("|")))


def expression_edits(expression: str) -> Iterator[Edit]:
    """Return all edits of an expression."""
    tokens = list(TOKEN.finditer(expression))
    yield from token_edits(tokens)
    yield from clause_edits(tokens)
    yield from label_edits(expression)
    yield from matcher_edits(expression)
    for part in UNWRAPPED:
        yield from (Edit(*found.span(), "") for found in part.finditer(expression))


def describe(expression: str, edit: Edit) -> str:
    """Return the old and the new text, with as much around them as it takes to find the place."""
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
    """Return each changed copy of a rule and what was changed."""
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
    """Return a rule's name. For a recording rule, this includes the labels that it adds."""
    labels = ",".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
    return rule.get("alert") or rule["record"] + (f"{{{labels}}}" if labels else "")


def mutants(rules: list[Rule]) -> list[Mutant]:
    """Return all mutants, each once."""
    found: dict[str, Mutant] = {}
    for index, rule in enumerate(rules):
        for change, mutated in changes(rule):
            found.setdefault(repr((index, mutated)), Mutant(f"{rule_name(rule)}: {change}", index, mutated))
    return list(found.values())


class Suite:
    """Rules and their unit tests."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        (rules,) = (folder / "rules").glob("*.yaml")
        (self._group,) = yaml.safe_load(rules.read_text())["groups"]
        self.rules: list[Rule] = self._group["rules"]
        self._tests = {path.stem: yaml.safe_load(path.read_text()) for path in (folder / "tests").glob("*.yaml")}
        self._scratch = scratch

    def check(self, found: Iterable[Mutant]) -> str:
        """Return what promtool says about mutants that don't parse."""
        groups = [{"name": str(number), "rules": [mutant.rule]} for number, mutant in enumerate(found)]
        return self._promtool("check", {"mutants": {"groups": groups}})

    def kills(self, mutant: Mutant) -> bool:
        """Return whether a test fails: one of the alert, or one of an alert that uses the recorded metric."""
        original = self.rules[mutant.index]
        rules = [mutant.rule if rule is original else rule for rule in self.rules]
        recorded = [rule for rule in rules if "record" in rule]
        if "alert" in original:
            return self._fails(mutant.rule, recorded)
        using = [rule for rule in rules if "alert" in rule and original["record"] in rule["expr"]]
        return any(self._fails(alert, recorded) for alert in using)

    def _fails(self, alert: Rule, recorded: Iterable[Rule]) -> bool:
        """Return whether a test of the alert fails with these recording rules.

        Each group of tests runs separately, because the first groups kill most mutants.
        """
        used = [rule for rule in recorded if rule["record"] in alert["expr"]]
        rules = {"groups": [{**self._group, "rules": [*used, alert]}]}
        tests = self._tests.get(alert["alert"], {"tests": []})
        runs = ({**tests, "rule_files": ["rules"], "tests": [group]} for group in tests["tests"])
        return any(self._promtool("test", {"tests": run, "rules": rules}) for run in runs)

    def _promtool(self, command: str, files: dict[str, Any]) -> str:
        """Run promtool on the first of the files. Return what it says if it fails."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            paths = [Path(folder, name) for name in files]
            for path, content in zip(paths, files.values(), strict=True):
                path.write_text(json.dumps(content))  # YAML, too
            done = subprocess.run(["promtool", command, "rules", paths[0]], capture_output=True, text=True, check=False)  # noqa: S603, S607 -- ours
        return done.stdout + done.stderr if done.returncode else ""


def main(folder: Path = PROMETHEUS, equivalent: Mapping[str, str] = EQUIVALENT) -> str | None:
    """Run all mutants, print their numbers, and return what makes the run a failure."""
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        suite = Suite(folder, Path(scratch))
        found = mutants(suite.rules)
        if fault := suite.check(found):
            return fault
        killed = {mutant.name for mutant, dead in zip(found, pool.map(suite.kills, found), strict=True) if dead}
    survived = [mutant.name for mutant in found if mutant.name not in killed]
    known = [name for name in survived if name in equivalent]
    print(f"{len(found)} mutants: {len(killed)} killed, {len(known)} equivalent, {len(survived) - len(known)} survived")  # noqa: T201 -- the answer
    faults = [f"survived, add a test that kills it: {name}" for name in survived if name not in equivalent]
    faults += [f"not equivalent, a test kills it: {name}" for name in equivalent if name in killed]
    names = {mutant.name for mutant in found}
    faults += [f"listed as equivalent, but there is no such mutant: {name}" for name in equivalent if name not in names]
    return "\n".join(faults) or None


if __name__ == "__main__":
    sys.exit(main())
