import logging
import time
from collections import Counter
from pathlib import Path

import pytest
import structlog
from coverage import Coverage
from hypothesis import settings

E2E = Path(__file__).parent / "e2e"
PROGRAM_HELPERS = {"programs", "chart"}
"""The helper modules that run other programs."""

settings.register_profile("without deadline", deadline=None)  # a busy machine can be slow at any moment
settings.load_profile("without deadline")


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests on plain asyncio. Other tests cover uvloop, which the real server uses."""
    return ("asyncio", {"use_uvloop": False})


@pytest.fixture(scope="module", autouse=True)
def full_speed(request):
    """Don't measure which lines run in end-to-end tests and in programs, so that both are as fast as for users.

    A module with `MEASURES_COVERAGE` runs lines of the exporter that no other test does.
    """
    if getattr(request.module, "MEASURES_COVERAGE", False):
        yield
        return
    measurement = Coverage.current() if E2E in request.path.parents else None
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        if measurement:
            measurement.stop()
        yield
    if measurement:
        measurement.start()


@pytest.fixture(autouse=True)
def default_logging():
    """Restore the default logging after each test, because the command configures it for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def other_time_zone(monkeypatch):
    """Set a local time zone that is not UTC."""
    monkeypatch.setenv("TZ", "Elsewhere-13")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def pytest_collection_modifyitems(items):
    """Mark tests as external: those in e2e/, and those of modules that import a helper for other programs."""
    for item in items:
        helpers = {getattr(value, "__module__", "") for value in vars(item.module).values()}
        if E2E in item.path.parents or helpers & PROGRAM_HELPERS:
            item.add_marker("external")


def pytest_terminal_summary(terminalreporter):
    """Say in one line why tests were skipped."""
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.getreports("skipped"))
    if reasons:
        listed = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"Skipped {reasons.total()} tests: {listed}")
