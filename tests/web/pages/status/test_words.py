"""How the status page writes values."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.status.report import State
from exporter.web.pages.status import words

NOW = datetime(2026, 11, 29, 1, 32, 52, tzinfo=UTC)


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        ("credential_connection", "Credential connection"),
        ("ip_connection", "IP connection"),
        ("fqdn_connection", "FQDN connection"),
        ("uac_connection", "UAC connection"),
        ("texml_application", "TeXML application"),
        ("call_control_application", "Call Control application"),
        ("credential-connections", "Credential connections"),
        ("SRTP", "SRTP"),
        ("none", "None"),
        ("limits_changed", "Limits changed"),
        ("", ""),
        ("_", " "),
    ],
)
def test_words(identifier, text):
    """An identifier is written in words, with proper names as usual."""
    assert words.words(identifier) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (3.9, "3 s"),
        (95.2, "95 s"),
        (119.9, "119 s"),
        (120.0, "2 min"),
        (7199.0, "119 min"),
        (7200.0, "2 h"),
        (172_799.0, "47 h"),
        (172_800.0, "2 d"),
        (86_400.0 * 729, "729 d"),
        (86_400.0 * 730, "2 y"),
        (86_400.0 * 365 * 2000, "2,000 y"),
    ],
)
def test_span(seconds, text):
    """A time is written in the largest unit of which it has two, so that it is exact enough."""
    assert words.span(seconds) == text
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == f"{text} ago"


def test_a_moment_in_the_future_is_now():
    """If the clock of Telnyx is ahead, what has just happened is 0 s ago."""
    assert words.ago(NOW + timedelta(seconds=5), NOW) == "0 s ago"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999, "999"), (1234, "1,234"), (1_234_567, "1,234,567"), (583.0, "583")]
)
def test_number(value, text):
    """Numbers have thousands separators and no digits after the point."""
    assert words.number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.213, "0.21 s"), (12.0, "12.00 s"), (1234.5, "1,234.50 s")])
def test_duration(seconds, text):
    """Durations have two digits after the point, so that they can be compared."""
    assert words.duration(seconds) == text


def test_times():
    """Moments are written in UTC, once for people and once for programs."""
    assert words.utc(NOW) == "2026-11-29 01:32:52"
    assert words.machine_time(NOW) == "2026-11-29T01:32:52Z"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-29T01:32:52Z", NOW),
        ("2026-11-29T01:32:52.000Z", NOW),
        ("2026-11-29T03:32:52+02:00", NOW),
        ("2026-11-29 01:32:52", NOW),
        ("", None),
        ("yesterday", None),
        ("2026-13-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
    ],
)
def test_parse_time(text, moment):
    """A time of Telnyx is a moment in UTC. A text that is no time, or too far from ours, is none."""
    assert words.parse_time(text) == moment


@given(st.text())
def test_any_text_can_be_a_time(text):
    """No text makes the parser fail, and a moment can be written."""
    moment = words.parse_time(text)
    if moment is not None:
        assert words.machine_time(moment).endswith("Z")


@pytest.mark.parametrize(
    ("text", "short"),
    [("", ""), ("a" * 100, "a" * 100), ("a" * 51 + "b" * 50, "a" * 49 + "\N{HORIZONTAL ELLIPSIS}" + "b" * 50)],
)
def test_shorten(text, short):
    """A long text loses its middle, because names often differ at the end. A short one stays as it is."""
    assert words.shorten(text) == short


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("no flag", ["no flag"]),
        ("--a.b-c and --d", ["", "--a.b-c", " and ", "--d", ""]),
        ("use --no-collector.NAME.", ["use ", "--no-collector.NAME", "."]),
        ("no--flag -- <!-- --> --", ["no--flag -- <!-- --> --"]),
    ],
)
def test_with_flags(text, parts):
    """A text is split at flags, without the punctuation after them."""
    assert words.with_flags(text) == parts
    assert "".join(parts) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 rows"), (1, "1 row"), (1234, "1,234 rows")])
def test_plural(count, text):
    """One is singular."""
    assert words.plural(count, "row") == text


def test_every_state_has_words():
    """Each state of a collector has a name and a tone."""
    assert set(words.STATES) == set(State)
