"""Writes the golden files in this folder: the exposition of a connection with all fields, and of one with only an id.

Run `make generate` and review the difference like code. With `--check`, the script only compares.
"""

import sys
from pathlib import Path

from exporter.collectors.credential_connections import COLLECTOR
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Format

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from connections import FULL, GOLDEN, snapshot_of

ROWS = {"full": FULL, "bare": {"id": "42"}}
FORMATS = {"prom": Format.TEXT, "om": Format.OPENMETRICS}


def main():
    """Write the files. With `--check`, exit with a message that names those that are out of date."""
    outdated = []
    for name, row in ROWS.items():
        document = Renderer(COLLECTOR)(snapshot_of(row))
        for suffix, form in FORMATS.items():
            path, data = GOLDEN / f"{name}.{suffix}", document.encode(form, gzip=False).data
            if sys.argv[1:] != ["--check"]:
                path.write_bytes(data)
            elif path.read_bytes() != data:
                outdated.append(f"tests/golden/{path.name}")
    if outdated:
        sys.exit(f"out of date: {', '.join(outdated)}: run `make generate`")


if __name__ == "__main__":
    main()
