"""The script that prints the release notes of a version."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / ".ci" / "release_notes.py"))
CHANGELOG = """\
# Changelog

## [Unreleased]

## [1.10.0] - 2026-12-01

### Added

- A [page](docs/page.md#part), with [reasons](https://x.example/y) [below](#below).

### Fixed

- A bug.

## [1.1.0] - 2026-02-28

- Old.

## [1.1.0-rc.1] - 2026-02-01

- Older.

## [0.5.0] - 2026-02-30

- Not a day.

## [0.4.0]

- No day.

## [0.3.0] - 2026-1-2

- Not in full.

## [0.2.1] - 20260102

- Not as in other headings.

## [0.2.0] - 2026-01-01

## [0.1.0] - 2025-01-01

- One.

## [0.1.0] - 2025-01-02

- Two.

## [0-0-1] - 2025-01-01

- No version.
"""


@pytest.fixture
def notes(tmp_path, monkeypatch, capsys):
    """Return a function that runs the script with arguments and returns what it prints."""
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(CHANGELOG)
    monkeypatch.delenv("REPOSITORY_URL", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["release_notes.py", *arguments])
        SCRIPT["main"](changelog)
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("version", "text"),
    [("1.1.0", "- Old.\n"), ("v1.1.0", "- Old.\n"), ("1.1.0-rc.1", "- Older.\n"), ("v1.1.0-rc.1", "- Older.\n")],
)
def test_notes_are_the_section_of_the_version(notes, version, text):
    """The notes are the section without its heading. The argument is a version or its tag."""
    assert notes(version) == text


def test_notes_have_all_parts_of_the_section(notes):
    """A section ends at the next version. Headings of a lower level belong to it."""
    lines = notes("v1.10.0").splitlines()
    assert (lines[0], lines[-1]) == ("### Added", "- A bug.")
    assert "### Fixed" in lines


@pytest.mark.parametrize("url", ["https://git.example/owner/name", "https://git.example/owner/name/"])
def test_links_name_the_files_of_the_tag(notes, monkeypatch, url):
    """With the URL of the repository, relative links become links to the files of the tag. Others stay."""
    assert "[page](docs/page.md#part), with [reasons](https://x.example/y) [below](#below)" in notes("1.10.0")
    monkeypatch.setenv("REPOSITORY_URL", url)
    link = "https://git.example/owner/name/blob/v1.10.0/docs/page.md#part"
    assert f"[page]({link}), with [reasons](https://x.example/y) [below](#below)" in notes("1.10.0")


@pytest.mark.parametrize(
    "version",
    [
        "",
        "1",
        "v1.1",
        "1.1.0.0",
        "01.1.0",
        "1.1.0rc1",
        "1.1.0rc.1",
        "1.1.0-rc",
        "1.1.0-rc.01",
        "vv1.1.0",
        "1.1.0\n",
        ".*",
    ],
)
def test_invalid_version_is_rejected(notes, version):
    """An argument that is not a version gets one line with examples."""
    with pytest.raises(SystemExit) as error:
        notes(version)
    assert error.value.code == f"{version}: must be a version such as 1.2.3 or 1.2.3-rc.1, or its tag, such as v1.2.3"


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("v1.0.0", "no section for 1.0.0: add `## [1.0.0] - YYYY-MM-DD` below [Unreleased]"),
        ("1.1.0-rc.2", "no section for 1.1.0-rc.2: add `## [1.1.0-rc.2] - YYYY-MM-DD` below [Unreleased]"),
        ("0.5.0", "no date in the heading of 0.5.0: write `## [0.5.0] - YYYY-MM-DD`"),
        ("0.4.0", "no date in the heading of 0.4.0: write `## [0.4.0] - YYYY-MM-DD`"),
        ("0.3.0", "no date in the heading of 0.3.0: write `## [0.3.0] - YYYY-MM-DD`"),
        ("0.2.1", "no date in the heading of 0.2.1: write `## [0.2.1] - YYYY-MM-DD`"),
        ("0.0.1", "no section for 0.0.1: add `## [0.0.1] - YYYY-MM-DD` below [Unreleased]"),
        ("0.2.0", "the section of 0.2.0 is empty: say what changed"),
        ("0.1.0", "several sections for 0.1.0: keep one"),
    ],
)
def test_version_needs_one_section_with_a_date(notes, version, message):
    """A version needs exactly one section with a date and a text. Otherwise, the error says what to do."""
    with pytest.raises(SystemExit) as error:
        notes(version)
    assert error.value.code == f"CHANGELOG.md: {message}"


@pytest.mark.parametrize("arguments", [(), ("1.1.0", "1.10.0")])
def test_script_needs_one_argument(notes, arguments):
    """Without an argument, or with two, the script prints its usage."""
    with pytest.raises(SystemExit) as error:
        notes(*arguments)
    assert error.value.code == "usage: release_notes.py VERSION"


def test_released_sections_are_valid():
    """Each released version in the project's changelog has release notes."""
    text = (ROOT / "CHANGELOG.md").read_text()
    for version in re.findall(r"^## \[(?!Unreleased)(.*?)\]", text, re.MULTILINE):
        assert SCRIPT["section"](text, version)
