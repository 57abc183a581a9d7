import contextlib
import io
import json
import logging
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs import MAX_NAMES, configure_logging, error_location, join_some

PAIR = re.compile(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "=]*))(?: |$)')
LIBRARIES = ["httpx", "httpcore.http11", "stamina", "asyncio"]


@pytest.fixture
def read_log(capsys):
    """Return a function that returns the lines logged since its last call. All must be on standard error."""

    def lines():
        out, err = capsys.readouterr()
        assert not out
        assert not err or err.endswith("\n")
        return err.split("\n")[:-1]

    return lines


def parse(form, line):
    """Parse a log line and return its fields."""
    if form == "json":
        return json.loads(line)
    pairs = list(PAIR.finditer(line))
    assert "".join(pair[0] for pair in pairs) == line, "a line is nothing but pairs"
    return {pair[1]: pair[3] if pair[2] is None else re.sub(r"\\(.)", r"\1", pair[2]) for pair in pairs}


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger], ids=["structlog", "logging"])
def test_lines_have_time_level_and_message(read_log, form, logger):
    """Lines of the exporter and of libraries have the same format: time in UTC, level, message."""
    configure_logging("info", form)
    logger().warning("what happened")
    (line,) = read_log()
    record = parse(form, line)
    assert datetime.now(UTC) - datetime.fromisoformat(record.pop("time")) < timedelta(minutes=1)
    assert record == {"level": "warning", "msg": "what happened"}


def test_logfmt_starts_with_the_common_fields(read_log):
    """In logfmt, time, level and message come first, so that lines are easy to scan."""
    configure_logging("info", "logfmt")
    structlog.get_logger().info("refreshed", duration="0.1s", connections=55)
    (line,) = read_log()
    assert re.fullmatch(r"time=\S+Z level=info msg=refreshed duration=0\.1s connections=55", line)


def test_json_keeps_types(read_log):
    """In JSON, numbers, booleans and null keep their types."""
    configure_logging("info", "json")
    structlog.get_logger().info("x", number=1.5, yes=True, nothing=None, text="東京")
    (line,) = read_log()
    record = json.loads(line)
    assert (record["number"], record["yes"], record["nothing"], record["text"]) == (1.5, True, None, "東京")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(read_log, level, expected):
    """Messages below the configured level are not logged."""
    configure_logging(level, "json")
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)("x")
    assert [json.loads(line)["level"] for line in read_log()] == expected


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize(
    ("level", "expected"), [("debug", ["warning", "error"]), ("info", ["warning", "error"]), ("error", ["error"])]
)
def test_libraries_log_from_warning_up(read_log, name, level, expected):
    """At any level, libraries log only from `warning` up, because some log headers, and one header has the API key."""
    configure_logging(level, "json")
    logger = logging.getLogger(name)
    for severity in ("debug", "info", "warning", "error"):
        getattr(logger, severity)("authorization: %s", severity)
    assert [json.loads(line)["level"] for line in read_log()] == expected


def test_bad_requests_do_not_fill_the_log(read_log):
    """Errors that anyone with access to the port can cause are not logged, but internal errors are."""
    configure_logging("debug", "json")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application")
    assert [json.loads(line)["msg"] for line in read_log()] == ["Exception in ASGI application"]


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_log_that_cannot_be_written_is_ignored(monkeypatch, form):
    """If the log can't be written, for example to a full disk, lines are lost, but nothing is raised."""
    with open("/dev/full", "w", encoding="utf-8", buffering=1) as full:  # noqa: PTH123 -- a device
        monkeypatch.setattr(sys, "stderr", full)
        configure_logging("info", form)
        structlog.get_logger().info("lost")
        logging.getLogger("httpx").warning("lost as well")
        with contextlib.suppress(OSError):
            full.close()


def test_last_configuration_applies(read_log):
    """If logging is configured twice, each line is logged once, in the last format."""
    configure_logging("debug", "logfmt")
    configure_logging("info", "json")
    structlog.get_logger().info("ours")
    logging.getLogger("httpx").warning("theirs")
    assert [json.loads(line)["msg"] for line in read_log()] == ["ours", "theirs"]


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize(
    "text",
    [
        "two\nlines",
        "cr\rlf\r\n",
        "tab\tnull\x00bell\x07",
        "\x1b[31mred\x1b[0m",
        "\x85\x0b\x0c\u2028\u2029",
        "\x9b31m",
        "\n",
    ],
    ids=["lf", "cr", "controls", "escape", "unicode", "c1", "only-lf"],
)
def test_text_with_line_breaks_stays_one_line(read_log, form, text):
    """Text from outside can neither start a new line nor send control sequences to a terminal."""
    configure_logging("info", form)
    structlog.get_logger().info(text, connection_id=text)
    logging.getLogger("asyncio").warning("%s", text)
    lines = read_log()
    assert len(lines) == 2
    for line in lines:
        assert line.isprintable()
        assert set(parse(form, line)) <= {"time", "level", "msg", "connection_id"}


@pytest.mark.parametrize("text", ['say "hi"', r"back\slash", "a=b", 'a level=error msg="b"', "", "Café ☎"])
@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_text_round_trips(read_log, form, text):
    """Quotes, backslashes and text that looks like a pair stay part of their field."""
    configure_logging("info", form)
    structlog.get_logger().info("x", name=text)
    (line,) = read_log()
    assert parse(form, line)["name"] == text


@given(text=st.text(), form=st.sampled_from(["logfmt", "json"]))
def test_any_text_stays_within_its_field(text, form):
    """For any text, the line has exactly the expected fields."""
    with contextlib.redirect_stderr(io.StringIO()) as stream:
        configure_logging("info", form)
        structlog.get_logger().info("x", name=text)
    (line,) = stream.getvalue().splitlines()
    assert set(parse(form, line)) == {"time", "level", "msg", "name"}


def fail():
    """Raise an error that contains a secret."""
    raise ValueError("hush")


def log_with_current(logger, error):
    """Log with the exception that is being handled."""
    logger.error("x", exc_info=bool(error))


def log_with_error(logger, error):
    """Log with an exception object."""
    logger.error("x", exc_info=error)


def log_with_triple(logger, error):
    """Log with the result of `sys.exc_info`."""
    logger.error("x", exc_info=sys.exc_info())


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize("log", [log_with_current, log_with_error, log_with_triple])
@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger], ids=["structlog", "logging"])
def test_exception_becomes_type_and_location(read_log, form, log, logger):
    """An exception, however it is passed, is logged as its type and location, without its message or a traceback."""
    configure_logging("info", form)
    try:
        fail()
    except ValueError as error:
        log(logger(), error)
    (line,) = read_log()
    assert "hush" not in line
    record = parse(form, line)
    assert record.pop("exception") == f"ValueError at fail:{fail.__code__.co_firstlineno + 2}"
    assert set(record) == {"time", "level", "msg"}


@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger], ids=["structlog", "logging"])
def test_exc_info_without_an_exception(read_log, logger):
    """If no exception is being handled, `exc_info=True` adds nothing to the line."""
    configure_logging("info", "json")
    logger().error("x", exc_info=True)
    (line,) = read_log()
    assert set(json.loads(line)) == {"time", "level", "msg"}


def test_location_of_an_error_that_was_not_raised():
    """An error that was never raised has a type but no location."""
    assert error_location(ValueError("hush")) == "ValueError"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a", "b"], "a, b"),
        (["a"] * MAX_NAMES, ", ".join("a" * MAX_NAMES)),
        (["a"] * (MAX_NAMES + 2), ", ".join("a" * MAX_NAMES) + " and 2 more"),
    ],
)
def test_a_line_has_only_some_names(names, text):
    """A log line contains a limited number of names, and says how many there are besides."""
    assert join_some(names) == text


@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger], ids=["structlog", "logging"])
def test_the_account_is_in_the_line(read_log, logger):
    """Each line about an account, also of libraries, has its name after the message."""
    with structlog.contextvars.bound_contextvars(account="emea"):
        configure_logging("info", "logfmt")
        logger().warning("refreshed")
        configure_logging("info", "json")
        logger().warning("refreshed")
    logger().warning("no account")
    first, second, third = read_log()
    assert re.fullmatch(r"time=\S+Z level=warning msg=refreshed account=emea", first)
    assert second.endswith('"msg": "refreshed", "account": "emea"}')
    assert "account" not in json.loads(third)


def test_the_account_comes_before_other_fields(read_log):
    """In logfmt, the account follows the message, wherever it is set. A line's own account has precedence."""
    configure_logging("info", "logfmt")
    with structlog.contextvars.bound_contextvars(account="emea"):
        structlog.get_logger().info("refreshed", rows=7)
        structlog.get_logger().info("refreshed", rows=7, account="apac")
    assert [line.partition(" level=")[2] for line in read_log()] == [
        "info msg=refreshed account=emea rows=7",
        "info msg=refreshed account=apac rows=7",
    ]
