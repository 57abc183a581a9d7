"""Exporters that read each list once, so that their metrics do not change."""

import re

from programs import ALL_COLLECTORS, get

from exporter.collectors.registry import COLLECTORS

READ_ONCE = (
    *ALL_COLLECTORS,
    *("--cache.ttl=1h", "--cache.max-stale=2h"),
    *(f"--collector.{collector.name}.ttl=1h" for collector in COLLECTORS),
)
"""Flags with which an exporter reads each list once."""


def has_read_everything(url):
    """Return whether the exporter at this URL has rows of all collectors."""
    rows = re.findall(r"(?m)^telnyx_collector_rows{.* (\d+)", get(f"{url}/metrics"))
    return len(rows) == len(COLLECTORS) and "0" not in rows
