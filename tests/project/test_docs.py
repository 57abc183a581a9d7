import re
from pathlib import Path

import pytest

from exporter.collectors.registry import COLLECTORS
from exporter.config.options import OPTIONS, collector_options
from exporter.telnyx.errors import REASONS

ROOT = Path(__file__).parents[2]

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
    options = (*OPTIONS, *collector_options(COLLECTORS))
    known = {name for option in options for name in (option.flag, option.negation, option.variable)}
    known |= {option.flag.rpartition(".")[0] for option in options} | {"--web.user-assets"}
    flags = re.findall(r"--(?:web|telnyx|cache|metrics|log|(?:no-)?collector)\.[a-z.-]*[a-z]", text)
    for name in (*flags, *re.findall(r"TELNYX_[A-Z_]+[A-Z]\b(?!_)", text)):
        assert name in known, name


@pytest.mark.parametrize("name", ["TelnyxApiDown", "TelnyxCollectorFailing"])
def test_runbooks_list_each_reason(name):
    """The runbooks of alerts about refreshes say what to do for each reason."""
    table = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "runbooks" / f"{name}.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(table))) == sorted(REASONS)
