from connections import decode, documented_row, labels_of, samples

from exporter.collectors.texml_applications import COLLECTOR


def labels(row, family):
    """Return the labels of an info family."""
    (line,) = samples(
        decode({"id": "42", **row}, collector=COLLECTOR), f"telnyx_connection_{family}", collector=COLLECTOR
    )
    return labels_of(line)


def test_name():
    """The name of the connection is the friendly name of the application, in its labels and in the log."""
    row = {"id": "42", "friendly_name": "menu", "connection_name": "other", "application_name": "other"}
    assert labels(row, "info")["connection_name"] == "menu"
    (connection,) = decode(row, collector=COLLECTOR)
    assert COLLECTOR.index_record(connection).name == "menu"


def test_webhooks():
    """A TeXML application has URLs of documents instead of webhooks. Its only setting is the cost of calls."""
    webhook = labels(documented_row("texml-applications"), "webhook_info")
    assert [name for name, value in webhook.items() if value] == [
        "connection_id",
        "connection_name",
        "call_cost_in_webhooks",
    ]
    assert "telnyx_connection_webhook_timeout_seconds" not in {family.name for family in COLLECTOR.row_families}


def test_encryption_is_not_a_setting():
    """The label about encryption is empty."""
    assert labels({"active": True}, "info")["encrypted_media"] == ""
