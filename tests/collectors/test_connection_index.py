import pytest
from connections import decode
from msgspec.structs import replace

from exporter.collectors.connection_index import EXAMPLE, ConnectionRecord, connection_record

BEFORE = ConnectionRecord(
    id="1",
    name="pbx",
    record_type="credential_connection",
    active=True,
    anchorsite="Latency",
    media_encryption="SRTP",
    inbound_channel_limit=5,
    outbound_channel_limit=None,
    registered=True,
    updated_at="2018-02-02T22:25:27Z",
    has_webhook=True,
)


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"active": False}, [("disabled", "")], id="disabled"),
        pytest.param({"active": None}, [], id="state-unknown"),
        pytest.param({"inbound_channel_limit": 6}, [("limits_changed", "inbound 5 to 6")], id="inbound-limit"),
        pytest.param({"inbound_channel_limit": None}, [("limits_changed", "inbound 5 to none")], id="limit-removed"),
        pytest.param({"outbound_channel_limit": 0}, [("limits_changed", "outbound none to 0")], id="outbound-limit"),
        pytest.param({"media_encryption": "none"}, [("encryption_changed", "SRTP to none")], id="encryption"),
        pytest.param({"registered": False}, [("registration_lost", "")], id="registration-lost"),
        pytest.param({"registered": None}, [], id="registration-unknown"),
        pytest.param({"name": "x", "updated_at": "2019", "anchorsite": "London, UK"}, [], id="other"),
        pytest.param(
            {
                "active": False,
                "inbound_channel_limit": 1,
                "outbound_channel_limit": 2,
                "media_encryption": "none",
                "registered": False,
            },
            [
                ("disabled", ""),
                ("limits_changed", "inbound 5 to 1, outbound none to 2"),
                ("encryption_changed", "SRTP to none"),
                ("registration_lost", ""),
            ],
            id="everything",
        ),
    ],
)
def test_changes(change, differences):
    """A change of the state, of a limit, of the encryption or of the registration is mentioned. Others are not."""
    assert list(replace(BEFORE, **change).changes_since(BEFORE)) == differences


@pytest.mark.parametrize("before", [False, None])
def test_enabled(before):
    """A connection that was not active and is now is enabled."""
    assert list(BEFORE.changes_since(replace(BEFORE, active=before))) == [("enabled", "")]


@pytest.mark.parametrize(("before", "kinds"), [(False, [("registered", "")]), (None, [])])
def test_registered_again(before, kinds):
    """A connection that was not registered and is now is registered. An unknown state is no change."""
    assert list(BEFORE.changes_since(replace(BEFORE, registered=before))) == kinds


@pytest.mark.parametrize(
    ("row", "has_webhook"),
    [({}, False), ({"webhook_event_url": ""}, False), ({"webhook_event_url": "https://a.example/secret"}, True)],
)
def test_the_index_knows_whether_there_is_a_webhook(row, has_webhook):
    """The record says whether the connection has a webhook, but neither the URL nor the login."""
    (connection,) = decode({"id": "1", "user_name": "secret", **row})
    record = connection_record(connection)
    assert record.has_webhook is has_webhook
    assert "secret" not in repr([getattr(record, name) for name in record.__struct_fields__])


def test_example():
    """The connection that does not exist has an id and a login, so that a request for it is complete."""
    assert EXAMPLE.id
    assert EXAMPLE.login
