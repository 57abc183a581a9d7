"""How the status page writes values: numbers, times, states and names."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.status.report import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STATES = {
    State.FAILING: ("Failing", "bad"),
    State.WAITING: ("No data", "warn"),
    State.STALE: ("Stale", "quiet"),
    State.READING: ("Reading", "quiet"),
    State.UP_TO_DATE: ("Up to date", "good"),
}
"""The name and the tone of each state of a collector, the most urgent first."""

CHANGE_TONES = {
    "disabled": "bad",
    "registration_lost": "bad",
    "removed": "warn",
    "enabled": "good",
    "registered": "good",
}
"""The tone of changes. Others are neutral."""

_PROPER_NAMES = {"ip": "IP", "fqdn": "FQDN", "uac": "UAC", "texml": "TeXML", "control": "Control"}

_MAX_NAME = 100
"""Characters of a name. Longer ones are shortened in the middle, because names often differ at the end."""

_FLAG = re.compile(r"(?<!\S)(--[a-z0-9]+(?:[.-][A-Za-z0-9]+)*)")

_UNITS = {"y": 365 * 86_400, "d": 86_400, "h": 3600, "min": 60}
"""The length of each unit in seconds."""


def words(identifier: str) -> str:
    """Return an identifier in words: `ip_connection` is `IP connection`."""
    parts = [_PROPER_NAMES.get(part, part) for part in identifier.replace("-", "_").split("_")]
    return " ".join((parts[0][:1].upper() + parts[0][1:], *parts[1:]))


def in_words(identifiers: Iterable[str]) -> Mapping[str, str]:
    """Return identifiers with their words."""
    return {identifier: words(identifier) for identifier in identifiers}


def as_they_are(names: Iterable[str]) -> Mapping[str, str]:
    """Return names with themselves as texts."""
    return {name: name for name in names}


def with_flags(text: str) -> Sequence[str]:
    """Return the parts of a text: text and flags of the command line in turn, of which the first is text."""
    return _FLAG.split(text)


def naming(advice: str, collector: str) -> str:
    """Return advice about any collector as advice about this one."""
    return advice.replace("--no-collector.NAME", f"--no-collector.{collector}")


def plural(count: int, noun: str) -> str:
    """Return a number with a noun: `1 connection`, `1,234 connections`."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def shorten(text: str) -> str:
    """Return a text of at most 100 characters, without its middle if it is longer."""
    if len(text) <= _MAX_NAME:
        return text
    half = _MAX_NAME // 2
    return f"{text[: half - 1]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def number(value: float) -> str:
    """Return a number with separators: `1,234`."""
    return f"{value:,.0f}"


def span(seconds: float) -> str:
    """Return a time in the largest unit of which it has two: `95 s`, `3 min`, `2 h`, `5 d`, `4 y`."""
    unit, length = next((unit for unit in _UNITS.items() if seconds >= 2 * unit[1]), ("s", 1))
    return f"{seconds // length:,.0f} {unit}"


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was: `95 s ago`. A moment in the future is a difference between clocks."""
    return f"{span(max(0.0, (now - moment).total_seconds()))} ago"


def duration(seconds: float) -> str:
    """Return a duration with two digits after the point: `0.21 s`."""
    return f"{seconds:,.2f} s"


def utc(moment: datetime) -> str:
    """Return a moment without its time zone: `2026-11-29 01:32:52`."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def machine_time(moment: datetime) -> str:
    """Return a moment for programs: `2026-11-29T01:32:52Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def parse_time(text: str) -> datetime | None:
    """Return the moment that a text of Telnyx means, in UTC, or None if it means none."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
