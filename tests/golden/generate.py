"""Writes the golden files in this folder: the exposition of a connection with all fields, and of one with only an id.

`connection.json` is the connection with all fields. A field that it lacks is added with an example of the sandbox.
Run `make generate` and review the difference like code. With `--check`, the script only compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from exporter.collectors.credential_connections import COLLECTOR, Connection
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Format
from exporter.sandbox import Account
from exporter.telnyx.pages import PageDecoder, Snapshot

FOLDER = Path(__file__).parent
CONNECTION = FOLDER / "connection.json"
FORMATS = {"prom": Format.TEXT, "om": Format.OPENMETRICS}


def merge(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an object with all fields of these objects. The first value that is not empty counts."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if row.get(name) not in (None, [])]
        merged[name] = merge(values) if values and isinstance(values[0], dict) else next(iter(values), None)
    return merged


def exposition(row: dict[str, Any], form: Format) -> str:
    """Return the exposition of a connection in a format."""
    rows = PageDecoder(Connection)(json.dumps({"data": [row]}).encode()).rows
    document = Renderer(COLLECTOR)(Snapshot((rows,)))  # type: ignore[arg-type]  # the row can be decoded
    return document.encode(form, gzip=False).data.decode()


def golden_files() -> dict[Path, str]:
    """Return the content of all files."""
    text = CONNECTION.read_text("utf-8")
    full = merge([json.loads(text), *Account(100, step=0).rows])
    if full != json.loads(text):
        text = json.dumps(full, indent=2, ensure_ascii=False) + "\n"
    rows = {"full": full, "bare": {"id": "42"}}
    return {CONNECTION: text} | {
        FOLDER / f"{name}.{suffix}": exposition(row, form)
        for name, row in rows.items()
        for suffix, form in FORMATS.items()
    }


def main() -> None:
    """Write the files, or with `--check` exit with a message that names those that are out of date."""
    outdated = [path for path, text in golden_files().items() if path.read_text("utf-8") != text]
    if sys.argv[1:] == ["--check"]:
        if outdated:
            sys.exit(f"out of date: {', '.join(f'tests/golden/{path.name}' for path in outdated)}: run `make generate`")
        return
    for path in outdated:
        path.write_text(golden_files()[path], "utf-8")


if __name__ == "__main__":
    main()
