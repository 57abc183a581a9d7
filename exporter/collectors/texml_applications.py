"""TeXML applications: programs that control calls with XML documents."""

from __future__ import annotations

from msgspec import field

from exporter.collectors.collector import ListEndpoint
from exporter.collectors.connection_families import GENERAL, INBOUND, OUTBOUND, TAGS, WEBHOOK
from exporter.collectors.connection_rows import NOT_A_SETTING, Connection
from exporter.collectors.connections import connection_collector


class TexmlApplication(Connection, frozen=True, gc=False, kw_only=True):
    """One TeXML application."""

    documented_type = "texml_application"
    documented_encryptions = NOT_A_SETTING

    connection_name: str | None = field(default=None, name="friendly_name")


COLLECTOR = connection_collector(
    TexmlApplication,
    name="texml-applications",
    title="TeXML applications",
    endpoint=ListEndpoint("/texml_applications", sort="created_at"),
    families=(*GENERAL, *INBOUND, *OUTBOUND, *WEBHOOK, *TAGS),
)
