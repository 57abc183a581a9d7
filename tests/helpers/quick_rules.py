"""The alerting and recording rules, without the times that they wait."""

from pathlib import Path

import yaml

RULES = yaml.safe_load((Path(__file__).parents[2] / "prometheus/rules/telnyx.rules.yaml").read_text())


def quick_rules():
    """Return the rules, evaluated every second and without `for` and `keep_firing_for`."""
    groups = []
    for group in RULES["groups"]:
        rules = [
            {key: value for key, value in rule.items() if key not in {"for", "keep_firing_for"}}
            for rule in group["rules"]
        ]
        groups.append({**group, "interval": "1s", "rules": rules})
    return yaml.safe_dump({"groups": groups})


def quick_config(folder, *targets):
    """Write the quick rules to a folder. Return the configuration of a Prometheus that uses them and scrapes a job."""
    (folder / "quick.rules.yaml").write_text(quick_rules())
    scrape = {"job_name": "telnyx", "scrape_interval": "1s", "static_configs": [{"targets": list(targets)}]}
    return yaml.safe_dump({"rule_files": ["quick.rules.yaml"], "scrape_configs": [scrape]})
