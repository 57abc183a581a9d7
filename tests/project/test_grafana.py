import itertools
import re
from pathlib import Path

import pytest
import yaml
from connections import CONNECTION_COLLECTORS
from grafana_files import DASHBOARDS, PANELS, SHOW, TARGETS, links
from metric_labels import metric_labels

from exporter.collectors.registry import COLLECTORS

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {
    *("none", "locale", "s", "bytes", "percentunit", "reqps", "ops", "currencyUSD"),
    *("dateTimeAsIso", "dateTimeFromNow"),
}

SHARED_FAMILIES = {family.name for collector in CONNECTION_COLLECTORS for family in collector.row_families}
"""Metrics that collectors of connections expose, too."""
SELECTOR = re.compile(r"(\w+){([^}]*)}")
FUNCTIONS = {
    *("avg_over_time", "changes", "clamp_min", "histogram_quantile", "increase", "label_join", "label_replace"),
    *("bottomk", "max_over_time", "min_over_time"),
    *("count", "count_values", "end", "group", "max", "min", "rate", "sum", "time", "timestamp", "topk", "vector"),
}

ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "prometheus/rules/telnyx.rules.yaml").read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
_ALERT_LABELS = {
    *("alertname", "alertstate", "severity", "connection_id", "connection_name", "direction", "profile_name"),
    *("collector", "reason", "product", "period"),
}
ALERT_SERIES = {"ALERTS": _ALERT_LABELS, "ALERTS_FOR_STATE": _ALERT_LABELS}
"""The series that Prometheus has for alerts, with the labels that dashboards use."""
NOT_SHOWN = {
    "telnyx_connections_malformed": "telnyx_collector_malformed_rows has all collectors",
    "telnyx_connections_missing": "telnyx_collector_missing_rows has all collectors",
    "telnyx_api_request_duration_seconds_count": "the buckets have it, and telnyx_api_requests_total by status",
    "telnyx_api_request_duration_seconds_sum": "quantiles say more than an average",
    "process_virtual_memory_bytes": "address space costs nothing; the memory in RAM is shown",
    "python_info": "telnyx_exporter_build_info has the version of Python, too",
    "python_gc_collections_total": "only someone who debugs the exporter needs it",
    "python_gc_objects_collected_total": "only someone who debugs the exporter needs it",
    "python_gc_objects_uncollectable_total": "only someone who debugs the exporter needs it",
}
"""Metrics that no dashboard shows, and the reason."""

each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
each_panel = pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
each_target = pytest.mark.parametrize(("promql", "legend"), TARGETS.values(), ids=TARGETS)


@pytest.fixture(scope="module")
def known_labels():
    """Return the labels of every metric by sample name, with those that Prometheus adds."""
    labels = metric_labels() | ALERT_SERIES
    return {name: {"job", "instance", *names, *account_label(name)} for name, names in labels.items()}


def account_label(name):
    """Return the label `account` for a metric that belongs to an account. A metric of the whole exporter has none."""
    whole = r"up|(process|python)_.+|telnyx_exporter_(?!cache_(ttl|max|requests|hits)|stale_responses).+"
    return () if re.fullmatch(whole, name) else ("account",)


# The rules of Grafana's dashboard-linter, with their names and without exceptions. Its other rules are about Loki.


@each_dashboard
def test_template_datasource(dashboard):
    """template-datasource-rule: the first variable is the data source, with the usual name."""
    variable = dashboard["templating"]["list"][0]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert (variable["name"], variable["label"]) == ("datasource", "Data source")


@pytest.mark.parametrize(("name", "everything"), [("job", ".+"), ("instance", ".+"), ("account", ".*")])
@each_dashboard
def test_template_job_and_instance(dashboard, name, everything):
    """template-job-rule, template-instance-rule: users can select one, several or all jobs, instances and accounts.

    All accounts include one without a name: without --telnyx.api-key-files, no series has an account.
    """
    (variable,) = (variable for variable in dashboard["templating"]["list"] if variable["name"] == name)
    assert (variable["type"], variable["label"]) == ("query", name.title())
    assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, everything)
    assert variable["current"]["value"] == ["$__all"]


@each_dashboard
def test_template_queries(dashboard, known_labels):
    """template-label-promql-rule, template-on-time-change-reload-rule.

    Variables query the data source, and reload when the time range changes.
    """
    for variable in dashboard["templating"]["list"][1:]:
        if variable["type"] == "custom":
            continue
        assert variable["datasource"] == DATASOURCE
        assert variable["refresh"] == 2
        query = variable["query"]["query"]
        assert re.match(r"(label_values|query_result)\(.+\)$", query)
        assert set(re.findall(r"telnyx_\w+", query)) <= set(known_labels)


@each_panel
def test_panel_datasource(panel):
    """panel-datasource-rule: every panel and query uses the selected data source."""
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [
        DATASOURCE,
        *(DATASOURCE for _ in panel["targets"]),
    ]


@each_panel
def test_panel_is_described(panel):
    """panel-title-description-rule, panel-units-rule, panel-no-targets-rule: a panel has texts, a unit and a query."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    if panel["type"] != "table":
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    properties = [item for override in panel["fieldConfig"]["overrides"] for item in override["properties"]]
    assert {item["value"] for item in properties if item["id"] == "unit"} <= UNITS
    assert panel["targets"]


@each_panel
def test_only_numbers_in_a_table_have_a_unit(panel):
    """In tables, only numbers have a unit. Grafana would parse text with a unit as a number, and round an ID."""
    if panel["type"] == "table":
        assert not panel["fieldConfig"]["defaults"].get("unit")
        names = panel["transformations"][-1]["options"]["renameByName"]
        numbers = {title for name, title in names.items() if name.startswith("Value")}
        overrides = panel["fieldConfig"]["overrides"]
        assert numbers == {
            override["matcher"]["options"]
            for override in overrides
            if any(item["id"] == "unit" for item in override["properties"])
        }


@each_target
def test_target_uses_existing_metrics_and_labels(promql, legend, known_labels):
    """target-promql-rule, target-job-rule, target-instance-rule: names exist, selectors limit job and instance.

    Selectors of metrics that have an account limit it, too.
    """
    selectors = SELECTOR.findall(promql)
    labels = {"job", "instance", "account", "pod"}.union(*(known_labels[name] for name, _ in selectors))
    for name, matchers in selectors:
        # Alerts about a connection or a missing exporter lack some of these labels.
        end = '|"' if name in ALERT_SERIES else '"'
        scope = ",".join(f'{label}=~"${label}{end}' for label in ("job", "instance", *account_label(name)))
        assert matchers.endswith(scope)
        assert set(re.findall(r'(\w+)=~?"', matchers)) <= known_labels[name]
    created = set(re.findall(r'(?:count_values\(|, )"(\w+)", ', promql))
    sources = set(re.findall(r'"\$[^"]*", "(\w+)"', promql))
    rest = re.sub(r'"[^"]*"', "", SELECTOR.sub("", promql))
    grouped = re.findall(r"\b(?:by|without|on|ignoring|group_left) \(([\w, ]*)\)", rest)
    named = {label for labels in grouped for label in labels.split(", ") if label}
    assert sources | named | set(re.findall(r"{{(\w+)}}", legend)) <= labels | created
    rest = re.sub(r"\b(?:by|without|on|ignoring|group_left) \([\w, ]*\)|\[[^]]*\]|\$__\w+|\b[\d.]+[smhd]?\b", "", rest)
    assert set(re.findall(r"\w+", rest)) <= FUNCTIONS | {"or", "and", "unless", "offset", "bool", "NaN"}


@each_target
def test_counters_use_the_rate_interval(promql, legend):
    """target-rate-interval-rule, target-counter-agg-rule: counters are in a rate or increase over the rate interval."""
    selectors = SELECTOR.sub(r"\1", promql)
    rated = re.findall(r"\b(?:rate|increase)\((\w+)\[\$__rate_interval\]\)", selectors)
    assert rated == re.findall(r"\w+_(?:total|bucket)\b", selectors)
    assert len(rated) == len(re.findall(r"\b(?:rate|irate|increase)\(", selectors))


@each_dashboard
def test_uneditable(dashboard):
    """uneditable-dashboard: dashboards can only be edited in the files."""
    assert dashboard["editable"] is False


# Checks that the linter doesn't have.


def test_there_are_five_dashboards():
    """They show all connections, one of them, all types, money and profiles, and the exporter.

    A file has the permanent UID as its name.
    """
    names = ("telnyx-connection", "telnyx-connections", "telnyx-exporter", "telnyx-money", "telnyx-trunks")
    assert {uid: dashboard["uid"] for uid, dashboard in DASHBOARDS.items()} == {uid: uid for uid in names}


@each_dashboard
def test_dashboard_can_be_imported_without_changes(dashboard):
    """It has no inputs, has the `telnyx` tag, and links to the others with the same time range and variables."""
    assert not {"__inputs", "__requires", "id"} & set(dashboard)
    assert dashboard["tags"] == ["telnyx"]
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == ("dashboards", ["telnyx"], True, True)


@each_dashboard
def test_firing_alerts_are_marked(dashboard):
    """Every graph marks the firing alerts of the exporter's rules. Users can switch each kind of mark on and off."""
    firing, *_ = dashboard["annotations"]["list"]
    assert firing["expr"].startswith('ALERTS{alertstate="firing",alertname=~"Telnyx')
    assert firing["enable"]
    for annotation in dashboard["annotations"]["list"]:
        assert annotation["datasource"] == DATASOURCE
        assert not annotation.get("hide")


def test_changes_are_marked():
    """Graphs mark changes of connections, and loaded configurations, at the time that the metric says.

    Marks of all connections are off at first, because their query reads all connections for each step.
    """
    marks = {
        f"{uid}: {annotation['name']}": annotation
        for uid, dashboard in DASHBOARDS.items()
        for annotation in dashboard["annotations"]["list"][1:]
    }
    assert {name: annotation["enable"] for name, annotation in marks.items()} == {
        "telnyx-connection: Setting changes": True,
        "telnyx-connections: Setting changes": False,
        "telnyx-trunks: Setting changes": False,
        "telnyx-exporter: Configuration loaded": True,
    }
    for annotation in marks.values():
        assert annotation["useValueForTime"]
        assert re.match(
            r"1000 \* .+_timestamp_seconds{.*} > time\(\) - \$__interval_ms / 1000 - 300", annotation["expr"]
        )


def test_every_metric_is_shown():
    """Every metric is on a dashboard, except those in `NOT_SHOWN`."""
    shown = {name for promql, _ in TARGETS.values() for name, _ in SELECTOR.findall(promql)}
    assert metric_labels().keys() - shown == NOT_SHOWN.keys()


@each_panel
def test_a_trend_is_cheap_and_current(panel):
    """A number with a trend has a query for the trend, and one for the current value, which is NaN if there is none.

    The trend reads no connections: that would take seconds with 10,000 of them.
    """
    if panel["type"] == "stat" and panel["options"]["graphMode"] != "none":
        trend, current = panel["targets"]
        assert (trend["range"], current["instant"]) == (True, True)
        assert current["expr"] == f"{trend['expr']} or vector(NaN)"
        assert panel["options"]["reduceOptions"]["calcs"] == ["last"]
        assert panel["maxDataPoints"] == 100
        assert not re.search(r"telnyx_connection_", trend["expr"])
    elif panel["type"] == "stat":
        assert [target["instant"] for target in panel["targets"]] == [True]


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_listed(name):
    """Each alert is in the list of alerts of the dashboard that it links to. Its name leads to its runbook."""
    (uid,) = re.findall(r"/d/([\w-]+)", ALERTS[name]["annotations"]["dashboard_url"])
    tables = {"telnyx-connections", "telnyx-money", "telnyx-exporter"}
    listed = set()
    for table in tables:
        ((alerts, _),) = {t for n, t in TARGETS.items() if n.startswith(f"{table}: Alerts ")}
        matchers = dict(re.findall(r'(\w+[=!]+~?)"([^"]*)"', alerts))
        about_connections = "$labels.connection_id" in ALERTS[name]["annotations"]["description"]
        wanted = {'connection_id!="': True, 'connection_id="': False}
        if (
            re.fullmatch(matchers["alertname=~"], name)
            and not re.fullmatch(matchers.get("alertname!~", "-"), name)
            and all(about_connections == is_wanted for text, is_wanted in wanted.items() if text in alerts)
        ):
            listed.add(table)
    assert listed == {uid if uid in tables else "telnyx-connections"}
    for table in (*tables, "telnyx-trunks", "telnyx-connection"):
        (runbook,) = (link["url"] for link in links(PANELS[f"{table}: Alerts"]) if "runbooks" in link["url"])
        assert runbook == "http://localhost:10142/runbooks/${__data.fields.alertname:percentencode}"


@each_dashboard
def test_panels_do_not_overlap(dashboard):
    """Panels have unique IDs and titles, stay within the grid, and don't overlap. A row can share a panel's title."""
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [(panel["type"] == "row", panel["title"]) for panel in panels]
    assert len(set(titles)) == len(titles)
    cells = [
        cell
        for position in (panel["gridPos"] for panel in panels)
        for cell in itertools.product(
            range(position["x"], position["x"] + position["w"]), range(position["y"], position["y"] + position["h"])
        )
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@each_panel
def test_links_lead_to_dashboards_and_variables_that_exist(panel):
    """A link leads to an existing dashboard and sets all its variables, to valid values or columns of the queries."""
    for link in links(panel):
        if "/runbooks/" in link["url"]:
            continue
        _, uid, query = re.split(r"/d/|\?", link["url"])
        kept, given = re.findall(r"\${(\w+):queryparam}", query), dict(re.findall(r"var-(\w+)=([^&]+)", query))
        variables = {variable["name"]: variable for variable in DASHBOARDS[uid]["templating"]["list"]}
        assert {*kept, *given} == variables.keys()
        assert "${__url_time_range}" in query
        for name, value in given.items():
            if variables[name]["type"] == "custom":
                assert value in {option["value"] for option in variables[name]["options"]}
            else:
                field = re.fullmatch(r"\${__(?:data\.fields|field\.labels)\.(\w+):percentencode}", value)[1]
                assert any(re.search(rf"\b{field}\b", target["expr"]) for target in panel["targets"])


def test_every_headline_number_links_to_its_connections():
    """Each number at the top of the connections dashboard links to an option of the list. Each option has a number."""
    stats = [
        panel for name, panel in PANELS.items() if name.startswith("telnyx-connections:") and panel["type"] == "stat"
    ]
    shown = [re.search(r"var-show=(\w+)", link["url"])[1] for stat in stats for link in links(stat)]
    assert shown == SHOW
    assert len(shown) == len(stats)


@each_panel
def test_a_panel_without_data_names_the_collectors_that_it_needs(panel):
    """If a collector other than those of connections is off, a panel that needs it says so, or shows a dash.

    Graphs that also show something else say so in their description.
    """
    needed = {
        collector.name
        for collector in COLLECTORS
        if collector not in CONNECTION_COLLECTORS
        for family in (*collector.snapshot_families, *collector.row_families)
        if family.name not in SHARED_FAMILIES
        and any(re.search(rf"\b{family.name}{{", target["expr"]) for target in panel["targets"])
    }
    text = panel["fieldConfig"]["defaults"].get("noValue") or panel["description"]
    assert set(re.findall(r"--collector\.([a-z-]+)", text)) == needed or (needed and text == "-")


@each_panel
def test_legends_are_unique(panel):
    """Each query of a graph has a legend, and no two legends are equal."""
    if panel["type"] in ("timeseries", "state-timeline"):
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends)


def test_every_setting_of_a_connection_is_shown():
    """The dashboard of one connection uses each metric that any type of connections has, and each of its labels."""
    queries = [promql for name, (promql, _) in TARGETS.items() if name.startswith("telnyx-connection:")]
    for family in (family for collector in CONNECTION_COLLECTORS for family in collector.row_families):
        about = [promql for promql in queries if re.search(rf"\b{family.name}{{", promql)]
        assert about, family.name
        for label in family.labels:
            assert any(re.search(rf"\b{label}\b", promql) for promql in about), (family.name, label)


def test_collectors_are_named_after_record_types():
    """Queries find the collector of a connection by its record type, so the names correspond."""
    for collector in CONNECTION_COLLECTORS:
        assert re.fullmatch(r".+-(connections|applications)", collector.name)
        assert collector.row_type.documented_type == collector.name.removesuffix("s").replace("-", "_")


def test_every_type_of_connections_has_a_text():
    """Users can select each type. Tables, graphs and panels show it in words."""
    (variable,) = (v for v in DASHBOARDS["telnyx-trunks"]["templating"]["list"] if v["name"] == "record_type")
    options = {option["value"]: option["text"] for option in variable["options"]}
    types = {collector.row_type.documented_type: collector.title for collector in CONNECTION_COLLECTORS}
    assert options == {"$__all": "All"} | types
    assert variable["query"] == ", ".join(f"{text} : {value}" for value, text in types.items())
    assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
    singular = {value: text.removesuffix("s") for value, text in types.items()}
    assert renamed(PANELS["telnyx-connection: Type"]) == singular
    assert renamed(PANELS["telnyx-trunks: Trunks by type"]) == types
    assert renamed(PANELS["telnyx-trunks: Disabled by type"]) == types
    for panel in PANELS.values():
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["options"] == "Type":
                (mapping,) = next(item["value"] for item in override["properties"] if item["id"] == "mappings")
                assert {value: text["text"] for value, text in mapping["options"].items()} == singular


def renamed(panel):
    """Return the texts that replace legends."""
    return {
        override["matcher"]["options"]: item["value"]
        for override in panel["fieldConfig"]["overrides"]
        for item in override["properties"]
        if item["id"] == "displayName"
    }


def test_provisioning_finds_data_source_and_dashboards():
    """Grafana gets one data source, and a folder of dashboards that can't be edited in the browser."""
    (datasources,) = (GRAFANA / "provisioning/datasources").iterdir()
    (source,) = yaml.safe_load(datasources.read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    (providers,) = (GRAFANA / "provisioning/dashboards").iterdir()
    (provider,) = yaml.safe_load(providers.read_text())["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
    assert provider["options"]["path"] in (ROOT / "docs" / "dashboards.md").read_text()
