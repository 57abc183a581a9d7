"""The balance of the account."""

from __future__ import annotations

from exporter.collectors.collector import Collector, ObjectEndpoint
from exporter.collectors.families import decimal, gauge, whole_row
from exporter.telnyx.structs import ApiObject, Decimal


class Balance(ApiObject, frozen=True, gc=False):
    """The balance. All amounts are in its currency."""

    currency: str | None = None
    balance: Decimal | None = None
    available_credit: Decimal | None = None
    credit_limit: Decimal | None = None
    pending: Decimal | None = None


# This is a table. The formatter would spread each entry over several lines.
# fmt: off
COLLECTOR = Collector(
    name="balance",
    title="Balance and available credit",
    endpoint=ObjectEndpoint("/balance"),
    row_type=Balance,
    identity_labels={"currency": "currency"},
    row_families=(
        gauge("telnyx_account_balance", "Balance of the account, in its currency.",
              whole_row, decimal("balance")),
        gauge("telnyx_account_available_credit",
              "Balance plus credit limit of the account, in its currency. At 0, Telnyx blocks the account.",
              whole_row, decimal("available_credit")),
        gauge("telnyx_account_credit_limit", "Credit limit of the account, in its currency.",
              whole_row, decimal("credit_limit")),
        gauge("telnyx_account_pending_balance",
              "Charges that Telnyx has not settled yet, in the currency of the account.",
              whole_row, decimal("pending")),
    ),
)
# fmt: on
