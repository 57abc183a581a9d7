from connections import decode, labels_of, samples

from exporter.collectors.call_control_applications import COLLECTOR


def labels(row, family):
    """Return the labels of an info family."""
    (line,) = samples(
        decode({"id": "42", **row}, collector=COLLECTOR), f"telnyx_connection_{family}", collector=COLLECTOR
    )
    return labels_of(line)


def test_name():
    """The name of the connection is that of the application, in its labels and in the log."""
    row = {"id": "42", "application_name": "router", "connection_name": "other"}
    assert labels(row, "info")["connection_name"] == "router"
    (connection,) = decode(row, collector=COLLECTOR)
    assert COLLECTOR.index_record(connection).name == "router"


def test_encryption_is_not_a_setting():
    """The label about encryption is empty."""
    assert labels({"active": True}, "info")["encrypted_media"] == ""


def test_inbound_settings():
    """The only inbound setting of an application is STIR/SHAKEN. It has no timeouts and no codecs."""
    inbound = labels({"inbound": {"shaken_stir_enabled": True}}, "inbound_info")
    assert {name: value for name, value in inbound.items() if value} == {
        "connection_id": "42",
        "shaken_stir_enabled": "true",
    }
    names = {family.name for family in COLLECTOR.row_families}
    assert not [name for name in names if "timeout_1xx" in name or "codec" in name or "rtcp" in name]
