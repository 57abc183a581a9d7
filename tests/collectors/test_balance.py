import pytest
from connections import decode, samples

from exporter.collectors.balance import COLLECTOR


def lines_of(**fields):
    """Return the lines of a balance."""
    return samples(decode(fields, collector=COLLECTOR), collector=COLLECTOR)


def test_amounts():
    """Each amount is a gauge with the currency, also if it is negative or more precise than cents."""
    fields = {
        "currency": "EUR",
        "balance": "-0.1",
        "available_credit": "99.9",
        "credit_limit": "100",
        "pending": "0.00",
    }
    assert lines_of(**fields) == [
        'telnyx_account_balance{currency="EUR"} -0.1',
        'telnyx_account_available_credit{currency="EUR"} 99.9',
        'telnyx_account_credit_limit{currency="EUR"} 100.0',
        'telnyx_account_pending_balance{currency="EUR"} 0.0',
    ]
    assert lines_of(currency="EUR", balance="1234567.123456") == [
        'telnyx_account_balance{currency="EUR"} 1234567.123456'
    ]


@pytest.mark.parametrize("fields", [{"currency": None}, {}], ids=["null", "absent"])
def test_no_currency(fields):
    """Without a currency, the label is empty."""
    assert lines_of(balance="1.5", **fields) == ['telnyx_account_balance{currency=""} 1.5']


@pytest.mark.parametrize("amount", [None, "", "unknown", "NaN", "Infinity"])
def test_an_amount_that_is_not_a_number(amount):
    """An amount that is null or not a finite number has no sample. The others have one."""
    assert lines_of(currency="USD", balance=amount, pending="1") == [
        'telnyx_account_pending_balance{currency="USD"} 1.0'
    ]
