"""The balance of an account, and its spend limits. Both change all the time, in cycles of some minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from exporter.sandbox.rows import iso_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.sandbox.account import Account

_STEPS_BETWEEN_PAYMENTS = 10
_PAYMENT = 430
_HIGHEST_BALANCE = 412.8
_CREDIT_LIMIT = 100

_STEPS_BETWEEN_RAISES = 12
_STEPS_OF_SPENDING = 8
"""Number of steps after a raise of a limit in which as much as the raise is spent."""


def balance(account: Account, _: Mapping[str, str]) -> dict[str, Any]:
    """Return the balance. It falls until it is below zero, and then a payment is made."""
    steps = account.steps_since(account.started) % _STEPS_BETWEEN_PAYMENTS
    amount = _HIGHEST_BALANCE - _PAYMENT * steps / _STEPS_BETWEEN_PAYMENTS
    data = {
        "record_type": "balance",
        "balance": f"{amount:.2f}",
        "available_credit": f"{amount + _CREDIT_LIMIT:.2f}",
        "credit_limit": f"{_CREDIT_LIMIT:.2f}",
        "pending": "17.25",
        "currency": "USD",
    }
    return {"data": data}


@dataclass(frozen=True, slots=True)
class _Spend:
    """What is spent on a product in a period, and the limit. Amounts are in USD."""

    product: str
    period: str
    first: float
    """Amount spent when the account starts."""
    growth: float
    """Amount spent between two raises of the limit, and by which it is raised."""
    limit: float | None = None
    """The limit when the account starts. It can be infinite, which is not the same as none."""
    readable: bool = True


_SPENDS = (
    _Spend("inference", "daily", first=41.4, growth=40, limit=80),
    _Spend("inference", "monthly", first=1870.25, growth=40, limit=math.inf),
    _Spend("messaging", "daily", first=3.12, growth=4),
    _Spend("messaging", "monthly", first=96.4, growth=4, limit=500),
    _Spend("voice", "daily", first=18.09, growth=12, limit=150),
    _Spend("voice", "monthly", first=0, growth=12, readable=False),
)


def spend_limits(account: Account, _: Mapping[str, str]) -> dict[str, Any]:
    """Return what is spent on each product. One product exceeds its limit, and is blocked until the limit is raised."""
    return {"data": [_entry(account, spend) for spend in _SPENDS]}


def _entry(account: Account, spend: _Spend) -> dict[str, Any]:
    period_start, period_end = _bounds(spend.period, account.now)
    start = max(period_start.timestamp(), account.started)
    raises, steps = divmod(account.steps_since(start), _STEPS_BETWEEN_RAISES)
    raised = start + raises * _STEPS_BETWEEN_RAISES * account.step
    spent = spend.first + spend.growth * (raises + min(steps / _STEPS_OF_SPENDING, 1))
    limit = (math.inf if spend.limit is None else spend.limit) + spend.growth * raises
    block = None
    if spent > limit:
        steps_before = (limit - spend.first - spend.growth * raises) / spend.growth * _STEPS_OF_SPENDING
        block = {
            "blocked_until": _date(period_end),
            "detected_at": _time(raised + steps_before * account.step),
            "limit_usd": f"{limit:.2f}",
            "spend_usd": f"{limit + 0.01:.2f}",
        }
    return {
        "record_type": "spend_limit",
        "product": spend.product,
        "product_name": spend.product.capitalize(),
        "period": spend.period,
        "period_start": _date(period_start),
        "period_end": _date(period_end),
        "spend_usd": f"{spent:.2f}" if spend.readable else None,
        "spend_error": None if spend.readable else "The spend could not be read.",
        "effective_limit_usd": _amount(limit),
        "limit": spend.limit
        and {
            "amount": _amount(limit),
            "unlimited": limit == math.inf,
            "origin": "operator" if limit == math.inf else "self_service",
            "updated_at": _time(raised),
        },
        "blocked": block is not None,
        "block": block,
    }


def _bounds(period: str, now: float) -> tuple[datetime, datetime]:
    """Return the first day of the current period, and the first day after it."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "daily":
        return today, today + timedelta(days=1)
    first = today.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


def _amount(limit: float) -> str | None:
    return None if limit == math.inf else f"{limit:.2f}"


def _date(day: datetime) -> str:
    return day.date().isoformat()


def _time(seconds: float) -> str:
    return iso_time(int(seconds * 1000))
