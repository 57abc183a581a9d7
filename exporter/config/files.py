"""Reading small files that somebody else writes: keys, certificates, configuration."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path, bound: int) -> bytes:
    """Return what a file holds, without waiting for anybody to write it.

    Raises `OSError`, and `ValueError` for what is no regular file, or has more than `bound` bytes.
    """
    with open(path, "rb", opener=_open) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("is no regular file")
        content = file.read(bound + 1)
    if len(content) > bound:
        raise ValueError(f"is larger than {bound} bytes")
    return content


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
