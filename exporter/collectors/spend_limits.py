"""Spend limits: how much the account spends on each product in a period, and whether Telnyx blocks the product."""

from __future__ import annotations

from exporter.collectors.collector import Collector, ListEndpoint
from exporter.collectors.families import bool_as_number, decimal, gauge, nested, unix_time, whole_row
from exporter.collectors.index import IndexRecord
from exporter.telnyx.structs import ApiObject, Decimal


class Block(ApiObject, frozen=True, gc=False):
    """Why and until when a product is blocked."""

    blocked_until: str | None = None


class SpendLimit(ApiObject, frozen=True, gc=False):
    """The spend on one product in one period. The list also has products without a limit."""

    product: str
    period: str
    blocked: bool | None = None
    spend_usd: Decimal | None = None
    effective_limit_usd: Decimal | None = None
    block: Block | None = None

    @property
    def id(self) -> str:
        """The product and the period, because spend limits have no ids."""
        return f"{self.product} {self.period}"


class SpendRecord(IndexRecord, frozen=True, gc=False, array_like=True):
    """The state of a spend limit. It has no name: its id is the product and the period."""

    blocked: bool
    spend_usd: float | None
    limit_usd: float | None
    """None if there is no limit."""


_spend = decimal("spend_usd")
_limit = decimal("effective_limit_usd")


def _index_record(row: SpendLimit) -> SpendRecord:
    return SpendRecord(row.id, "", bool(row.blocked), _spend(row), _limit(row))


# This is a table. The formatter would spread each entry over several lines.
# fmt: off
COLLECTOR = Collector(
    name="spend-limits",
    title="Spend limits",
    endpoint=ListEndpoint("/spend_limits", paged=False),
    row_type=SpendLimit,
    index_type=SpendRecord,
    index_record=_index_record,
    identity_labels={"product": "product", "period": "period"},
    row_families=(
        gauge("telnyx_spend_usd",
              "Spend on the product in the current period, in USD; absent if unknown.",
              whole_row, _spend),
        gauge("telnyx_spend_limit_usd",
              "Maximum spend on the product in a period, in USD; absent if there is no limit.",
              whole_row, _limit),
        gauge("telnyx_spend_blocked", "Whether Telnyx blocks the product because of its limit (1) or not (0).",
              whole_row, bool_as_number("blocked")),
        gauge("telnyx_spend_blocked_until_timestamp_seconds",
              "Time when the block ends, in Unix seconds; absent if the product is not blocked.",
              nested("block", Block), unix_time("blocked_until")),
    ),
)
# fmt: on
