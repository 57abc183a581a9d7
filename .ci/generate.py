"""Writes all generated files. With `--check`, exits with a message that names those that are out of date.

Each module of GENERATORS has a function `files`, which returns texts by their paths in the repository.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATORS = ("docs/reference.py", "grafana/dashboards.py", "tests/golden/expositions.py")


def generated_files() -> dict[str, str]:
    """Return the content of all generated files."""
    files: dict[str, str] = {}
    for generator in GENERATORS:
        sys.path.insert(0, str((ROOT / generator).parent))  # it may import modules beside it
        files |= runpy.run_path(str(ROOT / generator))["files"]()
    return files


def main(root: Path = ROOT) -> None:
    """Run the command for the repository at `root`."""
    files = generated_files()
    if sys.argv[1:] != ["--check"]:
        for name, text in files.items():
            (root / name).write_text(text, "utf-8")
    elif outdated := [name for name, text in files.items() if (root / name).read_text("utf-8") != text]:
        sys.exit(f"out of date: {', '.join(outdated)}: run `make generate`")


if __name__ == "__main__":
    main()
