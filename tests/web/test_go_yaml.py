import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from exporter.web.go_yaml import Bool, Int, parse_duration, to_plain


def plain(text):
    return to_plain(yaml.compose(text, Loader=yaml.SafeLoader))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("'0'", 0),
        ("1s", 1),
        ("'1s'", 1),
        ("0.5s", 0.5),
        (".5s", 0.5),
        ("1.s", 1),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("5ns", 5e-9),
        ("1h30m", 5400),
        ("1m1.5s", 61.5),
        ("250ms", 0.25),
        ("1000000000", 1),
    ],
)
def test_durations(text, seconds):
    """Durations are those of Go. A number without a unit and without quotes is in nanoseconds."""
    assert parse_duration(plain(text)) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["''", "1d", "1w", "soon", "'5'", "s", ".s", "-1s", "1 s", "1s2", "1_0s", "٣s"])
def test_invalid_durations(text):
    """Other text is rejected, as Go does, and so is a negative duration."""
    with pytest.raises(ValueError, match="must be a duration such as"):
        parse_duration(plain(text))


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["ns", "us", "ms", "s", "m", "h"])), min_size=1))
def test_any_duration(parts):
    """Any sequence of numbers and units is the sum of its parts."""
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
    text = "".join(f"{count}{unit}" for count, unit in parts)
    assert parse_duration(text) == pytest.approx(sum(count * units[unit] for count, unit in parts))


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("Yes", True), ("on", True), ("y", True), ("FALSE", False), ("n", False)]
)
def test_booleans(text, value):
    """Booleans are those of YAML 1.1."""
    assert TypeAdapter(Bool).validate_python(plain(text)) is value


@pytest.mark.parametrize("text", ['"true"', "'no'", "1", "t", "maybe", "|\n  true", "[true]"])
def test_invalid_booleans(text):
    """Text in quotes and other text is not a boolean."""
    with pytest.raises(ValidationError, match="must be true or false, without quotes"):
        TypeAdapter(Bool).validate_python(plain(text))


def test_numbers():
    """A number in quotes is rejected."""
    assert TypeAdapter(Int).validate_python(plain("20")) == 20
    with pytest.raises(ValidationError, match="must be a whole number, without quotes"):
        TypeAdapter(Int).validate_python(plain('"20"'))


def test_text_is_not_interpreted():
    """Text stays as it is written. A key without a value is None."""
    assert plain("a: 0x10\nb: [1, yes]\nc:\nd: ~\n1: '2'") == {
        "a": "0x10",
        "b": ["1", "yes"],
        "c": None,
        "d": None,
        "1": "2",
    }
    assert plain("") is None
