import pytest
from connections import decode, labels_of, samples

from exporter.collectors.fqdn_connections import COLLECTOR


def transport_of(row):
    """Return the labels about the transport of a connection."""
    connections = decode({"id": "42", **row}, collector=COLLECTOR)
    (line,) = samples(connections, "telnyx_connection_transport_info", collector=COLLECTOR)
    return labels_of(line)


@pytest.mark.parametrize("enabled", [True, False])
def test_microsoft_teams(enabled):
    """A label says whether the connection leads to a session border controller of Microsoft Teams."""
    assert transport_of({"microsoft_teams_sbc": enabled})["microsoft_teams_sbc"] == str(enabled).lower()


@pytest.mark.parametrize("name", ["fqdn_authentication_method", "ip_authentication_method"])
def test_outbound_authentication(name):
    """The method of authentication has two names. Telnyx documents one and sends the other."""
    row = {"outbound": {name: "credential-authentication"}}
    assert transport_of(row)["outbound_authentication"] == "credential-authentication"


def test_both_names_of_the_outbound_authentication():
    """If both names are sent, the one of FQDN connections counts."""
    row = {"outbound": {"fqdn_authentication_method": "a", "ip_authentication_method": "b"}}
    assert transport_of(row)["outbound_authentication"] == "a"


def test_encryption_is_that_of_the_connection():
    """The second setting of that name, inside `outbound`, is not exposed."""
    row = {"id": "42", "encrypted_media": None, "outbound": {"encrypted_media": "SRTP"}}
    (line,) = samples(decode(row, collector=COLLECTOR), "telnyx_connection_info", collector=COLLECTOR)
    assert labels_of(line)["encrypted_media"] == "none"


def test_user_name_is_sensitive():
    """The SIP login of an FQDN connection is exposed only on request."""
    connections = decode({"id": "42", "user_name": "login"}, collector=COLLECTOR)
    assert not any("login" in line for line in samples(connections, collector=COLLECTOR))
    (line,) = samples(connections, "telnyx_connection_info", collector=COLLECTOR, sensitive=("user_name",))
    assert labels_of(line)["user_name"] == "login"
