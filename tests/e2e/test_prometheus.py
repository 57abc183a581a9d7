import re
import subprocess
from pathlib import Path

import pytest
from programs import exporter, find_program, get, get_json, prometheus, wait_until
from prometheus_client.parser import text_string_to_metric_families as parse

from exporter.collectors.registry import COLLECTORS

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo and yield its URL."""
    with exporter(tmp_path_factory.mktemp("demo"), "--demo") as url:
        success = "\ntelnyx_collector_success{"
        wait_until(lambda: get(f"{url}/metrics").count(success) == len(COLLECTORS), "the first refreshes")
        yield url


def test_promtool_reports_no_problems(demo):
    """The metrics pass the linter of Prometheus."""
    check = subprocess.run(
        [find_program("promtool"), "check", "metrics"],
        input=get(f"{demo}/metrics"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert check.stdout + check.stderr == ""


def test_prometheus_scrapes_all_samples(demo, tmp_path):
    """With the scrape configuration of the README, the target is up and Prometheus stores every sample."""
    config = re.search(r"```yaml\n(scrape_configs:.*?)```", README.read_text(), re.DOTALL)[1]
    config = config.replace("localhost:10142", demo.removeprefix("http://")).replace("30s", "1s")
    with prometheus(tmp_path, config) as url:

        def query(expression):
            return get_json(f"{url}/api/v1/query", query=expression)["data"]["result"]

        wait_until(lambda: query('up{job="telnyx"} == 1'), "a scrape")
        assert query("telnyx_connections")
        (total,) = query("sum(telnyx_connections)")
        assert int(total["value"][1]) == 132
        names = set(get_json(f"{url}/api/v1/label/__name__/values")["data"])
        samples = query("scrape_samples_scraped")
    exposed = [sample for family in parse(get(f"{demo}/metrics")) for sample in family.samples]
    assert {sample.name for sample in exposed} <= names
    assert int(samples[0]["value"][1]) == len(exposed)
