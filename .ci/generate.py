"""Writes all generated files. With `--check`, exits with a message that names those that are out of date.

Each module of GENERATORS has a function `files`, which returns texts by their paths in the repository. If it has a glob
`OWNED`, the other files that match it are obsolete, and are deleted.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATORS = ("docs/reference.py", "docs/runbook_pages.py", "grafana/dashboards.py", "tests/golden/expositions.py")
MAX_NAMES = 5
"""Names of files in a message, before it says how many more there are."""


def generated_files(root: Path) -> tuple[dict[str, str], set[str]]:
    """Return the content of all generated files, and the obsolete files in `root`."""
    files: dict[str, str] = {}
    owned: set[str] = set()
    for generator in GENERATORS:
        sys.path.insert(0, str((ROOT / generator).parent))  # it may import modules beside it
        module = runpy.run_path(str(ROOT / generator))
        files |= module["files"]()
        if "OWNED" in module:
            owned |= {str(path.relative_to(root)) for path in root.glob(module["OWNED"])}
    return files, owned - files.keys()


def main(root: Path = ROOT) -> None:
    """Run the command for the repository at `root`."""
    files, obsolete = generated_files(root)
    if sys.argv[1:] == ["--check"]:
        check(root, files, obsolete)
        return
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    for name in obsolete:
        (root / name).unlink()


def check(root: Path, files: dict[str, str], obsolete: set[str]) -> None:
    """Exit with a message if a file is missing, differs or is obsolete."""
    outdated = [name for name, text in files.items() if not is_current(root / name, text)] + sorted(obsolete)
    if outdated:
        names = ", ".join(outdated[:MAX_NAMES])
        more = f" and {len(outdated) - MAX_NAMES} more" if len(outdated) > MAX_NAMES else ""
        sys.exit(f"out of date: {names}{more}: run `make generate`")


def is_current(path: Path, text: str) -> bool:
    """Return whether a file has this text."""
    return path.is_file() and path.read_text("utf-8") == text


if __name__ == "__main__":
    main()
