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

from exporter.logs import configure, error_location

PAIR = re.compile(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "=]*))(?: |$)')
LIBRARIES = ["httpx", "httpcore.http11", "stamina", "asyncio"]


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Leave logging as other tests expect it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def written(capsys):
    """Return a function that gives the lines written since it was last called, all of them on standard error."""

    def lines():
        out, err = capsys.readouterr()
        assert not out
        assert not err or err.endswith("\n")
        return err.split("\n")[:-1]

    return lines


def parse(form, line):
    """Return the names and texts of a log line."""
    if form == "json":
        return json.loads(line)
    pairs = list(PAIR.finditer(line))
    assert "".join(pair[0] for pair in pairs) == line, "a line is nothing but pairs"
    return {pair[1]: pair[3] if pair[2] is None else re.sub(r"\\(.)", r"\1", pair[2]) for pair in pairs}


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger], ids=["structlog", "logging"])
def test_lines_have_time_level_and_message(written, form, logger):
    """What we log and what libraries log look the same: time in UTC, level, message."""
    configure("info", form)
    logger().warning("what happened")
    (line,) = written()
    record = parse(form, line)
    assert datetime.now(UTC) - datetime.fromisoformat(record.pop("time")) < timedelta(minutes=1)
    assert record == {"level": "warning", "msg": "what happened"}


def test_logfmt_begins_with_what_every_line_has(written):
    """In logfmt, time, level and message come first, for eyes that scan a column."""
    configure("info", "logfmt")
    structlog.get_logger().info("refreshed", duration="0.1s", connections=55)
    (line,) = written()
    assert re.fullmatch(r"time=\S+Z level=info msg=refreshed duration=0\.1s connections=55", line)


def test_json_keeps_types(written):
    """In JSON, numbers, booleans and null stay what they are."""
    configure("info", "json")
    structlog.get_logger().info("x", number=1.5, yes=True, nothing=None, text="東京")
    (line,) = written()
    record = json.loads(line)
    assert (record["number"], record["yes"], record["nothing"], record["text"]) == (1.5, True, None, "東京")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(written, level, shown):
    """What is below the level is not logged."""
    configure(level, "json")
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)("x")
    assert [json.loads(line)["level"] for line in written()] == shown


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize(
    ("level", "shown"), [("debug", ["warning", "error"]), ("info", ["warning", "error"]), ("error", ["error"])]
)
def test_libraries_are_heard_from_warning_on(written, name, level, shown):
    """Libraries stay silent below `warning` at any level, as some of them log headers, and the key is in one."""
    configure(level, "json")
    logger = logging.getLogger(name)
    for severity in ("debug", "info", "warning", "error"):
        getattr(logger, severity)("authorization: %s", severity)
    assert [json.loads(line)["level"] for line in written()] == shown


def test_bad_requests_do_not_fill_the_log(written):
    """What anyone who reaches the port can provoke is not logged, but what went wrong inside is."""
    configure("debug", "json")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application")
    assert [json.loads(line)["msg"] for line in written()] == ["Exception in ASGI application"]


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_log_that_cannot_be_written_is_lost_alone(monkeypatch, form):
    """A full disk or a reader that is gone ends nothing but the log."""
    with open("/dev/full", "w", encoding="utf-8", buffering=1) as full:  # noqa: PTH123 -- a device
        monkeypatch.setattr(sys, "stderr", full)
        configure("info", form)
        structlog.get_logger().info("lost")
        logging.getLogger("httpx").warning("lost as well")
        with contextlib.suppress(OSError):
            full.close()


def test_last_configuration_counts(written):
    """Configured twice, each line is written once, in the last format."""
    configure("debug", "logfmt")
    configure("info", "json")
    structlog.get_logger().info("ours")
    logging.getLogger("httpx").warning("theirs")
    assert [json.loads(line)["msg"] for line in written()] == ["ours", "theirs"]


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
    ids=["lf", "cr", "controls", "escape", "unicode", "c1", "bare"],
)
def test_text_with_line_breaks_stays_one_line(written, form, text):
    """What comes from outside can neither begin a line of its own nor command a terminal."""
    configure("info", form)
    structlog.get_logger().info(text, connection_id=text)
    logging.getLogger("asyncio").warning("%s", text)
    lines = written()
    assert len(lines) == 2
    for line in lines:
        assert line.isprintable()
        assert set(parse(form, line)) <= {"time", "level", "msg", "connection_id"}


@pytest.mark.parametrize("text", ['say "hi"', r"back\slash", "a=b", 'a level=error msg="b"', "", "Café ☎"])
@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_text_reads_back(written, form, text):
    """Quotes, backslashes and what looks like a pair are parts of the text they stand in."""
    configure("info", form)
    structlog.get_logger().info("x", name=text)
    (line,) = written()
    assert parse(form, line)["name"] == text


@given(text=st.text(), form=st.sampled_from(["logfmt", "json"]))
def test_any_text_stays_within_its_pair(text, form):
    """Whatever the text, a line has its pairs and no others."""
    with contextlib.redirect_stderr(io.StringIO()) as written:
        configure("info", form)
        structlog.get_logger().info("x", name=text)
    (line,) = written.getvalue().splitlines()
    assert set(parse(form, line)) == {"time", "level", "msg", "name"}


def fail():
    """Raise an error that quotes a secret."""
    raise ValueError("hush")


def log_with_current(logger, error):
    """Log with the error at hand."""
    logger.error("x", exc_info=bool(error))


def log_with_error(logger, error):
    """Log with an error."""
    logger.error("x", exc_info=error)


def log_with_triple(logger, error):
    """Log with what `sys.exc_info` gives."""
    logger.error("x", exc_info=sys.exc_info())


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize("log", [log_with_current, log_with_error, log_with_triple])
@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger], ids=["structlog", "logging"])
def test_exception_becomes_type_and_place(written, form, log, logger):
    """An exception, however it is handed over, is its type and where it was raised, not its text or a traceback."""
    configure("info", form)
    try:
        fail()
    except ValueError as error:
        log(logger(), error)
    (line,) = written()
    assert "hush" not in line
    record = parse(form, line)
    assert record.pop("exception") == f"ValueError at fail:{fail.__code__.co_firstlineno + 2}"
    assert set(record) == {"time", "level", "msg"}


@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger], ids=["structlog", "logging"])
def test_no_exception_is_none(written, logger):
    """A line that asks for an exception where there is none goes without."""
    configure("info", "json")
    logger().error("x", exc_info=True)
    (line,) = written()
    assert set(json.loads(line)) == {"time", "level", "msg"}


def test_place_of_an_error_that_was_not_raised():
    """An error that was only made has a type and no place."""
    assert error_location(ValueError("hush")) == "ValueError"
