"""Reading small files that somebody else writes: keys, certificates, configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path, bound: int) -> bytes:
    """Return what a file holds. Raises `OSError`, and `ValueError` if that is more than `bound` bytes."""
    with path.open("rb") as file:
        content = file.read(bound + 1)
    if len(content) > bound:
        raise ValueError(f"is larger than {bound} bytes")
    return content
