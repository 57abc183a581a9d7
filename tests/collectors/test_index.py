import sys
from types import SimpleNamespace

import pytest
from connections import arbitrary_connections
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.collectors.credential_connections import COLLECTOR
from exporter.collectors.index import IndexRecord, PageIndex, id_and_name, values_changed

ROWS = st.lists(arbitrary_connections(st.text(max_size=5)), max_size=3)


@given(ROWS)
@settings(max_examples=40)
def test_an_index_keeps_its_records(rows):
    """The records are read back in order, whatever they contain, and as often as they are needed."""
    records = tuple(map(COLLECTOR.index_record, rows))
    index = PageIndex(COLLECTOR.index_type, records)
    assert index.records == records
    assert index.records == records


@pytest.mark.parametrize(
    ("row", "record"),
    [
        (SimpleNamespace(id="7", name="sales"), IndexRecord("7", "sales")),
        (SimpleNamespace(id="7", name=None), IndexRecord("7", "")),
        (SimpleNamespace(id="7"), IndexRecord("7", "")),
        (SimpleNamespace(), IndexRecord("", "")),
    ],
    ids=["name", "null", "no-name", "object"],
)
def test_id_and_name(row, record):
    """The default record of a row has its id and, if there is one, its name."""
    assert id_and_name(row) == record


def test_an_index_is_small():
    """The index of a page takes less than a fifth of the memory of its records."""
    records = [IndexRecord(str(number), f"connection {number}") for number in range(250)]
    index = PageIndex(IndexRecord, records)
    assert sys.getsizeof(index._data) < sum(map(sys.getsizeof, records)) / 5


def test_a_record_without_further_fields_does_not_change():
    """The base of all records mentions no changes."""
    assert list(IndexRecord("1", "a").changes_since(IndexRecord("1", "b"))) == []


@pytest.mark.parametrize("kind", [IndexRecord, COLLECTOR.index_type], ids=lambda kind: kind.__name__)
def test_a_repr_has_no_values(kind):
    """The repr of a record has none of its values, which can be personal."""
    values = ["canary-1d3f"] * len(kind.__struct_fields__)
    assert repr(kind(*values)) == f"<{kind.__name__}>"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([("inbound", 1, 1)], ""),
        ([("inbound", None, 0), ("outbound", 5, None)], "inbound none to 0, outbound 5 to none"),
        ([("", "SRTP", "none")], "SRTP to none"),
        ([("", "", "SRTP")], "none to SRTP"),
        ([("limit", True, False), ("USD per day", 100.0, 1000000.5)], "limit on to off, USD per day 100 to 1000000.5"),
        ([("calls", 999999999, None)], "calls 999999999 to none"),
    ],
)
def test_values_that_changed(values, text):
    """Only values that changed are mentioned, with those before and after."""
    assert values_changed(*values) == text
