import pytest
from connections import DOCUMENTED_COLLECTORS, GOLDEN, decode, documented_row, exposed


@pytest.mark.parametrize("collector", DOCUMENTED_COLLECTORS[1:], ids=lambda collector: collector.name)
def test_golden(collector):
    """A row with all fields that Telnyx documents produces exactly the golden file of its collector."""
    path = GOLDEN / f"{collector.name}.prom"
    outdated = f"tests/golden/{path.name} is out of date: run `make generate` and review the difference"
    rows = decode(documented_row(collector.name), collector=collector)
    assert exposed(rows, collector=collector) == path.read_text("utf-8"), outdated
