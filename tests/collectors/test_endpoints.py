import json

import pytest
from connections import text_of
from msgspec.structs import replace

from exporter.collectors.connection_index import EXAMPLE
from exporter.collectors.endpoints import COLLECTOR, Fqdn, Ip
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Document
from exporter.telnyx.lists.pages import PageDecoder
from exporter.telnyx.lists.snapshots import Snapshot

IP = {
    "id": "1",
    "record_type": "ip",
    "connection_id": "11",
    "ip_address": "192.0.2.7",
    "port": 5060,
    "created_at": "2018-02-02T22:25:27.521Z",
    "updated_at": "2018-02-02T22:25:27.521Z",
}
FQDN = {"id": "2", "record_type": "fqdn", "connection_id": "21", "fqdn": "canary.example", "dns_record_type": "a"}


def connection(row_id, record_type):
    """Return the index record of a connection of this type."""
    return replace(EXAMPLE, id=row_id, name=f"pbx {row_id}", record_type=record_type)


CONNECTIONS = [
    connection("11", "ip_connection"),
    connection("12", "ip_connection"),
    connection("21", "fqdn_connection"),
    connection("22", "fqdn_connection"),
    connection("31", "credential_connection"),
]


def page(renderer, row_type, *rows):
    """Return a rendered page of rows as Telnyx sends them."""
    return renderer.render_page(PageDecoder(row_type)(json.dumps({"data": rows}).encode()).rows)


def lines(ips=(), fqdns=(), connections=CONNECTIONS):
    """Return the sample lines for these rows."""
    renderer = Renderer(COLLECTOR)
    pages = (page(renderer, Ip, *ips), page(renderer, Fqdn, *fqdns))
    text = text_of(Document(renderer.render(Snapshot(pages, 0), connections))).decode()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_endpoints_are_counted_by_connection():
    """Each IP connection has its number of IP addresses, and each FQDN connection its number of FQDNs, also 0."""
    assert lines([IP, IP | {"id": "3"}], [FQDN]) == [
        'telnyx_connection_ips{connection_id="11",connection_name="pbx 11"} 2',
        'telnyx_connection_ips{connection_id="12",connection_name="pbx 12"} 0',
        'telnyx_connection_fqdns{connection_id="21",connection_name="pbx 21"} 1',
        'telnyx_connection_fqdns{connection_id="22",connection_name="pbx 22"} 0',
    ]


@pytest.mark.parametrize("connection_id", [None, "99", 11])
def test_endpoints_of_unknown_connections_are_not_counted(connection_id):
    """Endpoints of other connections, and of none, are not counted. An id can be a number."""
    number = 1 if connection_id == 11 else 0
    assert lines([IP | {"connection_id": connection_id}], connections=CONNECTIONS[:1]) == [
        f'telnyx_connection_ips{{connection_id="11",connection_name="pbx 11"}} {number}'
    ]


def test_the_index_names_the_connection():
    """The log says of which connection an endpoint was added or removed, but not the address."""
    (record,) = page(Renderer(COLLECTOR), Ip, IP).index.records
    assert f"{record.id} {record.name}" == "1 of connection 11"
    (record,) = page(Renderer(COLLECTOR), Fqdn, FQDN).index.records
    assert f"{record.id} {record.name}" == "2 of connection 21"


def test_no_address_is_decoded():
    """The structs have no field of an address, so the decoder skips it."""
    assert {*Ip.__struct_fields__, *Fqdn.__struct_fields__} == {"id", "connection_id"}


def test_both_lists_are_read():
    """The help and the documentation show both paths."""
    assert COLLECTOR.endpoint.path == "/ips, /fqdns"
