"""The number of connections of each kind, and how many the account may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.sandbox.resources import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.sandbox.account import Account

_KINDS = {path: path.removeprefix("/") for path in CONNECTIONS} | {"/fax_applications": "fax_connections"}
_OTHER_KINDS = (
    "microsoft_teams_sbc_connections",
    "mobile_voice_connections",
    "operator_connect_connections",
    "third_party_provider_connections",
    "zoom_sbc_connections",
)
"""The kinds of which the account has no connections."""


def connection_counts(account: Account, _: Mapping[str, str]) -> dict[str, Any]:
    """Return the number of connections of each kind, and the limits of three scopes."""
    counts = {kind: len(account[path].rows) for path, kind in _KINDS.items()}
    texml, uac = counts["texml_applications"], counts["uac_connections"]
    limits = {
        "standard_limit": _limit(200, sum(counts.values()) - texml - uac),
        "texml_limit": _limit(12, texml),
        "uac_limit": _limit(25, uac),
    }
    counts |= dict.fromkeys(_OTHER_KINDS, 0)
    return {"data": {"record_type": "connection_count", "counts": counts, "limits": limits}}


def _limit(first: int, count: int) -> int:
    """Return a limit that was doubled whenever it was too low."""
    while first < count:
        first *= 2
    return first
