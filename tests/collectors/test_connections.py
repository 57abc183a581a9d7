import pytest
from msgspec.structs import replace

from exporter.collectors.connections import ConnectionRecord, connection_count

BEFORE = ConnectionRecord(
    id="1",
    name="pbx",
    record_type="credential_connection",
    active=True,
    anchorsite="Latency",
    media_encryption="SRTP",
    inbound_channel_limit=5,
    outbound_channel_limit=None,
    updated_at="2018-02-02T22:25:27Z",
)


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"active": False}, ["disabled"], id="disabled"),
        pytest.param({"active": None}, [], id="state-unknown"),
        pytest.param({"inbound_channel_limit": 6}, ["limits_changed"], id="inbound-limit"),
        pytest.param({"inbound_channel_limit": None}, ["limits_changed"], id="limit-removed"),
        pytest.param({"outbound_channel_limit": 0}, ["limits_changed"], id="outbound-limit"),
        pytest.param({"media_encryption": "none"}, ["encryption_changed"], id="encryption"),
        pytest.param({"name": "x", "updated_at": "2019", "anchorsite": "London, UK"}, [], id="other"),
        pytest.param(
            {"active": False, "inbound_channel_limit": 1, "media_encryption": "none"},
            ["disabled", "limits_changed", "encryption_changed"],
            id="everything",
        ),
    ],
)
def test_changes(change, kinds):
    """A change of the state, of a limit or of the encryption is mentioned. Others are not."""
    assert list(replace(BEFORE, **change).changes_since(BEFORE)) == kinds


@pytest.mark.parametrize("before", [False, None])
def test_enabled(before):
    """A connection that was not active and is now is enabled."""
    assert list(BEFORE.changes_since(replace(BEFORE, active=before))) == ["enabled"]


def test_counts_are_declared_for_each_record_type():
    """The zeros of the count are those of its record type. Otherwise, all record types share the family."""
    families = [connection_count(record_type) for record_type in ("fqdn_connection", "ip_connection")]
    assert [{values[0] for values in family.documented} for family in families] == [
        {"fqdn_connection"},
        {"ip_connection"},
    ]
    assert len({(family.name, family.help, family.labels) for family in families}) == 1
    assert families[0].get_labels(BEFORE) == ("credential_connection", True, "Latency", "SRTP")
