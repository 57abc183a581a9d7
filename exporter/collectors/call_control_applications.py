"""Call Control applications: programs that control calls with the Call Control API and webhooks."""

from __future__ import annotations

from msgspec import field

from exporter.collectors.collector import ListEndpoint
from exporter.collectors.connection_families import GENERAL, INBOUND, OUTBOUND, TAGS, WEBHOOK, WEBHOOK_TIMEOUT
from exporter.collectors.connection_rows import NOT_A_SETTING, Connection
from exporter.collectors.connections import connection_collector


class CallControlApplication(Connection, frozen=True, gc=False, kw_only=True):
    """One Call Control application."""

    documented_type = "call_control_application"
    documented_encryptions = NOT_A_SETTING

    connection_name: str | None = field(default=None, name="application_name")


COLLECTOR = connection_collector(
    CallControlApplication,
    name="call-control-applications",
    title="Call Control applications",
    endpoint=ListEndpoint("/call_control_applications", sort="created_at"),
    families=(*GENERAL, *INBOUND, *OUTBOUND, *WEBHOOK, *WEBHOOK_TIMEOUT, *TAGS),
)
