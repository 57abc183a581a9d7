import pytest
from connections import decode, samples

from exporter.collectors.spend_limits import COLLECTOR
from exporter.telnyx.lists.pages import UnreadableRow

LABELS = '{product="voice",period="daily"}'


def lines_of(family="", **fields):
    """Return the lines of the spend on calls per day."""
    rows = decode({"product": "voice", "period": "daily", **fields}, collector=COLLECTOR)
    return samples(rows, *([family] if family else ()), collector=COLLECTOR)


def test_a_product_without_a_limit():
    """A product without a limit has its spend, and is not blocked."""
    fields = {"spend_usd": "12.34", "effective_limit_usd": None, "blocked": False, "block": None, "limit": None}
    assert lines_of(**fields) == [f"telnyx_spend_usd{LABELS} 12.34", f"telnyx_spend_blocked{LABELS} 0"]


def test_an_unknown_spend():
    """If Telnyx does not know the spend, the limit and the block still have samples."""
    fields = {"spend_usd": None, "spend_error": "unavailable", "effective_limit_usd": "50.00", "blocked": True}
    assert lines_of(**fields) == [f"telnyx_spend_limit_usd{LABELS} 50.0", f"telnyx_spend_blocked{LABELS} 1"]


@pytest.mark.parametrize("fields", [{}, {"blocked": None}], ids=["absent", "null"])
def test_unknown_whether_blocked(fields):
    """If Telnyx does not say whether the product is blocked, there is no sample."""
    assert lines_of(**fields) == []


@pytest.mark.parametrize(
    ("block", "seconds"),
    [
        ({"blocked_until": "2026-11-28"}, 1795824000.0),
        ({"blocked_until": "2026-11-28T00:00:30Z"}, 1795824030.0),
        ({"blocked_until": None}, None),
        ({"blocked_until": "soon"}, None),
        ({}, None),
        (None, None),
    ],
    ids=["date", "time", "null", "no-time", "absent", "no-block"],
)
def test_end_of_the_block(block, seconds):
    """The end of a block is a date, which begins at midnight UTC, or a time. Otherwise there is no sample."""
    name = "telnyx_spend_blocked_until_timestamp_seconds"
    assert lines_of(name, block=block) == ([] if seconds is None else [f"{name}{LABELS} {seconds}"])


def test_rows_are_told_apart_by_product_and_period():
    """Spend limits have no ids. The product and the period identify one, also in the log."""
    rows = decode(
        {"product": "voice", "period": "daily"},
        {"product": "voice", "period": "monthly", "spend_usd": "1"},
        {"product": "messaging", "period": "daily", "id": "ignored"},
        collector=COLLECTOR,
    )
    assert [row.id for row in rows] == ["voice daily", "voice monthly", "messaging daily"]
    assert [COLLECTOR.index_record(row).id for row in rows] == [row.id for row in rows]
    assert samples(rows, collector=COLLECTOR) == ['telnyx_spend_usd{product="voice",period="monthly"} 1.0']


@pytest.mark.parametrize("fields", [{"period": "daily"}, {"product": "voice"}, {"product": None, "period": "daily"}])
def test_a_row_without_product_or_period_is_left_out(fields):
    """A row without a product or a period is unreadable. The others are exposed."""
    bad, good = decode(fields, {"product": "voice", "period": "daily"}, collector=COLLECTOR)
    assert isinstance(bad, UnreadableRow)
    assert good.id == "voice daily"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"spend_usd": "12.5", "effective_limit_usd": "50", "blocked": True}, (True, 12.5, 50.0)),
        ({"spend_usd": None, "effective_limit_usd": None, "blocked": False}, (False, None, None)),
        ({}, (False, None, None)),
    ],
    ids=["all", "null", "absent"],
)
def test_the_index_has_the_state(fields, expected):
    """The index remembers the spend, the limit and whether the product is blocked. The name is empty."""
    (row,) = decode({"product": "voice", "period": "daily", **fields}, collector=COLLECTOR)
    record = COLLECTOR.index_record(row)
    assert (record.id, record.name) == ("voice daily", "")
    assert (record.blocked, record.spend_usd, record.limit_usd) == expected
