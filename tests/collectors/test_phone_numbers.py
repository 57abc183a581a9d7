import pytest
from connections import decode, render, samples, text_of

from exporter.collectors.phone_numbers import COLLECTOR
from exporter.exposition.renderer import Renderer

ROW = {"connection_id": "7", "status": "active", "phone_number_type": "local", "country_iso_alpha2": "US"}


def rows_of(*fields):
    """Return phone numbers with these fields and different ids."""
    return decode(*({"id": f"id-{number}", **one} for number, one in enumerate(fields)), collector=COLLECTOR)


def test_counts():
    """Phone numbers are counted by connection, status, type and country."""
    rows = rows_of(ROW, ROW, ROW | {"status": "port-pending"}, ROW | {"connection_id": "8"})
    assert samples(rows, collector=COLLECTOR) == [
        'telnyx_phone_numbers{connection_id="7",status="active",phone_number_type="local",country="US"} 2',
        'telnyx_phone_numbers{connection_id="7",status="port-pending",phone_number_type="local",country="US"} 1',
        'telnyx_phone_numbers{connection_id="8",status="active",phone_number_type="local",country="US"} 1',
    ]


@pytest.mark.parametrize("field", ROW)
def test_null_and_empty_are_the_same(field):
    """Null, an absent field and empty text are the same label value, so they are counted together."""
    without = {name: value for name, value in ROW.items() if name != field}
    (line,) = samples(rows_of(without, ROW | {field: None}, ROW | {field: ""}), collector=COLLECTOR)
    assert line.endswith("} 3")
    assert f'{field.removesuffix("_iso_alpha2")}=""' in line


def test_ids_can_be_numbers():
    """A connection id that Telnyx sends as a number is counted with the same id as text."""
    (line,) = samples(rows_of(ROW, ROW | {"connection_id": 7}), collector=COLLECTOR)
    assert line.startswith('telnyx_phone_numbers{connection_id="7",')


def test_a_repeated_number_is_counted_once():
    """A number that is on two pages because the list changed is removed from the older one."""
    renderer = Renderer(COLLECTOR)
    page = renderer.render_page(rows_of(ROW, ROW | {"status": "deleted"}))
    remaining = renderer.remove_rows(page, {"id-0"})
    assert list(remaining.counts["telnyx_phone_numbers"].elements()) == [("7", "deleted", "local", "US")]


def test_ids_are_neither_exposed_nor_logged():
    """The metrics contain only counts, and the log no rows: nothing that leads to a phone number."""
    assert "id-0" not in text_of(render(rows_of(ROW), collector=COLLECTOR)).decode()
    assert not COLLECTOR.log_rows
