"""The kinds of problems that need attention. Each belongs to an alert, and finds the same rows as that alert's rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.collectors.connection_index import ConnectionRecord
from exporter.collectors.registrations import RegistrationRecord
from exporter.collectors.spend_limits import SpendRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.collectors.index import IndexRecord

NEAR_LIMIT = 0.8
"""Fraction of a spend limit from which the spend is near it, as in the rule of the alert."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of problem of the rows of one type."""

    kind: str
    title: str
    runbook: str
    """The name of the alert and of its runbook."""
    tests: Mapping[type[IndexRecord], Callable[[Any], bool]]
    """Functions that return whether the row of an index record has the problem, by the type of the record."""
    detail: Callable[[Any], str] = lambda _: ""
    """Returns what to add to the name of a row."""


def _amounts(record: SpendRecord) -> str:
    spend, limit = (
        f"{amount:,.2f}" if amount is not None else "unknown" for amount in (record.spend_usd, record.limit_usd)
    )
    return f"{spend} of {limit} USD"


def _is_near_limit(record: SpendRecord) -> bool:
    spend, limit = record.spend_usd, record.limit_usd
    return not record.blocked and spend is not None and limit is not None and spend > NEAR_LIMIT * limit


PROBLEMS = (
    Problem(
        "disabled",
        "Disabled connections",
        "TelnyxConnectionDisabled",
        {ConnectionRecord: lambda connection: connection.active is False},
    ),
    Problem(
        "not_registered",
        "Connections without a SIP registration",
        "TelnyxConnectionRegistrationLost",
        {
            ConnectionRecord: lambda connection: connection.registered is False and connection.active is True,
            RegistrationRecord: lambda registration: registration.registered is False,  # only active ones are read
        },
    ),
    Problem(
        "spend_blocked",
        "Products that Telnyx blocks because of their spend limits",
        "TelnyxSpendBlocked",
        {SpendRecord: lambda limit: limit.blocked},
        _amounts,
    ),
    Problem(
        "unencrypted",
        "Connections with unencrypted media",
        "TelnyxMediaUnencrypted",
        {ConnectionRecord: lambda connection: connection.media_encryption == "none" and connection.active is True},
    ),
    Problem(
        "no_outbound_limit",
        "Connections without an outbound channel limit",
        "TelnyxOutboundChannelsUnlimited",
        {ConnectionRecord: lambda connection: connection.outbound_channel_limit is None and connection.active is True},
    ),
    Problem(
        "spend_near_limit",
        "Products whose spend is near its limit",
        "TelnyxSpendNearLimit",
        {SpendRecord: _is_near_limit},
        _amounts,
    ),
)
"""All kinds, the most urgent first."""

CONNECTION_PROBLEMS = {
    problem.kind: problem.tests[ConnectionRecord] for problem in PROBLEMS if ConnectionRecord in problem.tests
}
"""The tests of connections, by the kind of problem."""
