from connections import decode, documented_row, labels_of, samples

from exporter.collectors.external_connections import COLLECTOR


def test_settings_that_external_connections_lack():
    """An external connection has neither a name nor an anchorsite, nor settings of encryption."""
    connections = decode(documented_row("external-connections"), collector=COLLECTOR)
    (line,) = samples(connections, "telnyx_connection_info", collector=COLLECTOR)
    labels = labels_of(line)
    assert [name for name, value in labels.items() if value] == ["connection_id", "record_type"]


def test_families():
    """There are limits, webhooks and the voice profile, but no settings of inbound calls or of media."""
    names = [family.name.removeprefix("telnyx_connection_") for family in COLLECTOR.row_families]
    assert names == [
        "info",
        "active",
        "created_timestamp_seconds",
        "updated_timestamp_seconds",
        "inbound_channel_limit",
        "outbound_channel_limit",
        "outbound_info",
        "webhook_info",
        "webhook_timeout_seconds",
        "tag_info",
    ]
