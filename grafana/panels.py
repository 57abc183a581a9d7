"""Build Grafana panels, variables and dashboards from titles, descriptions and PromQL."""

from __future__ import annotations

import re
import string
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():
    # The SDK deprecates these models in favor of dashboard schema v2, which few Grafana versions in use can read.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models import common, dashboard, prometheus, stat, statetimeline, table, timeseries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
SCOPE = 'job=~"$job",instance=~"$instance"'
ACCOUNT_SCOPE = f'{SCOPE},account=~"$account"'
LINK_PARAMETERS = (
    "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${account:queryparam}&${__url_time_range}"
)
"""URL parameters that a link copies from the current dashboard."""
TREND_POINTS = 100
"""Maximum number of values in the trend of a number."""
WIDTH = 24
"""Width of Grafana's grid, in columns."""

_STRING_OR_SELECTOR = re.compile(r'"[^"]*"|\b((?:telnyx|process)_\w+|up)\b(?:{(.*?)})?')

_OF_ALL_ACCOUNTS = re.compile(r"up|process_\w+|telnyx_exporter_(?!cache_|stale_)\w+")
"""Metrics about a whole exporter, which have no account."""

GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"


def scoped(promql: str) -> str:
    """Return the query with each selector limited to the values of the dashboard variables.

    All selectors are limited to jobs and instances, and those of metrics that belong to an account to accounts.
    """

    def limit_selector(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0]
        scope = SCOPE if _OF_ALL_ACCOUNTS.fullmatch(match[1]) else ACCOUNT_SCOPE
        return f"{match[1]}{{{','.join(filter(None, (match[2], scope)))}}}"

    return _STRING_OR_SELECTOR.sub(limit_selector, promql)


def map_values(texts: Mapping[str, tuple[str, str]]) -> list[dashboard.ValueMapping]:
    """Map each value to a text and a color. An empty color means the default."""
    results = {value: dashboard.ValueMappingResult(text, color or None) for value, (text, color) in texts.items()}
    return [dashboard.ValueMap(options=results)]


def map_missing(text: str) -> list[dashboard.ValueMapping]:
    """Map null and empty values to a text."""
    return _map_special(text, dashboard.SpecialValueMatch.NULL, dashboard.SpecialValueMatch.EMPTY)


def map_nan(text: str) -> list[dashboard.ValueMapping]:
    """Map NaN to a text in the default color."""
    return _map_special(text, dashboard.SpecialValueMatch.NA_N, color="text")


def _map_special(
    text: str, *matches: dashboard.SpecialValueMatch, color: str | None = None
) -> list[dashboard.ValueMapping]:
    result = dashboard.ValueMappingResult(text, color)
    return [
        dashboard.SpecialValueMap(dashboard.DashboardSpecialValueMapOptions(match=match, result=result))
        for match in matches
    ]


def needs(*collectors: str) -> str:
    """Return the text of a panel without data, which names the collectors to enable."""
    return f"Needs {' and '.join(f'--collector.{collector}' for collector in collectors)}"


def thresholds(*steps: tuple[float, str], base: str = GREEN) -> dashboard.ThresholdsConfig:
    """Return colors by value: the base color, and a new color from each step upwards."""
    return dashboard.ThresholdsConfig(
        mode=dashboard.ThresholdsMode.ABSOLUTE,
        steps=[dashboard.Threshold(None, base), *(dashboard.Threshold(value, color) for value, color in steps)],
    )


class Link(dashboard.DashboardLink):
    """A link that stays visible. The SDK sets `placement`, which would move every link into a menu."""

    def to_json(self) -> dict[str, object]:
        """Return the link as JSON, without `placement`."""
        return {name: value for name, value in super().to_json().items() if name != "placement"}


def stat_panel(
    title: str,
    description: str,
    promql: str,
    *,
    unit: str = "none",
    width: int = 4,
    limits: dashboard.ThresholdsConfig | None = None,
    mappings: list[dashboard.ValueMapping] | None = None,
    no_value: str | None = None,
    label: str = "",
    names: Mapping[str, str] | None = None,
    legend: str = "",
    link: Link | None = None,
    trend: bool = False,
) -> dashboard.Panel:
    """Return a panel with one current value in large type.

    With `label`, it shows that label instead of the value, or its text in `names`. With `legend`, it shows this legend
    above the value.

    With `trend`, it also shows the value over time. Then the query must be cheap, and return one value without labels.
    The trend's last value can be as old as a step, so a query for the current value follows. If there is no current
    value, it is NaN, so that no older value is shown instead.
    """
    text_mode = common.BigValueTextMode.VALUE_AND_NAME if legend else common.BigValueTextMode.VALUE
    options = stat.Options(
        graph_mode=common.BigValueGraphMode.AREA if trend else common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.VALUE,
        text_mode=common.BigValueTextMode.NAME if label else text_mode,
        reduce_options=common.ReduceDataOptions(calcs=["last" if trend else "lastNotNull"]),
    )
    defaults = dashboard.FieldConfig(
        unit=unit,
        thresholds=limits or thresholds(base="text"),
        mappings=[*(mappings or ()), *map_nan(no_value or "No data")] if trend else mappings,
        no_value=no_value,
        color=dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS),
        links=[link] if link else None,
    )
    name = f"{{{{{label}}}}}" if label else legend or title
    queries = _queries((name, promql), *([(name, f"{promql} or vector(NaN)")] if trend else ()), instant=True)
    panel = _panel("stat", title, description, queries, options=options, defaults=defaults, width=width, height=4)
    if trend:
        queries[0].instant, queries[0].range_val = False, True
        panel.transformations = [dashboard.DataTransformerConfig("merge", options={})]
        panel.max_data_points = TREND_POINTS
    return _set_overrides(panel, _display_names(names))


def graph(
    title: str,
    description: str,
    *queries: tuple[str, str],
    unit: str = "none",
    width: int = 8,
    height: int = 8,
    stacked: bool = False,
    steps: bool = False,
    min_value: float | None = 0,
    max_value: float | None = None,
    colors: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    no_value: str | None = None,
) -> dashboard.Panel:
    """Return a graph of values over time. Each query is a pair of legend and PromQL.

    `colors` and `names` give legends a fixed color and another text. `no_value` replaces the text "No data".
    """
    custom = common.GraphFieldConfig(
        draw_style=common.GraphDrawStyle.LINE,
        line_interpolation=common.LineInterpolation.STEP_AFTER if steps else common.LineInterpolation.LINEAR,
        line_width=1,
        fill_opacity=40 if stacked else 10,
        show_points=common.VisibilityMode.NEVER,
        stacking=common.StackingConfig(mode=common.StackingMode.NORMAL if stacked else common.StackingMode.NONE),
    )
    options = timeseries.Options(
        legend=common.VizLegendOptions(
            display_mode=common.LegendDisplayMode.LIST,
            placement=common.LegendPlacement.BOTTOM,
            show_legend=True,
            calcs=[],
        ),
        tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING),
    )
    defaults = dashboard.FieldConfig(
        unit=unit,
        min_val=min_value,
        max_val=max_value,
        no_value=no_value,
        custom=custom,
        color=dashboard.FieldColor(mode=dashboard.FieldColorModeId.PALETTE_CLASSIC),
    )
    overrides = [
        _override(legend, {"color": dashboard.FieldColor(mode=dashboard.FieldColorModeId.FIXED, fixed_color=color)})
        for legend, color in (colors or {}).items()
    ]
    targets = _queries(*queries)
    panel = _panel(
        "timeseries", title, description, targets, options=options, defaults=defaults, width=width, height=height
    )
    return _set_overrides(panel, [*overrides, *_display_names(names)])


def timeline(
    title: str,
    description: str,
    *queries: tuple[str, str],
    mappings: list[dashboard.ValueMapping],
    width: int = WIDTH,
    height: int = 5,
) -> dashboard.Panel:
    """Return a timeline of states, with one line for each series. Each query is a pair of legend and PromQL."""
    options = statetimeline.Options(
        show_value=common.VisibilityMode.AUTO,
        legend=common.VizLegendOptions(show_legend=False, calcs=[]),
    )
    defaults = dashboard.FieldConfig(
        unit="none", mappings=mappings, custom=statetimeline.FieldConfig(), thresholds=thresholds(base="text")
    )
    targets = _queries(*queries)
    return _panel(
        "state-timeline", title, description, targets, options=options, defaults=defaults, width=width, height=height
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A table column that displays a label of the table's query, or the value of another query."""

    title: str
    label: str = ""
    promql: str = ""
    unit: str = ""
    mappings: Sequence[dashboard.ValueMapping] = ()
    link: str = ""
    """URL that a click on a cell opens."""
    width: int | None = None
    colored: bool = False
    limits: dashboard.ThresholdsConfig | None = None
    """Colors by value, if the column is colored."""

    def properties(self) -> dict[str, object]:
        """Return the column's settings under Grafana's names.

        Only numbers have a unit. Grafana parses text in a column with a unit as a number, so it would round an ID.
        """
        colored = common.TableColorTextCellOptions() if self.colored else None
        link = Link(title=f"Show this {self.title.lower()}", url=self.link)
        properties = {
            "unit": self.unit or ("none" if self.promql else ""),
            "mappings": list(self.mappings),
            "links": [link] if self.link else None,
            "custom.width": self.width,
            "custom.cellOptions": colored,
            "thresholds": self.limits,
        }
        return {name: value for name, value in properties.items() if value}


def table_panel(
    title: str,
    description: str,
    *columns: Column,
    rows: str = "",
    labels: Sequence[str] = (),
    sort: str = "",
    descending: bool = False,
    width: int = WIDTH,
    height: int = 9,
    max_data_points: int | None = None,
    no_value: str | None = None,
) -> dashboard.Panel:
    """Return a table of current values. Grafana merges the query results by the labels that they have in common.

    `rows` is the query that decides which rows exist. Without it, every query can add rows. The queries in `labels`
    only add labels to rows. `max_data_points` limits the number of steps into which a query divides the dashboard's
    time range. `no_value` replaces the text "No data" of a table without rows.
    """
    promqls = (rows, *(column.promql for column in columns), *labels)
    expressions = list(dict.fromkeys(promql for promql in promqls if promql))
    queries = _queries(*(("", promql) for promql in expressions), instant=True, form=prometheus.PromQueryFormat.TABLE)
    names = [f"Value #{query.ref_id}" for query in queries] if len(queries) > 1 else ["Value"]
    values = dict(zip(expressions, names, strict=True))
    visible = [column.label or values[column.promql] for column in columns]
    hidden = ["Time", *(name for name in names if name not in visible)]
    transformations = []
    if len(queries) > 1:
        transformations.append(dashboard.DataTransformerConfig("merge", options={}))
    if rows:
        not_null = {"fieldName": values[rows], "config": {"id": "isNotNull", "options": {}}}
        options = {"filters": [not_null], "type": "include", "match": "all"}
        transformations.append(dashboard.DataTransformerConfig("filterByValue", options=options))
    organize = {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {name: place for place, name in enumerate(visible)},
        "renameByName": {name: column.title for name, column in zip(visible, columns, strict=True)},
    }
    transformations.append(dashboard.DataTransformerConfig("organize", options=organize))
    panel = _panel(
        "table",
        title,
        description,
        queries,
        options=table.Options(sort_by=[common.TableSortByFieldState(sort or columns[0].title, descending)]),
        defaults=dashboard.FieldConfig(
            custom={"filterable": True}, thresholds=thresholds(base="text"), no_value=no_value
        ),
        width=width,
        height=height,
    )
    panel.transformations = transformations
    panel.max_data_points = max_data_points
    # Grafana would show the text in empty cells, too.
    empty_cells = {"noValue": "-"} if no_value else {}
    return _set_overrides(panel, [_override(column.title, empty_cells | column.properties()) for column in columns])


def _queries(
    *queries: tuple[str, str],
    instant: bool = False,
    form: prometheus.PromQueryFormat = prometheus.PromQueryFormat.TIME_SERIES,
) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery(
            ref_id=ref,
            expr=scoped(promql),
            legend_format=legend or None,
            format_val=form,
            instant=instant,
            range_val=not instant,
            editor_mode=prometheus.QueryEditorMode.CODE,
            datasource=DATASOURCE,
        )
        for ref, (legend, promql) in zip(string.ascii_uppercase, queries, strict=False)
    ]


def _panel(
    kind: str,
    title: str,
    description: str,
    queries: Iterable[prometheus.Dataquery],
    *,
    options: object,
    defaults: dashboard.FieldConfig,
    width: int,
    height: int,
) -> dashboard.Panel:
    return dashboard.Panel(
        type_val=kind,
        title=title,
        description=description,
        datasource=DATASOURCE,
        targets=list(queries),
        options=options,
        field_config=dashboard.FieldConfigSource(defaults, []),
        grid_pos=dashboard.GridPos(h=height, w=width),
    )


def _override(field: str, properties: Mapping[str, object]) -> dashboard.DashboardFieldConfigSourceOverrides:
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig("byName", field),
        properties=[dashboard.DynamicConfigValue(name, value) for name, value in properties.items()],
    )


def _display_names(names: Mapping[str, str] | None) -> list[dashboard.DashboardFieldConfigSourceOverrides]:
    return [_override(legend, {"displayName": name}) for legend, name in (names or {}).items()]


def _set_overrides(
    panel: dashboard.Panel, overrides: Iterable[dashboard.DashboardFieldConfigSourceOverrides]
) -> dashboard.Panel:
    """Set the overrides that have properties, and return the panel."""
    assert panel.field_config  # noqa: S101 -- `_panel` sets it
    panel.field_config.overrides = [override for override in overrides if override.properties]
    return panel


def variable(name: str, query: str, label: str = "", **options: Any) -> dashboard.VariableModel:
    """Return a query variable that Grafana reloads whenever the time range changes."""
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.QUERY,
        name=name,
        label=label or name.title(),
        datasource=DATASOURCE,
        query={"query": query, "refId": name},
        definition=query,
        refresh=dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC,
        **options,
    )


def multi_value_variable(name: str, query: str, *, all_value: str = ".+", **options: Any) -> dashboard.VariableModel:
    """Return a variable with multiple selection. All values are selected at first."""
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable(name, query, multi=True, include_all=True, all_value=all_value, current=everything, **options)


def custom_variable(name: str, label: str, texts: Mapping[str, str], *, multi: bool = False) -> dashboard.VariableModel:
    """Return a variable with fixed options, given as the text for each value. The first one is selected at first.

    With `multi`, users can select several options. The first one is then "All", which also matches other values.
    """
    options = {"$__all": "All", **texts} if multi else texts
    value, text = next(iter(options.items()))
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.CUSTOM,
        name=name,
        label=label,
        query=", ".join(f"{text} : {value}" for value, text in texts.items()),
        current=dashboard.VariableOption(
            selected=True, text=[text] if multi else text, value=[value] if multi else value
        ),
        options=[
            dashboard.VariableOption(selected=number == 0, text=text, value=value)
            for number, (value, text) in enumerate(options.items())
        ],
        multi=multi,
        include_all=multi,
        all_value=".+" if multi else None,
    )


VARIABLES = (
    dashboard.VariableModel(
        type_val=dashboard.VariableType.DATASOURCE, name="datasource", label="Data source", query="prometheus"
    ),
    multi_value_variable("job", "label_values(telnyx_up, job)"),
    # An exporter without an account, such as an empty shard, has no telnyx_up.
    multi_value_variable(
        "instance", 'label_values({__name__=~"telnyx_up|telnyx_exporter_accounts",job=~"$job"}, instance)'
    ),
    # Without --telnyx.api-key-files, no series has this label, and the variable has no values. "All" then must match
    # series without the label.
    multi_value_variable("account", f"label_values(telnyx_up{{{SCOPE}}}, account)", all_value=".*"),
)


def lay_out(rows: Iterable[tuple[str, Sequence[dashboard.Panel]]]) -> list[dashboard.Panel | dashboard.RowPanel]:
    """Place the panels of each row from left to right, and set their IDs. A row without a title has no heading."""
    placed: list[dashboard.Panel | dashboard.RowPanel] = []
    x = y = height = 0
    for title, panels in rows:
        x, y, height = 0, y + height, 0
        if title:
            position = dashboard.GridPos(h=1, w=WIDTH, x=0, y=y)
            placed.append(dashboard.RowPanel(title=title, id_val=len(placed) + 1, grid_pos=position))
            y += 1
        for panel in panels:
            position = panel.grid_pos or dashboard.GridPos()
            if x + position.w > WIDTH:
                x, y, height = 0, y + height, 0
            position.x, position.y, panel.id_val = x, y, len(placed) + 1
            x, height = x + position.w, max(height, position.h)
            placed.append(panel)
    return placed


def annotation(
    name: str,
    promql: str,
    color: str,
    *,
    title: str,
    text: str,
    tags: str = "",
    time_is_value: bool = False,
    enabled: bool = True,
) -> dashboard.AnnotationQuery:
    """Return a query for marks in all graphs of a dashboard. Users can switch it on and off.

    A mark is where the query has a result, or with `time_is_value`, at the result, in Unix milliseconds.
    """
    return dashboard.AnnotationQuery(
        name=name,
        datasource=DATASOURCE,
        enable=enabled,
        icon_color=color,
        expr=promql,
        title_format=title,
        text_format=text,
        tag_keys=tags or None,
        use_value_for_time=time_is_value or None,
        step="60s",
    )


def build_dashboard(
    uid: str,
    title: str,
    description: str,
    *rows: tuple[str, Sequence[dashboard.Panel]],
    variables: Sequence[dashboard.VariableModel] = (),
    annotations: Sequence[dashboard.AnnotationQuery] = (),
) -> dashboard.Dashboard:
    """Return a dashboard with links to the others. Users switch each of the annotations on and off."""
    others = Link(
        title="Telnyx",
        type_val=dashboard.DashboardLinkType.DASHBOARDS,
        icon="external link",
        tags=["telnyx"],
        include_vars=True,
        keep_time=True,
    )
    return dashboard.Dashboard(
        uid=uid,
        title=title,
        description=description,
        tags=["telnyx"],
        editable=False,
        graph_tooltip=dashboard.DashboardCursorSync.CROSSHAIR,
        refresh="1m",
        time=dashboard.DashboardDashboardTime("now-24h", "now"),
        templating=dashboard.DashboardDashboardTemplating([*VARIABLES, *variables]),
        annotations=dashboard.AnnotationContainer(list(annotations)),
        links=[others],
        panels=lay_out(rows),
    )


ON_OFF = map_values({"1": ("Active", GREEN), "0": ("Disabled", RED)})
YES_NO = map_values({"true": ("yes", ""), "false": ("no", "")})
WARN_ABOVE_ZERO = thresholds((1, ORANGE))
SHARE_USED = thresholds((0.8, ORANGE), (1, RED))
