import os
from pathlib import Path

import pytest
from few_collectors import FEW
from pydantic_core import PydanticKnownError

from exporter.config.flags import UsageError, load_settings
from exporter.config.loading.messages import reason, suggestion
from exporter.config.options import OPTIONS, collector_options

ALL = (*OPTIONS, *collector_options(FEW))
ODD = (
    *("", " ", "abc", "-1", "0", "1", "5.5", "251", "1e999", "nan", "inf", "-inf", "1_000", "\u0663", "maybe", "NULL"),
    *("9" * 30, "9" * 5_000, "0x10", "a,b", "[]", "{}", "\udcff", "a\nb", "\u2028", "x" * 10_000),
)
"""Values that many settings reject."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Run each test in an empty directory and without the exporter's environment variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("TELNYX_")]:
        monkeypatch.delenv(name)


def error_message(*arguments):
    """Load settings that are invalid and return the error message, which must be one line."""
    with pytest.raises(UsageError) as caught:
        load_settings(arguments, FEW)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# Each type of error that pydantic can raise for the settings, with a flag or variable that causes it.
TYPES = [
    ("bool_parsing", "--demo=maybe", "--demo='maybe': must be true or false"),
    ("int_parsing", "--telnyx.page-size=abc", "--telnyx.page-size='abc': must be a whole number"),
    ("int_parsing_size", f"--telnyx.concurrency={'9' * 5000}", "must be a whole number with fewer digits"),
    ("float_parsing", "--collector.active-calls.rate=abc", "--collector.active-calls.rate='abc': must be a number"),
    ("finite_number", "--telnyx.max-requests-per-second=nan", "='nan': must be a finite number"),
    ("greater_than", "--telnyx.timeout=0", "--telnyx.timeout='0': must be more than 0"),
    ("greater_than_equal", "--collector.active-calls.rate=0", "='0': must be 0.01 or more"),
    ("less_than_equal", "--telnyx.page-size=251", "--telnyx.page-size='251': must be 250 or less"),
    ("literal_error", "--log.format=xml", "--log.format='xml': must be logfmt or json"),
    ("string_unicode", "--log.format=\udcff", "--log.format='\\udcff': must be UTF-8"),
    ("value_error", "--cache.ttl=5", "--cache.ttl='5': must be a duration such as 90s, 1m30s or 500ms"),
    ("value_error", "--log.level=trace", "--log.level='trace': must be debug, info, warn or error"),
]


@pytest.mark.parametrize(("kind", "argument", "message"), TYPES, ids=[f"{kind}-{flag[:20]}" for kind, flag, _ in TYPES])
def test_each_type_of_error_has_a_plain_message(kind, argument, message):
    """Each type of error says where, to what and why, in plain words: "must be ..."."""
    assert error_message(argument).endswith(message)


def test_unknown_type_of_error_has_a_plain_message():
    """A type of error that is not known still reads well, and does not quote pydantic."""
    error = PydanticKnownError("date_parsing", {"error": "hush"})
    assert reason({"type": error.type, "ctx": error.context, "msg": error.message(), "loc": (), "input": "hush"}) == (
        "is invalid"
    )


@pytest.mark.parametrize("option", ALL, ids=lambda option: option.flag or option.variable)
def test_no_value_has_a_message_of_pydantic(monkeypatch, option):
    """Any value of a setting is accepted, or the error is short and in the exporter's own words."""
    for value in ODD:
        for source in ("flag", "variable"):
            arguments = []
            if source == "flag" and option.flag:
                arguments = [f"{option.flag}={value}"]
            else:
                monkeypatch.setenv(option.variable, value)
            try:
                load_settings(arguments, FEW)
            except UsageError as error:
                message = str(error)
                assert len(message.splitlines()) == 1
                assert not [word for word in ("input", "parse", "pydantic", ": is invalid") if word in message.lower()]
            monkeypatch.delenv(option.variable, raising=False)


@pytest.mark.parametrize("variable", ["TELNYX_EXPORTER_WEB__SYSTEMD_SOCKET", "TELNYX_EXPORTER_TELNYX__PAGE_SIZE"])
def test_line_without_a_value_is_explained(variable):
    """The error for a line of `.env` that is only a name says how to correct it."""
    Path(".env").write_text(f"{variable}\n")
    assert error_message() == f"{variable} in .env: has no value; write {variable}=VALUE, or remove the line"


def test_value_with_a_key_is_not_quoted():
    """A message quotes no value that contains an API key, and suggests none."""
    key = "KEY0123456789ABCDEF"
    instead = "contains an API key: set TELNYX_API_KEY or --telnyx.api-key-file instead"
    assert error_message(f"--log.format=Bearer {key}") == "--log.format: must be logfmt or json"
    assert error_message(f"--web.listen-address={key}") == f"--web.listen-address: {instead}"
    assert error_message(f"--metrics.sensitive-labels=x{key}") == f"--metrics.sensitive-labels: {instead}"


def test_long_value_is_shortened():
    """A message quotes only the beginning of a long value."""
    message = error_message(f"--cache.ttl={'x' * 1000}")
    assert message.startswith("--cache.ttl='xxx")
    assert message.endswith("xxx...: must be a duration such as 90s, 1m30s or 500ms")


def test_suggestion_is_a_similar_name():
    """A suggestion is the most similar name without the common prefix. If all names differ a lot, it is `--help`."""
    assert suggestion("--tim", ["--time", "--cache"], "--") == "; did you mean --time?"
    assert suggestion("--tim", ["--cache"], "--") == "; see --help"
