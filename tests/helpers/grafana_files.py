"""The Grafana dashboard files, and values for their variables."""

import json
import re
from pathlib import Path

FILES = sorted((Path(__file__).parents[2] / "grafana/dashboards").glob("*.json"))
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in FILES}
PANELS = {
    f"{uid}: {panel['title']}": panel
    for uid, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
}
TARGETS = {
    f"{name} {target['refId']}": (target["expr"], target.get("legendFormat", ""))
    for name, panel in PANELS.items()
    for target in panel["targets"]
}
VARIABLES = {
    f"{uid}: {variable['name']}": variable
    for uid, dashboard in DASHBOARDS.items()
    for variable in dashboard["templating"]["list"]
    if variable["type"] == "query"
}
SHOW = [
    option["value"]
    for variable in DASHBOARDS["telnyx-connections"]["templating"]["list"]
    if variable["name"] == "show"
    for option in variable["options"]
]
"""The options for which connections the list shows."""

SUBSTITUTES = {
    "job": ".+",
    "instance": ".+",
    "account": ".*",
    "show": "all",
    "record_type": ".+",
    "profile": ".+",
    "__rate_interval": "5s",
    "__interval_ms": "1000",
    "__interval": "1s",
    "__range_s": "10",
    "__range": "10s",
}


def substitute_variables(promql, **more):
    """Replace Grafana's variables with values. Other references, such as $1, stay."""
    values = SUBSTITUTES | more
    return re.sub(r"\$([a-z_]+)\b", lambda match: values[match[1]], promql)


def links(panel):
    """Return the links of a panel's values and table cells."""
    config = panel["fieldConfig"]
    properties = [item for override in config["overrides"] for item in override["properties"]]
    cells = [link for item in properties if item["id"] == "links" for link in item["value"]]
    return [*(config["defaults"].get("links") or ()), *cells]
