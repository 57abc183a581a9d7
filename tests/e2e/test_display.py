"""The panels as users see them: real query results, rendered by Grafana's own library."""

import contextlib
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from connections import CONNECTION_COLLECTORS
from grafana_display import DISPLAY, grafana_display
from grafana_files import PANELS, SHOW, links, substitute_variables
from programs import ALL_COLLECTORS, exporter, get_json, prometheus, sandbox, wait_until
from quick_rules import quick_config

from exporter.sandbox import Account

ROOT = Path(__file__).parents[2]
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
PROFILES = "/outbound_voice_profiles"
PROFILE_NAME = "0049"
TABLES = {name: panel for name, panel in PANELS.items() if panel["type"] == "table"}
NOT_REGISTERED = {
    *("Not Registered", "Unregistered", "Expired", "Failed"),
    *("trying", "failed", "unregistering", "unregistered", "standby"),
}
"""Statuses without a registration: of the lists, and of the registrar."""
LIMITS = TABLES["telnyx-connections: Limits changed"]
LIST = TABLES["telnyx-connections: Connections: ${show:text}"]
TRUNKS = TABLES["telnyx-trunks: Trunks: ${record_type:text}"]
LINKS = {
    "Connection": ("var-connection", "ID"),
    "Profile": ("var-profile", "ID"),
    "Outbound voice profile": ("var-profile", "Outbound voice profile"),
}
"""The variable that the link in a column sets, and the column with its value."""
STATS = {name: panel for name, panel in PANELS.items() if panel["type"] == "stat"}
OF_SEVERAL_ACCOUNTS = {name for name, panel in PANELS.items() if "Needs --telnyx.api-key-files" in str(panel)}
"""The panels without data if the accounts have no names, as here."""
TRENDS = [
    name for name, panel in STATS.items() if panel["options"]["graphMode"] == "area" and name not in OF_SEVERAL_ACCOUNTS
]
"""The numbers that show their values over time, too."""


def test_the_library_has_the_version_of_the_stack():
    """These tests use the library of the Grafana version in `deploy/compose.yaml`."""
    image = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["grafana"]["image"]
    dependencies = json.loads((DISPLAY / "package.json").read_text())["dependencies"]
    assert image == f"grafana/grafana:{dependencies['@grafana/data']}"


@pytest.fixture(scope="module")
def grafana(tmp_path_factory):
    """Yield a function that renders panels, and the account whose metrics it queries from a Prometheus."""
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
        display = running.enter_context(grafana_display())
        base_url = running.enter_context(sandbox(account, KEY))
        account["/ips"].remove(account["/ips"].rows[0]["id"])
        account[PROFILES].add(id=PROFILE, name=PROFILE_NAME, enabled=False, daily_spend_limit_enabled=False)
        flags = (f"--telnyx.base-url={base_url}", "--cache.ttl=1s", *ALL_COLLECTORS)
        target = running.enter_context(exporter(folder, *flags, TELNYX_API_KEY=KEY)).removeprefix("http://")
        url = running.enter_context(prometheus(folder, quick_config(folder, target, "127.0.0.1:1")))

        def query(promql, kind="query", **more):
            return get_json(f"{url}/api/v1/{kind}", query=promql, **more)["data"]["result"]

        def query_target(target, **variables):
            promql = substitute_variables(target["expr"], **variables)
            if target["range"]:
                return query(promql, "query_range", start=query_time - 10, end=query_time - 1, step=1)
            return query(promql, time=query_time)

        wait_until(lambda: query("telnyx_connection_info offset 11s"), "a history longer than the time range")
        account.update(rows[0]["id"], outbound={"channel_limit": 7})
        wait_until(lambda: query(substitute_variables(LIMITS["targets"][0]["expr"])), "a change within the time range")
        wait_until(lambda: query('ALERTS{alertname="TelnyxExporterDown"}'), "an alert about an exporter")
        query_time = time.time()

        def render(panel, **variables):
            """Return what Grafana shows for a panel, and the query results behind it."""
            results = {target["refId"]: query_target(target, **variables) for target in panel["targets"]}
            return display_results(panel, results, **variables), results

        def display_results(panel, results, **variables):
            return display(panel, results, query_time, **variables)

        def render_without_data(panel):
            """Return what Grafana shows if no metric has a value any more."""
            nothing = [{"metric": {}, "value": [query_time, "NaN"]}]
            results = {t["refId"]: nothing if t["expr"].endswith(" or vector(NaN)") else [] for t in panel["targets"]}
            return display_results(panel, results)

        yield SimpleNamespace(
            render=render, render_without_data=render_without_data, display=display_results, account=account
        )


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


def rows_by_type(account):
    """Return the rows of an account's lists by the type that Grafana shows."""
    return {
        collector.title.removesuffix("s"): account[collector.endpoint.path].rows for collector in CONNECTION_COLLECTORS
    }


def name_of(row):
    """Return the name of a connection of any type, or its id if it has no name."""
    names = (row.get(field) for field in ("connection_name", "application_name", "friendly_name", "id"))
    return next(name for name in names if name is not None)


@pytest.mark.parametrize("panel", [LIST, TRUNKS], ids=["connections", "trunks"])
def test_a_list_has_every_connection(grafana, panel):
    """A list shows each id, name and type unchanged, and each name links to the connection with that id."""
    rows, _ = grafana.render(panel, show="all")
    assert {row["ID"]["text"]: (row["Connection"]["text"], row["Type"]["text"]) for row in rows} == {
        row["id"]: (name_of(row), title) for title, listed in rows_by_type(grafana.account).items() for row in listed
    }
    for row in rows:
        dashboard, variables = link_target(row["Connection"])
        assert (dashboard, variables["var-connection"]) == ("telnyx-connection", row["ID"]["text"])
        kept = {name: variables[f"var-{name}"] for name in ("datasource", "job", "account")}
        assert kept == {"datasource": "the source", "job": "telnyx", "account": "$__all"}


def test_the_list_shows_settings(grafana):
    """The list shows ids of profiles unchanged, and says so if connections of a type have no media encryption."""
    rows, _ = grafana.render(LIST, show="all")
    profiles = {row["ID"]["text"]: row["Outbound voice profile"]["text"] for row in rows}
    assert {profiles[connection_id] for connection_id in NAMES} == {PROFILE}
    without = ("External connection", "Call Control application", "TeXML application", "Fax application")
    for panel in (LIST, TRUNKS):
        rows, _ = grafana.render(panel, show="all")
        encryptions = {(row["Type"]["text"] in without, row["Media encryption"]["text"]) for row in rows}
        assert encryptions == {(True, "n/a"), (False, "none"), (False, "SRTP")}


def test_selected_types_are_listed(grafana):
    """The tables and numbers about trunks show only the selected types."""
    listed = grafana.account["/uac_connections"].rows
    rows, _ = grafana.render(TRUNKS, record_type="uac_connection")
    assert {row["ID"]["text"] for row in rows} == {row["id"] for row in listed}
    assert {row["Registration"]["text"] for row in rows} == {"Registered", "Not registered"}
    for stat in ("Trunks", "Disabled", "Registered", "Not registered", "Registration unknown"):
        values, _ = grafana.render(STATS[f"telnyx-trunks: {stat}"], record_type="fax_application")
        assert [value["text"] for value in values] == [str(3 if stat == "Trunks" else 0)]


def test_the_number_of_unregistered_trunks_is_that_of_their_table(grafana):
    """The number at the top counts the rows of the table, which shows each status."""
    values, _ = grafana.render(STATS["telnyx-trunks: Not registered"])
    rows, _ = grafana.render(TABLES["telnyx-trunks: Not registered since"])
    assert [value["text"] for value in values] == [str(len(rows))] != ["0"]
    assert {row["Status"]["text"] for row in rows} <= NOT_REGISTERED


def test_a_connection_shows_its_type(grafana):
    """The dashboard of one connection says which type it has, in words."""
    for title, listed in rows_by_type(grafana.account).items():
        values, _ = grafana.render(STATS["telnyx-connection: Type"], connection=listed[0]["id"])
        assert [value["name"] for value in values] == [title]
        rows, _ = grafana.render(TABLES["telnyx-connection: General"], connection=listed[0]["id"])
        assert title in {row["Value"]["text"] for row in rows if row["Setting"]["text"] == "Record type"}


def test_a_connection_shows_how_it_connects(grafana):
    """The dashboard of one connection shows the transport, and no transport for a type that has none."""
    general = TABLES["telnyx-connection: General"]
    for path, shown in (("/ip_connections", {"UDP", "TCP", "TLS"}), ("/fax_applications", set())):
        rows, _ = grafana.render(general, connection=grafana.account[path].rows[0]["id"])
        transports = {row["Value"]["text"] for row in rows if row["Setting"]["text"] == "SIP transport"}
        assert transports <= shown
        assert bool(transports) == bool(shown)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_shows_labels_unchanged(grafana, name):
    """No table is empty unless it is about several accounts, and none shows a label as a number or a date."""
    panel = TABLES[name]
    for connection in ("1082287356722563997", "9007199254740993"):
        rows, results = grafana.render(panel, show="all", connection=connection)
        assert rows or name in OF_SEVERAL_ACCOUNTS
        assert {title for row in rows for title in row} <= {
            *panel["transformations"][-1]["options"]["renameByName"].values()
        }
        for title, label in columns(panel).items():
            if title not in mapped_columns(panel):
                values = {sample["metric"].get(label, "") for found in results.values() for sample in found}
                empty = {"-"} if panel["fieldConfig"]["defaults"].get("noValue") else set()
                shown = {row[title]["text"] for row in rows if title in row}
                assert shown <= values | empty, title
                assert shown or values <= {""}, f"{title} is left out only if no row has this label"
        for row in rows:
            for title, cell in ((title, cell) for title, cell in row.items() if cell["links"]):
                if title == "Alert":
                    assert cell["links"] == [f"http://localhost:10142/runbooks/{cell['text']}"]
                    continue
                variable, column = LINKS[title]
                assert link_target(cell)[1][variable] == row[column]["text"]


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


def test_a_disabled_profile_in_use_stands_out(grafana):
    """The profile is counted at the top, comes first in its table, and is named where its connections are."""
    values, _ = grafana.render(STATS["telnyx-money: Disabled profiles in use"])
    assert [value["text"] for value in values] == ["1"]
    rows, _ = grafana.render(TABLES["telnyx-money: Profiles"])
    (row,) = (row for row in rows if row["ID"]["text"] == PROFILE)
    assert {row["State"]["text"] for row in rows} == {"Enabled", "Disabled, in use"}
    assert (row["Profile"]["text"], row["State"]["text"]) == (PROFILE_NAME, "Disabled, in use")
    assert (row["Daily limit"]["text"], row["Connections (exporter)"]["text"]) == ("off", str(len(NAMES)))
    rows, _ = grafana.render(TABLES["telnyx-money: Connections of the profiles"], profile=PROFILE)
    assert {row["ID"]["text"] for row in rows} == NAMES.keys()
    assert {(row["Profile"]["text"], row["Profile state"]["text"]) for row in rows} == {
        (PROFILE_NAME, "Disabled, in use")
    }


def test_a_connection_shows_its_profile(grafana):
    """The dashboard of one connection shows its profile, and a click on the state leads to it."""
    (name,), (state,), (limit,) = (
        grafana.render(STATS[f"telnyx-connection: {title}"], connection="17")[0]
        for title in ("Outbound profile", "Profile", "Daily spend limit")
    )
    assert (name["name"], state["text"], limit["text"]) == (PROFILE_NAME, "Disabled, in use", "off")
    dashboard, variables = link_target(state)
    assert (dashboard, variables["var-profile"], variables["var-job"]) == ("telnyx-money", PROFILE, "telnyx")


def test_a_connection_without_an_endpoint_is_listed(grafana):
    """An IP connection without an IP address is listed, and its dashboard says so."""
    rows, _ = grafana.render(TABLES["telnyx-connections: Without an endpoint"])
    for connection, shown in ((rows[0]["ID"]["text"], "none"), ("17", "n/a")):
        (value,), _ = grafana.render(STATS["telnyx-connection: Endpoints"], connection=connection)
        assert value["text"] == shown


@pytest.mark.parametrize("name", [name for name, panel in PANELS.items() if re.search("Needs --", str(panel))])
def test_a_panel_without_data_says_what_it_needs(grafana, name):
    """If a collector is off, or accounts have no names, a table is empty, and a number shows the panel's text."""
    panel = PANELS[name]
    text = panel["fieldConfig"]["defaults"].get("noValue")
    if panel["type"] == "stat":
        assert [value["text"] for value in grafana.render_without_data(panel)] == [text]
    elif panel["type"] == "table":
        assert grafana.render_without_data(panel) == []


@pytest.mark.parametrize("name", TRENDS)
def test_a_trend_ends_with_the_current_value(grafana, name):
    """Below a number is its trend. If the current value is missing, an old value of the trend does not replace it."""
    panel = PANELS[name]
    (value,), results = grafana.render(panel)
    history = [float(number) for _, number in results["A"][0]["values"]]
    assert len(history) == 10
    assert value["trend"] == [*history, float(results["B"][0]["value"][1])]
    no_value = [{"metric": {}, "value": [0, "NaN"]}]
    (value,) = grafana.display(panel, {"A": results["A"], "B": no_value})
    assert value["text"] == panel["fieldConfig"]["defaults"].get("noValue", "No data")


def test_alerts_of_the_selected_connections_are_listed(grafana):
    """Each list of alerts shows those about its connections, with their severity."""
    alerts = TABLES["telnyx-trunks: Alerts"]
    rows, _ = grafana.render(alerts)
    of_all = {row["ID"]["text"] for row in rows}
    uac = {row["id"] for row in grafana.account["/uac_connections"].rows}
    rows, _ = grafana.render(alerts, record_type="uac_connection")
    assert {row["ID"]["text"] for row in rows} == of_all & uac != set()
    disabled = list(NAMES)[1]
    rows, _ = grafana.render(TABLES["telnyx-connection: Alerts"], connection=disabled)
    assert ("TelnyxConnectionDisabled", "warning") in {(row["Alert"]["text"], row["Severity"]["text"]) for row in rows}
    assert {row["Since"]["text"] for row in rows} <= {"a few seconds ago", "a minute ago"}


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
