"""Render panels with Grafana's own library."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from programs import find_program

DISPLAY = Path(__file__).parents[1] / "grafana"


@contextlib.contextmanager
def grafana_display():
    """Run Grafana's library, and yield a function that returns what Grafana shows for a panel and its query results.

    If the library is missing, skip the test, or fail it in CI.
    """
    if not (DISPLAY / "node_modules").is_dir():
        missing = "Grafana's library is not installed: npm ci --prefix tests/grafana"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    command = [find_program("node"), str(DISPLAY / "display.cjs")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def display(panel, results, time, **variables):
        variables = {
            "datasource": "the source",
            "job": "telnyx",
            "instance": ".+",
            "account": "$__all",
            **variables,
        }
        request = {"panel": panel, "time": int(time * 1000), "variables": variables, "results": results}
        print(json.dumps(request), file=process.stdin)
        return json.loads(process.stdout.readline())

    with process:
        yield display
