"""The states of collectors and of the exporter in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.collectors.registry import COLLECTORS
from exporter.status.report import CollectorReport, State
from exporter.telnyx.errors import Internal, StatusError, TelnyxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.account.cached_collector import CollectorState

_TITLES = {collector.name: collector.title for collector in COLLECTORS}
_IN_WORDS = {
    State.UP_TO_DATE: "Up to date.",
    State.STALE: "Older than the TTL. The next scrape reads it again.",
    State.READING: "Reading it for the first time.",
    State.WAITING: "No data yet. The next scrape reads it.",
}


def time_of(unix_time: float | None) -> datetime | None:
    """Return a time in whole seconds. Return None if it is unknown or no time."""
    try:
        return None if unix_time is None else datetime.fromtimestamp(int(unix_time), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def describe_collector(state: CollectorState, now: float) -> CollectorReport:
    """Return the state of a collector in words. `now` is the Unix time in seconds."""
    view, error = state.entry.value, _telnyx_error(state.entry.error)
    data = view if view and view.refreshed_at else None
    age = None if data is None else _rounded(max(0.0, now - data.refreshed_at))
    kind = _kind_of(state, has_data=data is not None)
    return CollectorReport(
        account=state.account,
        collector=state.name,
        title=_TITLES.get(state.name, state.name),
        state=kind,
        summary=_IN_WORDS[kind] if error is None else _failure(state, error, age),
        reason="" if error is None else error.reason,
        advice="" if error is None else error.advice,
        rows=None if data is None else data.row_count,
        rows_left_out=None if data is None else data.malformed + data.missing,
        age_seconds=age,
        last_success=time_of(state.last_success),
        duration_seconds=_rounded(state.duration),
        retry_seconds=None if error is None else _rounded(state.seconds_until_refresh),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _telnyx_error(error: Exception | None) -> TelnyxError | None:
    """Return the error in words that are safe to show."""
    return error if error is None or isinstance(error, TelnyxError) else Internal("a bug in the exporter")


def _kind_of(state: CollectorState, *, has_data: bool) -> State:
    if state.entry.error is not None:
        return State.FAILING
    if not has_data:
        return State.READING if state.is_refreshing or state.entry.value is not None else State.WAITING
    return State.STALE if state.entry.stale else State.UP_TO_DATE


def _failure(state: CollectorState, error: TelnyxError, age: float | None) -> str:
    wait = state.seconds_until_refresh
    if state.is_refreshing:
        when = "now"
    elif wait:
        when = f"in {max(1.0, wait):.0f} s"
    else:
        when = "at the next scrape"
    cause = str(error)
    if isinstance(error, StatusError):
        cause = cause.replace("HTTP status", "Telnyx answered with HTTP status")
    data = "Scrapes get no data of it." if age is None else f"Scrapes get data that is {age:.0f} s old."
    return f"Retrying {when}: {cause}. {data}"


def summarize(collectors: Sequence[CollectorReport], *, demo: bool, has_keys: bool) -> str:
    """Return the state of all collectors in one sentence. `has_keys` is whether any shard has an account."""
    if not has_keys:
        return "No API key file matches --telnyx.api-key-files."
    if not collectors:
        return "This shard has no accounts."
    count = len(collectors)
    failing = sum(each.state is State.FAILING for each in collectors)
    if failing:
        return f"{failing} of {count} collectors can't read {_source(demo=demo)}."
    without_data = sum(each.age_seconds is None for each in collectors)
    if without_data == count:
        return f"No data from {_source(demo=demo)} yet."
    waiting = f" {without_data} of {count} collectors have no data yet." if without_data else ""
    return f"Connected to {_source(demo=demo)}.{waiting}"


def _source(*, demo: bool) -> str:
    return "the simulated account" if demo else "Telnyx"
