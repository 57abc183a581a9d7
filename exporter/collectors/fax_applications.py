"""Fax applications: programs that send and receive faxes with the Programmable Fax API."""

from __future__ import annotations

from msgspec import field

from exporter.collectors.collector import ListEndpoint
from exporter.collectors.connection_families import GENERAL, OUTBOUND, TAGS, WEBHOOK, WEBHOOK_TIMEOUT
from exporter.collectors.connection_rows import NOT_A_SETTING, Connection
from exporter.collectors.connections import connection_collector


class FaxApplication(Connection, frozen=True, gc=False, kw_only=True):
    """One fax application."""

    documented_type = "fax_application"
    documented_encryptions = NOT_A_SETTING

    connection_name: str | None = field(default=None, name="application_name")


COLLECTOR = connection_collector(
    FaxApplication,
    name="fax-applications",
    title="Fax applications",
    endpoint=ListEndpoint("/fax_applications", sort="created_at"),
    families=(*GENERAL, *OUTBOUND, *WEBHOOK, *WEBHOOK_TIMEOUT, *TAGS),
)
