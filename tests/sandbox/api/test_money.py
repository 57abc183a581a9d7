from datetime import UTC, datetime

import pytest
from sandbox_client import get

from exporter.sandbox import Account

STEP = 45
START = datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)


@pytest.fixture
def account(clock):
    """Return an account that changes every 45 seconds."""
    return Account(clock=clock, step=STEP)


async def balance(account):
    """Return the balance of the account."""
    return (await get(account, "/v2/balance")).json()["data"]


async def spend(account, product="inference", period="daily"):
    """Return what is spent on a product in a period."""
    data = (await get(account, "/v2/spend_limits")).json()["data"]
    (entry,) = [entry for entry in data if (entry["product"], entry["period"]) == (product, period)]
    return entry


async def test_balance(account):
    """All amounts are decimal strings. The available credit is the balance and the credit limit."""
    assert await balance(account) == {
        "record_type": "balance",
        "balance": "412.80",
        "available_credit": "512.80",
        "credit_limit": "100.00",
        "pending": "17.25",
        "currency": "USD",
    }


async def test_the_balance_falls_until_a_payment(account, clock):
    """In ten minutes, the balance falls below zero, and a payment is made. The available credit stays positive."""
    amounts, available = [], []
    for _ in range(60):
        clock.now += 10
        data = await balance(account)
        amounts.append(float(data["balance"]))
        available.append(float(data["available_credit"]))
    assert min(amounts) < 0 < min(available)
    payments = [index for index in range(1, 60) if amounts[index] > amounts[index - 1]]
    assert payments == [44]


async def test_spend_limits(account):
    """There is an entry for each product and period, also without a limit. Periods are days and months in UTC."""
    body = (await get(account, "/v2/spend_limits")).json()
    assert set(body) == {"data"}
    keys = [(entry["product"], entry["product_name"], entry["period"]) for entry in body["data"]]
    names = ("inference", "messaging", "voice")
    assert keys == [(name, name.capitalize(), period) for name in names for period in ("daily", "monthly")]
    assert {(entry["period"], entry["period_start"], entry["period_end"]) for entry in body["data"]} == {
        ("daily", "2026-09-21", "2026-09-22"),
        ("monthly", "2026-09-01", "2026-10-01"),
    }
    assert await spend(account) == {
        "record_type": "spend_limit",
        "product": "inference",
        "product_name": "Inference",
        "period": "daily",
        "period_start": "2026-09-21",
        "period_end": "2026-09-22",
        "spend_usd": "41.40",
        "spend_error": None,
        "effective_limit_usd": "80.00",
        "limit": {
            "amount": "80.00",
            "unlimited": False,
            "origin": "self_service",
            "updated_at": "2026-09-21T14:13:20.000Z",
        },
        "blocked": False,
        "block": None,
    }


async def test_limits_can_be_absent_or_infinite(account):
    """Without a limit, and with an infinite one, the effective limit is null. An operator set the infinite one."""
    absent, infinite = await spend(account, "messaging"), await spend(account, "inference", "monthly")
    assert (absent["limit"], absent["effective_limit_usd"], absent["blocked"]) == (None, None, False)
    assert infinite["limit"] == {
        "amount": None,
        "unlimited": True,
        "origin": "operator",
        "updated_at": "2026-09-21T14:13:20.000Z",
    }
    assert (infinite["effective_limit_usd"], infinite["blocked"]) == (None, False)


async def test_spend_that_cannot_be_read(account):
    """If Telnyx can't read the spend, it is null, and there is an error."""
    entry = await spend(account, "voice", "monthly")
    assert (entry["spend_usd"], entry["spend_error"]) == (None, "The spend could not be read.")


async def test_a_product_is_blocked_until_its_limit_is_raised(account, clock):
    """In ten minutes, the spend rises until it exceeds the limit, and the product is blocked until a new limit.

    While it is blocked, nothing more is spent.
    """
    clock.now += 5.5 * 60
    assert not (await spend(account))["blocked"]
    clock.now += 60
    entry = await spend(account)
    assert (entry["spend_usd"], entry["effective_limit_usd"], entry["blocked"]) == ("81.40", "80.00", True)
    assert entry["block"] == {
        "blocked_until": "2026-09-22",
        "detected_at": "2026-09-21T14:19:07.400Z",
        "limit_usd": "80.00",
        "spend_usd": "80.01",
    }
    clock.now += 60
    assert await spend(account) == entry
    clock.now += 90
    raised = await spend(account)
    assert (raised["spend_usd"], raised["effective_limit_usd"], raised["blocked"]) == ("81.40", "120.00", False)
    assert (raised["limit"]["amount"], raised["limit"]["updated_at"]) == ("120.00", "2026-09-21T14:22:20.000Z")
    clock.now += 45
    assert (await spend(account))["spend_usd"] == "86.40"


async def test_a_new_period(account, clock):
    """At midnight a new day begins with its first limit, and on the first of a month a new month."""
    clock.now = datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC).timestamp()
    assert float((await spend(account))["spend_usd"]) > 1000
    clock.now += 1
    day, month = await spend(account), await spend(account, period="monthly")
    assert (day["period_start"], day["period_end"]) == ("2026-10-01", "2026-10-02")
    assert (month["period_start"], month["period_end"]) == ("2026-10-01", "2026-11-01")
    assert (day["spend_usd"], day["effective_limit_usd"]) == ("41.40", "80.00")
    clock.now = datetime(2026, 12, 31, tzinfo=UTC).timestamp()
    assert (
        (await spend(account))["period_end"] == (await spend(account, period="monthly"))["period_end"] == "2027-01-01"
    )


@pytest.mark.parametrize("step", [0, None])
async def test_an_account_that_stands_still(clock, step):
    """Without a step, no amount changes, and no period ends."""
    account = Account(clock=clock, step=step)
    before = await balance(account), await spend(account)
    clock.now += 1e6
    assert (await balance(account), await spend(account)) == before
