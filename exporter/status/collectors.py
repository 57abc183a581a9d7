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

_LONG = 120.0
"""Seconds from which a time is shown in minutes."""
_TITLES = {collector.name: collector.title for collector in COLLECTORS}


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
    age = None if data is None else _rounded(max(0.0, now - (_newest(state) or data.refreshed_at)))
    kind = _kind_of(state, has_data=data is not None)
    return CollectorReport(
        account=state.account,
        collector=state.name,
        title=_TITLES.get(state.name, state.name),
        state=kind,
        summary=_in_words(state, kind) if error is None else _failure(state, error, age),
        reason="" if error is None else error.reason,
        advice="" if error is None else error.advice,
        rows=None if data is None else data.row_count,
        rows_left_out=None if data is None else data.malformed + data.missing,
        age_seconds=age,
        last_success=time_of(state.last_success),
        duration_seconds=_rounded(state.duration),
        retry_seconds=None if error is None else _rounded(state.seconds_until_refresh),
    )


def _newest(state: CollectorState) -> float | None:
    """Return when the newest row was read, if rows are read one after the other. The next scrape gets it."""
    return state.last_success if state.in_background else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _telnyx_error(error: Exception | None) -> TelnyxError | None:
    """Return the error in words that are safe to show."""
    return error if error is None or isinstance(error, TelnyxError) else Internal("a bug in the exporter")


def _kind_of(state: CollectorState, *, has_data: bool) -> State:
    if state.entry.error is not None:
        return State.FAILING
    if not has_data:
        is_reading = state.is_refreshing or state.entry.value is not None  # a view without a time has no rows yet
        return State.READING if is_reading else State.WAITING
    return State.STALE if state.entry.stale and not state.in_background else State.UP_TO_DATE


def _in_words(state: CollectorState, kind: State) -> str:
    if kind is State.UP_TO_DATE:
        return "Up to date."
    if kind is State.STALE:
        return "Older than the TTL. The next scrape reads it again."
    if state.in_background and kind is State.READING:
        return "Reading one connection after the other. The next scrape gets what was read."
    if state.last_success is None:
        return "Reading it for the first time." if kind is State.READING else "No data yet. The next scrape reads it."
    again = "Reading it again." if kind is State.READING else "The next scrape reads it again."
    return f"The data has expired. {again}"


def _failure(state: CollectorState, error: TelnyxError, age: float | None) -> str:
    wait = state.seconds_until_refresh
    if wait and not state.is_refreshing:
        when = f"in {span(max(1.0, wait))}"
    else:
        needs_scrape = not (state.is_refreshing or state.in_background or state.account)
        when = "at the next scrape" if needs_scrape else "now"
    cause = str(error)
    if isinstance(error, StatusError):
        cause = cause.replace("HTTP status", "Telnyx answered with HTTP status")
    data = "no data from this collector" if age is None else f"data that is {span(age)} old"
    return f"Retrying {when}: {cause}. Scrapes get {data}."


def span(seconds: float) -> str:
    """Return a time in seconds or, if it is long, in whole minutes: `95 s`, `3 min`."""
    return f"{seconds:.0f} s" if seconds < _LONG else f"{seconds // 60:,.0f} min"


def summarize(collectors: Sequence[CollectorReport], *, demo: bool, has_keys: bool) -> str:
    """Return the state of all collectors in one sentence. `has_keys` is whether any shard has an account."""
    if not has_keys:
        return "No API key file matches --telnyx.api-key-files."
    if not collectors:
        return "This shard has no accounts."
    source, count = _source(demo=demo), len(collectors)
    failing = sum(each.state is State.FAILING for each in collectors)
    if failing:
        return f"{failing} of {count} collectors can't read {source}." if failing < count else f"Can't read {source}."
    without_data = sum(each.rows is None for each in collectors)
    if without_data == count:
        was_read = any(each.last_success for each in collectors)
        return f"The data from {source} has expired." if was_read else f"No data from {source} yet."
    verb = "has" if without_data == 1 else "have"
    gap = f" {without_data} of {count} collectors {verb} no data." if without_data else ""
    return f"Connected to {source}.{gap}"


def _source(*, demo: bool) -> str:
    return "the simulated account" if demo else "Telnyx"
