"""Generates the golden files: the expositions of rows with all fields, and of a connection with only an id.

`make generate` writes them. Review the difference like code.
"""

import sys
from pathlib import Path

from exporter.exposition.formats import Format

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from connections import DOCUMENTED_COLLECTORS, FULL, decode, documented_row, render, text_of

ROWS = {"full": FULL, "bare": {"id": "42"}}
FORMATS = {"prom": Format.TEXT, "om": Format.OPENMETRICS}


def files():
    """Return the content of the files by their paths in the repository."""
    documents = {name: render(decode(row)) for name, row in ROWS.items()}
    others = {
        collector.name: render(decode(documented_row(collector.name), collector=collector), collector=collector)
        for collector in DOCUMENTED_COLLECTORS[1:]
    }
    return {
        f"tests/golden/{name}.{suffix}": text_of(document, form).decode()
        for name, document in documents.items()
        for suffix, form in FORMATS.items()
    } | {f"tests/golden/{name}.prom": text_of(document).decode() for name, document in others.items()}
