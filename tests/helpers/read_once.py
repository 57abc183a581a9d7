"""Exporters that read each list once, so that their metrics do not change."""

import re
import time

from programs import ALL_COLLECTORS, get

from exporter.collectors.registry import COLLECTORS

READ_ONCE = (
    *ALL_COLLECTORS,
    *("--cache.ttl=1h", "--cache.max-stale=2h"),
    *(f"--collector.{collector.name}.ttl=1h" for collector in COLLECTORS),
)
"""Flags with which an exporter reads each list once."""
QUIET_SECONDS = 3
"""Seconds without a read after which no other follows. Some collectors look for new connections every second."""


def has_read_everything(url):
    """Return whether the exporter at this URL has rows of all collectors, and has stopped reading."""
    metrics = get(f"{url}/metrics")
    rows = re.findall(r"(?m)^telnyx_collector_rows{.* (\d+)", metrics)
    if len(rows) < len(COLLECTORS) or "0" in rows:
        return False
    successes = re.findall(r"(?m)^telnyx_collector_last_success_timestamp_seconds{.* (\S+)", metrics)
    return time.time() - max(map(float, successes)) > QUIET_SECONDS
