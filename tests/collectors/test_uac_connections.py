import pytest
from connections import decode, labels_of, samples

from exporter.collectors.uac_connections import COLLECTOR


def lines_of(row, family):
    """Return the lines of a family."""
    connections = decode({"id": "42", **row}, collector=COLLECTOR)
    return samples(connections, f"telnyx_connection_{family}", collector=COLLECTOR)


@pytest.mark.parametrize(
    ("row", "transport"),
    [
        pytest.param({"external_uac_settings": {"transport": "TLS"}}, "TLS", id="external"),
        pytest.param({"external_uac_settings": {"transport": None}}, "", id="null"),
        pytest.param({"external_uac_settings": None}, "", id="no-settings"),
        pytest.param({"transport_protocol": "UDP"}, "", id="of-other-types"),
    ],
)
def test_transport(row, transport):
    """The transport protocol is the one with which Telnyx registers."""
    (line,) = lines_of(row, "transport_info")
    assert labels_of(line)["transport_protocol"] == transport


@pytest.mark.parametrize(
    ("status", "registered"),
    [("Registered", 1), ("Not Registered", 0), ("Unregistered", 0), ("Expired", 0), ("Failed", 0)],
)
def test_registration(status, registered):
    """The state of the registration is a number, and a label as Telnyx sends it."""
    row = {"registration_status": status, "registration_status_updated_at": "2018-02-02T22:25:27Z"}
    labels = f'status="{status}",transport=""'
    assert lines_of(row, "registered") == [
        f'telnyx_connection_registered{{connection_id="42",connection_name=""}} {registered}'
    ]
    assert lines_of(row, "registration_status") == [
        f'telnyx_connection_registration_status{{connection_id="42",connection_name="",{labels}}} 1'
    ]
    assert lines_of(row, "registration_updated_timestamp_seconds") == [
        'telnyx_connection_registration_updated_timestamp_seconds{connection_id="42",connection_name=""} 1517610327.0'
    ]


@pytest.mark.parametrize("status", [None, "Not Applicable"])
def test_registration_is_unknown(status):
    """A status that does not say whether the connection is registered has no number."""
    assert lines_of({"registration_status": status}, "registered") == []


def test_registration_is_in_the_index():
    """The index remembers the registration, so that the log mentions when it is lost."""
    before, after = decode(
        {"id": "1", "registration_status": "Registered"},
        {"id": "1", "registration_status": "Failed"},
        collector=COLLECTOR,
    )
    (difference,) = COLLECTOR.index_record(after).changes_since(COLLECTOR.index_record(before))
    assert difference.kind == "registration_lost"
