import re
from pathlib import Path

import pytest

from exporter.collectors.registry import COLLECTORS
from exporter.config.options import OPTIONS, collector_options
from exporter.telnyx.errors import REASONS

ROOT = Path(__file__).parents[2]

DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *(path for folder in ("deploy", "docs", "prometheus") for path in sorted((ROOT / folder).rglob("*.md"))),
]


each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def prose(path):
    """Return the text of a document without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(path):
    """Return the anchors of the headings of a document, as GitHub names them."""
    names = []
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")
        names.append(f"{name}-{names.count(name)}" if name in names else name)
    return names


def test_anchors_are_those_of_github(tmp_path):
    """An anchor is the heading in lower case, without punctuation and formatting. If repeated, it has a number."""
    page = tmp_path / "page.md"
    page.write_text("# A `--flag.b`\n## [Link](x.md) & more\n```sh\n# comment\n```\n## How do I ...?\n### a --flagb\n")
    assert anchors(page) == ["a---flagb", "link--more", "how-do-i-", "a---flagb-1"]


@each_document
def test_links_have_a_target(document):
    """The file of every relative link exists, and if the link names a heading of a document, that exists, too."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            path = document.parent / name if name else document
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), target


@each_document
def test_sections_that_a_document_names_exist(document):
    """If a document names a section of another one without a link, both exist."""
    for name, section in re.findall(r"(docs/[\w.]+\.md),\s+section\s+\*([^*]+)\*", prose(document)):
        assert re.search(rf"^#+ {re.escape(section)}$", (ROOT / name).read_text(), re.MULTILINE), (name, section)


@each_document
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
