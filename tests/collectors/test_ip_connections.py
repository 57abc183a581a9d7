from connections import decode, documented_row, labels_of, samples

from exporter.collectors.ip_connections import COLLECTOR


def line_of(row, family):
    """Return the line of an info family."""
    (line,) = samples(
        decode({"id": "42", **row}, collector=COLLECTOR), f"telnyx_connection_{family}", collector=COLLECTOR
    )
    return line


def test_transport():
    """An IP connection has a transport protocol, a region and a way to authenticate calls to Telnyx."""
    row = {
        "connection_name": "pbx",
        "transport_protocol": "TCP",
        "inbound": {"sip_region": "Australia"},
        "outbound": {"ip_authentication_method": "token", "ip_authentication_token": "s3cret"},
    }
    assert line_of(row, "transport_info") == (
        'telnyx_connection_transport_info{connection_id="42",connection_name="pbx",transport_protocol="TCP",'
        'sip_region="Australia",outbound_authentication="token",microsoft_teams_sbc=""} 1'
    )


def test_encryption():
    """The media of an IP connection is encrypted or not."""
    assert labels_of(line_of({"encrypted_media": "SRTP"}, "info"))["encrypted_media"] == "SRTP"
    assert labels_of(line_of({"encrypted_media": None}, "info"))["encrypted_media"] == "none"


def test_settings_that_ip_connections_lack():
    """Their labels are empty: there is neither SIP URI calling nor simultaneous ringing. Nothing is registered."""
    row = documented_row("ip-connections")
    assert labels_of(line_of(row, "info"))["sip_uri_calling_preference"] == ""
    assert labels_of(line_of(row, "inbound_info"))["simultaneous_ringing"] == ""
    assert not [family for family in COLLECTOR.row_families if "regist" in family.name]
