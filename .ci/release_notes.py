"""Print the release notes of a version: its section of CHANGELOG.md."""

from __future__ import annotations

import os
import re
import sys
from datetime import date
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
VERSION = re.compile(r"v?((?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-(?:alpha|beta|rc)\.(?:0|[1-9]\d*))?)")
"""A version that is valid in SemVer and has the same meaning for the package index."""


def main(changelog: Path = CHANGELOG) -> None:
    """Print the notes of the version or tag that is the only argument. Exit with a message if there are none."""
    try:
        (argument,) = sys.argv[1:]
    except ValueError:
        sys.exit("usage: release_notes.py VERSION")
    match = VERSION.fullmatch(argument)
    if match is None:
        sys.exit(f"{argument}: must be a version such as 1.2.3 or 1.2.3-rc.1, or its tag, such as v1.2.3")
    version = match[1]
    try:
        text = section(changelog.read_text("utf-8"), version)
    except ValueError as error:
        sys.exit(f"{changelog.name}: {error}")
    print(with_absolute_links(text, os.environ.get("REPOSITORY_URL", ""), f"v{version}"))  # noqa: T201 -- the result


def section(changelog: str, version: str) -> str:
    """Return the text of a version's section without its heading."""
    parts = re.split(rf"^## \[{re.escape(version)}\](.*)\n", changelog, flags=re.MULTILINE)
    if len(parts) == 1:
        raise ValueError(f"no section for {version}: add `## [{version}] - YYYY-MM-DD` below [Unreleased]")
    if len(parts) > 3:  # noqa: PLR2004 -- the text before it, the rest of the heading, the text after it
        raise ValueError(f"several sections for {version}: keep one")
    day, text = parts[1].removeprefix(" - "), re.split(r"^## ", parts[2], maxsplit=1, flags=re.MULTILINE)[0].strip()
    if not is_date(day):
        raise ValueError(f"no date in the heading of {version}: write `## [{version}] - YYYY-MM-DD`")
    if not text:
        raise ValueError(f"the section of {version} is empty: say what changed")
    return text


def is_date(text: str) -> bool:
    """Return whether a text is a date such as 2026-01-31."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def with_absolute_links(text: str, url: str, tag: str) -> str:
    """Return the text with links to files of a tag. Without the URL of the repository, the links stay relative."""
    if not url:
        return text
    return re.sub(r"\]\((?!\w+:|#)([^)\s]+)\)", lambda link: f"]({url.rstrip('/')}/blob/{tag}/{link[1]})", text)


if __name__ == "__main__":
    main()
