"""The labels of all metrics of the exporter."""

import runpy
from pathlib import Path

from exporter.collectors.credential_connections import COLLECTOR

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.py"


def metric_labels():
    """Return the labels of every metric by sample name. `up` is Prometheus's own."""
    labels = {family.name: set(family.labels) for family in COLLECTOR.snapshot_families}
    labels |= {family.name: {"connection_id", "connection_name", *family.labels} for family in COLLECTOR.row_families}
    for metric in runpy.run_path(str(REFERENCE))["observed_metrics"]().values():
        for sample in metric.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    labels["up"] = set()
    return labels
