import json

from connections import text_of
from msgspec.structs import replace

from exporter.collectors.connection_index import EXAMPLE
from exporter.collectors.telephony_credentials import COLLECTOR, TelephonyCredential
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Document
from exporter.telnyx.lists.pages import PageDecoder
from exporter.telnyx.lists.snapshots import Snapshot

SECRETS = {"sip_username": "canary-1", "sip_password": "canary-2", "user_id": "canary-3", "name": "canary-4"}
CONNECTIONS = [replace(EXAMPLE, id=row_id, name=f"pbx {row_id}") for row_id in ("1", "2", "3")]
FAMILY = "telnyx_connection_telephony_credentials"


def credential(number, connection_id="1", **fields):
    """Return a credential as Telnyx sends it."""
    row = {"id": str(number), "record_type": "credential", "resource_id": f"connection:{connection_id}", **SECRETS}
    return row | {"expired": False, "expires_at": None, "created_at": "2018-02-02T22:25:27"} | fields


def render(*rows):
    """Return the sample lines for these rows, and the index records."""
    renderer = Renderer(COLLECTOR)
    page = renderer.render_page(PageDecoder(TelephonyCredential)(json.dumps({"data": rows}).encode()).rows)
    text = text_of(Document(renderer.render(Snapshot((page,), len(rows)), CONNECTIONS))).decode()
    return [line for line in text.splitlines() if line and not line.startswith("#")], page.index.records


def test_credentials_are_counted_by_connection():
    """A connection with credentials has the numbers of those that are expired and of those that are not."""
    lines, _ = render(credential(1), credential(2, expired=True), credential(3), credential(4, "2", expired=None))
    assert lines == [
        f'{FAMILY}{{connection_id="1",connection_name="pbx 1",expired="false"}} 2',
        f'{FAMILY}{{connection_id="1",connection_name="pbx 1",expired="true"}} 1',
        f'{FAMILY}{{connection_id="2",connection_name="pbx 2",expired="false"}} 1',
        f'{FAMILY}{{connection_id="2",connection_name="pbx 2",expired="true"}} 0',
    ]


def test_the_next_expiry_is_the_soonest():
    """The next expiry of a connection is the soonest of those credentials that are not expired."""
    lines, _ = render(
        credential(1, expires_at="2026-01-03T00:00:00Z"),
        credential(2, expires_at="2026-01-02T00:00:00"),
        credential(3, expires_at="2025-01-01T00:00:00Z", expired=True),
        credential(4),
        credential(5, "2", expires_at="soon"),
    )
    assert [line for line in lines if "expiry" in line] == [
        f'{FAMILY}_next_expiry_timestamp_seconds{{connection_id="1",connection_name="pbx 1"}} 1767312000.0'
    ]


def test_credentials_of_unknown_connections_are_not_counted():
    """Credentials of connections that are not known, and of none, have no series."""
    assert render(credential(1, "99"), credential(2, resource_id=None))[0] == []


def test_no_secret_is_kept():
    """Logins, passwords, users and names of credentials are neither exposed nor in the index."""
    lines, records = render(credential(1, expires_at="2026-01-03T00:00:00Z"))
    assert "canary" not in repr([lines, [record.__rich_repr__() for record in records], list(map(str, records))])
    assert not {"sip_username", "sip_password", "user_id", "name"} & {*TelephonyCredential.__struct_fields__}
    assert not COLLECTOR.log_rows
