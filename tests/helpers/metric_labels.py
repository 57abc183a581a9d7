"""The labels of all metrics of the exporter."""

import runpy
from pathlib import Path

from exporter.account.status import STATUS_FAMILIES
from exporter.collectors.registry import COLLECTORS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.py"


def metric_labels():
    """Return the labels of every metric by sample name. `up` is Prometheus's own."""
    labels = {family.name: set(family.labels) for family in STATUS_FAMILIES}
    for collector in COLLECTORS:
        labels |= {family.name: set(family.labels) for family in collector.snapshot_families}
        labels |= {family.name: {*collector.identity_labels, *family.labels} for family in collector.row_families}
    for metric in runpy.run_path(str(REFERENCE))["observed_metrics"]().values():
        for sample in metric.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    labels["up"] = set()
    return labels
