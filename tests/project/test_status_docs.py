"""docs/status-page.md has the fields, states and parameters of the code."""

import re
import types
import typing
from dataclasses import fields
from datetime import datetime
from enum import Enum
from pathlib import Path

import msgspec
import pytest

from exporter.collectors.registry import COLLECTORS
from exporter.status import report
from exporter.status.problems import CONNECTION_PROBLEMS, PROBLEMS
from exporter.status.query import REGISTRATIONS, SORTS, STATES, Query
from exporter.web.pages.status import words

DOCUMENT = (Path(__file__).parents[2] / "docs" / "status-page.md").read_text()
NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", datetime: "time", type(None): "null"}


def section(heading):
    """Return the text below a heading, up to the next heading."""
    return re.split(r"\n#+ ", DOCUMENT.partition(f"\n{heading}\n")[2])[0]


def tables(text):
    """Return the tables of a text. A row is the list of its cells."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [[re.split(r" *\| *", line.strip("| ")) for line in table.splitlines()[2:]] for table in found]


def json_type(kind):
    """Return the name of the type of a field in JSON."""
    if isinstance(kind, types.UnionType):
        return " or ".join(map(json_type, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return "list"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "string"
    return NAMES.get(kind, "object")


@pytest.mark.parametrize(
    ("heading", "structs"),
    [
        ("### The response", [report.Report]),
        ("### `about`", [report.AboutReport]),
        ("### `accounts`", [report.AccountReport]),
        ("### `collectors`", [report.CollectorReport]),
        ("### `attention`", [report.ProblemReport, report.ProblemRow]),
        ("### `changes`", [report.ChangeReport, report.RowReport]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fields_are_documented(heading, structs):
    """The tables have the fields of the JSON, in their order and with their types."""
    documented = [[(name.strip("`"), kind) for name, kind, _ in table] for table in tables(section(heading))]
    assert documented == [
        [(field.encode_name, json_type(field.type)) for field in msgspec.structs.fields(struct)] for struct in structs
    ]


def test_all_structs_are_documented():
    """The test above compares all structs of the report."""
    structs = {each for each in vars(report).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)}
    compared = test_fields_are_documented.pytestmark[0].args[1]
    assert structs == {struct for _, structs in compared for struct in structs}


def test_states_are_documented():
    """The table has the states of a collector, with their names on the page and in the JSON."""
    (table,) = tables(section("## States of a collector"))
    documented = [(name, value.strip("`")) for name, value, *_ in table]
    assert documented == [(words.STATES[state][0], state.value) for state in report.State]


def test_problems_are_documented():
    """The table has the kinds of problems, those of connections with their parameter, and links to their runbooks."""
    (table,) = tables(section("## Needs attention"))
    documented = [(title, kind.strip("`"), re.match(r"\[`(\w+)`\]", alert)[1]) for title, kind, _, alert in table]
    assert documented == [
        (problem.title, problem.kind if problem.kind in CONNECTION_PROBLEMS else "", problem.runbook)
        for problem in PROBLEMS
    ]
    kinds = re.search(r"^\| `kind` .*", section("### `attention`"), re.MULTILINE)[0]
    assert re.findall(r"`(\w+)`", kinds)[1:] == [problem.kind for problem in PROBLEMS]


def test_parameters_are_documented():
    """The table has the parameters of the URL, and the values of those that have few."""
    (table,) = tables(section("## Find connections"))
    documented = {name.strip("`"): re.findall(r"`(\w+)`", value) for name, value in table}
    assert sorted(documented) == sorted(field.name for field in fields(Query))
    assert documented["state"] == list(STATES)
    assert documented["registration"] == list(REGISTRATIONS)
    assert documented["sort"] == list(SORTS)


@pytest.mark.parametrize("example", re.findall(r"`/(\?[^`#]+)", DOCUMENT) + re.findall(r"`(\?[^`]+)`", DOCUMENT))
def test_examples_of_urls_have_known_parameters(example):
    """No parameter of an example is ignored: the page would make the same link, in another order."""
    example = example.replace("NAME", "name")
    assert sorted(Query.parse(example[1:].encode()).link()[1:].split("&")) == sorted(example[1:].split("&"))


def test_collectors_of_examples_exist():
    """A collector that the page names exists."""
    names = {collector.name for collector in COLLECTORS}
    assert set(re.findall(r'"collector": "([^"]+)"', DOCUMENT)) <= names
