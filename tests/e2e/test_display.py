"""What users see in Grafana: real query results for each panel, rendered by Grafana's own library."""

import contextlib
import json
import os
import re
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from grafana_files import PANELS, SHOW, links, substitute_variables
from programs import exporter, find_program, get_json, prometheus, sandbox, wait_until

from exporter.sandbox import Account

ROOT = Path(__file__).parents[2]
DISPLAY = ROOT / "tests" / "grafana"
KEY = "KEY-of-tests"
NAMES = {
    "1082287356722563997": "0049301234567",
    "9007199254740993": "1082287356722563997",
    "0049": "1e5",
    "17": "0x1F",
    "18": "Infinity",
    "19": "  12  ",
    "20": "2024-01-01",
    "21": "true",
    "22": 'Berlin "Nord" \\ 2. OG & <b>☎</b> 100 % ${job}',
    "5e3c0f7a-8f6b-4a53-a7a1-5f0e6a7e3f7d": "acme",
    "a b&c=d/e?f#g+h%i": "an id that a URL must escape",
}
"""Names by id. Software could mistake each id or name for a number, a date or part of a URL."""

PROFILE = "1293384261075731500"
TABLES = {name: panel for name, panel in PANELS.items() if panel["type"] == "table"}
LIMITS = TABLES["telnyx-connections: Limits changed"]
LIST = TABLES["telnyx-connections: Connections: ${show:text}"]
STATS = {name: panel for name, panel in PANELS.items() if panel["type"] == "stat"}


def test_the_library_has_the_version_of_the_stack():
    """These tests use the library of the Grafana version in `deploy/compose.yaml`."""
    image = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["grafana"]["image"]
    dependencies = json.loads((DISPLAY / "package.json").read_text())["dependencies"]
    assert image == f"grafana/grafana:{dependencies['@grafana/data']}"


@pytest.fixture(scope="module")
def grafana(tmp_path_factory):
    """Yield a function that renders panels, and the account whose metrics it queries from a Prometheus."""
    if not (DISPLAY / "node_modules").is_dir():
        missing = "Grafana's library is not installed: npm ci --prefix tests/grafana"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    folder = tmp_path_factory.mktemp("display")
    account = Account(3, step=None)
    rows = [
        account.add(
            id=connection_id,
            connection_name=name,
            active=number % 2 == 0,
            encrypted_media=None,
            outbound={"channel_limit": None, "outbound_voice_profile_id": PROFILE},
            tags=["0049", "1e5"],
        )
        for number, (connection_id, name) in enumerate(NAMES.items())
    ]
    with contextlib.ExitStack() as running:
        flags = (f"--telnyx.base-url={running.enter_context(sandbox(account, KEY))}", "--cache.ttl=1s")
        target = running.enter_context(exporter(folder, *flags, TELNYX_API_KEY=KEY)).removeprefix("http://")
        scrape = {"job_name": "telnyx", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
        url = running.enter_context(prometheus(folder, json.dumps({"scrape_configs": [scrape]})))

        def query(promql, **more):
            return get_json(f"{url}/api/v1/query", query=promql, **more)["data"]["result"]

        wait_until(lambda: query("telnyx_connection_info offset 11s"), "a history longer than the time range")
        account.update(rows[0]["id"], outbound={"channel_limit": 7})
        wait_until(lambda: query(substitute_variables(LIMITS["targets"][0]["expr"])), "a change within the time range")
        query_time = time.time()
        command = [find_program("node"), str(DISPLAY / "display.cjs")]
        display = running.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        )

        def render(panel, **variables):
            """Return what Grafana shows for a panel, and the query results behind it."""
            results = {
                target["refId"]: query(substitute_variables(target["expr"], **variables), time=query_time)
                for target in panel["targets"]
            }
            variables = {"datasource": "the source", "job": "telnyx", "instance": ".+", **variables}
            request = {"panel": panel, "time": int(query_time * 1000), "variables": variables, "results": results}
            print(json.dumps(request), file=display.stdin)
            return json.loads(display.stdout.readline()), results

        yield SimpleNamespace(render=render, account=account)


def link_target(cell):
    """Return the dashboard and the variables of the only link in a cell."""
    (href,) = cell["links"]
    url = urlsplit(href)
    return url.path.removeprefix("/d/"), {name: value for name, (value,) in parse_qs(url.query).items()}


def columns(panel):
    """Return the names of the labels in a table, by column title."""
    names = panel["transformations"][-1]["options"]["renameByName"]
    return {title: name for name, title in names.items() if not name.startswith("Value")}


def mapped_columns(panel):
    """Return the titles of the columns in which a table replaces values with other texts."""
    overrides = panel["fieldConfig"]["overrides"]
    return {o["matcher"]["options"] for o in overrides if any(item["id"] == "mappings" for item in o["properties"])}


def test_the_list_has_every_connection(grafana):
    """The list shows each id and name unchanged, and each name links to the connection with that id."""
    rows, _ = grafana.render(LIST, show="all")
    assert {row["ID"]["text"]: row["Connection"]["text"] for row in rows} == {
        row["id"]: row["connection_name"] for row in grafana.account.rows
    }
    for row in rows:
        dashboard, variables = link_target(row["Connection"])
        assert (dashboard, variables["var-connection"]) == ("telnyx-connection", row["ID"]["text"])
        assert (variables["var-datasource"], variables["var-job"]) == ("the source", "telnyx")
    profiles = {row["ID"]["text"]: row["Outbound voice profile"]["text"] for row in rows}
    assert {profiles[connection_id] for connection_id in NAMES} == {PROFILE}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_shows_labels_unchanged(grafana, name):
    """No table is empty, and none shows a label as a number or a date."""
    panel = TABLES[name]
    for connection in ("1082287356722563997", "9007199254740993"):
        rows, results = grafana.render(panel, show="all", connection=connection)
        assert rows
        for title, label in columns(panel).items():
            if title not in mapped_columns(panel):
                values = {sample["metric"].get(label, "") for found in results.values() for sample in found}
                assert {row[title]["text"] for row in rows} <= values, title
        for row in rows:
            for cell in (cell for cell in row.values() if cell["links"]):
                assert link_target(cell)[1]["var-connection"] == row["ID"]["text"]


def test_settings_are_shown_unchanged(grafana):
    """The settings of a connection keep all digits, and a bool is shown as yes or no."""
    panels = [panel for name, panel in TABLES.items() if name.startswith("telnyx-connection:")]
    shown = [grafana.render(panel, connection="17") for panel in panels]
    settings = {row["Setting"]["text"]: row["Value"]["text"] for rows, _ in shown for row in rows if "Setting" in row}
    assert settings["Outbound voice profile"] == PROFILE
    assert {settings["PRACK"], settings["STIR/SHAKEN"]} <= {"yes", "no", "-"}
    assert {row["Tag"]["text"] for rows, _ in shown for row in rows if "Tag" in row} == {"0049", "1e5"}


@pytest.mark.parametrize("connection", NAMES)
def test_the_dashboard_shows_the_exact_name(grafana, connection):
    """The name at the top of a connection's dashboard is exactly the connection's name."""
    values, _ = grafana.render(STATS["telnyx-connection: Name"], connection=connection)
    assert [value["name"] for value in values] == [NAMES[connection]]


@pytest.mark.parametrize("show", SHOW)
def test_a_headline_number_links_to_its_rows(grafana, show):
    """A click on a headline number opens the list with exactly the connections that it counts."""
    stat = next(panel for panel in STATS.values() if any(f"var-show={show}&" in link["url"] for link in links(panel)))
    values, _ = grafana.render(stat)
    (value,) = values
    dashboard, variables = link_target(value)
    assert (dashboard, variables["var-show"], variables["var-job"]) == ("telnyx-connections", show, "telnyx")
    rows, _ = grafana.render(LIST, show=show)
    assert value["text"] == str(len(rows)) != "0"
    expected = {
        "active": ("State", {"Active"}),
        "disabled": ("State", {"Disabled"}),
        "unencrypted": ("Media encryption", {"none"}),
        "unlimited": ("Outbound limit", {"no limit"}),
    }
    if show in expected:
        title, texts = expected[show]
        assert {row[title]["text"] for row in rows} == texts


def test_limits_are_shown_as_numbers(grafana):
    """The current and the previous limit are numbers, and a missing limit is shown as "no limit"."""
    rows, _ = grafana.render(LIMITS)
    (row,) = (row for row in rows if row["Direction"]["text"] == "outbound")
    assert row["Connection"]["text"] == NAMES[row["ID"]["text"]] == "0049301234567"
    assert (row["Before"]["text"], row["Now"]["text"], row["Changes"]["text"]) == ("no limit", "7", "1")


@pytest.mark.parametrize("name", STATS)
def test_a_headline_number_shows_a_text(grafana, name):
    """Every number at the top of a dashboard shows a text, which is not a rendering error."""
    values, _ = grafana.render(STATS[name], connection="17")
    texts = [value["text"] for value in values] or [PANELS[name]["fieldConfig"]["defaults"].get("noValue", "")]
    assert all(text and not re.search("NaN|undefined|Invalid", text) for text in texts)
