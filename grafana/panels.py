"""How things look in Grafana: stats, graphs, timelines and tables, made from words and PromQL."""

from __future__ import annotations

import re
import string
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():
    # The SDK advises the second schema, which few Grafanas in use can read.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models import common, dashboard, prometheus, stat, statetimeline, table, timeseries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
SCOPE = 'job=~"$job",instance=~"$instance"'
WIDTH = 24
"""Of Grafana's grid."""

_TEXT_OR_SELECTOR = re.compile(r'"[^"]*"|\b((?:telnyx|process)_\w+|up)\b(?:{(.*?)})?')

GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"


def scoped(promql: str) -> str:
    """Return the query with each of its selectors limited to the jobs and instances that are looked at."""

    def limited(found: re.Match[str]) -> str:
        return f"{found[1]}{{{','.join(filter(None, (found[2], SCOPE)))}}}" if found[1] else found[0]

    return _TEXT_OR_SELECTOR.sub(limited, promql)


def words(texts: Mapping[str, tuple[str, str]]) -> list[dashboard.ValueMapping]:
    """Map values to a text and a colour each."""
    results = {value: dashboard.ValueMappingResult(text, color or None) for value, (text, color) in texts.items()}
    return [dashboard.ValueMap(options=results)]


def absent(text: str) -> list[dashboard.ValueMapping]:
    """Map what isn't there to a text."""
    return [
        dashboard.SpecialValueMap(
            dashboard.DashboardSpecialValueMapOptions(match=match, result=dashboard.ValueMappingResult(text))
        )
        for match in (dashboard.SpecialValueMatch.NULL, dashboard.SpecialValueMatch.EMPTY)
    ]


def thresholds(*steps: tuple[float, str], base: str = GREEN) -> dashboard.ThresholdsConfig:
    """Return colours by value: the base, and from each step on another one."""
    return dashboard.ThresholdsConfig(
        mode=dashboard.ThresholdsMode.ABSOLUTE,
        steps=[dashboard.Threshold(None, base), *(dashboard.Threshold(value, color) for value, color in steps)],
    )


class Link(dashboard.DashboardLink):
    """A link where it is seen; the SDK would put every link into a menu."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON."""
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
    link: Link | None = None,
) -> dashboard.Panel:
    """Return one current value in large type. With a `label`, it shows the text of that label instead of the value."""
    options = stat.Options(
        graph_mode=common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.VALUE,
        text_mode=common.BigValueTextMode.NAME if label else common.BigValueTextMode.VALUE,
        reduce_options=common.ReduceDataOptions(calcs=["lastNotNull"]),
    )
    defaults = dashboard.FieldConfig(
        unit=unit,
        thresholds=limits or thresholds(base="text"),
        mappings=mappings,
        no_value=no_value,
        color=dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS),
        links=[link] if link else None,
    )
    queries = _queries((f"{{{{{label}}}}}" if label else title, promql), instant=True)
    return _panel("stat", title, description, queries, options=options, defaults=defaults, width=width, height=4)


def graph(
    title: str,
    description: str,
    *queries: tuple[str, str],
    unit: str = "none",
    width: int = 8,
    stacked: bool = False,
    steps: bool = False,
    highest: float | None = None,
    colors: Mapping[str, str] | None = None,
) -> dashboard.Panel:
    """Return values over time, each query with its legend."""
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
        min_val=0,
        max_val=highest,
        custom=custom,
        color=dashboard.FieldColor(mode=dashboard.FieldColorModeId.PALETTE_CLASSIC),
    )
    overrides = [
        _override(legend, {"color": dashboard.FieldColor(mode=dashboard.FieldColorModeId.FIXED, fixed_color=color)})
        for legend, color in (colors or {}).items()
    ]
    made = _queries(*queries)
    panel = _panel("timeseries", title, description, made, options=options, defaults=defaults, width=width, height=8)
    return _overridden(panel, overrides)


def timeline(
    title: str,
    description: str,
    *queries: tuple[str, str],
    mappings: list[dashboard.ValueMapping],
    width: int = WIDTH,
) -> dashboard.Panel:
    """Return states over time, a line for each query."""
    options = statetimeline.Options(
        show_value=common.VisibilityMode.AUTO,
        legend=common.VizLegendOptions(show_legend=False, calcs=[]),
    )
    defaults = dashboard.FieldConfig(
        unit="none", mappings=mappings, custom=statetimeline.FieldConfig(), thresholds=thresholds(base="text")
    )
    made = _queries(*queries)
    return _panel("state-timeline", title, description, made, options=options, defaults=defaults, width=width, height=5)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, from a label of the queries' results or from the value of a query of its own."""

    title: str
    label: str = ""
    promql: str = ""
    unit: str = ""
    mappings: Sequence[dashboard.ValueMapping] = ()
    link: str = ""
    """Where a click on a cell leads."""
    width: int | None = None
    colored: bool = False

    def properties(self) -> dict[str, object]:
        """Return the settings of the column by Grafana's names.

        Only numbers have a unit. Grafana parses text in a column with a unit as a number, so an id would be rounded.
        """
        colored = common.TableColorTextCellOptions() if self.colored else None
        link = Link(title=f"Show this {self.title.lower()}", url=self.link)
        found = {
            "unit": self.unit or ("none" if self.promql else ""),
            "mappings": list(self.mappings),
            "links": [link] if self.link else None,
            "custom.width": self.width,
            "custom.cellOptions": colored,
        }
        return {name: value for name, value in found.items() if value}


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
    points: int | None = None,
) -> dashboard.Panel:
    """Return a table of current values. Grafana merges the results of its queries by the labels that all of them have.

    `rows` is the query that decides which rows there are; without it, every query can add rows. The queries for
    `labels` only add labels to rows. `points` limits the steps into which a query divides the dashboard's time range.
    """
    promqls = (rows, *(column.promql for column in columns), *labels)
    expressions = list(dict.fromkeys(promql for promql in promqls if promql))
    queries = _queries(*(("", promql) for promql in expressions), instant=True, form=prometheus.PromQueryFormat.TABLE)
    names = [f"Value #{query.ref_id}" for query in queries] if len(queries) > 1 else ["Value"]
    values = dict(zip(expressions, names, strict=True))
    shown = [column.label or values[column.promql] for column in columns]
    hidden = ["Time", *(name for name in names if name not in shown)]
    transformations = []
    if len(queries) > 1:
        transformations.append(dashboard.DataTransformerConfig("merge", options={}))
    if rows:
        present = {"fieldName": values[rows], "config": {"id": "isNotNull", "options": {}}}
        options = {"filters": [present], "type": "include", "match": "all"}
        transformations.append(dashboard.DataTransformerConfig("filterByValue", options=options))
    organize = {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {name: place for place, name in enumerate(shown)},
        "renameByName": {name: column.title for name, column in zip(shown, columns, strict=True)},
    }
    transformations.append(dashboard.DataTransformerConfig("organize", options=organize))
    panel = _panel(
        "table",
        title,
        description,
        queries,
        options=table.Options(sort_by=[common.TableSortByFieldState(sort or columns[0].title, descending)]),
        defaults=dashboard.FieldConfig(custom={"filterable": True}, thresholds=thresholds(base="text")),
        width=width,
        height=height,
    )
    panel.transformations = transformations
    panel.max_data_points = points
    return _overridden(panel, [_override(column.title, column.properties()) for column in columns])


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


def _overridden(
    panel: dashboard.Panel, overrides: Iterable[dashboard.DashboardFieldConfigSourceOverrides]
) -> dashboard.Panel:
    """Return the panel with those overrides that override anything."""
    assert panel.field_config  # noqa: S101 -- made above
    panel.field_config.overrides = [override for override in overrides if override.properties]
    return panel


def variable(name: str, query: str, label: str = "", **more: Any) -> dashboard.VariableModel:
    """Return a variable that is asked for whenever the time changes."""
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.QUERY,
        name=name,
        label=label or name.title(),
        datasource=DATASOURCE,
        query={"query": query, "refId": name},
        definition=query,
        refresh=dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC,
        **more,
    )


def any_of(name: str, query: str) -> dashboard.VariableModel:
    """Return a variable of which any number can be chosen, at first all."""
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable(name, query, multi=True, include_all=True, all_value=".+", current=everything)


def choice(name: str, label: str, options: Mapping[str, str]) -> dashboard.VariableModel:
    """Return a variable with these options, a text for each value. The first is selected."""
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.CUSTOM,
        name=name,
        label=label,
        query=", ".join(f"{text} : {value}" for value, text in options.items()),
        current=dashboard.VariableOption(selected=True, text=next(iter(options.values())), value=next(iter(options))),
        options=[
            dashboard.VariableOption(selected=number == 0, text=text, value=value)
            for number, (value, text) in enumerate(options.items())
        ],
    )


VARIABLES = (
    dashboard.VariableModel(
        type_val=dashboard.VariableType.DATASOURCE, name="datasource", label="Data source", query="prometheus"
    ),
    any_of("job", "label_values(telnyx_up, job)"),
    any_of("instance", 'label_values(telnyx_up{job=~"$job"}, instance)'),
)


def laid_out(rows: Iterable[tuple[str, Sequence[dashboard.Panel]]]) -> list[dashboard.Panel | dashboard.RowPanel]:
    """Return the rows' panels with ids and places, from left to right; a row without a title has no heading."""
    placed: list[dashboard.Panel | dashboard.RowPanel] = []
    x = y = height = 0
    for title, panels in rows:
        x, y, height = 0, y + height, 0
        if title:
            place = dashboard.GridPos(h=1, w=WIDTH, x=0, y=y)
            placed.append(dashboard.RowPanel(title=title, id_val=len(placed) + 1, grid_pos=place))
            y += 1
        for panel in panels:
            place = panel.grid_pos or dashboard.GridPos()
            if x + place.w > WIDTH:
                x, y, height = 0, y + height, 0
            place.x, place.y, panel.id_val = x, y, len(placed) + 1
            x, height = x + place.w, max(height, place.h)
            placed.append(panel)
    return placed


def page(
    uid: str,
    title: str,
    description: str,
    *rows: tuple[str, Sequence[dashboard.Panel]],
    variables: Sequence[dashboard.VariableModel] = (),
    alerts: str = "",
) -> dashboard.Dashboard:
    """Return a dashboard with links to the others; `alerts` narrows down which firing alerts are marked."""
    firing = dashboard.AnnotationQuery(
        name="Firing alerts",
        datasource=DATASOURCE,
        enable=True,
        icon_color=RED,
        # Not by job and instance: an exporter that is missing has no instance to alert with.
        expr=f'ALERTS{{alertstate="firing",alertname=~"Telnyx.*"{alerts}}}',
        title_format="{{alertname}}",
        text_format="{{connection_name}}",
        tag_keys="severity",
        step="60s",
    )
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
        annotations=dashboard.AnnotationContainer([firing]),
        links=[others],
        panels=laid_out(rows),
    )
