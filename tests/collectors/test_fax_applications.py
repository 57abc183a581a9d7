from connections import decode, labels_of, samples

from exporter.collectors.fax_applications import COLLECTOR


def labels(row, family):
    """Return the labels of an info family."""
    (line,) = samples(
        decode({"id": "42", **row}, collector=COLLECTOR), f"telnyx_connection_{family}", collector=COLLECTOR
    )
    return labels_of(line)


def test_name():
    """The name of the connection is that of the application, in its labels and in the log."""
    row = {"id": "42", "application_name": "faxes", "connection_name": "other"}
    assert labels(row, "info")["connection_name"] == "faxes"
    (connection,) = decode(row, collector=COLLECTOR)
    assert COLLECTOR.index_record(connection).name == "faxes"


def test_encryption_is_not_a_setting():
    """The label about encryption is empty."""
    assert labels({"active": True}, "info")["encrypted_media"] == ""


def test_settings_of_calls():
    """A fax application has no settings of voice calls: no codecs, no noise suppression, no jitter buffer, no RTCP."""
    names = " ".join(family.name for family in COLLECTOR.row_families)
    assert not [word for word in ("inbound_info", "codec", "noise", "jitter", "rtcp", "transport") if word in names]
