from collections import Counter

import pytest

from exporter.sandbox import Account

FIELDS = {"id", "record_type", "connection_id", "port", "created_at", "updated_at"}
LISTS = pytest.mark.parametrize(("path", "owners"), [("/ips", "/ip_connections"), ("/fqdns", "/fqdn_connections")])


@pytest.mark.parametrize(("path", "fields"), [("/ips", {"ip_address"}), ("/fqdns", {"fqdn", "dns_record_type"})])
def test_fields(account, path, fields):
    """An endpoint has exactly the fields that the API documents."""
    assert all(set(row) == FIELDS | fields for row in account[path].rows)


@LISTS
@pytest.mark.parametrize("size", [55, 1000])
def test_endpoints_belong_to_connections(path, owners, size):
    """Four of five connections of the list have 1 to 3 endpoints. The fifth has none."""
    account = Account(size, step=0)
    counts = Counter(row["connection_id"] for row in account[path].rows)
    numbers = [counts.pop(row["id"], 0) for row in account[owners].rows]
    assert not counts
    assert numbers == ([1, 2, 3, 1, 0] * (len(numbers) // 5 + 1))[: len(numbers)]


@LISTS
def test_more_endpoints_than_connections_need(account, path, owners):
    """Endpoints that are added when all connections have theirs belong to the first connections again."""
    added = [account[path].add()["connection_id"] for _ in range(3)]
    assert set(added) <= {row["id"] for row in account[owners].rows}
    assert Account(0, step=0)[path].add()["connection_id"] is None


def test_only_srv_records_have_no_port():
    """An FQDN without a port has an SRV record. All others have an A record."""
    rows = Account(step=0)["/fqdns"].rows
    assert {(row["dns_record_type"], row["port"]) for row in rows} == {("srv", None), ("a", 5060), ("a", 5061)}
    assert {row["port"] for row in Account(step=0)["/ips"].rows} == {5060, 5061}
