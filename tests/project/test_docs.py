import re
from pathlib import Path

import pytest

from exporter.config.flags import OPTIONS

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
    options = {option.flag for option in OPTIONS} | {option.variable for option in OPTIONS} | {"--web.user-assets"}
    groups = {option.flag.rpartition(".")[0] for option in OPTIONS}
    for name in re.findall(r"--(?:web|telnyx|cache|metrics|log)\.[a-z.-]*[a-z]|TELNYX_[A-Z_]+[A-Z]\b(?!_)", text):
        assert name in options | groups, name
