import re
import runpy
import sys
from pathlib import Path

import pytest

from exporter.config.flags import OPTIONS

ROOT = Path(__file__).parents[2]
GENERATE = ROOT / "docs" / "generate.py"


@pytest.fixture
def generator():
    return runpy.run_path(str(GENERATE))


def test_generated_documentation_is_current(generator, monkeypatch):
    """The generated documentation matches the code."""
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    generator["main"]()


def test_outdated_reference_is_reported(generator, monkeypatch, tmp_path):
    """If the reference is out of date, the check fails and says how to update it."""
    old = tmp_path / "metrics.md"
    old.write_text("old")
    monkeypatch.setitem(generator["main"].__globals__, "REFERENCE", old)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    with pytest.raises(SystemExit, match=r"out of date: docs/metrics.md.*: run `make generate`"):
        generator["main"]()


DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("deploy/**/*.md")),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_have_a_target(document):
    """The target of every relative link exists."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_in_documents_exist(document):
    """Every flag and variable in a document exists."""
    text = document.read_text()
    options = {option.flag for option in OPTIONS} | {option.variable for option in OPTIONS} | {"--web.user-assets"}
    groups = {option.flag.rpartition(".")[0] for option in OPTIONS}
    for name in re.findall(r"--(?:web|telnyx|cache|metrics|log)\.[a-z.-]*[a-z]|TELNYX_[A-Z_]+[A-Z]\b(?!_)", text):
        assert name in options | groups, name
