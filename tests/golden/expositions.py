"""Generates the golden files: the exposition of a connection with all fields, and of one with only an id.

`make generate` writes them. Review the difference like code.
"""

import sys
from pathlib import Path

from exporter.exposition.formats import Format

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from connections import FULL, decode, render, text_of

ROWS = {"full": FULL, "bare": {"id": "42"}}
FORMATS = {"prom": Format.TEXT, "om": Format.OPENMETRICS}


def files():
    """Return the content of the files by their paths in the repository."""
    documents = {name: render(decode(row)) for name, row in ROWS.items()}
    return {
        f"tests/golden/{name}.{suffix}": text_of(document, form).decode()
        for name, document in documents.items()
        for suffix, form in FORMATS.items()
    }
