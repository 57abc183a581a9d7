import runpy
import sys
from pathlib import Path

import pytest

GENERATE = Path(__file__).parents[1] / "docs" / "generate.py"


@pytest.fixture
def generated():
    return runpy.run_path(str(GENERATE))


def test_generated_documentation_is_current(generated, monkeypatch):
    """What the documentation takes from the code is what the code says."""
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    generated["main"]()


def test_what_is_out_of_date_is_named(generated, monkeypatch, tmp_path):
    """A reference that differs is refused, with what to do about it."""
    old = tmp_path / "metrics.md"
    old.write_text("old")
    monkeypatch.setitem(generated["main"].__globals__, "REFERENCE", old)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    with pytest.raises(SystemExit, match=r"metrics.md is out of date: run python docs/generate.py"):
        generated["main"]()
