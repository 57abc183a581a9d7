import re
import runpy
import sys
from pathlib import Path

import pytest

from exporter.config.flags import OPTIONS

ROOT = Path(__file__).parents[2]
GENERATE = ROOT / "docs" / "generate.py"


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


DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("deploy/**/*.md")),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    """What a document links to beside itself is there."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_of_documents_exist(document):
    """A document names no flag or variable that there is not."""
    text = document.read_text()
    options = {option.flag for option in OPTIONS} | {option.variable for option in OPTIONS} | {"--web.user-assets"}
    groups = {option.flag.rpartition(".")[0] for option in OPTIONS}
    for name in re.findall(r"--(?:web|telnyx|cache|metrics|log)\.[a-z.-]*[a-z]|TELNYX_[A-Z_]+[A-Z]\b(?!_)", text):
        assert name in options | groups, name
